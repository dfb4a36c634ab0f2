"""Keep a painted film from flickering, and measure how much it flickers.

A painter that sees one frame at a time flickers for two reasons: it paints the noise of the camera anew in every frame,
and its strokes are fixed to the screen while the things under them move. A :class:`Steadier` follows the motion between
two frames (dense inverse search: Kroeger et al., 2016, arXiv:1603.03590), carries the last photo and the last painting
along and mixes them into the new ones, where the motion can be trusted: where the way there and back again ends where
it began (Sundaram et al., 2010) and the colours agree. What is carried is also held between the darkest and the
brightest colour that the new painting has nearby, as anti-aliasing in games does (Karis, "High Quality Temporal
Supersampling", 2014), so that nothing which is gone leaves a ghost. At a cut, everything starts anew.

Needs OpenCV (extra ``[video]``), which is imported when a Steadier is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import EngineError, ImpastoError

F32 = NDArray[np.float32]

SEEN = 480
"""Long side, in pixels, at which motion is looked for."""
LEAST = 16
"""Short side, in pixels, below which no motion can be looked for: frames are mixed where they lie."""

HOLD = 0.7
"""Share of the carried painting where it is trusted in full."""
HOLD_PHOTO = 0.6
"""The same for the photo, before it is painted."""
CUT = 0.45
"""Share of the pixels that must change their colour (in histograms of 6x6x6 colours) for a cut."""
EVEN_SECONDS = 0.5
"""Time in which what is evened (:meth:`Steadier.even`) follows a change by 63 %."""
REACH = 5
"""Side, in pixels, of the neighbourhood whose colours bound what is carried."""

_BINS = 6
_BOX = 5
_TOLERANCE = 0.015  # of a mean absolute difference of colours, besides what the noise of the clip makes
_STILL = 1.1, 0.001  # rest is believed if it explains the frame this much worse, and a little, than motion does


def load_cv() -> Any:
    """OpenCV, or EngineError with what to do."""
    try:
        return import_module("cv2")
    except ImportError as error:
        raise EngineError("Steadying needs OpenCV: pip install 'impasto[video]', or use --no-steady.") from error


def warping_error(now: F32, before: F32, flow: F32, seen: NDArray[np.bool_] | None = None) -> float:
    """How far a frame is from the frame before, moved as things really moved.

    The mean of (now - before moved)^2 over the channels of the pixels that can be compared (Lai et al., "Learning Blind
    Video Temporal Consistency", 2018, equation 8), ``before`` being sampled bilinearly. 0 is perfectly steady.

    Args:
        now, before: float32 [H,W,C], 0..1.
        flow: [H,W,2] across and down, in pixels: a pixel (x, y) of ``now`` was at (x, y) + flow in ``before``.
        seen: [H,W], True where a pixel was visible in ``before``. What comes from outside never counts.

    Raises:
        ImpastoError: the sizes differ, or no pixel can be compared.
    """
    if now.shape != before.shape or now.ndim != 3 or flow.shape != (*now.shape[:2], 2):
        raise ImpastoError(
            f"Frames of {list(now.shape)} and {list(before.shape)} and a flow of {list(flow.shape)} do not go together:"
            " give [H,W,C] twice and [H,W,2]."
        )
    height, width = now.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x + flow[..., 0], y + flow[..., 1]
    counts = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if seen is not None:
        counts &= seen
    if not counts.any():
        raise ImpastoError("No pixel of the frame was visible in the one before: give frames that lie closer together.")
    x, y = x[counts], y[counts]
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = before[top, left] * (1 - across) + before[top, right] * across
    lower = before[bottom, left] * (1 - across) + before[bottom, right] * across
    difference = now[counts] - (upper * (1 - down) + lower * down)
    return float(np.mean(difference.astype(np.float64) ** 2))


class Steadier:
    """Steadies one film, frame after frame, in order.

    For each frame: :meth:`look` at the photo, which gives the photo to paint; :meth:`even` whatever the painter is told
    about the photo as a whole; :meth:`settle` what was painted.

    Args:
        hold: share of the carried painting where it is trusted in full: 0 to below 1.
        hold_photo: the same for the photo.

    Attributes:
        cuts: how many cuts were seen so far.

    Raises:
        EngineError: OpenCV is not installed.
        ImpastoError: a share is out of range.
    """

    def __init__(self, *, hold: float = HOLD, hold_photo: float = HOLD_PHOTO) -> None:
        if not (0 <= hold < 1 and 0 <= hold_photo < 1):
            raise ImpastoError(f"The shares {hold} and {hold_photo} cannot be held: choose from 0 to below 1.")
        self._cv = load_cv()
        self._search = self._cv.DISOpticalFlow_create(self._cv.DISOPTICAL_FLOW_PRESET_FAST)
        self.hold, self.hold_photo, self.cuts = hold, hold_photo, 0
        self._past: dict[str, NDArray[Any]] = {}
        self._time = 0.0
        self._new_scene = True
        self._pace = 1.0
        self._flow: F32 | None = None
        self._trust: F32 | None = None

    def look(self, photo: F32, seconds: float) -> F32:
        """Take the next photo and find out how things moved.

        Args:
            photo: float32 [H,W,3] in 0..1, of the same size every time.
            seconds: when it is shown.

        Returns:
            The photo to paint: with less noise where the last one could be carried along. A new array, or ``photo``.
        """
        with self._alone():
            small = self._reduced(photo)
            counts = _histogram(small)
            past = self._past
            self._new_scene = not past or past["photo"].shape != photo.shape
            if not self._new_scene and 0.5 * float(np.abs(counts - past["counts"]).sum()) > CUT:
                self._new_scene = True
                self.cuts += 1
            self._pace = 1.0
            if self._new_scene:
                self._past, self._flow, self._trust = {}, None, None
                calm = photo
            else:
                self._pace = 1.0 - math.exp(-max(seconds - self._time, 0.0) / EVEN_SECONDS)
                self._follow(photo, small)
                calm = self._mixed(photo, past["photo"], self.hold_photo)
            self._past["photo"], self._past["counts"], self._time = calm, counts, seconds
            return calm

    def even(self, name: str, numbers: F32) -> F32:
        """What is known of the photo as a whole, without its flicker: an exponential average over time.

        Args:
            name: which numbers; each name has a history of its own, which ends at a cut.
            numbers: float32 [n].
        """
        last = self._past.get(f"even {name}")
        now = numbers if last is None else last + np.float32(self._pace) * (numbers - last)
        self._past[f"even {name}"] = now
        return now

    def settle(self, painted: F32) -> F32:
        """The painting of the photo that was last looked at, steadied: float32 [H,W,3]. A new array, or ``painted``."""
        with self._alone():
            last = self._past.get("painted")
            if last is not None and last.shape == painted.shape:
                painted = self._mixed(painted, last, self.hold)
            self._past["painted"] = painted
            return painted

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next frame depends on, to be given to :meth:`restore`."""
        return {**self._past, "time": np.array([self._time, self.cuts], np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on exactly where :meth:`state` was taken."""
        self._past = {name: np.asarray(array) for name, array in state.items() if name != "time"}
        self._time, self.cuts = float(state["time"][0]), int(state["time"][1])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """OpenCV in one thread: its motion search gives another result for every number of threads."""
        threads = self._cv.getNumThreads()
        self._cv.setNumThreads(1)
        try:
            yield
        finally:
            self._cv.setNumThreads(threads)

    def _reduced(self, photo: F32) -> F32:
        height, width = photo.shape[:2]
        scale = SEEN / max(height, width)
        if scale >= 1:
            return photo
        size = max(1, round(width * scale)), max(1, round(height * scale))
        reduced: F32 = self._cv.resize(photo, size, interpolation=self._cv.INTER_AREA)
        return reduced

    def _follow(self, photo: F32, small: F32) -> None:
        """Find the flow [H,W,2] from this photo to the last, and how far it can be trusted [H,W], 0..1."""
        cv = self._cv
        last = self._reduced(self._past["photo"])
        rest = self._disagreement(small, last)
        if min(small.shape[:2]) < LEAST:
            flow, agreed, trust = np.zeros((*small.shape[:2], 2), np.float32), rest, np.ones_like(rest)
        else:
            here, there = (np.round(255 * cv.cvtColor(p, cv.COLOR_RGB2GRAY)).astype(np.uint8) for p in (small, last))
            flow = self._search.calc(here, there, None)
            back = self._carried(self._search.calc(there, here, None), flow)
            gap = np.square(flow + back).sum(axis=2)
            room = 0.01 * (np.square(flow).sum(axis=2) + np.square(back).sum(axis=2)) + 0.5
            agreed = self._disagreement(small, self._carried(last, flow))
            # In noise, motion is always found; where rest explains the frame as well, it is the better answer, and
            # what is carried without being moved is not softened either.
            still = cv.blur((rest <= _STILL[0] * agreed + _STILL[1]).astype(np.float32), (_BOX, _BOX)) > 0.5
            flow = np.where(still[..., None], np.float32(0), flow)
            agreed = np.where(still, rest, agreed)
            trust = np.where(still, np.float32(1), np.clip(2 - gap / room, 0, 1))
        limit = 2 * float(np.median(agreed)) + _TOLERANCE
        trust = trust * np.clip(2 - agreed / limit, 0, 1) * _inside(flow)
        height, width = photo.shape[:2]
        if small.shape[:2] != (height, width):
            scale = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
            flow = cv.resize(flow, (width, height), interpolation=cv.INTER_LINEAR) * scale
            trust = cv.resize(trust.astype(np.float32), (width, height), interpolation=cv.INTER_LINEAR)
        self._flow, self._trust = flow, trust.astype(np.float32)

    def _disagreement(self, now: F32, carried: F32) -> F32:
        """Mean absolute difference of the colours around each pixel: [H,W]."""
        difference = np.abs(self._cv.blur(now - carried, (_BOX, _BOX))).mean(axis=2)
        return np.asarray(difference, np.float32)

    def _carried(self, past: F32, flow: F32) -> F32:
        """[H,W,C] moved by a flow: each pixel takes what was where the flow leads it."""
        height, width = flow.shape[:2]
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        cv = self._cv
        moved: F32 = cv.remap(past, x + flow[..., 0], y + flow[..., 1], cv.INTER_CUBIC, borderMode=cv.BORDER_REPLICATE)
        return moved

    def _mixed(self, fresh: F32, past: F32, hold: float) -> F32:
        if self._flow is None or self._trust is None or hold == 0:
            return fresh
        cv = self._cv
        carried = self._carried(past, self._flow) if self._flow.any() else past
        near = np.ones((REACH, REACH), np.uint8)
        bounded = np.clip(carried, cv.erode(fresh, near), cv.dilate(fresh, near))
        mixed: F32 = fresh + (np.float32(hold) * self._trust)[..., None] * (bounded - fresh)
        return mixed


def _inside(flow: F32) -> NDArray[np.bool_]:
    """Where a flow leads to a place in the picture: [H,W]."""
    height, width = flow.shape[:2]
    x = np.arange(width) + flow[..., 0]
    y = np.arange(height)[:, None] + flow[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside


def _histogram(rgb: F32) -> F32:
    """Share of the pixels in each of 6x6x6 colours: [216]."""
    levels = np.minimum((rgb * _BINS).astype(np.int32), _BINS - 1).clip(0)
    index = (levels[..., 0] * _BINS + levels[..., 1]) * _BINS + levels[..., 2]
    counts = np.bincount(index.reshape(-1), minlength=_BINS**3)
    return np.asarray(counts / index.size, np.float32)
