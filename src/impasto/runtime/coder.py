"""What a style model knows of styles: their codes, however they are given."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.bundle import Bundle, StyleInfo
from impasto.runtime.codes import load_code
from impasto.runtime.engine import Engine
from impasto.runtime.picture import Picture
from impasto.runtime.seeing import at_rule, seen_at

Code = NDArray[np.float32]
# A name, a picture file or a code file; a picture; a code.
Style: TypeAlias = str | Path | Picture | Code
Blend: TypeAlias = Mapping[str, float] | Sequence[tuple[Style, float]]

STYLES = "styles.npy"
STYLE_SCALE = 512
LARGEST_SCALE = 4096


class Coder(ABC):
    """A style model without its painter: the part of `impasto.runtime.style.StyleModel` that makes codes.

    Attributes:
        bundle: the model file.
        code_size: D.
    """

    bundle: Bundle
    code_size: int

    @cached_property
    def styles(self) -> dict[str, StyleInfo]:
        """Name to title, artist and year of the styles that came with the model."""
        return {style.name: style for style in self.bundle.manifest.styles}

    def code(self, style: Style | Blend) -> Code:
        """The code [D] of a style, however it is given.

        Args:
            style: a name of :attr:`styles`; a picture file; a ``.npy`` code file; a :class:`Picture`; a code; or a
                blend of these (see :meth:`mix`).

        Raises:
            UnknownName: it is neither a style nor a file.
            PictureError: the picture file cannot be read.
            ImpastoError: the code is not one of this model.
        """
        match style:
            case Picture():
                return self.encode(style)
            case np.ndarray():
                return self._checked(style, "The style code")
            case Path():
                return self._from_file(style)
            case str():
                if style in self.styles:
                    return np.array(self._table[list(self.styles).index(style)])
                path = Path(style)
                if path.suffix or path.name != style or path.exists():
                    return self._from_file(path)
                raise UnknownName("style", style, self.styles)
            case _:
                return self.mix(style)

    def mix(self, styles: Blend) -> Code:
        """The weighted average [D] of several styles.

        Args:
            styles: name to weight, or pairs of a style (anything that :meth:`code` takes) and its weight. Weights are
                0 or more, not all 0, and need not add up to 1.

        Raises:
            ImpastoError: there is nothing to mix, or a weight is not allowed.
        """
        pairs = list(styles.items()) if isinstance(styles, Mapping) else list(styles)
        if not all(isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 for pair in pairs):
            raise ImpastoError("A blend must be pairs of a style and its weight: give [(style, weight), ...].")
        weights = [float(weight) for _, weight in pairs]
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not 0 < sum(weights) < math.inf:
            raise ImpastoError(f"The weights {weights} cannot be used: give numbers from 0 on, at least one above 0.")
        total = np.zeros(self.code_size, np.float64)
        for (style, _), weight in zip(pairs, weights, strict=True):
            total += self.code(style).astype(np.float64) * (weight / sum(weights))
        return total.astype(np.float32)

    def encode(self, picture: Picture, *, scale: int = STYLE_SCALE) -> Code:
        """The code [D] of a style picture.

        Only the middle of a picture longer than 3:1 is looked at. What lies under transparency does not count.

        Args:
            picture: the style.
            scale: the short side, in pixels, at which its strokes are seen: strokes are painted as large as they
                appear there, so half the scale gives finer strokes. 1 to 4096.

        Raises:
            ImpastoError: the scale is out of range, or the picture cannot be encoded.
        """
        if not 1 <= scale <= LARGEST_SCALE:
            raise ImpastoError(f"The style scale {scale} cannot be used: choose 1 to {LARGEST_SCALE} pixels.")
        return self._described(seen_at(picture, scale, self._engine("encoder").threads))

    def _described(self, seen: NDArray[np.float32]) -> Code:
        """The code [D] of what the encoder sees, [1,3,h,w]."""
        spec, engine = self.bundle.manifest.graphs["encoder"], self._engine("encoder")
        code = engine.run({engine.inputs[0]: at_rule(seen, spec.minimum, spec.multiple)})[engine.outputs[0]]
        return self._checked(code.reshape(-1), "The code that the encoder gave")

    @cached_property
    def _table(self) -> Code:
        return self.bundle.table(STYLES, shape=(len(self.styles), self.code_size))

    @abstractmethod
    def _engine(self, role: str) -> Engine:
        """What runs a graph; loaded when it is first needed."""

    def _from_file(self, path: Path) -> Code:
        if path.suffix.lower() == ".npy":
            return self._checked(load_code(path), f"The style code in {path}")
        return self.encode(Picture.open(path))

    def _checked(self, code: ArrayLike, what: str) -> Code:
        array = np.asarray(code)
        if array.shape != (self.code_size,) or not np.issubdtype(array.dtype, np.floating):
            raise ImpastoError(
                f"{what} is {array.dtype} {list(array.shape)} and this model takes float32 [{self.code_size}]: "
                f"make it with this model."
            )
        if not np.isfinite(array).all():
            raise ImpastoError(f"{what} holds numbers that are not finite: make it again.")
        return array.astype(np.float32)
