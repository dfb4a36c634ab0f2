"""Photographs drawn by code, for learning without any: places, things and textures with a photograph's statistics.

Half of them are dead leaves: opaque things of all sizes that hide one another, which have the statistics of natural
pictures whatever the scale (Lee, Mumford and Huang 2001); networks that look at such pictures learn nearly what
photographs teach (Baradad et al. 2021, "Learning to see by looking at noise"). The others are landscapes: a sky, ridges
that grow paler with distance, and a ground. Textures are noise whose power falls with frequency as in nature
(Field 1987: amplitude 1/f).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from impasto.training.data import ImageFolder, Pixels

F32 = NDArray[np.float32]

COUNT = 96
"""Different scenes."""

SIDE = 512
"""Of a scene, pixels."""

BLUE, HAZE = (0.1, 0.25, 0.4), (0.75, 0.75, 0.72)
"""What a sky is tinted with above, and what it fades to at the horizon."""


class Scenes(ImageFolder):
    """Drawn scenes in place of a folder of photos: scene i of a seed is always the same.

    Args:
        count: how many.
        side: of each, pixels.
        seed: which.
        memory: bytes of drawn scenes to keep.
    """

    def __init__(self, count: int = COUNT, *, side: int = SIDE, seed: int = 0, memory: int = 1 << 30) -> None:
        self.files, self.skipped = [], {}
        self._count, self._side, self._seed = count, side, seed
        self._room, self._kept, self._stats = memory, {}, {}

    def __len__(self) -> int:
        return self._count

    def pixels(self, index: int) -> Pixels:
        """Scene ``index`` as uint8 RGB [side,side,3]."""
        found = self._kept.get(index)
        if found is None:
            found = scene(self._side, (self._seed, index))
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._kept[index] = found
        return found


def scene(side: int, seed: tuple[int, ...]) -> Pixels:
    """One scene, uint8 RGB [side,side,3], the same for the same seed."""
    random = np.random.default_rng((11, *seed))
    draw = _leaves if random.random() < 0.5 else _landscape
    picture = draw(side, random)
    # Light that falls off to one side, a soft focus here and there, and the noise of a sensor.
    down, across = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    angle = random.uniform(0, 2 * np.pi)
    picture = picture * (1 + random.uniform(0, 0.5) * (np.cos(angle) * across + np.sin(angle) * down))[..., None]
    picture = picture + random.normal(0, random.uniform(0, 0.02), picture.shape)
    pixels: Pixels = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def natural_noise(side: int, random: np.random.Generator, slope: float = 1.0) -> F32:
    """Noise whose amplitude falls as 1 / frequency ** slope: float32 [side,side] of mean 0 and deviation 1."""
    down = np.fft.fftfreq(side)[:, None]
    across = np.fft.rfftfreq(side)[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = 1
    waves = np.fft.rfft2(random.standard_normal((side, side))) / frequency**slope
    waves[0, 0] = 0
    noise = np.fft.irfft2(waves, s=(side, side))
    made: F32 = (noise / noise.std()).astype(np.float32)
    return made


def _color(random: np.random.Generator) -> F32:
    """A colour as photographs have them: brightness varies more than hue, and strong colours are rare."""
    grey = random.uniform(0.08, 0.92)
    hue = random.normal(0, 1, 3)
    made: F32 = np.clip(grey + (hue - hue.mean()) * random.choice((0.03, 0.08, 0.2)), 0, 1).astype(np.float32)
    return made


def _leaves(side: int, random: np.random.Generator, count: int = 160) -> F32:
    """Things of all sizes, each before those drawn earlier; number by size falls with the third power."""
    down, across = np.mgrid[0:side, 0:side].astype(np.float32)
    coats = [natural_noise(side, random, slope) for slope in (0.7, 1.0, 1.4)]
    palette = [_color(random) for _ in range(random.integers(3, 12))]
    picture = palette[0] + 0.08 * coats[1][..., None]
    least, most = side / 40, side / 2
    for share in np.linspace(0, 1, count):
        # Large ones first more often than not, so that something is left of the small.
        size = least / np.sqrt(1 - random.random() * (1 - (least / most) ** 2)) if share > 0.25 else most * 0.6
        y, x = random.uniform(-0.1, 1.1, 2) * side
        top, left = max(0, int(y - 1.5 * size)), max(0, int(x - 1.5 * size))
        part = (slice(top, int(y + 1.5 * size) + 1), slice(left, int(x + 1.5 * size) + 1))
        v, u = down[part] - y, across[part] - x
        if v.size == 0:
            continue
        angle, stretch = random.uniform(0, np.pi), random.uniform(0.35, 1)
        u, v = np.cos(angle) * u + np.sin(angle) * v, (np.cos(angle) * v - np.sin(angle) * u) / stretch
        # 2 is an ellipse, 8 nearly a rectangle, 1 a rhombus.
        power = random.choice((1.0, 2.0, 2.0, 8.0))
        inside = (np.abs(u / size) ** power + np.abs(v / size) ** power) ** (1 / power)
        cover = np.clip((1 - inside) * size / random.choice((1.0, 1.0, 4.0)), 0, 1)[..., None]
        color = palette[random.integers(len(palette))] + np.float32(random.normal(0, 0.03, 3))
        coat = coats[random.integers(3)][part] * random.choice((0.01, 0.05, 0.12))
        if random.random() < 0.2:  # stripes: fabric, railings, leaves of grass
            coat = coat + 0.12 * np.sign(np.sin(u * random.uniform(0.2, 1.2)))
        round_ = 0.15 * np.sqrt(np.clip(1 - inside**2, 0, 1)) * random.choice((0, 1))  # lit like a ball
        picture[part] += cover * (color + (coat + round_)[..., None] - picture[part])
    return picture


def _landscape(side: int, random: np.random.Generator) -> F32:
    """A sky with clouds, ridges one behind another, and a ground with upright things on it."""
    down, across = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    zenith, horizon = _color(random) * 0.6 + np.array(BLUE, np.float32), np.array(HAZE, np.float32)
    high = random.uniform(0.3, 0.7)
    picture = zenith + (horizon - zenith) * np.clip(down / high, 0, 1)[..., None]
    clouds = np.clip(natural_noise(side, random, 1.5) * 0.5 - random.uniform(-0.3, 0.6), 0, 1)[..., None]
    picture = picture + clouds * (0.95 - picture)
    ridges = int(random.integers(1, 5))
    for number in range(ridges):
        near = (number + 1) / ridges
        line = natural_noise(side, random, 1.4)[0] * random.uniform(0.02, 0.08)
        below = np.clip((down - (high + (1 - high) * 0.6 * number / ridges + line)) * side / 2, 0, 1)[..., None]
        coat = natural_noise(side, random, random.uniform(0.6, 1.2)) * 0.12 * near
        color = _color(random) * near * 0.8 + horizon * (1 - near)
        picture = picture + below * (color + coat[..., None] - picture)
    for _ in range(int(random.integers(0, 12))):
        wide, tall = random.uniform(0.01, 0.12), random.uniform(0.05, 0.5)
        foot, middle = random.uniform(high, 1.1), random.uniform(0, 1)
        box = np.maximum(np.abs(across - middle) / wide, np.abs(down - foot + tall / 2) * 2 / tall)
        cover = np.clip((1 - box) * side * wide, 0, 1)[..., None]
        coat = natural_noise(side, random, 1.0) * 0.06
        if random.random() < 0.5:  # windows
            coat = coat + 0.2 * ((np.sin(across * 240) > 0.3) & (np.sin(down * 200) > 0.2))
        picture = picture + cover * (_color(random) + coat[..., None] - picture)
    made: F32 = picture.astype(np.float32, copy=False)
    return made
