"""What a task that learns to draw looks at now and then: a grid, the doctor, a distance from the data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.training.data import Pixels
from impasto.training.doctor import Doctor
from impasto.training.measure_features import FeatureNet, load_features
from impasto.training.measure_generator import compare, count_name, real_features
from impasto.training.nets.gan import GanGenerator
from impasto.training.pictures import PictureSet
from impasto.training.recipe_gan import GanRecipe

DOCTOR = 128
"""Pictures that the doctor looks at."""

AT_ONCE = 32
"""Pictures drawn at a time; it decides memory, not the pictures."""


class Looking:
    """Draws from averaged networks, always from the same latents, and says what is found.

    Args:
        recipe: of the run.
        pictures: what is learnt from.
        device: where to compute.
    """

    def __init__(self, recipe: GanRecipe, pictures: PictureSet, device: torch.device) -> None:
        self.recipe, self.pictures, self.device = recipe, pictures, device
        self.best = f"fd_efflite0_{count_name(recipe.measure_count)}" if recipe.measure_every else ""
        self._doctor: Doctor | None = None
        self._said: set[str] = set()
        self._features: FeatureNet | None = None

    # Drawing --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw(self, generator: nn.Module, count: int, labels: NDArray[np.int64], seed: int = 0) -> Pixels:
        """Pictures uint8 [N,H,W,C] of the latents of ``seed``; ``labels`` [N], -1 = unknown."""
        assert isinstance(generator, GanGenerator)
        chance = torch.Generator().manual_seed(seed)
        latents = torch.randn(count, generator.latent_size, generator=chance)
        rows = one_hot(torch.from_numpy(labels), self.recipe.net.classes, self.device)
        pieces = []
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            for at in range(0, count, AT_ONCE):
                z = latents[at : at + AT_ONCE].to(self.device)
                pieces.append(to_pixels(generator(z, None if rows is None else rows[at : at + AT_ONCE])))
        return np.concatenate(pieces)

    def grid(self, generator: nn.Module) -> Pixels:
        """Rows of pictures, always the same latents; with classes, row k is of class k (and on from the first)."""
        net = self.recipe.net
        columns, rows = max(4, min(16, 512 // net.width)), max(4, min(8, 512 // net.height))
        labels = np.repeat(np.arange(rows), columns) % max(1, net.classes)
        pictures = self.draw(generator, rows * columns, labels.astype(np.int64))
        height, width, channels = pictures.shape[1:]
        whole = pictures.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
        whole = whole.reshape(rows * height, columns * width, channels)
        return whole[:, :, 0] if channels == 1 else whole

    # Judging --------------------------------------------------------------------------------------------------------

    def watch(self, step: int, generator: nn.Module, figures: dict[str, float]) -> list[str]:
        """Sentences of the doctor (each once, until what it speaks of is over); figures of a measurement if due."""
        labels = self._labels(max(DOCTOR, self.recipe.measure_count))
        samples = self.draw(generator, DOCTOR, labels[:DOCTOR], seed=1)
        if self._doctor is None:  # it looks at all pictures first, which only the process that watches need do
            self._doctor = Doctor(self.pictures, mirrored=self.recipe.data.flip)
        findings = self._doctor.look(samples, figures)
        said = [finding.sentence for finding in findings if finding.name not in self._said]
        self._said = {finding.name for finding in findings}
        if self.best and self._due(step):
            said += self._measure(generator, labels, figures)
        return said

    def _due(self, step: int) -> bool:
        """Whether a multiple of ``measure_every`` images was passed since the look before, or it is the end."""
        recipe = self.recipe
        before = recipe.images_seen(max(0, step - recipe.watch_every))
        passed = recipe.images_seen(step) // recipe.measure_every > before // recipe.measure_every
        return passed or step == recipe.steps

    def _labels(self, count: int) -> NDArray[np.int64]:
        """Labels as frequent as those of the data, always the same ones."""
        return np.random.default_rng(0).choice(self.pictures.labels, count)

    def _measure(self, generator: nn.Module, labels: NDArray[np.int64], figures: dict[str, float]) -> list[str]:
        count = self.recipe.measure_count
        try:
            net = self._features = self._features or load_features(device=self.device)
        except TrainingError as error:  # the extra is not installed: training goes on without
            self.best = ""
            return [f"Nothing is measured while training. {error}"]
        order = np.random.default_rng(0).permutation(len(self.pictures))[:count]
        real = real_features(self.pictures, order, net)
        drawn = net(self.draw(generator, count, labels[:count], seed=2))
        figures.update(compare(real, drawn, net.name))
        return []


def one_hot(labels: Tensor, classes: int, device: torch.device) -> Tensor | None:
    """int64 [N] -> float32 [N,C], a row of zeros for -1; None where there are no classes."""
    if not classes:
        return None
    rows = torch.zeros(len(labels), classes)
    known = labels >= 0
    rows[known, labels[known]] = 1
    return rows.to(device)


def to_pixels(pictures: Tensor) -> Pixels:
    """[N,c,H,W] about -1..1 -> uint8 [N,H,W,c]."""
    x = (pictures.detach().float() + 1).mul(127.5).round().clamp(0, 255)
    pixels: Pixels = x.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels
