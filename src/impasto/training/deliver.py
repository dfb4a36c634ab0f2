"""The end of a run that learnt to draw: its best state becomes a model file with what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from impasto.errors import BundleError
from impasto.progress import OnProgress, silent
from impasto.runtime.bundle import SUFFIX
from impasto.training.checkpoint import load_checkpoint
from impasto.training.export_generator import ExportedGenerator, export_generator
from impasto.training.journal import Journal

MEASURED = ("fd_", "kd_", "precision_", "recall_", "density_", "coverage_")
"""What figures of a measurement start with (see ``measure_generator.compare``)."""


def foresee(out: Path, *, overwrite: bool) -> None:
    """Raise before a long run what its export would raise after it.

    Raises:
        BundleError: the file exists, its name does not fit, or there is no folder for it.
    """
    if out.suffix != SUFFIX:
        raise BundleError(f"A model file must end in {SUFFIX}: {out} does not, so rename it.")
    if out.exists() and not overwrite:
        raise BundleError(f"{out} exists already: choose another name with -o, or allow it with --overwrite.")
    if not out.parent.is_dir():
        raise BundleError(f"There is no folder {out.parent} for the model file: make it first.")


def deliver(
    run: str | Path,
    out: str | Path,
    *,
    half: bool = False,
    lean: bool = False,
    quality: Mapping[str, float] | None = None,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> ExportedGenerator:
    """Write the state of ``run`` that measured best, or the newest where nothing was measured.

    Args:
        run: a run folder of the gan or vae task.
        out: the ``.impasto`` file.
        half, lean: for a smaller file (see ``export_generator``).
        quality: figures for the manifest; None or empty = those of the run's own measurement of that state.
        overwrite: replace an existing file.
        progress: told of each stage.

    Raises:
        TrainingError, BundleError: as ``export_generator``.
    """
    journal = Journal(run)
    best = journal.best.exists()
    if best and not quality:
        step = load_checkpoint(journal.best).step
        quality = {key: value for key, value in journal.figures(step).items() if key.startswith(MEASURED)}
    return export_generator(
        run, out, best=best, half=half, lean=lean, quality=quality, overwrite=overwrite, progress=progress
    )
