"""The warping error of painted clips: how much they flicker, measured along the motion of the film that was painted.

The motion is found in the film itself by dense inverse search (Kroeger et al. 2016), at its own size and frame by
frame; a pixel counts where the way there and back again ends within a pixel and a half of where it began (Sundaram et
al. 2010). The error is that of Lai et al. 2018 (equation 8), the mean over all neighbouring frames; the first few, in
which steadying has not set in, count too. ``warping_error_dis_share`` is divided by the variance of the painting's
colours, so that it does not grow with the contrast of a style.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError, TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.steady import load_cv, warping_error
from impasto.runtime.video.footage import Reader, open_footage

F32 = NDArray[np.float32]

_GAP = 1.5  # pixels
_LEAST = 16


def clip_figures(film: Path, painted: Path, *, progress: OnProgress = silent) -> dict[str, float]:
    """The warping error of a painted clip, and of the film itself.

    Args:
        film: the clip that was painted.
        painted: of the same number of frames and the same size.
        progress: told of each frame.

    Returns:
        ``warping_error_dis``, ``warping_error_dis_share`` and ``warping_error_dis_film``.

    Raises:
        TrainingError: the clips do not belong together, or are too short or too small.
        ImpastoError: one cannot be read, or OpenCV is missing.
    """
    cv = load_cv()
    first, second = open_footage(film), open_footage(painted)
    if (first.width, first.height, len(first.times)) != (second.width, second.height, len(second.times)):
        raise TrainingError(
            f"{painted.name} has {len(second.times)} frames of {second.width}x{second.height} and {film.name} "
            f"{len(first.times)} of {first.width}x{first.height}: compare a clip with what was painted of it."
        )
    if len(first.times) < 2 or min(first.width, first.height) < _LEAST:
        raise TrainingError(f"{film.name} has one frame, or too small ones: give a clip in which something can move.")
    search = cv.DISOpticalFlow_create(cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors: list[float] = []
    film_errors: list[float] = []
    spread: list[float] = []
    past: tuple[F32, F32] | None = None
    with _one_thread(cv), Reader(first) as ours, Reader(second) as theirs:
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
            progress(Progress(number, len(first.times), "frames", painted.name))
            spread.append(float(np.var(other.rgb, axis=(0, 1)).mean()))
            if past is not None:
                flow, seen = _motion(cv, search, one.rgb, past[0])
                try:
                    errors.append(warping_error(other.rgb, past[1], flow, seen))
                    film_errors.append(warping_error(one.rgb, past[0], flow, seen))
                except ImpastoError:
                    pass  # a cut: nothing of the frame was there before
            past = one.rgb, other.rgb
    if not errors:
        raise TrainingError(
            f"No frame of {film.name} follows from the one before: give a clip without a cut each frame."
        )
    mean = float(np.mean(errors))
    return {
        "warping_error_dis": mean,
        "warping_error_dis_share": mean / max(float(np.mean(spread)), 1e-9),
        "warping_error_dis_film": float(np.mean(film_errors)),
    }


def _motion(cv: Any, search: Any, now: F32, before: F32) -> tuple[F32, NDArray[np.bool_]]:
    """The flow [H,W,2] from a frame to the one before, and where it can be believed [H,W]."""
    here, there = (np.round(255 * cv.cvtColor(p, cv.COLOR_RGB2GRAY)).astype(np.uint8) for p in (now, before))
    flow = search.calc(here, there, None)
    back = search.calc(there, here, None)
    height, width = here.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    returned = flow + cv.remap(back, x, y, cv.INTER_LINEAR, borderMode=cv.BORDER_REPLICATE)
    return flow, np.square(returned).sum(axis=2) <= _GAP**2


@contextmanager
def _one_thread(cv: Any) -> Iterator[None]:
    """OpenCV in one thread: its motion search gives another result for every number of threads."""
    threads = cv.getNumThreads()
    cv.setNumThreads(1)
    try:
        yield
    finally:
        cv.setNumThreads(threads)
