"""The gan task: two networks, one that draws and one that judges, learn against each other (Goodfellow et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.progress import OnProgress, silent
from impasto.training import distributed
from impasto.training.augment import DEFAULT, AdaptiveStrength, augment
from impasto.training.data import EndlessSampler, Pixels
from impasto.training.losses.adversarial import LOSSES, PAIRED, gradient_penalty, r1, r2
from impasto.training.nets import NETS
from impasto.training.nets.gan import GanGenerator
from impasto.training.pictures import PictureSet
from impasto.training.recipe_gan import GanRecipe
from impasto.training.task import Turn
from impasto.training.tasks.looking import Looking, one_hot

TURNS = ("discriminator", "generator")

RELATIVE = PAIRED | {"wasserstein"}
"""Losses that know only differences of logits: these have no zero of their own."""


@dataclass(frozen=True, slots=True)
class GanBatch:
    """Real pictures of one update, on the CPU."""

    index: int
    pictures: Tensor  # uint8 [N,c,H,W]
    labels: Tensor  # int64 [N], -1 = unknown


class GanTask:
    """Builds the pair and says what each of the two updates of a step is.

    A step is one update of the discriminator; every ``recipe.critic``-th one is followed by an update of the generator
    (Goodfellow et al. 2014, algorithm 1, whose k that is). All chance in it is a function of the recipe's seed and the
    number of the batch, so a run that was stopped goes on bit for bit, and several processes draw different pictures.

    Args:
        recipe: see ``recipe_gan.GanRecipe``.
        device: where to compute.
        progress: told of pictures being prepared.
        cache: folder for prepared pictures; None = the user's cache folder.

    Raises:
        TrainingError: the pictures cannot be used, or have other classes than ``net.classes`` says.
    """

    def __init__(
        self,
        recipe: GanRecipe,
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
                labels=data.labels if net.classes else "none",
                cache=cache,
                progress=progress,
            )
        if len(self.pictures.classes) != net.classes:
            raise TrainingError(
                f"{data.folder} has {len(self.pictures.classes)} classes and the recipe's net.classes says "
                f"{net.classes}: set it to that number, or data.labels=none and net.classes=0."
            )
        self._order = EndlessSampler(len(self.pictures), recipe.seed)
        torch.manual_seed(recipe.seed)
        self.modules: dict[str, nn.Module] = {
            name: module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, module in NETS[net.kind](net).items()
        }
        self.turns = (
            Turn("discriminator", ("discriminator",)),
            Turn("generator", ("generator",), every=recipe.critic),
        )
        self.strength = AdaptiveStrength(recipe.augment.target, start=recipe.augment.strength)
        # Where left and right are not alike, a mirrored picture is none of the data.
        self._kinds = tuple(kind for kind in DEFAULT if kind != "mirror" or data.flip)
        self._judged: list[Tensor] = []
        self._looking = Looking(recipe, self.pictures, self.device)
        self.best = self._looking.best
        self.row = net.height
        self.notes = {"classes": self.pictures.classes} if net.classes else {}

    @property
    def generator(self) -> GanGenerator:
        """The network that draws."""
        generator = self.modules["generator"]
        assert isinstance(generator, GanGenerator)
        return generator

    def remarks(self) -> list[str]:
        """What a person should know of the data, in sentences."""
        turned = "half of them mirrored" if self.recipe.data.flip else "never mirrored: their left and right differ"
        return [*self.pictures.remarks, f"They are shown {turned} (data.flip)."]

    # A step ---------------------------------------------------------------------------------------------------------

    def batch(self, index: int) -> GanBatch:
        """Batch ``index`` of an endless stream: a function of the recipe's seed and the index."""
        count = self.recipe.batch
        rows = [self._order[index * count + i] for i in range(count)]
        pictures = self.pictures.arrays(rows)
        if self.recipe.data.flip:
            mirrored = np.random.default_rng((self.recipe.seed, 1, index)).random(count) < 0.5
            pictures[mirrored] = pictures[mirrored, :, ::-1]
        labels = torch.from_numpy(np.asarray(self.pictures.labels[rows], np.int64))
        return GanBatch(index, torch.from_numpy(pictures).permute(0, 3, 1, 2), labels)

    def loss(self, turn: str, batch: GanBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one of ``turns`` on a batch, and figures."""
        chance = self._chance(batch.index, TURNS.index(turn))
        labels = one_hot(batch.labels, self.recipe.net.classes, self.device)
        real = to_unit(batch.pictures, self.device)
        if turn == "discriminator":
            return self._judge(real, labels, chance, step)
        return self._draw_better(real, labels, chance)

    def _chance(self, index: int, turn: int) -> torch.Generator:
        """Where all chance of an update comes from; torch's default generator is set as well, for noise in networks."""
        seeds = np.random.SeedSequence((self.recipe.seed, 2, index, turn)).generate_state(2, np.uint64)
        torch.manual_seed(int(seeds[0] >> 1))
        return torch.Generator().manual_seed(int(seeds[1] >> 1))

    def _judge(
        self, real: Tensor, labels: Tensor | None, chance: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's update."""
        table, loss = self.recipe.loss, LOSSES[self.recipe.loss.kind]
        critic = self.modules["discriminator"].train()
        with torch.no_grad():
            fake = self.draw(len(real), labels, chance)
        real, fake = self._augmented(real, chance), self._augmented(fake, chance)

        def judge(pictures: Tensor) -> Tensor:
            logits: Tensor = critic(pictures, labels)
            return logits

        on_real, on_fake = judge(real), judge(fake)
        total = loss.discriminator(on_real, on_fake)
        said = on_real.detach().float(), on_fake.detach().float()
        signs = (said[0] - said[1] if table.kind in RELATIVE else said[0]).sign()
        self._judged.append(signs)
        figures = {
            "real": said[0].mean(),
            "fake": said[1].mean(),
            "real_sign": signs.mean(),
            "fake_sign": (said[1] - said[0] if table.kind in RELATIVE else said[1]).sign().mean(),
            "strength": torch.tensor(self.strength.value, device=self.device),
        }
        with torch.autocast(self.device.type, enabled=False):  # slopes of slopes want more than 8 bits
            if step % table.every == 0:
                for name, gamma, penalty, pictures in (("r1", table.r1, r1, real), ("r2", table.r2, r2, fake)):
                    if gamma:
                        figures[name] = penalty(judge, pictures, gamma)
                        total = total + table.every * figures[name]
            if table.slope:
                share = torch.rand(len(real), generator=chance).to(self.device)
                figures["slope"] = gradient_penalty(judge, real, fake, share)
                total = total + table.slope * figures["slope"]
        return total, figures

    def _draw_better(
        self, real: Tensor, labels: Tensor | None, chance: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's update."""
        loss = LOSSES[self.recipe.loss.kind]
        critic = self.modules["discriminator"].train()
        fake = self._augmented(self.draw(len(real), labels, chance), chance)
        on_fake = critic(fake, labels)
        on_real = critic(self._augmented(real, chance), labels) if self.recipe.loss.kind in PAIRED else None
        return loss.generator(on_real, on_fake), {}

    def draw(self, count: int, labels: Tensor | None, chance: torch.Generator) -> Tensor:
        """Pictures of fresh latents [N,c,H,W]; some with the styles of two (Karras et al. 2019, section 3.1)."""
        generator = self.generator.train()
        size, layers, mixing = generator.latent_size, generator.layers, self.recipe.mixing
        w = generator.mapping(torch.randn(count, size, generator=chance).to(self.device), labels)
        if mixing and layers > 1 and generator.has_mapping:
            other = generator.mapping(torch.randn(count, size, generator=chance).to(self.device), labels)
            cut = torch.randint(1, layers, (count,), generator=chance)
            cut[torch.rand(count, generator=chance) >= mixing] = layers
            first = (torch.arange(layers)[None] < cut[:, None]).to(self.device)  # [N,L]
            w = torch.where(first[:, :, None], w[:, None], other[:, None])
        return generator.synthesis(w)

    def _augmented(self, pictures: Tensor, chance: torch.Generator) -> Tensor:
        pictures = augment(pictures, self.strength.value, chance, kinds=self._kinds)
        return pictures.contiguous(memory_format=torch.channels_last)

    def finish(self, step: int) -> None:
        """After a step: the strength of the augmentation follows what the discriminator said of real pictures."""
        if self.recipe.augment.adaptive:
            self.strength.update(distributed.gathered(torch.cat(self._judged)))
        self._judged.clear()

    def state(self) -> dict[str, Tensor]:
        """The augmentation's strength."""
        return dict(self.strength.state())

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave."""
        self.strength.load_state(tensors)
        self._judged.clear()

    # Looking --------------------------------------------------------------------------------------------------------

    def sample(self, modules: Mapping[str, nn.Module]) -> Pixels:
        """A grid to look at, always of the same latents; with classes, each row is of one. uint8 [h,w] or [h,w,C]."""
        return self._looking.grid(modules["generator"])

    def watch(self, step: int, average: Mapping[str, nn.Module], figures: dict[str, float]) -> list[str]:
        """The doctor's findings, and now and then a distance from the data, which is added to ``figures``."""
        return self._looking.watch(step, average["generator"], figures)


def to_unit(pictures: Tensor, device: torch.device) -> Tensor:
    """uint8 0..255 -> float32 -1..1, channels last in memory."""
    return (pictures.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
