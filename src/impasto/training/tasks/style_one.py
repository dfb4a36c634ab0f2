"""The style-one task: a painter that knows all styles a little learns one painting well."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.progress import OnProgress, silent
from impasto.runtime.grain import PERIOD, grain
from impasto.runtime.picture import Picture, rgb_stats
from impasto.runtime.style import MAX_ASPECT, STYLE_SCALE
from impasto.training.beginning import begin
from impasto.training.data import EndlessSampler, ImageFolder, Pixels, random_square
from impasto.training.losses import perceptual
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.features import load_vgg
from impasto.training.nets.style import GRAIN, Painter
from impasto.training.nets.underpaint import grounded
from impasto.training.recipe_one import OneRecipe
from impasto.training.recover import recover_coarser, recover_painter
from impasto.training.scenes import Scenes
from impasto.training.shrink import shrunk

NEAR = 0.5
"""Mean squared difference of the learnt part below which a named style is taken for the painting itself.

Codes are whitened, so that unrelated ones are about 2 apart.
"""

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class OneBatch:
    """One step's pictures, on the CPU."""

    photos: Tensor  # uint8 [N,3,c,c], to be painted in this manner
    others: Tensor  # uint8 [K,3,c,c], to be painted in other manners
    codes: Tensor  # [K,D] float32, these manners
    grain: Tensor  # [N+K,4,c/8,c/8]


@dataclass(frozen=True, slots=True)
class _Target:
    """Statistics of the whole painting at one size, per style layer."""

    grams: list[Tensor]  # [1,C(C+1)/2]
    moments: list[tuple[Tensor, Tensor]]  # deviation and mean, [1,C] each


