"""Measure a generator, or a folder of pictures that one made, against the pictures it learnt from.

The set of real pictures is brought to the generator's own size by the very code that prepares training
(:class:`impasto.training.pictures.PictureSet`), so that a difference in size or in the filter is never measured. The
name of every figure is its protocol: ``fd_efflite0_10k`` is the Frechet distance on the features ``efflite0`` (see
:mod:`impasto.training.measure_features`) of 10,000 samples against as many real pictures, or all where there are fewer.
Only with a user's Inception is it called FID.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.training.data import Pixels
from impasto.training.measure import (
    BALL_NEIGHBOURS,
    COUNT,
    NEIGHBOURS,
    Features,
    frechet_distance,
    kernel_distance,
    moments,
    neighbour_scores,
)
from impasto.training.measure_features import BATCH, FeatureNet, load_features
from impasto.training.measure_samples import LEAST, classes_like, open_samples, told
from impasto.training.nets.features import cache_folder
from impasto.training.pictures import PictureSet

_COLOUR = "The samples are grey and the real pictures are not: the colour that is missing counts in every figure."
_VERSION = 1  # of what the cache holds: a change of protocol makes features anew


class Pictures(Protocol):
    """What is needed of a set of real pictures: :class:`PictureSet` has it."""

    key: str

    def __len__(self) -> int: ...

    def arrays(self, indices: Any) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found.

    Attributes:
        model, data: what was measured against what, as given.
        samples, real: how many pictures of each.
        width, height: of the pictures, pixels.
        seed: the first of the samples' seeds, and of the choice of real pictures.
        truncation: of the samples; 1 for a folder.
        features, digest: name of the feature network and digits of the sha256 of its weights.
        figures: protocol -> number.
        baseline: the same figures of one half of the real pictures against the other, at the smaller number ``halves``;
            empty where it was not asked for.
        same_size: the model's figures at that smaller number against the first half: to be held beside ``baseline``.
        halves: pictures in each half.
        remarks: what to know about the real pictures, a sentence each.
        seconds: how long it took.
    """

    model: str
    data: str
    samples: int
    real: int
    width: int
    height: int
    seed: int
    truncation: float
    features: str
    digest: str
    figures: dict[str, float]
    baseline: dict[str, float] = field(default_factory=dict)
    same_size: dict[str, float] = field(default_factory=dict)
    halves: int = 0
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_generator(
    model: str | Path,
    data: str | Path,
    *,
    count: int = COUNT,
    seed: int = 0,
    truncation: float = 1.0,
    baseline: bool = False,
    size: tuple[int, int] | None = None,
    inception: str | Path | None = None,
    device: str = "cpu",
    progress: OnProgress = silent,
) -> Measured:
    """Measure a generator against real pictures.

    Args:
        model: a name or file that :class:`Generator` loads, or a folder or ``.npz`` of pictures that one made.
        data: a folder or ``.npz`` of real pictures.
        count: how many samples, and how many real pictures at most.
        seed: samples are those of ``seed``, ``seed + 1``, ...; it also picks the real pictures where there are more. A
            model with classes draws them as often as the data have them, where both have the same names.
        truncation: of the samples; 1 is what a model is measured at.
        baseline: also measure one half of the real pictures against the other, and the model at the same number.
        size: (height, width) to compare a folder's pictures at; None = that of its first picture. A model has its own.
        inception: see :func:`load_features`.
        device: where the feature network runs.
        progress: told of the pictures seen.

    Raises:
        TrainingError: something cannot be used, or there are too few pictures.
        UnknownName, BundleError: there is no such model.
    """
    started = time.perf_counter()
    if count < LEAST:
        raise TrainingError(f"{count} samples say nothing: ask for {LEAST} or more, better 10,000.")
    made = open_samples(model, count=count, seed=seed, truncation=truncation, size=size)
    # Grey samples are held against colours where the data have them; transparency only against transparency.
    channels = 4 if made.channels == 4 else 3
    real = PictureSet(data, made.height, made.width, channels=channels, minimum=LEAST, progress=progress)
    net = load_features(inception, device=device)
    colour = made.channels == 1 and not real.grey
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(real))
    chosen, halves = min(count, len(real)), min(count, len(real) // 2) if baseline else 0
    if baseline and halves < LEAST:
        raise TrainingError(f"{data} has too few pictures for two halves: leave the baseline out.")
    wanted = order[: max(chosen, 2 * halves)]
    reals = real_features(real, wanted, net, progress=progress)
    asked = classes_like(made, real, seed)
    fakes = net.stream(told(made.batches(asked), made.count, "samples", progress))
    progress(Progress(0, None, "stages", "comparing"))
    found = compare(reals[:chosen], fakes, net.name)
    base = compare(reals[:halves], reals[halves : 2 * halves], net.name) if baseline else {}
    # Where the number is the same anyhow the figures still differ by the choice of real pictures.
    alike = compare(reals[:halves], fakes[:halves], net.name) if baseline and len(fakes) >= halves else {}
    return Measured(
        model=str(model),
        data=str(data),
        samples=len(fakes),
        real=chosen,
        width=made.width,
        height=made.height,
        seed=seed,
        truncation=truncation,
        features=net.name,
        digest=net.digest,
        figures=found,
        baseline=base,
        same_size=alike,
        halves=halves,
        remarks=(*made.remarks, *real.remarks, *((_COLOUR,) if colour else ())),
        seconds=round(time.perf_counter() - started, 1),
    )


def compare(real: Features, samples: Features, name: str) -> dict[str, float]:
    """All figures of samples [M,D] against real pictures [N,D], by protocol.

    The Frechet and the kernel distance take all rows; the others, whose values depend on N and M, the first min(N, M)
    of both, and carry that number.

    Args:
        name: of the features; ``"inception"`` makes ``fid_10k`` of ``fd_inception_10k``, and ``kid_10k``.
    """
    number, least = count_name(len(samples)), min(len(real), len(samples))
    a, b = moments(real), moments(samples)
    fid = name == "inception"
    near = neighbour_scores(real[:least], samples[:least])
    few = count_name(least)
    return {
        f"fid_{number}" if fid else f"fd_{name}_{number}": frechet_distance(a.mean, a.covariance, b.mean, b.covariance),
        f"kid_{number}" if fid else f"kd_{name}_{number}": kernel_distance(real, samples).value,
        f"precision_k{NEIGHBOURS}_{name}_{few}": near.precision,
        f"recall_k{NEIGHBOURS}_{name}_{few}": near.recall,
        f"density_k{BALL_NEIGHBOURS}_{name}_{few}": near.density,
        f"coverage_k{BALL_NEIGHBOURS}_{name}_{few}": near.coverage,
    }


def count_name(count: int) -> str:
    """``"10k"`` for 10,000; numbers that are no thousands as they are."""
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def real_features(
    pictures: Pictures,
    indices: Sequence[int] | NDArray[np.int64],
    net: FeatureNet,
    *,
    cache: Path | None = None,
    progress: OnProgress = silent,
) -> NDArray[np.float32]:
    """Features [N,D] of real pictures at ``indices``, kept in the cache folder.

    What is kept is known by the set's key (names, sizes and times of its files, and the size of a picture), the
    feature network and its weights. Only pictures that were never seen so are looked at.
    """
    order = np.asarray(indices, np.int64)
    folder = cache_folder() / "features" if cache is None else cache
    token = f"{_VERSION} {pictures.key} {net.name} {net.digest} {len(pictures)}"
    path = folder / f"{net.name}-{hashlib.sha256(token.encode()).hexdigest()[:20]}.npz"
    kept = _read_rows(path, len(pictures), net.size)
    missing = np.array([i for i in order if i not in kept], np.int64)
    if len(missing):
        pieces = (pictures.arrays(missing[at : at + BATCH]) for at in range(0, len(missing), BATCH))
        fresh = net.stream(told(pieces, len(missing), "real pictures", progress))
        kept.update(zip(missing.tolist(), fresh, strict=True))
        _write_rows(path, kept)
    return np.stack([kept[int(i)] for i in order]) if len(order) else np.zeros((0, net.size), np.float32)


def _read_rows(path: Path, count: int, size: int) -> dict[int, NDArray[np.float32]]:
    """Index -> features; empty where the file is missing or not whole."""
    try:
        # Opened here: numpy leaves the file open where it is no whole zip.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            indices, rows = file["indices"], file["rows"]
        if rows.shape != (len(indices), size) or rows.dtype != np.float32 or not np.isfinite(rows).all():
            return {}
        return {int(i): row for i, row in zip(indices, rows, strict=True) if 0 <= i < count}
    except Exception:  # numpy has many errors for a broken file; a cache is made anew
        return {}


def _write_rows(path: Path, rows: dict[int, NDArray[np.float32]]) -> None:
    part = path.with_name(f".{path.stem}.{time.time_ns():x}.part.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, indices=np.array(list(rows), np.int64), rows=np.stack(list(rows.values())))
        part.replace(path)
    except OSError:  # a full disk costs the next run some time, and this one nothing
        with suppress(OSError):
            part.unlink()
