"""Painting in one call, with the model kept for the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from impasto.runtime.bundle import find_bundle
from impasto.runtime.engine import EngineName
from impasto.runtime.picture import Picture
from impasto.runtime.precision import Precision
from impasto.runtime.regions import Region
from impasto.runtime.stroke import Stroke
from impasto.runtime.style import DEFAULT_MODEL, Blend, Style, StyleModel

if TYPE_CHECKING:
    from impasto.runtime.control import Palette
    from impasto.runtime.masks import Mask, MaskSource

_KEPT_MODELS = 3


def stylize(
    photo: str | Path | Picture,
    style: Style | Blend | Sequence[Region],
    *,
    strength: float = 1.0,
    keep_colors: bool | str = "off",
    mask: Mask | MaskSource | None = None,
    palette: Palette | None = None,
    stroke: Stroke | None = None,
    detail: float = 0.0,
    size: int | None = None,
    model: str | Path = DEFAULT_MODEL,
    engine: EngineName = "onnxruntime",
    threads: int | None = None,
    precision: Precision = "fp32",
) -> Picture:
    """Paint a photo in one call. The model stays loaded, so that the next call is fast.

    Args:
        photo: a file or a picture.
        style: a style's name, a picture file or a ``.npy`` code file, a picture, a code, or a list of
            (style, weight); or a list of regions, styles that have places of their own.
        strength, keep_colors, mask, palette, stroke, detail: see :meth:`StyleModel.paint`.
        size: long side of the result, in pixels; None: the photo's own size.
        model: the name of a bundled model, or a file.
        engine, threads: see :class:`impasto.runtime.engine.Engine`.
        precision: see :meth:`StyleModel.load`.

    Raises:
        ImpastoError: see the subclasses.
    """
    loaded = _kept_model(model, engine, threads, precision)
    picture = photo if isinstance(photo, Picture) else Picture.open(photo)
    if size is not None:
        picture = picture.resized(size)
    return loaded.paint(
        picture,
        style,
        strength=strength,
        keep_colors=keep_colors,
        mask=mask,
        palette=palette,
        stroke=stroke,
        detail=detail,
    )


_models: OrderedDict[tuple[object, ...], StyleModel] = OrderedDict()
_models_lock = Lock()


def _kept_model(name_or_path: str | Path, engine: EngineName, threads: int | None, precision: Precision) -> StyleModel:
    """The model, from memory if the same file was used not long ago."""
    path = find_bundle(name_or_path).absolute()
    try:
        stat = path.stat()
    except OSError:
        # Says what is wrong with it.
        return StyleModel.load(name_or_path, engine=engine, threads=threads, precision=precision)
    # A file that was replaced is another model.
    key = (path, stat.st_mtime_ns, stat.st_size, engine, threads, precision)
    with _models_lock:
        if key not in _models:
            _models[key] = StyleModel.load(path, engine=engine, threads=threads, precision=precision)
            while len(_models) > _KEPT_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]
