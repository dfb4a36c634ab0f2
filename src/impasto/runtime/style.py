"""Paint a picture in the manner of another.

A **style code** is a float32 vector [D]: the style encoder's description of strokes, then the mean and the spread of
the painting's colours (nine numbers, last; see :func:`impasto.runtime.picture.color_stats`). Codes can be averaged,
saved and used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError, EngineError, ImpastoError
from impasto.progress import OnProgress, silent
from impasto.runtime.bundle import Bundle, GraphSpec
from impasto.runtime.canvas import Sheet, Surface, surface_of
from impasto.runtime.coder import STYLE_SCALE as STYLE_SCALE
from impasto.runtime.coder import STYLES as STYLES
from impasto.runtime.coder import Blend as Blend
from impasto.runtime.coder import Code as Code
from impasto.runtime.coder import Coder
from impasto.runtime.coder import Style as Style
from impasto.runtime.codes import load_code as load_code
from impasto.runtime.codes import save_code as save_code
from impasto.runtime.engine import Engine, EngineName, load_library
from impasto.runtime.memory import resident
from impasto.runtime.painting import Size, paint_parts, parts_limit
from impasto.runtime.picture import Picture
from impasto.runtime.pixels.color import color_mode
from impasto.runtime.pixels.metadata import untold
from impasto.runtime.precision import Precision, painter_role
from impasto.runtime.regions import Region, controlled
from impasto.runtime.seeing import MAX_ASPECT as MAX_ASPECT
from impasto.runtime.seeing import seen_of
from impasto.runtime.stroke import Stroke, parse_detail, working_size
from impasto.runtime.underpaint import Under
from impasto.runtime.whole import Even, Finish, beside, paint_whole

if TYPE_CHECKING:
    from impasto.runtime.control import Palette
    from impasto.runtime.masks import Mask, MaskSource

DEFAULT_MODEL = "anystyle"
_COLORS = 6


class StyleModel(Coder):
    """A bundle of kind ``style``, ready to paint. Make one with :meth:`load`.

    Graphs are loaded when first needed: painting with a stored code never loads the encoder, and listing the styles
    loads none. It may be used from several threads at once.
    """

    def __init__(self, bundle: Bundle, *, engine: EngineName, threads: int | None, precision: Precision) -> None:
        manifest = bundle.manifest
        if manifest.kind != "style" or manifest.code_size is None or manifest.code_size < _COLORS:
            raise BundleError(f"{bundle.path} does not describe a style model with its code size: choose another file.")
        for role in ("encoder", "painter"):
            if role not in manifest.graphs:
                raise BundleError(f"{bundle.path} has no {role} graph, so it cannot paint: export the model again.")
        if manifest.styles and STYLES not in bundle.members:
            raise BundleError(f"{bundle.path} names styles and has no {STYLES}: export the model again.")
        self.bundle, self.code_size, self._under = bundle, manifest.code_size, Under.of(bundle)
        self._engine_name, self._threads = engine, threads
        self._graphs = {"painter": painter_role(bundle, precision, engine)}
        self._engines: dict[str, Engine] = {}
        self._large = False  # a large picture has been painted
        self._lock = Lock()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        engine: EngineName = "onnxruntime",
        threads: int | None = None,
        precision: Precision = "fp32",
    ) -> StyleModel:
        """Open and verify a model file.

        Args:
            name_or_path: the name of a bundled model, or a file.
            engine, threads: see :class:`impasto.runtime.engine.Engine`.
            precision: what the painter computes in: ``"fp32"``, ``"int8"`` (faster, nearly the same picture), or
                ``"auto"``: int8 where the model has it and onnxruntime runs it.

        Raises:
            BundleError: the file cannot be used, or has no painter in int8.
            UnknownName: there is no bundled model of that name, or no such precision.
        """
        return cls(Bundle.open(name_or_path, kind="style"), engine=engine, threads=threads, precision=precision)

    @property
    def device(self) -> str:
        """Where the painter runs, in words (loads it)."""
        return self._engine("painter").device

    @property
    def graph(self) -> str:
        """The role of the graph that paints: ``painter``, or that of one of another precision."""
        return self._graphs["painter"]

    def warm(self) -> None:
        """Begin to load the painter in the background and return at once.

        Whoever needs the painter meanwhile waits for it. Whatever is wrong shows then, not here.
        """
        # Here, since imports in two threads hold each other up; what follows mostly does without Python's lock.
        load_library(self._engine_name)

        def load() -> None:
            with suppress(Exception):
                self._engine("painter")

        Thread(target=load, name="impasto: load the painter", daemon=True).start()

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not go as asked when the graphs loaded, a sentence each; empty before the first painting."""
        return tuple(dict.fromkeys(note for engine in self._engines.values() for note in engine.notes))

    def paint(
        self,
        picture: Picture,
        code: Style | Blend | Sequence[Region],
        *,
        strength: float = 1.0,
        keep_colors: bool | str = "off",
        mask: Mask | MaskSource | None = None,
        palette: Palette | None = None,
        stroke: Stroke | None = None,
        detail: float = 0.0,
        even: Even | None = None,
        max_memory: int | None = None,
        progress: OnProgress = silent,
    ) -> Picture:
        """Paint a picture, at exactly its own size; its transparency and metadata pass through, but no recipe.

        Args:
            picture: the photo.
            code: a code [D], or anything that :meth:`code` takes; or regions: styles that have places of their own.
            strength: 0 to 1: from the photo's own code to the style's. (1 - strength)^2 of the photo's own pixels is
                mixed in, so that 0 gives back the photo.
            keep_colors: ``"luminance"`` or True: take the colours of the photo and only the brightness of the painting;
                ``"histogram"``: give the painting the photo's distribution of colours (``runtime/matching.py``).
            mask: where it is painted, and how strongly: a ``Mask``, a picture file, a picture or an array [h,w].
            palette: keep to so many main colours of the style, 2 to 32, or to these colours [K,3], sRGB 0..1.
            stroke: how large strokes are: a share of the picture's long side (0.01), or text such as ``"1%"``,
                ``"24px"`` or ``"auto"`` (see `impasto.runtime.stroke`); None: the painter's own pixels.
            detail: 0 to 1, how much of the photo's finest layer is brought back, in brightness.
            even: for the frames of a film: takes the name and the numbers [n] of what is measured on the photo as a
                whole (its colours, its own code) and gives those to use (see ``Steadier.even``).
            max_memory: bytes that this process should stay within, the photo and the result included; None: what it
                holds and half of what is free. A picture for which that is too little is painted in parts, which
                changes nothing but the last bits.
            progress: told of each part.

        Raises:
            ImpastoError: the strength is out of range, the code is not one of this model, or the memory does not do.
            EngineError: the graph fails.
        """
        picture = replace(picture, info=untold(picture.info))
        if controlled(code, keep_colors, mask, palette):
            from impasto.runtime.control import Controls, paint_layers

            def plain(style: Style | Blend) -> Surface:
                painted = self.paint(
                    picture,
                    style,
                    strength=strength,
                    keep_colors=color_mode(keep_colors) == "luminance",
                    stroke=stroke,
                    detail=detail,
                    even=even,
                    max_memory=max_memory,
                    progress=progress,
                )
                return surface_of(painted)

            mixed = Sheet(np.empty_like(picture.rgb))
            how = Controls(strength, keep_colors, mask, palette, even)
            paint_layers(self, surface_of(picture), mixed, code, plain, how)
            return replace(picture, rgb=mixed.pixels)
        working = working_size(stroke, picture.size)
        if working != picture.size or parse_detail(detail) > 0:
            from impasto.runtime.working import picture_at

            allowed = None if max_memory is None else max(1, max_memory - picture.rgb.nbytes)

            def small(photo: Picture) -> tuple[Picture, Finish]:
                wanted, kept = self._wanted(
                    code, strength, keep_colors, working, lambda scale: self.encode(photo, scale=scale), even
                )
                return self.paint(photo, wanted, even=even, max_memory=allowed, progress=progress), kept

            return picture_at(picture, working, small, detail=detail, progress=progress)
        limit = self.parts_limit(picture.size, max_memory)
        if limit is not None:
            photo, result = surface_of(picture), Sheet(np.empty_like(picture.rgb))
            self.paint_parts(
                photo,
                result,
                code,
                strength=strength,
                keep_colors=keep_colors,
                even=even,
                limit=limit,
                reserve=picture.rgb.nbytes,
                progress=progress,
            )
            return replace(picture, rgb=result.pixels)

        def own(scale: int) -> Code:
            return self.encode(picture, scale=scale)

        used, finish = self._wanted(code, strength, keep_colors, picture.size, own, even)
        engine, spec = self._engine("painter"), self._spec("painter")
        rgb = paint_whole(engine, spec, picture, used, finish, under=self._under, even=even)
        return replace(picture, rgb=rgb)

    def parts_limit(
        self, size: Size, max_memory: int | None, *, beside: int = 12, painted: Size | None = None
    ) -> int | None:
        """The bytes to stay within where a picture of (width, height) is painted in parts, or None.

        Args:
            beside: bytes a pixel that the whole picture takes beside the painting itself.
            painted: (width, height) at which it is painted, where that is not its size.

        It is where that is less work, or where it has to be.

        Raises:
            ImpastoError: it has to be, and this model cannot.
        """
        painter = self._engines.get("painter")  # not loaded for this
        return parts_limit(
            self._spec("painter"),
            size,
            max_memory,
            engine=self._engine_name,
            beside=beside,
            held=0 if painter is None else painter.largest,
            again=self._large,
            painted=painted,
        )

    def make_room(self, most: int) -> None:
        """Let the painter go, with the memory that it keeps, if this process holds more than so many bytes.

        The next painting loads it anew.
        """
        painter = self._engines.get("painter")
        if painter is not None and painter.ran and resident() > most:
            self._forget("painter")

    def paint_parts(
        self,
        photo: Surface,
        result: Surface,
        code: Style | Blend | Sequence[Region],
        *,
        strength: float = 1.0,
        keep_colors: bool | str = "off",
        mask: Mask | MaskSource | None = None,
        palette: Palette | None = None,
        stroke: Stroke | None = None,
        detail: float = 0.0,
        even: Even | None = None,
        limit: int,
        reserve: int = 0,
        scratch: Callable[[], Surface] | None = None,
        progress: OnProgress = silent,
    ) -> None:
        """Paint a picture that is read and written in parts; see :meth:`paint`.

        Args:
            photo, result: of one size; alpha is looked at, and not written.
            limit: bytes that this process may hold.
            reserve: bytes of those that the caller will need.
            scratch: makes a surface of the photo's size, which a mask, a palette and the like take for each painting
                that they mix; None: in memory.
        """
        if controlled(code, keep_colors, mask, palette):
            from impasto.runtime.control import Controls, paint_layers

            def plain(style: Style | Blend) -> Surface:
                made = Sheet(np.empty((photo.height, photo.width, 3), np.float32)) if scratch is None else scratch()
                self.paint_parts(
                    photo,
                    made,
                    style,
                    strength=strength,
                    keep_colors=color_mode(keep_colors) == "luminance",
                    stroke=stroke,
                    detail=detail,
                    even=even,
                    limit=limit,
                    reserve=reserve,
                    progress=progress,
                )
                return made

            paint_layers(self, photo, result, code, plain, Controls(strength, keep_colors, mask, palette, even))
            return
        working = working_size(stroke, (photo.width, photo.height))
        if working != (photo.width, photo.height) or parse_detail(detail) > 0:
            from impasto.runtime.working import surface_at

            def small(seen: Surface, painted: Surface) -> Finish:
                wanted, kept = self._wanted(
                    code, strength, keep_colors, working, lambda scale: self._described(seen_of(seen, scale)), even
                )
                self.paint_parts(seen, painted, wanted, even=even, limit=limit, reserve=reserve, progress=progress)
                return kept

            surface_at(photo, result, working, small, detail=detail, progress=progress)
            return

        def own(scale: int) -> Code:
            return self._described(seen_of(photo, scale))

        used, finish = self._wanted(code, strength, keep_colors, (photo.width, photo.height), own, even)
        try:
            paint_parts(
                self._painter,
                self._engine_name,
                self._spec("painter"),
                photo,
                result,
                used,
                finish,
                limit=limit,
                reserve=reserve,
                again=self._large,
                under=self._under,
                even=even,
                progress=progress,
            )
        except EngineError:
            self._forget("painter")  # which may have come of too little memory
            raise
        self._large = True

    def _wanted(
        self,
        code: Style | Blend | Sequence[Region],
        strength: float,
        keep_colors: bool | str,
        size: Size,
        own_code: Callable[[int], Code],
        even: Even | None,
    ) -> tuple[Code, Finish]:
        """The code to paint with, and what is done with the painted pixels; see :meth:`paint`."""
        if not 0.0 <= strength <= 1.0:
            raise ImpastoError(f"The strength {strength} cannot be used: choose a number from 0 to 1.")
        used, share = self.code(cast("Style | Blend", code)), 0.0  # regions are painted one by one
        if strength < 1.0:
            own = own_code(max(1, min(STYLE_SCALE, *size)))
            own = own if even is None else even("own code", own)
            used = own + np.float32(strength) * (used - own)
            # A photo painted in its own manner is a little soft: its own pixels take over as the strength falls.
            share = (1.0 - strength) ** 2
        return used, Finish(share, color_mode(keep_colors) == "luminance")

    def beside(self, planes: NDArray[np.float32], alpha: NDArray[np.float32] | None) -> dict[str, NDArray[np.float32]]:
        """What the painter takes besides the photo [1,3,H,W] and the code, by name: the inputs in the manifest."""
        return beside(self._spec("painter"), planes, alpha)

    def _spec(self, role: str) -> GraphSpec:
        return self.bundle.manifest.graphs[role]

    def _engine(self, role: str) -> Engine:
        with self._lock:
            if role not in self._engines:
                _, graph = self.bundle.graph(self._graphs.get(role, role))
                self._engines[role] = Engine(
                    graph,
                    engine=self._engine_name,
                    threads=self._threads,
                    # Codes are kept and compared: they should not depend on the engine more than they must.
                    exact=role == "encoder",
                )
            return self._engines[role]

    def _painter(self, anew: bool) -> Engine:
        if anew:
            self._forget("painter")
        return self._engine("painter")

    def _forget(self, role: str) -> None:
        """Let an engine go, with the memory that it keeps; it is loaded anew when it is needed."""
        with self._lock:
            self._engines.pop(role, None)
