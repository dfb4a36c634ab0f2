"""The any-style task: an encoder-decoder learns to paint a photo in the manner of a painting it has never seen."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.progress import OnProgress, silent
from impasto.training.data import Box, EndlessSampler, ImageFolder, Pixels, pattern_weights, random_square
from impasto.training.losses import perceptual
from impasto.training.nets import NETS
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.features import cache_folder, load_vgg
from impasto.training.nets.style import COLORS, GRAIN, Painter, StyleEncoder, StyleHint
from impasto.training.recipe import StyleRecipe


@dataclass(frozen=True, slots=True)
class StyleBatch:
    """One step's pictures, uint8 and on the CPU."""

    photos: Tensor  # [N,3,c,c]
    styles: Tensor  # [N,3,s,s]
    entries: list[int]  # which kept style crop each is
    selves: Tensor  # [K,3,s,s]: the first K photos as if they were paintings


_Layout = tuple[type, tuple[int, ...]]
"""dtype and shape of a table."""


class StyleStats:
    """Style crops and their Gram vectors, made once and kept on disk, the vectors in half precision.

    A painting's statistics cost a pass through the feature network; a run sees each crop many times. The files are
    sparse: an entry takes room when it is first made. Several runs may share them at once: what each would write is
    the same.

    Args:
        folder: where they are kept, in a folder for each key.
        key: all that the statistics depend on.
        entries: number of style crops.
        sizes: length of each layer's Gram vector.
        side: of a crop, pixels.

    Raises:
        TrainingError: there is no room, or the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str, entries: int, sizes: list[int], side: int) -> None:
        self.sizes = sizes
        layout: dict[str, _Layout] = {
            "gram": (np.float16, (entries, sum(sizes))),
            "norm": (np.float32, (entries, len(sizes))),
            "crop": (np.uint8, (entries, side, side, 3)),
            "made": (np.bool_, (entries,)),
        }
        tables = _tables(folder / hashlib.sha256(key.encode()).hexdigest()[:16], layout)
        self._unit, self._norm, self._crops, self._made = (tables[name] for name in layout)

    def crop(self, entry: int, make: Callable[[int], Pixels]) -> Pixels:
        """The crop of an entry, uint8 [s,s,3]."""
        if not self._made[entry]:
            self._crops[entry] = make(entry)
            self._made[entry] = True
        kept: Pixels = self._crops[entry]
        return kept

    def missing(self, entries: list[int]) -> list[int]:
        """Positions in ``entries`` that are not kept yet."""
        return [i for i, entry in enumerate(entries) if self._norm[entry, 0] == 0]

    def put(self, entry: int, vectors: list[Tensor]) -> None:
        """Keep one entry: a vector per layer, float32 [K_l]."""
        norms = [float(v.norm()) for v in vectors]
        self._unit[entry] = torch.cat([v / max(n, 1e-12) for v, n in zip(vectors, norms, strict=True)]).cpu().numpy()
        self._norm[entry] = norms  # last: it marks the entry as whole

    def get(self, entries: list[int], device: torch.device) -> list[Tensor]:
        """Gram vectors per layer, float32 [N,K_l]."""
        unit = torch.split(torch.from_numpy(self._unit[entries]).to(device).float(), self.sizes, dim=1)
        norm = torch.from_numpy(self._norm[entries]).to(device)
        return [u * norm[:, i : i + 1] for i, u in enumerate(unit)]


def _tables(folder: Path, layout: Mapping[str, _Layout]) -> dict[str, NDArray[Any]]:
    """Tables on disk, writable, by name; made anew where they are missing or not whole."""
    with suppress(OSError, ValueError):
        return _open_tables(folder, layout)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name, (dtype, shape) in layout.items():
            np.lib.format.open_memmap(part / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        shutil.rmtree(folder, ignore_errors=True)
        # All of them at once: tables made by two processes must not be mixed, and a table in use not be cut short.
        with suppress(OSError):  # unless another process was quicker
            part.rename(folder)
        return _open_tables(folder, layout)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"Style statistics cannot be kept in {folder.parent} ({error}): make room, or set IMPASTO_CACHE."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _open_tables(folder: Path, layout: Mapping[str, _Layout]) -> dict[str, NDArray[Any]]:
    tables: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in layout.items():
        path = folder / f"{name}.npy"
        # To write, numpy would open a file that is cut short as well, and fill it up; to read, it refuses.
        found = np.lib.format.open_memmap(path, mode="r")
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{path.name} is of another shape")
        tables[name] = np.lib.format.open_memmap(path, mode="r+")
    return tables


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
        self._stats = StyleStats(
            keep or cache_folder() / "style-stats",
            self._stats_key(len(weights)),
            len(weights),
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
        """The pictures of 0-based ``step``; a function of the recipe and the step alone."""
        recipe = self.recipe
        stage, seen = recipe.stage(step), recipe.images_seen(step)
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
            _stack(photos),
            _stack(styles),
            entries,
            _stack(own) if own else torch.empty(0, 3, size, size, dtype=torch.uint8),
        )

    def _calibrate(self, count: int = 256, part: int = 16) -> None:
        """Measure the norms of fresh networks on the first ``count`` style crops."""
        encoder = self.modules["encoder"]
        assert isinstance(encoder, StyleEncoder)
        entries = [self._style_order[k] for k in range(count)]
        parts = [entries[i : i + part] for i in range(0, count, part)]
        crops = [self._float(_stack([self._stats.crop(e, self._style_crop) for e in chosen])) for chosen in parts]
        encoder.calibrate(crops)
        hint = self.modules.get("hint")
        if isinstance(hint, StyleHint):
            batches = [self._gram_targets(chosen, styles) for chosen, styles in zip(parts, crops, strict=True)]
            hint.norm.calibrate(hint.scale(torch.cat([_energies(targets) for targets in batches])))

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
        return pixels.to(self.device).contiguous(memory_format=torch.channels_last).float().div_(255)

    def _gram_targets(self, entries: list[int], styles: Tensor) -> list[Tensor]:
        """Gram vectors [N,K_l] of style crops, one per layer; computed where they are not kept yet."""
        missing = self._stats.missing(entries)
        if missing:
            # As in calibration: a kept vector must not depend on where it was made.
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                features = self.vgg(styles[missing])
                vectors = [perceptual.gram_vector(features[layer].float()) for layer in self.recipe.loss.style_layers]
            for row, i in enumerate(missing):
                self._stats.put(entries[i], [v[row] for v in vectors])
        return self._stats.get(entries, self.device)

    def loss(self, turn: str, batch: StyleBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to descend, and the figures to log."""
        weights = self.recipe.loss
        photos, styles, selves = (self._float(p) for p in (batch.photos, batch.styles, batch.selves))
        # A crop is a photo of its own. With the whole photo's statistics a bright crop would still have to reach the
        # painting's mean and contrast within itself, and stripes appear.
        stats = color_stats(photos)
        count, own = len(photos), len(selves)
        targets = self._gram_targets(batch.entries, styles)

        codes = self.modules["encoder"](torch.cat((styles, selves)))
        if own:  # a photo's own colours are those that the painter is told
            codes = torch.cat((codes[:count], torch.cat((codes[count:, :-COLORS], stats[:own]), 1)))
        painter = self.modules["painter"]
        assert isinstance(painter, Painter)
        grain = _grain(count + own, *photos.shape[2:], seed=self.recipe.seed + step).to(self.device)
        raw = painter.raw(torch.cat((photos, photos[:own])), torch.cat((stats, stats[:own])), codes, grain)
        raw, mirrored = raw[:count], raw[count:]
        # The clamp's own gradient: what is out of range is called back by the range penalty alone. Letting the other
        # losses pull on clamped pixels as well makes them run away.
        painted = raw.clamp(0, 1)

        with torch.no_grad():
            kept = self.vgg_at(photos, weights.content_layers)
        features = self.vgg(painted)
        content = torch.stack([perceptual.content_loss(features[k], kept[k]) for k in weights.content_layers]).mean()
        layers = [
            # log(1 + d): a pair that starts far away must not drown the others of its batch.
            perceptual.relative_gram_distance(perceptual.gram_vector(features[layer]), target).log1p().mean()
            for layer, target in zip(weights.style_layers, targets, strict=True)
        ]
        style = torch.stack(layers).mean()
        figures = {"content": content, "style": style}
        weight = self.recipe.stage(step).style
        total = weights.content * content + (weights.style if weight is None else weight) * style
        if weights.variation:
            figures["variation"] = perceptual.total_variation(painted)
            total = total + weights.variation * figures["variation"]
        if weights.range:
            figures["range"] = (raw - painted).abs().mean()
            total = total + weights.range * figures["range"]
        if weights.moments:
            figures["moments"] = (color_stats(painted) - codes[:count, -COLORS:]).abs().mean()
            total = total + weights.moments * figures["moments"]
        if weights.centre:
            learnt = codes[:count, :-COLORS]
            figures["centre"] = learnt.mean(0).square().mean() + 0.05 * learnt.square().mean()
            total = total + weights.centre * figures["centre"]
        if weights.hint:
            figures["hint"] = self.modules["hint"](codes[:count], _energies(targets))
            total = total + weights.hint * figures["hint"]
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

    @torch.no_grad()
    def sample(self, modules: Mapping[str, nn.Module], count: int = 5, size: int = 256) -> Pixels:
        """A grid to look at: paintings across, photos down, always the same ones. uint8 RGB."""
        encoder, painter = modules["encoder"], modules["painter"]
        rng = np.random.default_rng(5)
        photos = rng.choice(len(self.photos), count, replace=len(self.photos) < count)
        entries = rng.choice(len(self.paintings), count, replace=len(self.paintings) < count)
        styles = [self._style_crop(int(entry)) for entry in entries]
        codes = encoder(self._float(_stack(styles)))
        top = [np.full((size, size, 3), 255, np.uint8)]
        top += [_fit(style, size) for style in styles]
        rows = [np.concatenate(top, 1)]
        grain = _grain(count, size, size, seed=5).to(self.device)
        for index in photos:
            height, width = self.photos.pixels(int(index)).shape[:2]
            side = min(height, width)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
            photo = self.photos.crop(int(index), box, size)
            x = self._float(_stack([photo] * count))
            stats = color_stats(x)
            painted = (
                painter(x, stats, codes, grain).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            )
            rows.append(np.concatenate([photo, *painted], 1))
        return np.concatenate(rows, 0)


def _energies(targets: list[Tensor]) -> Tensor:
    """Channel energies of all layers, each relative to its layer's Gram norm: [N,K]."""
    return torch.cat([perceptual.channel_energies(t) / t.norm(dim=1, keepdim=True) for t in targets], 1)


def _grain(count: int, height: int, width: int, *, seed: int) -> Tensor:
    """Noise of mean 0 and deviation 1, even in +-sqrt(3): [N,4,H/8,W/8], the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, GRAIN, height // 8, width // 8, generator=generator) * 2 - 1) * 3**0.5


def _fit(pixels: Pixels, size: int) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def _stack(pictures: list[Pixels]) -> Tensor:
    """uint8 [H,W,3] each -> [N,3,H,W], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2)
