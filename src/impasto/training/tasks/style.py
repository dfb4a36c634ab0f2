"""The any-style task: an encoder-decoder learns to paint a photo in the manner of a painting it has never seen."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from impasto.progress import OnProgress, silent
from impasto.runtime.bundle import Bundle
from impasto.training import distributed
from impasto.training.checkpoint import Checkpoint
from impasto.training.data import Box, EndlessSampler, ImageFolder, Pixels, pattern_weights, random_square
from impasto.training.losses import perceptual
from impasto.training.losses.variational import LOGVAR_RANGE, gaussian_kl, reparameterise
from impasto.training.nets import NETS
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.features import cache_folder, load_vgg
from impasto.training.nets.pyramid import band_stats, halved
from impasto.training.nets.style import COLORS, Painter, StyleDoubt, StyleEncoder, StyleHint
from impasto.training.nets.style_teacher import StyleTeacher, translate
from impasto.training.nets.underpaint import Coarser, underpaint
from impasto.training.paint_views import OTHERS, PLAIN
from impasto.training.recipe import StyleRecipe
from impasto.training.recover import checkpoint_of
from impasto.training.task import Turn
from impasto.training.tasks.style_batch import Painted, StyleBatch
from impasto.training.tasks.style_looks import floats, looks, made_grain, stack
from impasto.training.tasks.style_rival import CRITIC, Rival, turns
from impasto.training.tasks.style_stats import StyleStats

__all__ = ["StyleBatch", "StyleStats", "StyleTask"]

COARSER = "coarser"


class StyleTask:
    """Builds the networks and says what a step's loss is.

    The two losses of Gatys et al. 2016 and Johnson et al. 2016 on frozen features, for a decoder steered by a code
    (Dumoulin et al. 2017; Ghiasi et al. 2017). One forward pass of the feature network serves every loss.

    Args:
        recipe: see ``recipe.StyleRecipe``.
        device: where to compute.
        progress: told of a download of feature weights.
        keep: folder for style statistics; None = the user's cache folder.
    """

    def __init__(
        self,
        recipe: StyleRecipe,
        device: torch.device | str = "cpu",
        *,
        progress: OnProgress = silent,
        keep: Path | None = None,
    ) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        data, loss = recipe.data, recipe.loss
        self.photos = ImageFolder(data.photos, smallest=64)
        self.paintings = ImageFolder(data.paintings, smallest=64)
        self._photo_order = EndlessSampler(len(self.photos), recipe.seed)
        weights = np.tile(pattern_weights(self.paintings.files, data.weights), data.variants)
        self._style_order = EndlessSampler(len(weights), recipe.seed + 1, weights)
        self._lesson_order = EndlessSampler(len(weights), recipe.seed + 2)
        torch.manual_seed(recipe.seed)
        self.modules: dict[str, nn.Module] = {
            name: module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, module in NETS[recipe.net.kind](recipe.net).items()
        }
        self.precision = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        layers = dict.fromkeys(loss.content_layers + loss.style_layers)
        self.vgg = load_vgg(loss.features, tuple(layers), progress=progress).to(self.device, self.precision)
        self.vgg.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Means in full precision: bfloat16 would shift every colour by up to half a level.
        self.vgg.mean, self.vgg.std = self.vgg.mean.float(), self.vgg.std.float()
        widths = {layer: self.vgg.conv(layer).out_channels for layer in loss.style_layers}
        if loss.hint:
            self.modules["hint"] = StyleHint(recipe.net, sum(widths.values())).to(self.device)
        self._widths = tuple(widths.values())
        self.teacher = StyleTeacher(self._widths, recipe.net.code).to(self.device) if loss.teach else None
        # Last, so that all other networks start as they would without it.
        self.rival = Rival(recipe, self.device) if loss.adversarial else None
        self.turns: tuple[Turn, ...] = ()
        if self.rival is not None:
            self.modules[CRITIC] = self.rival.critic
            self.turns = turns(list(self.modules))
        if self.teacher is not None:
            self.modules["teacher"] = self.teacher
        self.fresh = frozenset({"doubt", "teacher", COARSER, CRITIC})
        self._kept, self._views = len(weights), (PLAIN, *OTHERS[: loss.views])
        count = self._kept * len(self._views)
        self._stats = StyleStats(
            keep or cache_folder() / "style-stats",
            self._stats_key(count),
            count,
            [w * (w + 1) // 2 for w in widths.values()],
            data.style_size,
        )
        self._calibrate()

    # Data -----------------------------------------------------------------------------------------------------------

    def _stats_key(self, entries: int) -> str:
        """All that decides a kept crop or its statistics: pictures, how they are cut, and the feature network."""
        data, loss = self.recipe.data, self.recipe.loss
        files = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paintings.files)
        network = hashlib.sha256()
        for layer in self.vgg.order:
            conv = self.vgg.conv(layer)
            network.update(conv.weight.detach().float().cpu().contiguous().numpy().tobytes())
        key = (data.seed, data.style_size, data.style_zoom, loss.features, loss.style_layers, self.recipe.precision)
        return repr((hashlib.sha256(files.encode()).hexdigest(), network.hexdigest(), entries, *key))

    def _style_crop(self, entry: int) -> Pixels:
        """Kept crop ``entry``: always the same part of the same painting at the same zoom. uint8 [s,s,3]."""
        data = self.recipe.data
        rng = np.random.default_rng((data.seed, 7, entry))
        index = entry % len(self.paintings)
        height, width = self.paintings.pixels(index).shape[:2]
        low, high = np.log(data.style_zoom)
        side = data.style_size / np.exp(rng.uniform(low, high))
        return self.paintings.crop(index, random_square(rng, width, height, side), data.style_size)

    def _photo_box(self, index: int, rng: np.random.Generator, crop: int) -> Box:
        height, width = self.photos.pixels(index).shape[:2]
        side = crop * np.exp(rng.uniform(0, np.log(self.recipe.data.photo_zoom)))
        return random_square(rng, width, height, side)

    def batch(self, step: int) -> StyleBatch:
        """The pictures of 0-based ``step``; a function of the recipe and the step alone.

        Of a run in n processes these are the batches of all of them, in turn: batch k belongs to step k / n.
        """
        recipe, team = self.recipe, distributed.team()
        turn, place = divmod(step, team.size)
        stage = recipe.stage(turn)
        seen = recipe.images_seen(turn) * team.size + place * stage.batch
        rng = np.random.default_rng((recipe.seed, 3, step))
        selves = max(1, stage.batch // recipe.loss.identity_every) if recipe.loss.identity else 0
        photos, own = [], []
        for k in range(stage.batch):
            index = self._photo_order[seen + k]
            box = self._photo_box(index, rng, stage.crop)
            flip = -1 if rng.random() < 0.5 else 1
            photos.append(self.photos.crop(index, box, stage.crop)[:, ::flip])
            if k < selves:
                height, width = self.photos.pixels(index).shape[:2]
                # At the zoom that the crop has, so that code and picture speak of the same scale.
                side = recipe.data.style_size * (box[2] - box[0]) / stage.crop
                around = random_square(rng, width, height, side)
                own.append(self.photos.crop(index, around, recipe.data.style_size)[:, ::flip])
        entries = [self._style_order[seen + k] for k in range(stage.batch)]
        styles = [self._stats.crop(entry, self._style_crop) for entry in entries]
        size = recipe.data.style_size
        return StyleBatch(
            stack(photos),
            stack(styles),
            entries,
            stack(own) if own else torch.empty(0, 3, size, size, dtype=torch.uint8),
            [self._lesson_order[step * recipe.loss.lessons + k] for k in range(recipe.loss.lessons)],
            step,
        )

    def _calibrate(self, count: int = 256, part: int = 16) -> None:
        """Measure the norms of fresh networks on the first ``count`` style crops."""
        encoder = self.modules["encoder"]
        assert isinstance(encoder, StyleEncoder)
        entries = [self._style_order[k] for k in range(count)]
        parts = [entries[i : i + part] for i in range(0, count, part)]
        crops = [self._float(stack([self._stats.crop(e, self._style_crop) for e in chosen])) for chosen in parts]
        encoder.calibrate(crops)
        hint = self.modules.get("hint")
        if isinstance(hint, StyleHint):
            batches = [self._gram_targets(chosen, styles) for chosen, styles in zip(parts, crops, strict=True)]
            hint.norm.calibrate(hint.scale(torch.cat([_energies(targets) for targets in batches])))
        if self.teacher is not None:
            statistics = [self.teacher.statistics(self._lesson(chosen)[1]) for chosen in self._lessons()]
            self.teacher.calibrate(torch.cat(statistics))

    def _lessons(self, count: int = 2048, part: int = 16) -> list[list[int]]:
        """The first ``count`` style crops, in parts: what the teacher is made from."""
        entries = list(dict.fromkeys(self._style_order[k] for k in range(4 * count)))[:count]
        return [entries[i : i + part] for i in range(0, len(entries), part)]

    @torch.no_grad()
    def _lesson(self, entries: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Style crops [N,3,s,s] and their Gram vectors."""
        styles = self._float(stack([self._stats.crop(entry, self._style_crop) for entry in entries]))
        return styles, self._gram_targets(entries, styles)

    @torch.no_grad()
    def of_model(self, path: Path) -> Checkpoint:
        """The networks of a model file of kind ``style``; see ``recover.checkpoint_of``."""
        return checkpoint_of(Bundle.open(path, kind="style"))

    def begin(self, taken: Collection[str]) -> None:
        """After networks of another run were taken over: they learn the teacher's codes, unless they know them."""
        coarser = self.modules.get(COARSER)
        if isinstance(coarser, Coarser) and COARSER not in taken:
            self._fit(coarser)
        if self.teacher is None or "teacher" in taken:
            return
        encoder, painter = self.modules["encoder"], self.modules["painter"]
        assert isinstance(encoder, StyleEncoder) and isinstance(painter, Painter)
        seen, codes, taught = [], [], []
        for styles, grams in map(self._lesson, self._lessons()):
            seen.append(encoder.look(styles))
            codes.append(encoder.describe(styles, seen[-1])[:, : self.recipe.net.code])
            taught.append(self.teacher(grams))
        translate(painter, encoder, torch.cat(seen), torch.cat(codes), torch.cat(taught))

    def remarks(self) -> list[str]:
        """What a person should know before the run starts, a sentence each."""
        lines = [f"{len(self.photos)} photos and {len(self.paintings)} paintings."]
        for folder in (self.photos, self.paintings):
            for path, reason in list(folder.skipped.items())[:5]:
                lines.append(f"{path.name} is left out: {reason}.")
            if len(folder.skipped) > 5:
                lines.append(f"{len(folder.skipped) - 5} more of {folder.folder} are left out.")
        return lines

    # One step -------------------------------------------------------------------------------------------------------

    def _float(self, pixels: Tensor) -> Tensor:
        return floats(pixels, self.device)

    @torch.no_grad()
    def _fit(self, coarser: Coarser) -> None:
        """What a code is at half the size, from the paintings that a teacher is made from."""
        encoder, codes, halves = self.modules["encoder"], [], []
        for entries in self._lessons():
            styles = self._float(stack([self._stats.crop(entry, self._style_crop) for entry in entries]))
            codes.append(encoder(styles).float())
            halves.append(encoder(halved(styles)).float())
        coarser.fit(torch.cat(codes), torch.cat(halves))

    def _gram_targets(self, entries: list[int], styles: Tensor, view: int = 0) -> list[Tensor]:
        """Gram vectors [N,K_l] of style crops, one per layer, as a view shows them; made where they are not kept."""
        entries = [entry + view * self._kept for entry in entries]
        missing = self._stats.missing(entries)
        if missing:
            # As in calibration: a kept vector must not depend on where it was made.
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                features = self.vgg(self._views[view].of(styles[missing]))
                vectors = [perceptual.gram_vector(features[layer].float()) for layer in self.recipe.loss.style_layers]
            for row, i in enumerate(missing):
                self._stats.put(entries[i], [v[row] for v in vectors])
        return self._stats.get(entries, self.device)

    def _paint(self, batch: StyleBatch, step: int, *, own: bool, taught: Tensor | None = None) -> Painted:
        """Paint a batch; ``own``: its photos in their own manner too; ``taught``: the teacher's codes [N,D-9]."""
        photos, styles = self._float(batch.photos), self._float(batch.styles)
        selves = self._float(batch.selves if own else batch.selves[:0])
        # A crop is a photo of its own. With the whole photo's statistics a bright crop would still have to reach the
        # painting's mean and contrast within itself, and stripes appear.
        stats = color_stats(photos)
        count, extra, learnt = len(photos), len(selves), self.recipe.net.code
        encoder, painter, doubt = (self.modules.get(name) for name in ("encoder", "painter", "doubt"))
        assert isinstance(encoder, StyleEncoder) and isinstance(painter, Painter)
        seen = torch.cat((styles, selves))
        hidden = encoder.look(seen)
        every = encoder.describe(seen, hidden)
        codes, logvar = every[:count], None
        used = codes
        if isinstance(doubt, StyleDoubt):
            logvar = doubt(hidden[:count]).clamp(*LOGVAR_RANGE)
            noise = _normal(logvar.shape, self.recipe.seed, batch.index).to(self.device)
            # Colours are measured, not guessed, so they are not drawn.
            used = torch.cat((reparameterise(codes[:, :learnt], logvar, noise), codes[:, learnt:]), 1)
        if taught is not None:
            draws = np.random.default_rng((self.recipe.seed, 13, batch.index)).random(count)
            given = torch.from_numpy(draws < self.recipe.stage(step).given).to(self.device)[:, None]
            used = torch.cat((torch.where(given, taught, used[:, :learnt]), codes[:, learnt:]), 1)
        # A photo's own colours and bands are those of what is painted.
        own_bands = [band_stats(photos[:extra])] if self.recipe.net.bands else []
        own_codes = torch.cat((every[count:, :learnt], *own_bands, stats[:extra]), 1)
        told = torch.cat((used, own_codes))

        def grain(height: int, width: int) -> Tensor:
            return made_grain(count + extra, height, width, seed=self.recipe.seed + step).to(self.device)

        shown = torch.cat((photos, photos[:extra])), torch.cat((stats, stats[:extra])), told
        raw, finished = underpaint(painter, self.modules.get(COARSER), *shown, grain)
        return Painted(photos, styles, raw, finished, codes, used, logvar)

    def loss(self, turn: str, batch: StyleBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to descend in a turn, and the figures to log."""
        if turn == CRITIC and self.rival is not None:
            with torch.no_grad():
                shown = self._paint(batch, step, own=False)
            return self.rival.judge(shown.styles, shown.pictures, shown.codes)
        weights = self.recipe.loss
        styles, view = self._float(batch.styles), batch.index % len(self._views)
        targets = self._gram_targets(batch.entries, styles, view)
        plain = (
            targets
            if view == 0 or (self.teacher is None and not weights.hint)
            else (self._gram_targets(batch.entries, styles))
        )
        taught = None if self.teacher is None else self.teacher(plain)
        done = self._paint(batch, step, own=True, taught=taught)
        photos, codes, painted = done.photos, done.used, done.pictures
        count, own = len(photos), len(batch.selves)
        mirrored, learnt = done.finished[count:], self.recipe.net.code
        with torch.no_grad():
            kept = self.vgg_at(self._views[view].of(photos), weights.content_layers)
        features = self.vgg(self._views[view].of(painted))
        content = torch.stack([perceptual.content_loss(features[k], kept[k]) for k in weights.content_layers]).mean()
        layers = [
            # log(1 + d): a pair that starts far away must not drown the others of its batch.
            perceptual.relative_gram_distance(perceptual.gram_vector(features[layer]), target).log1p().mean()
            for layer, target in zip(weights.style_layers, targets, strict=True)
        ]
        style = torch.stack(layers).mean()
        figures = {"content": content, "style": style}
        stage = self.recipe.stage(step)
        total = weights.content * content + (weights.style if stage.style is None else stage.style) * style
        if weights.variation:
            figures["variation"] = perceptual.total_variation(painted)
            total = total + weights.variation * figures["variation"]
        if weights.calm:
            figures["calm"] = perceptual.unrest(painted, photos)
            total = total + weights.calm * figures["calm"]
        if weights.range:
            figures["range"] = done.excess
            total = total + weights.range * figures["range"]
        if weights.moments:
            figures["moments"] = (color_stats(painted) - codes[:, -COLORS:]).abs().mean()
            total = total + weights.moments * figures["moments"]
        if weights.centre:
            centred = done.codes[:, :learnt]
            figures["centre"] = centred.mean(0).square().mean() + 0.05 * centred.square().mean()
            total = total + weights.centre * figures["centre"]
        if weights.hint:
            figures["hint"] = self.modules["hint"](codes, _energies(plain))
            total = total + weights.hint * figures["hint"]
        if taught is not None:
            # The mean squared error of numbers of variance 1: 1 = nothing told, 0 = all.
            told = done.codes[:, :learnt].float()
            if self.teacher is not None and batch.lessons:
                more, grams = self._lesson(batch.lessons)
                encoder = self.modules["encoder"]
                told = torch.cat((told, encoder(more)[:, :learnt].float()))
                taught = torch.cat((taught, self.teacher(grams)))
            figures["teach"] = (told - taught).square().mean()
            total = total + (weights.teach if stage.teach is None else stage.teach) * figures["teach"]
        if weights.kl and done.logvar is not None:
            figures["kl"] = gaussian_kl(done.codes[:, :learnt], done.logvar).mean()
            total = total + weights.kl * figures["kl"]
        if self.rival is not None:
            figures["adversarial"] = self.rival.please(painted, done.codes)
            total = total + weights.adversarial * figures["adversarial"]
        if own:
            figures["identity"] = (mirrored - photos[:own]).abs().mean()
            total = total + weights.identity * figures["identity"]
        return total, figures | {
            f"style_{layer}": value for layer, value in zip(weights.style_layers, layers, strict=True)
        }

    def vgg_at(self, picture: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        """Features at ``layers`` only; all come from one pass either way."""
        found = self.vgg(picture)
        return {layer: found[layer] for layer in layers}

    # Looking --------------------------------------------------------------------------------------------------------

    def sample(self, modules: Mapping[str, nn.Module], count: int = 5, size: int = 256) -> Pixels:
        """A grid to look at; see ``style_looks.looks``."""
        painter, crops = modules["painter"], (self._style_crop, len(self.paintings))
        assert isinstance(painter, Painter)
        return looks(
            painter, modules["encoder"], modules.get(COARSER), self.photos, *crops, self.device, count=count, size=size
        )


def _energies(targets: list[Tensor]) -> Tensor:
    """Channel energies of all layers, each relative to its layer's Gram norm: [N,K]."""
    return torch.cat([perceptual.channel_energies(t) / t.norm(dim=1, keepdim=True) for t in targets], 1)


def _normal(shape: torch.Size, seed: int, index: int) -> Tensor:
    """N(0,1) numbers, always the same ones for a batch of a run."""
    words = np.random.SeedSequence((seed, 11, index)).generate_state(1, np.uint64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(words[0] >> 1)))
