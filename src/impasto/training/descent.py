"""Ways down from a picture: L-BFGS and Adam, on one tensor of pixels in 0..1.

Both are asked for the next picture and given the loss and gradient where the last one is, so that whoever calls them
decides how a gradient is had, and may leave between any two steps with the best so far.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

COARSE = 0.02
"""f0, in cycles per pixel: forms of less than this move about alike."""

SMOOTHING = 0.5
"""The exponent. With 1 the loss falls as fast and what is painted lacks grain; with 0 it falls more slowly."""


class Descent(Protocol):
    """A way down."""

    def step(self, picture: Tensor, loss: float, slope: Tensor) -> Tensor:
        """The next picture, in 0..1, after ``picture`` whose loss and gradient these are."""
        ...

    def best(self) -> Tensor | None:
        """What to keep of the pictures so far; None before the first step."""
        ...

    def turn(self) -> None:
        """From here on the loss is another one, of about the same shape: what it was so far says nothing of it."""
        ...


class Lbfgs:
    """L-BFGS (Liu and Nocedal 1989; Nocedal 1980 for the two loops) with one gradient a step, within 0..1.

    There is no line search: a step of length 1 is nearly always good, and a second look costs as much as another step.
    Where a step was bad (the loss is not finite, or half as much again as the least) the search begins anew from the
    best picture with shorter steps. The pairs are of the steps really made, after the pixels were held within 0..1.

    What is known before there are pairs is that forms matter more than single pixels: the first guess at the inverse of
    the Hessian is (1 + f / f0)^-smoothing at the frequency f (a Sobolev gradient, Neuberger 1997).

    Args:
        history: pairs remembered.
        smoothing: 0 for L-BFGS as it was published; 1 leaves the finest detail to the last.
        first: mean change of a pixel in the first step, before there is a pair.
        longest: a step's root mean square is held to this.
    """

    def __init__(
        self, history: int = 10, first: float = 0.01, longest: float = 0.1, smoothing: float = SMOOTHING
    ) -> None:
        self._smoothing = smoothing
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=history)
        self._first, self._longest = first, longest
        self._last: tuple[Tensor, Tensor] | None = None
        self._best: tuple[float, Tensor, Tensor] | None = None

    def step(self, picture: Tensor, loss: float, slope: Tensor) -> Tensor:
        # Sums over all pixels are taken in float64: a pair is kept or not by the sign of one.
        if self._best is None or loss < self._best[0]:
            self._best = loss, picture, slope
        elif not loss < 1.5 * self._best[0]:
            _, picture, slope = self._best
            self._pairs.clear()
            self._last, self._longest, self._first = None, self._longest / 2, self._first / 2
        if self._last is not None:
            moved, turned = picture - self._last[0], slope - self._last[1]
            curvature = _dot(moved, turned)
            if curvature > 1e-10 * _dot(turned, turned) ** 0.5 * _dot(moved, moved) ** 0.5:
                self._pairs.append((moved, turned, curvature))
        self._last = picture, slope
        way = self._direction(slope)
        length = float(way.square().mean().sqrt())
        if length > self._longest:
            way = way * (self._longest / length)
        return (picture + way).clamp(0, 1)

    def best(self) -> Tensor | None:
        return None if self._best is None else self._best[1]

    def turn(self) -> None:
        # The pairs stay: the shape is about the same. The next one must not be of two losses.
        self._best = self._last = None

    def _direction(self, slope: Tensor) -> Tensor:
        if not self._pairs:
            way = self._smoothed(slope)
            return way * (-self._first / float(way.abs().mean() + torch.finfo(slope.dtype).tiny))
        way, shares = -slope, []
        for moved, turned, curvature in reversed(self._pairs):
            share = _dot(moved, way) / curvature
            shares.append(share)
            way = way - share * turned
        _, turned, curvature = self._pairs[-1]
        way = self._smoothed(way) * (curvature / _dot(turned, self._smoothed(turned)))
        for (moved, turned, curvature), share in zip(self._pairs, reversed(shares), strict=True):
            way = way + (share - _dot(turned, way) / curvature) * moved
        return way

    def _smoothed(self, slope: Tensor) -> Tensor:
        """With each frequency times (1 + f / f0)^-smoothing; [...,H,W], the picture taken to go on periodically."""
        if not self._smoothing:
            return slope
        height, width = slope.shape[-2:]
        down = torch.fft.fftfreq(height, device=slope.device, dtype=slope.dtype)[:, None]
        across = torch.fft.rfftfreq(width, device=slope.device, dtype=slope.dtype)
        shares = (1 + torch.hypot(down, across) / COARSE) ** -self._smoothing
        smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) * shares, s=(height, width))
        return smoothed


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), held within 0..1, with the average of the iterates as what it found.

    The average (Polyak and Juditsky 1992, here exponential with the bias of its start taken off) is calmer than any
    single iterate, whose pixels jump by about the rate at every step.

    Args:
        rate: about how far a pixel moves in a step.
        average: decay of the average; 0 keeps the last iterate.
        betas: decay of the means of the gradient and of its square; the second is quick, for a run is short.
    """

    def __init__(self, rate: float, average: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self._rate, self._decay, self._betas, self._steps = rate, average, betas, 0
        self._mean = self._square = self._average = torch.zeros(())

    def step(self, picture: Tensor, loss: float, slope: Tensor) -> Tensor:
        self._steps += 1
        first, second = self._betas
        self._mean = first * self._mean.to(slope) + (1 - first) * slope
        self._square = second * self._square.to(slope) + (1 - second) * slope.square()
        root = (self._square / (1 - second**self._steps)).sqrt() + torch.finfo(slope.dtype).tiny ** 0.5
        following: Tensor = (picture - self._rate / (1 - first**self._steps) * self._mean / root).clamp(0, 1)
        # The bias taken off as it goes: a picture that does not move is its own average, to the last bit.
        share = (1 - self._decay) / (1 - self._decay**self._steps)
        average = self._average.to(slope)
        self._average = average + share * (following - average)
        return following

    def best(self) -> Tensor | None:
        return self._average if self._steps else None

    def turn(self) -> None:
        pass  # an average over all views is the calmer for it


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))
