"""Clips drawn by code whose motion is known: every frame with where its pixels were in the frame before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Array = Any
NOISE = 0.02
"""Deviation of the camera's noise in every frame, of a range of 0 to 1."""
_EDGE = 3  # pixels at the rim of a thing whose colours are mixed with what lies behind it


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        rgb: float32 [H,W,3] in 0..1.
        flow: float32 [H,W,2]: a pixel (x, y) was at (x, y) + flow in the frame before; None in the first.
        seen: bool [H,W]: it was visible there.
    """

    rgb: Array
    flow: Array | None
    seen: Array | None


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that moves as a whole.

    Attributes:
        picture: float32 [h,w,3].
        place: frame number to the 3x3 matrix that leads from a pixel of the frame to a pixel of the picture.
        radius: of the disc around the picture's middle that is there, in its pixels; None: everything.
    """

    picture: Array
    place: Callable[[int], Array]
    radius: float | None = None


def at(picture: Array, x: float = 0.0, y: float = 0.0, angle: float = 0.0, zoom: float = 1.0) -> Callable[..., Array]:
    """The matrix of a frame (width, height) whose middle looks at (x, y) from the picture's, turned and enlarged."""

    def matrix(width: int, height: int) -> Array:
        cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
        middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
        turned = np.array([[cos, -sin, picture.shape[1] / 2 + x], [sin, cos, picture.shape[0] / 2 + y], [0, 0, 1]])
        return turned @ middle

    return matrix


def texture(side: int, seed: int = 0) -> Array:
    """Float32 [side,side,3]: light and dark of all sizes, as in photographs, with hard-edged discs on them."""
    random = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24, 48, 96, 192):
        total += cv2.resize(random.random((cells, cells, 3)), (side, side), interpolation=cv2.INTER_CUBIC) / cells**0.6
    total = (total - total.min()) / (total.max() - total.min())
    for *color, y, x, size in random.uniform(0, 1, (40, 6)):
        reach = int(side * (0.01 + 0.05 * size))
        cv2.circle(total, (int(x * side), int(y * side)), reach, color, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(total, (0, 0), 0.8).astype(np.float32).clip(0, 1)


def film(
    layers: list[Layer], count: int, width: int, height: int, *, noise: float = NOISE, light: float = 0.0, seed: int = 0
) -> Iterator[Frame]:
    """The frames of layers, the last on top.

    Args:
        light: how far the light flickers from frame to frame, as a share.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    points = np.stack([x, y, np.ones_like(x)], -1)
    for number in range(count):
        rgb = np.zeros((height, width, 3), np.float32)
        flow = np.zeros((height, width, 2))
        seen = np.ones((height, width), bool)
        for index, layer in enumerate(layers):
            here = points @ layer.place(number).T
            there = _covered(layer, here)
            look = [here[..., axis].astype(np.float32) for axis in (0, 1)]
            drawn = cv2.remap(layer.picture, *look, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            rgb += there[..., None].astype(np.float32) * (drawn - rgb)
            if number:
                back = here @ np.linalg.inv(layer.place(number - 1)).T
                # Whatever lies above it in the frame before hides it there.
                hidden = np.zeros((height, width))
                for above in layers[index + 1 :]:
                    hidden = np.maximum(hidden, _covered(above, back @ above.place(number - 1).T))
                mine = there >= 0.5
                flow[mine] = (back[..., :2] - points[..., :2])[mine]
                seen[mine] = ((hidden == 0) & (there == 1))[mine]
                seen &= (there == 0) | (there == 1)
        rgb *= 1 + light * random.standard_normal()
        rgb += random.normal(0, noise, rgb.shape)
        known = number > 0
        yield Frame(rgb.clip(0, 1), flow.astype(np.float32) if known else None, seen if known else None)


def _covered(layer: Layer, here: Array) -> Array:
    """How far a layer covers the points [H,W,3] of its picture: [H,W], 0..1."""
    if layer.radius is None:
        return np.ones(here.shape[:2])
    middle = np.array([layer.picture.shape[1], layer.picture.shape[0]]) / 2
    distance = np.hypot(*(here[..., :2] - middle).transpose(2, 0, 1))
    return np.clip((layer.radius - distance) / _EDGE + 0.5, 0, 1)


def motions(width: int, height: int) -> dict[str, Callable[[int], Iterator[Frame]]]:
    """What is filmed: name to a function from a number of frames to the frames."""
    ground, thing = texture(3 * max(width, height)), texture(max(width, height), seed=1)
    unit = max(width, height) / 640  # pixels: motion is a share of the frame

    def one(noise: float = NOISE, **speeds: float) -> Callable[[int], Iterator[Frame]]:
        def move(number: int) -> Array:
            values = {name: speed * number for name, speed in speeds.items() if name != "zoom"}
            return at(ground, **values, zoom=speeds.get("zoom", 1.0) ** number)(width, height)

        return lambda count: film([Layer(ground, move)], count, width, height, noise=noise)

    def layers(count: int, light: float = 0.0, shake: float = 0.0) -> Iterator[Frame]:
        random = np.random.default_rng(5)
        # A walk that is drawn back to where it began, as a hand is.
        walk = np.zeros((count + 1, 3))
        for number in range(count):
            walk[number + 1] = 0.9 * walk[number] + random.standard_normal(3) * shake * unit

        def behind(number: int) -> Array:
            sway = walk[number]
            return at(ground, 1.2 * unit * number + sway[0], sway[1], 0.002 * sway[2])(width, height)

        def across(speed: float, high: float) -> Callable[[int], Array]:
            def move(number: int) -> Array:
                sway = walk[number]
                left = width * 0.35 - speed * unit * number
                return at(thing, left + sway[0], high * height + sway[1], 0.01 * number)(width, height)

            return move

        discs = [Layer(thing, across(3.0, 0.1), 0.22 * height), Layer(thing, across(-2.0, -0.2), 0.16 * height)]
        return film([Layer(ground, behind), *discs], count, width, height, light=light)

    return {
        "still": one(),
        "pan": one(x=2.3 * unit, y=0.7 * unit),
        "clean pan": one(noise=0.0, x=2.3 * unit, y=0.7 * unit),
        "turn": one(angle=0.008),
        "zoom": one(zoom=1.006),
        "layers": layers,
        "hand-held": lambda count: layers(count, light=0.01, shake=0.8),
    }
