"""Styles that have a place of their own in a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from numpy.typing import NDArray

from impasto.runtime.pixels.color import color_mode

if TYPE_CHECKING:
    from impasto.runtime.masks import MaskSource
    from impasto.runtime.style import Blend, Style


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A style and where it is painted.

    Attributes:
        style: anything that ``StyleModel.code`` takes.
        mask: where: a file, the bytes of one, a picture or an array (see ``Mask.paint``); None: what all others leave.
        weight: above 0; what it has beside others where masks overlap, or in the blend of those without a mask.
        palette: float32 [K,3], sRGB 0..1, the colours that it keeps to; None: as the whole painting is told.
    """

    style: Style | Blend
    mask: MaskSource | None = None
    weight: float = 1.0
    palette: NDArray[Any] | None = None


def controlled(code: object, keep_colors: bool | str, mask: object, palette: object) -> bool:
    """Whether there is more to do than to paint one style and keep the photo's brightness or not."""
    return mask is not None or palette is not None or color_mode(keep_colors) == "histogram" or are_regions(code)


def are_regions(code: object) -> TypeGuard[Sequence[Region]]:
    """Whether this is a list of regions, and not a style or a blend."""
    return isinstance(code, Sequence) and len(code) > 0 and all(isinstance(one, Region) for one in code)