class StyleOneTask:
    """Fine-tunes the painter of a model file; its style encoder is left alone, and the painting's code is fixed.

    Content and style losses are those of the any-style task. The style's side differs: statistics are those of the
    whole painting, at its full scale and at half of it, and so on (the pyramid of Snelgrove 2017, "High-resolution
    multi-scale neural texture synthesis"), so that strokes of all lengths are held. So that it does not forget what any
    other code means, and ``strength``, blends and saved codes go on to work, it paints some crops in other manners and
    is held to what it painted before (Li and Hoiem 2016, "Learning without forgetting"); half of these manners are the
    photo's own.

    Args:
        recipe: see ``recipe_one.OneRecipe``.
        device: where to compute.
        progress: told of a download of feature weights.

    Raises:
        PictureError: the painting cannot be read.
        BundleError: the base model cannot be used.
        TrainingError: the base cannot be trained further, the photos cannot be used, or there are no feature weights.
    """

    def __init__(self, recipe: OneRecipe, device: torch.device | str = "cpu", *, progress: OnProgress = silent) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        data, loss = recipe.data, recipe.loss
        self.beginning = begin(recipe)
        self.photos = ImageFolder(data.photos, smallest=64) if data.photos else Scenes(seed=recipe.seed)
        self._order = EndlessSampler(len(self.photos), recipe.seed)
        torch.manual_seed(recipe.seed)
        before = recover_painter(self.beginning.model.bundle)
        now = shrunk(before) if recipe.size == "small" else copy.deepcopy(before)
        self._before = self._placed(before)
        coarser = recover_coarser(self.beginning.model.bundle).get("coarser")
        self._coarser = None if coarser is None else coarser.to(self.device)
        self.modules: dict[str, nn.Module] = {"painter": self._placed(now).train().requires_grad_(True)}
        self.precision = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        layers = tuple(dict.fromkeys(loss.content_layers + loss.style_layers))
        self.vgg = self._placed(load_vgg(loss.features, layers, progress=progress).to(self.precision))
        # Means in full precision: bfloat16 would shift every colour by up to half a level.
        self.vgg.mean, self.vgg.std = self.vgg.mean.float(), self.vgg.std.float()
        self.code = torch.from_numpy(self.beginning.code)[None].to(self.device)  # [1,D]
        self._others = [torch.from_numpy(code) for code in self._other_codes()]
        self.painting = _seen_at(self.beginning.painting, data.scale)
        self._targets = self._measure(self._float(_planes([self.painting])))

    def _placed(self, module: M) -> M:
        placed: M = module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def _other_codes(self) -> list[NDArray[np.float32]]:
        """Codes of the base's named styles, but for those that are this very painting."""
        model, learnt = self.beginning.model, self._before.spec.code
        codes = [model.code(name) for name in model.styles]
        return [code for code in codes if np.square(code[:learnt] - self.beginning.code[:learnt]).mean() > NEAR]

    @torch.no_grad()
    def _measure(self, painting: Tensor) -> list[_Target]:
        """Statistics of the painting [1,3,h,w] and of its halves."""
        found = []
        for octave in range(self.recipe.data.octaves):
            if octave:
                painting = F.avg_pool2d(painting, 2)
            seen = self.vgg(painting)
            features = [seen[layer].float() for layer in self.recipe.loss.style_layers]
            found.append(_Target([perceptual.gram_vector(f) for f in features], [_moments(f) for f in features]))
        return found

    # Data -----------------------------------------------------------------------------------------------------------

    def batch(self, step: int) -> OneBatch:
        """The pictures of 0-based ``step``; a function of the recipe and the step alone."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, 3, step))
        photos = [self._crop(self._order[step * recipe.batch + k], rng) for k in range(recipe.batch)]
        others = recipe.others if recipe.loss.keep else 0
        kept, codes = [], []
        for k in range(others):
            crop = self._crop(int(rng.integers(len(self.photos))), rng)
            if k % 2 == 0 or not self._others:
                # As `strength` has it: the photo's own code, seen at its own size.
                own = self.beginning.model.encode(Picture.from_array(crop), scale=min(STYLE_SCALE, recipe.crop))
                codes.append(torch.from_numpy(own))
            else:
                codes.append(self._others[int(rng.integers(len(self._others)))])
            kept.append(crop)
        cells = recipe.crop // 8
        places = rng.integers(PERIOD, size=(recipe.batch + others, 2))
        noise = [grain(GRAIN, cells, cells, top=int(top), left=int(left)) for top, left in places]
        nothing = torch.empty(0, 3, recipe.crop, recipe.crop, dtype=torch.uint8)
        return OneBatch(
            _planes(photos),
            _planes(kept) if kept else nothing,
            torch.stack(codes) if codes else torch.empty(0, self.code.shape[1]),
            torch.from_numpy(np.concatenate(noise)),
        )

    def _crop(self, index: int, rng: np.random.Generator) -> Pixels:
        """A square of a photo at a random place and zoom, mirrored half the time: uint8 [c,c,3]."""
        height, width = self.photos.pixels(index).shape[:2]
        side = self.recipe.crop * np.exp(rng.uniform(0, np.log(self.recipe.data.photo_zoom)))
        crop = self.photos.crop(index, random_square(rng, width, height, side), self.recipe.crop)
        return np.ascontiguousarray(crop[:, :: -1 if rng.random() < 0.5 else 1])

    def remarks(self) -> list[str]:
        """What a person should know before the run starts, a sentence each."""
        width, height = self.beginning.painting.size
        lines = [f"{self.recipe.data.painting}: {width}x{height}."]
        if min(width, height) < self.recipe.data.scale // 2:
            lines.append("The painting is small, so its strokes will be coarse: take a larger picture of it.")
        if self.recipe.data.photos:
            lines.append(f"{len(self.photos)} photos.")
            lines += [f"{path.name} is left out: {why}." for path, why in list(self.photos.skipped.items())[:5]]
        else:
            lines.append(
                f"It learns on {len(self.photos)} scenes drawn by code: "
                "--photos FOLDER with some dozens of your own photos makes faces and skies better."
            )
        return lines

    # One step -------------------------------------------------------------------------------------------------------

    def _float(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device).contiguous(memory_format=torch.channels_last).float().div_(255)

    def distil(self, step: int) -> float:
        """Weight of the likeness to the base's painting at 0-based ``step``: falls evenly to 0. 0 for size full."""
        if self.recipe.size == "full":
            return 0.0
        weights = self.recipe.loss
        return weights.distil * max(0.0, 1 - step / (weights.distil_share * self.recipe.steps))

    @torch.no_grad()
    def _inputs(self, photos: Tensor, codes: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a painter takes; what lies under is the base's."""

        def cells(height: int, width: int) -> Tensor:
            return noise[:, :, : height // 8, : width // 8]

        return (*grounded(self._before, self._coarser, photos, color_stats(photos), codes, cells), codes, noise)

    def loss(self, turn: str, batch: OneBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to descend, and the figures to log."""
        weights, count = self.recipe.loss, len(batch.photos)
        pictures = self._float(torch.cat((batch.photos, batch.others)))
        photos = pictures[:count]
        codes = torch.cat((self.code.expand(count, -1), batch.codes.to(self.device)))
        # A crop is a photo of its own, as in the any-style task.
        inputs = self._inputs(pictures, codes, batch.grain.to(self.device))
        painter = self.modules["painter"]
        assert isinstance(painter, Painter)
        raw = painter.raw(*inputs)
        # What is out of range is called back by the range penalty alone.
        painted = painter.finished(raw[:count], codes[:count]).clamp(0, 1)
        with torch.no_grad():
            kept = self.vgg(photos)
        features = self.vgg(painted)
        content = torch.stack([perceptual.content_loss(features[k], kept[k]) for k in weights.content_layers]).mean()
        style, moments = self._style(painted, features)
        variation, outside = perceptual.total_variation(painted), (raw[:count] - raw[:count].clamp(0, 1)).abs().mean()
        figures = {
            "content": content,
            "style": style,
            "moments": moments,
            "variation": variation,
            "range": outside,
        }
        distil = self.distil(step)
        first = 0 if distil else count
        if len(pictures) > first:
            with torch.no_grad():
                taught = self._before.raw(*(tensor[first:] for tensor in inputs))
            apart = (raw[first:] - taught).abs()
            if distil:
                figures["distil"] = apart[:count].mean()
            if len(batch.others):
                figures["keep"] = apart[count - first :].mean()
        factors = {name: getattr(weights, name) for name in figures} | {"distil": distil}
        total = torch.stack([factors[name] * value for name, value in figures.items()]).sum()
        return total, figures

    def _style(self, painted: Tensor, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Distances of Gram matrices, and of means and deviations, from the painting's: means over layers and sizes."""
        grams, moments = [], []
        for octave, target in enumerate(self._targets):
            if octave:
                painted = F.avg_pool2d(painted, 2)
                features = self.vgg(painted)
            for place, layer in enumerate(self.recipe.loss.style_layers):
                seen = features[layer]
                distance = perceptual.relative_gram_distance(perceptual.gram_vector(seen), target.grams[place])
                grams.append(distance.log1p().mean())
                ours = _moments(seen)
                for mine, theirs in zip(ours, target.moments[place], strict=True):
                    moments.append(((mine - theirs).square().sum(1) / (theirs.square().sum(1) + 1e-8)).mean())
        return torch.stack(grams).mean(), torch.stack(moments).mean()

    # Looking --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, modules: Mapping[str, nn.Module], count: int = 4, size: int = 256) -> Pixels:
        """A grid to look at, always of the same photos: the painting, the photo, as the base paints it, as it is now.

        uint8 RGB [count size, 4 size, 3].
        """
        rng = np.random.default_rng(5)
        chosen = rng.choice(len(self.photos), count, replace=len(self.photos) < count)
        photos = [_square(self.photos.pixels(int(index)), size) for index in chosen]
        x = self._float(_planes(photos))
        noise = torch.from_numpy(grain(GRAIN, size // 8, size // 8)).to(self.device).expand(count, -1, -1, -1)
        inputs = self._inputs(x, self.code.expand(count, -1), noise)
        columns = [
            np.concatenate([_square(self.painting, size), np.full((size * (count - 1), size, 3), 255, np.uint8)])
        ]
        columns.append(np.concatenate(photos))
        for painter in (self._before, modules["painter"]):
            assert isinstance(painter, Painter)
            painted = painter.finished(painter(*inputs), inputs[2]).clamp(0, 1).mul(255).round().byte()
            columns.append(np.concatenate(list(painted.permute(0, 2, 3, 1).cpu().numpy())))
        return np.concatenate(columns, 1)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Deviation and mean of every channel: ``[N,C,h,w] -> [N,C], [N,C]``, float32."""
    deviation, mean = torch.std_mean(features.float(), dim=(2, 3), correction=0)
    return deviation, mean


def _seen_at(picture: Picture, scale: int) -> Pixels:
    """The painting, at most 3:1, on its own mean colour, its short side ``scale`` pixels: uint8 [h,w,3]."""
    rgb = picture.rgb
    if picture.alpha is not None:
        rgb = rgb * picture.alpha[..., None] + rgb_stats(rgb, picture.alpha)[:3] * (1 - picture.alpha[..., None])
    longest = int(min(rgb.shape[:2]) * MAX_ASPECT)
    top, left = (max(0, side - longest) // 2 for side in rgb.shape[:2])
    image = Image.fromarray((rgb[top : top + longest, left : left + longest] * 255).round().astype(np.uint8))
    ratio = scale / min(image.size)
    width, height = (max(scale, round(side * ratio)) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _square(pixels: Pixels, size: int) -> Pixels:
    """The middle square of a picture at ``size`` pixels: uint8 [size,size,3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(middle.resize((size, size), Image.Resampling.LANCZOS))


def _planes(pictures: list[Pixels]) -> Tensor:
    """uint8 [H,W,3] each -> [N,3,H,W], channels last in memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
