"""Variational autoencoders: the pictures, what a step is, and what a look at the networks shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.progress import OnProgress, silent
from impasto.runtime.latents import draw_streams, slerp
from impasto.training import distributed
from impasto.training.checkpoint import load_checkpoint, restore_modules
from impasto.training.data import EndlessSampler, Pixels
from impasto.training.journal import Journal
from impasto.training.losses import perceptual
from impasto.training.losses import variational as losses
from impasto.training.losses.adversarial import LOSSES, PAIRED
from impasto.training.mixture import AT_MOST, fit
from impasto.training.nets import NETS
from impasto.training.nets.features import Vgg, load_vgg
from impasto.training.nets.vae import Codebook, Decoder, Encoder, Judge
from impasto.training.pictures import PictureSet
from impasto.training.recipe_vae import VaeRecipe
from impasto.training.task import Turn

Array = NDArray[np.float32]

_LOOK = 256
"""Held-out pictures that a measurement takes, at most."""

_SILENT = 2
"""Fewer used latent numbers than this are a collapse: all pictures come out alike."""


@dataclass(slots=True)
class VaeBatch:
    """The pictures of a step and its random numbers.

    Attributes:
        pictures: uint8 [N,c,H,W], channels last.
        noise: float32 [N,Z], N(0,1), for the draw from the posterior.
        prior: float32 [N,Z], N(0,1), decoded for the discriminator.
        index: of the batch.
        fakes: what the autoencoder's turn decoded, for the discriminator's turn of the same step.
    """

    pictures: Tensor
    noise: Tensor
    prior: Tensor
    index: int
    fakes: Tensor | None = None


class VaeTask:
    """Builds the networks and says what a step's loss is.

    ``vae-gan`` departs from Larsen et al. 2016 in three ways: the pixels' likelihood stays (``loss.pixels``); the
    encoder feels the discriminator's verdict on reconstructions too, which saves a pass through the decoder; and the
    discriminator judges what the autoencoder made earlier in the same step.

    Args:
        recipe: see ``recipe_vae.VaeRecipe``.
        device: where to compute.
        progress: told of pictures prepared and of a download of feature weights.
        cache: where prepared pictures are kept; None = the user's cache folder.

    Attributes:
        pictures: what is learnt from.
        modules: ``encoder``, ``decoder``, and ``discriminator`` of a ``vae-gan``.
        turns: of the loop.
        best: the figure by which the loop keeps the best state.
    """

    def __init__(
        self,
        recipe: VaeRecipe,
        device: torch.device | str = "cpu",
        *,
        progress: OnProgress = silent,
        cache: Path | None = None,
    ) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        net, data = recipe.net, recipe.data
        with distributed.first_process_first():
            self.pictures = PictureSet(
                data.folder,
                net.height,
                net.width,
                channels=net.channels,
                labels="none",
                cache=cache,
                progress=progress,
            )
        order = np.random.default_rng((recipe.seed, 11)).permutation(len(self.pictures))
        held = round(data.held * len(order))
        self.held, self.learnt = np.sort(order[:held]), np.sort(order[held:])
        self._order = EndlessSampler(len(self.learnt), recipe.seed)
        torch.manual_seed(recipe.seed)
        self.modules: dict[str, nn.Module] = {
            name: module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, module in NETS[net.kind](net).items()
        }
        self.turns: tuple[Turn, ...] = (Turn("autoencoder", ("encoder", "decoder")),)
        if "discriminator" in self.modules:
            self.turns += (Turn("discriminator", ("discriminator",)),)
        self.best = "bits_held" if held else ""
        self.vgg: Vgg | None = None
        if recipe.loss.perceptual:
            self.vgg = load_vgg("vgg16", recipe.loss.layers, progress=progress).to(self.device)

    @classmethod
    def from_run(
        cls, run: str | Path, device: torch.device | str = "cpu", *, checkpoint: Path | None = None
    ) -> VaeTask:
        """The task of a run folder, with the averaged networks of its newest checkpoint, in evaluation mode.

        Args:
            run: the folder.
            device: where to compute.
            checkpoint: another one than the newest.

        Raises:
            TrainingError: the folder holds no run of a VAE, or the pictures that its recipe names are gone.
        """
        journal = Journal(run)
        recipe = journal.recipe()
        if not isinstance(recipe, VaeRecipe):
            raise TrainingError(f"{run} is a run of the {recipe.task} task: name the run folder of a VAE.")
        task = cls(recipe, device)
        restore_modules(task.modules, load_checkpoint(checkpoint or journal.checkpoint), "ema")
        for module in task.modules.values():
            module.eval().requires_grad_(False)
        return task

    # Data -----------------------------------------------------------------------------------------------------------

    def batch(self, index: int) -> VaeBatch:
        """Batch ``index`` of the endless stream; a function of the recipe and the index alone."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, 3, index))
        first = index * recipe.batch
        rows = self.pictures.arrays([int(self.learnt[self._order[first + k]]) for k in range(recipe.batch)])
        if recipe.data.flip:
            mirrored = rng.random(recipe.batch) < 0.5
            rows[mirrored] = rows[mirrored, :, ::-1]
        noise, prior = rng.standard_normal((2, recipe.batch, recipe.net.latent), dtype=np.float32)
        return VaeBatch(_planes(rows), torch.from_numpy(noise), torch.from_numpy(prior), index)

    def remarks(self) -> list[str]:
        """What a person should know before the run starts, a sentence each."""
        lines = list(self.pictures.remarks)
        if len(self.held):
            lines.append(f"{len(self.held):,} of them are held out, to measure on.")
        return lines

    def _float(self, pixels: Tensor) -> Tensor:
        """uint8 [N,c,H,W] -> float32 in -1..1 on the device."""
        return pixels.to(self.device).contiguous(memory_format=torch.channels_last).float().div_(127.5).sub_(1)

    # One step -------------------------------------------------------------------------------------------------------

    def loss(self, turn: str, batch: VaeBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to descend, and the figures to log.

        ``error`` is the mean absolute error of a reconstruction (-1..1 pictures), ``kl`` the divergence in nats per
        picture, ``used`` the latent numbers that tell something (the codes in use, for a ``vq-vae``), ``bits`` the
        evidence lower bound in bits per number.
        """
        if turn == "discriminator":
            return self._judge_loss(batch)
        weights, net = self.recipe.loss, self.recipe.net
        encoder, decoder = self._parts(self.modules)
        pictures = self._float(batch.pictures)
        mean, logvar = encoder(pictures)
        figures: dict[str, Tensor] = {}
        extra = torch.zeros((), device=self.device)
        if decoder.codebook is not None:
            z, commitment = self._rounded(decoder.codebook, mean, batch.index)
            extra = extra + weights.commitment * commitment
            figures["commitment"] = commitment
        else:
            z = losses.reparameterise(mean, logvar, batch.noise.to(self.device))
        kl = self._divergence(decoder, mean, logvar)
        judge = self.modules.get("discriminator")
        decoded = decoder(torch.cat((z, batch.prior.to(self.device))) if judge is not None else z)
        count = len(pictures)
        made = decoded[:count]
        nll = losses.negative_log_likelihood(
            weights.likelihood, made, pictures, logvar=decoder.noise(), scale=weights.scale
        )
        total = extra + losses.objective(
            weights.pixels * nll, kl, net.numbers, beta=self.recipe.beta(step), least=weights.free
        )
        if isinstance(judge, Judge):
            batch.fakes = decoded.detach()
            verdict, parts = self._verdict(judge, pictures, decoded)
            total, figures = total + verdict, figures | parts
        if self.vgg is not None:
            figures["perceptual"] = self._perceptual(made, pictures)
            total = total + weights.perceptual * figures["perceptual"]
        figures |= {
            "error": (made - pictures).abs().mean(),
            "kl": kl.sum(1).mean(),
            "used": losses.used_latents(kl) if decoder.codebook is None else decoder.codebook.used(mean),
            "bits": losses.bits_per_number(nll, kl, net.numbers),
        }
        return total, figures

    @staticmethod
    def _divergence(decoder: Decoder, mean: Tensor, logvar: Tensor) -> Tensor:
        """[N,Z] nats. To name one of K codes takes log K nats, spread here over its numbers; no gradient."""
        if decoder.codebook is None:
            return losses.gaussian_kl(mean, logvar)
        codes, size = decoder.codebook.table.shape
        return torch.full_like(mean, math.log(codes) / size)

    def _rounded(self, codebook: Codebook, mean: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Latents as the table has them, with the encoder's gradient (straight through), and the commitment loss.

        van den Oord et al. 2017 (equation 3, without its second term: the table follows running means).
        """
        rounded = codebook(mean)
        codebook.learn(mean, _chance(self.recipe.seed, 17, index))
        return mean + (rounded - mean).detach(), (mean - rounded.detach()).square().mean()

    def _verdict(self, judge: Judge, pictures: Tensor, decoded: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the discriminator says of reconstructions and draws: Larsen et al. 2016, equations 7 to 9."""
        weights = self.recipe.loss
        with torch.no_grad():
            target, real = judge.look(pictures)
        seen, fake = judge.look(decoded)
        target = target.float()
        # Relative to how large features are, so that the weight holds while they grow.
        features = (seen[: len(pictures)].float() - target).square().mean() / (target.square().mean() + 1e-6)
        paired = torch.cat((real, real)) if weights.kind in PAIRED else None
        adversarial = LOSSES[weights.kind].generator(paired, fake)
        total = weights.features * features + weights.adversarial * adversarial
        return total, {"features": features, "adversarial": adversarial}

    def _judge_loss(self, batch: VaeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Real pictures against reconstructions and draws from the prior."""
        judge = self.modules["discriminator"]
        pictures = self._float(batch.pictures)
        fakes = batch.fakes
        if fakes is None:
            encoder, decoder = self._parts(self.modules)
            with torch.no_grad():
                mean, logvar = encoder(pictures)
                z = losses.reparameterise(mean, logvar, batch.noise.to(self.device))
                fakes = decoder(torch.cat((z, batch.prior.to(self.device))))
        logits = judge(torch.cat((pictures, fakes)))
        real, fake = logits[: len(pictures)], logits[len(pictures) :]
        loss = LOSSES[self.recipe.loss.kind].discriminator(torch.cat((real, real)), fake)
        return loss, {"judge_real": real.mean(), "judge_fake": fake.mean()}

    def _perceptual(self, made: Tensor, pictures: Tensor) -> Tensor:
        """Difference of VGG features, mean over ``loss.layers``; grey is shown as RGB, alpha is left out."""
        assert self.vgg is not None
        both = torch.cat((made, pictures)).add(1).div(2).clamp(0, 1)[:, :3]
        features = self.vgg(both.expand(-1, 3, -1, -1))
        count = len(pictures)
        layers = [features[layer] for layer in self.recipe.loss.layers]
        return torch.stack([perceptual.content_loss(f[:count], f[count:].detach()) for f in layers]).mean()

    @staticmethod
    def _parts(modules: Mapping[str, nn.Module]) -> tuple[Encoder, Decoder]:
        encoder, decoder = modules["encoder"], modules["decoder"]
        assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
        return encoder, decoder

    # Looking --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def watch(self, step: int, average: Mapping[str, nn.Module], figures: dict[str, float]) -> list[str]:
        """Measures the averaged networks on held-out pictures, and says when the latent has gone silent.

        Adds ``bits_held`` and ``error_held`` to ``figures``: as ``bits`` and ``error``, on at most 256 held-out
        pictures and always with the same noise.
        """
        if len(self.held):
            figures.update(self._measured(average, self.held[:_LOOK]))
        if self.recipe.net.kind != "vq-vae" and self.recipe.beta(step) > 0 and figures.get("used", _SILENT) < _SILENT:
            return [
                f"The latent tells next to nothing (the encoder uses {figures['used']:.0f} of its "
                f"{self.recipe.net.latent} numbers), so all pictures will look alike: "
                "raise loss.free, or lower loss.beta."
            ]
        return []

    def _measured(self, modules: Mapping[str, nn.Module], rows: NDArray[np.int64]) -> dict[str, float]:
        weights, net = self.recipe.loss, self.recipe.net
        encoder, decoder = self._parts(modules)
        noise = torch.from_numpy(np.random.default_rng(5).standard_normal((len(rows), net.latent), np.float32))
        bits, errors = 0.0, 0.0
        for start in range(0, len(rows), 64):
            part = slice(start, start + 64)
            pictures = self._float(_planes(self.pictures.arrays(rows[part])))
            mean, logvar = encoder(pictures)
            coded = decoder.codebook is not None
            z = mean if coded else losses.reparameterise(mean, logvar, noise[part].to(self.device))
            made, kl = decoder(z), self._divergence(decoder, mean, logvar)
            nll = losses.negative_log_likelihood(
                weights.likelihood, made, pictures, logvar=decoder.noise(), scale=weights.scale
            )
            bits += float(losses.bits_per_number(nll, kl, net.numbers)) * len(pictures)
            errors += float((made - pictures).abs().mean()) * len(pictures)
        return {"bits_held": bits / len(rows), "error_held": errors / len(rows)}

    def latents(self, modules: Mapping[str, nn.Module] | None = None, at_most: int = AT_MOST) -> Array:
        """Latents of the pictures learnt from, for a mixture: float32 [N,Z].

        One draw from each picture's posterior, since that is what the decoder was trained on; its mean for a
        ``vq-vae``. Arguments as for ``posteriors``.
        """
        means, deviations = self.posteriors(modules, at_most)
        noise = np.random.default_rng((self.recipe.seed, 19)).standard_normal(means.shape, dtype=np.float32)
        return means + deviations * noise

    @torch.no_grad()
    def posteriors(self, modules: Mapping[str, nn.Module] | None = None, at_most: int = AT_MOST) -> tuple[Array, Array]:
        """Means and deviations of the posteriors of the pictures learnt from: float32 [N,Z] each, in any order.

        Deviations are 0 for a ``vq-vae``. Mirrored pictures count as pictures of their own where training mirrors them.

        Args:
            modules: other networks than the task's own, such as averaged ones.
            at_most: N.
        """
        encoder, _ = self._parts(modules or self.modules)
        rng = np.random.default_rng((self.recipe.seed, 13))
        flips = (False, True) if self.recipe.data.flip else (False,)
        wanted = [(int(row), flip) for flip in flips for row in rng.permutation(self.learnt)][:at_most]
        training = encoder.training
        encoder.eval()
        means, deviations = [], []
        for start in range(0, len(wanted), 64):
            part = wanted[start : start + 64]
            rows = self.pictures.arrays([row for row, _ in part])
            mirrored = np.array([flip for _, flip in part])
            rows[mirrored] = rows[mirrored, :, ::-1]
            mean, logvar = encoder(self._float(_planes(rows)))
            coded = self.recipe.net.kind == "vq-vae"
            means.append(mean.float().cpu().numpy())
            deviations.append((torch.zeros_like(mean) if coded else (0.5 * logvar).exp()).float().cpu().numpy())
        encoder.train(training)
        return np.concatenate(means), np.concatenate(deviations)

    @torch.no_grad()
    def sample(self, modules: Mapping[str, nn.Module], count: int = 8) -> Pixels:
        """A grid to look at, always of the same pictures and latents: uint8 RGB [5H, count W, 3].

        Rows: pictures (held-out ones first), their reconstructions, draws from the prior, draws from one Gaussian on
        the latents (a mixture takes longer to fit), and the way between the first two pictures.
        """
        encoder, decoder = self._parts(modules)
        rows = np.concatenate((self.held, self.learnt))[np.arange(count) % len(self.pictures)]
        pictures = self.pictures.arrays(rows)
        means = encoder(self._float(_planes(pictures)))[0].float()
        drawn = draw_streams(0, count, self.recipe.net.latent)
        gaussian = fit(self.latents(modules, 2_000), 1).drawable().place(drawn)
        way = between(means[0].cpu().numpy(), means[1].cpu().numpy(), count)
        lines = [_flat(pictures)]
        for z in (means.cpu().numpy(), drawn.normals, gaussian, way):
            lines.append(_flat(_bytes(decoder(torch.from_numpy(z).to(self.device)))))
        return np.concatenate(lines, 0)


def between(start: Array, end: Array, count: int) -> Array:
    """``count`` latents from ``start`` to ``end`` ([Z] each), both included: float32 [count,Z].

    Along the sphere (``runtime.latents.slerp``): halfway along a straight line is shorter than what was trained on.
    """
    shares = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    return np.stack([slerp(start, end, float(share)) for share in shares])


def _chance(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _planes(rows: Pixels) -> Tensor:
    """uint8 [N,H,W,c] -> [N,c,H,W], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(rows)).permute(0, 3, 1, 2)


def _bytes(pictures: Tensor) -> Pixels:
    """-1..1 [N,c,H,W] -> uint8 [N,H,W,c]."""
    scaled = pictures.float().add(1).mul(127.5).round().clamp(0, 255).byte()
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _flat(rows: Pixels) -> Pixels:
    """Pictures uint8 [N,H,W,c] side by side, on white, as RGB: [H, N W, 3]."""
    if rows.shape[3] == 4:
        alpha = rows[..., 3:].astype(np.float32) / 255
        rows = (rows[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    if rows.shape[3] == 1:
        rows = rows.repeat(3, axis=3)
    return np.concatenate(list(rows), 1)
