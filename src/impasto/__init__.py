"""impasto: small convolutional networks that make pictures.

>>> import impasto
>>> impasto.stylize("photo.jpg", "starry-night").save("painted.jpg")      # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.errors import ImpastoError
    from impasto.runtime.bundle import Bundle, Manifest
    from impasto.runtime.generator import Generator
    from impasto.runtime.masks import Mask
    from impasto.runtime.picture import Picture
    from impasto.runtime.quick import stylize
    from impasto.runtime.regions import Region
    from impasto.runtime.style import StyleModel
    from impasto.runtime.video.clip import stylize_clip

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "impasto.runtime.bundle",
    "Generator": "impasto.runtime.generator",
    "ImpastoError": "impasto.errors",
    "Manifest": "impasto.runtime.bundle",
    "Mask": "impasto.runtime.masks",
    "Picture": "impasto.runtime.picture",
    "Region": "impasto.runtime.regions",
    "StyleModel": "impasto.runtime.style",
    "stylize": "impasto.runtime.quick",
    "stylize_clip": "impasto.runtime.video.clip",
}

__all__ = [
    "Bundle",
    "Generator",
    "ImpastoError",
    "Manifest",
    "Mask",
    "Picture",
    "Region",
    "StyleModel",
    "__version__",
    "stylize",
    "stylize_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
