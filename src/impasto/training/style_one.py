"""One painting, learnt in minutes: the recipe for it, and the model file at its end."""

from __future__ import annotations

import datetime
import gc
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

import impasto
from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import (
    Bundle,
    DataSource,
    Licences,
    Manifest,
    StyleInfo,
    bundled_models,
    check_target,
    find_bundle,
    write_bundle,
)
from impasto.runtime.dream import TABLES, can_dream
from impasto.runtime.style import DEFAULT_MODEL, STYLES
from impasto.runtime.underpaint import COARSER
from impasto.training import distributed
from impasto.training.beginning import begin, prints
from impasto.training.checkpoint import load_checkpoint, restore_modules
from impasto.training.estimate import rehearse
from impasto.training.export import PARITY, SIZES, to_onnx
from impasto.training.journal import Journal
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.style import GRAIN, Painter
from impasto.training.presets import merged, model_name
from impasto.training.recipe import make_recipe, override
from impasto.training.recipe_one import OneRecipe
from impasto.training.recover import painter_difference, recover_painter
from impasto.training.shrink import halved
from impasto.training.tasks.style_one import StyleOneTask

LEAST_STEPS = 20
"""A run is at least this long, however slow the machine."""


def painting_name(painting: str | Path) -> str:
    """The name that a painting's file gives to its run, model and style: small letters, digits and dashes."""
    path = Path(painting).resolve()  # with_suffix() refuses "." and "/"
    return model_name(path.parent / path.stem)


def one_recipe(
    painting: str | Path,
    *,
    photos: str | Path | None = None,
    minutes: float = 10.0,
    size: str = "full",
    base: str = DEFAULT_MODEL,
    device: torch.device | str = "cpu",
    overrides: Iterable[str] = (),
    progress: OnProgress = silent,
) -> OneRecipe:
    """A recipe to learn one painting by, as long as this machine needs about ``minutes`` for.

    Args:
        painting: a picture file.
        photos: a folder of photographs to paint; None = scenes drawn by code.
        minutes: of training, above 0. A step is tried first, in bfloat16 and in float32 where nothing is said of
            precision, and the faster one is taken.
        size: ``"full"``, as large as the base, or ``"small"``, half its width.
        base: the model to start from.
        device: where it will be trained.
        overrides: ``key.key=value``, as for any recipe; they have the last word. With ``steps`` nothing is timed.
        progress: told of a download of feature weights.

    Raises:
        PictureError: the painting cannot be read.
        BundleError: the base cannot be used.
        TrainingError: a value, the photos, or the base cannot be used.
        UnknownName: there is no such size, key or bundled model.
    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise TrainingError(f"A run of {minutes:g} minutes teaches nothing: give a number above 0, such as 10.")
    sizes = get_args(OneRecipe.model_fields["size"].annotation)
    if size not in sizes:
        raise UnknownName("size", size, sizes)
    wishes: dict[str, Any] = {}
    for text in overrides:
        override(wishes, text)
    file, model = Path(painting), find_bundle(base)
    if base not in bundled_models():
        base = str(model.resolve())
    data = {"painting": str(file.resolve()), "photos": "" if photos is None else str(Path(photos).resolve())}
    plain = {"task": "style-one", "name": painting_name(file), "size": size, "base": base, "steps": 1000, "data": data}
    draft = _made(merged(plain, wishes))
    draft = _made(merged(plain, {"data": {"prints": prints(draft.data.painting, begin(draft).model)}}, wishes))
    if "steps" in wishes:
        return draft
    table, seconds = draft.model_dump(mode="json"), math.inf
    choices = (draft.precision,) if "precision" in wishes else ("fp32", "bf16")
    for precision in choices:
        task = StyleOneTask(_made(table | {"precision": precision}), device, progress=progress)
        tried = rehearse(task).seconds
        # bfloat16 must be worth its rounding.
        if tried < (0.9 if seconds < math.inf else 1) * seconds:
            table["precision"], seconds = precision, tried
        del task
        gc.collect()  # two feature networks at a time would be twice the memory
    steps = max(LEAST_STEPS, round(60 * minutes / max(seconds, 1e-6)))
    # Of several processes each has its own watch, and all must do the same.
    agreed = torch.tensor([steps, choices.index(table["precision"])], dtype=torch.float32, device=device)
    distributed.copy_first([agreed])
    return _made(table | {"steps": int(agreed[0]), "precision": choices[int(agreed[1])]})


def _made(table: dict[str, Any]) -> OneRecipe:
    if table["task"] != "style-one":
        raise TrainingError("The task of this recipe is style-one: leave task out of --set.")
    recipe = make_recipe(table)
    assert isinstance(recipe, OneRecipe)
    return recipe


@dataclass(frozen=True, slots=True)
class ExportedOne:
    """What was written, and the largest difference between torch and onnxruntime at any pixel."""

    manifest: Manifest
    difference: float
    size: int


def export_one(
    run: str | Path,
    out: str | Path,
    *,
    quality: dict[str, float] | None = None,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> ExportedOne:
    """Write the newest state of a style-one run as a model of kind ``style``, and hold it against torch.

    The style encoder is that of the base model, byte for byte, and so is what it dreams by, where it can: codes mean
    the same. The painting is the one named style.

    Args:
        run: the run folder.
        out: the ``.impasto`` file.
        quality: measured figures for the manifest, the protocol in the key.
        overwrite: replace an existing file.
        progress: told of each stage.

    Raises:
        TrainingError: the run cannot be read, or the graph differs from torch by more than ``PARITY``.
        BundleError: the file exists or cannot be written, or the base is gone.
        PictureError: the painting is gone.
    """
    journal, out = Journal(run), Path(out)
    recipe = journal.recipe()
    if not isinstance(recipe, OneRecipe):
        raise TrainingError(f"{run} is a run of the task {recipe.task!r}, not of style-one: export it as that.")
    check_target(out, overwrite=overwrite)
    found = load_checkpoint(journal.checkpoint)
    beginning = begin(recipe)
    bundle = beginning.model.bundle
    whole = recover_painter(bundle)
    painter = (Painter(halved(whole.spec)) if recipe.size == "small" else whole).eval().requires_grad_(False)
    restore_modules({"painter": painter}, found, "ema")
    progress(Progress(0, 2, "stages", "painter"))
    photo = torch.rand(1, 3, 64, 96)
    inputs = {
        "photo": photo,
        "photo_stats": color_stats(photo),
        "code": torch.from_numpy(beginning.code)[None],
        "grain": torch.randn(1, GRAIN, 8, 12),
    }
    brush = to_onnx(painter, inputs, {"photo": 8}, "painted", parts={"grain": ("photo", 8)})
    progress(Progress(1, 2, "stages", "parity"))
    difference = painter_difference(painter, brush, SIZES, beginning.code)
    if not difference < PARITY:
        raise TrainingError(
            f"The exported painter differs from torch by {difference:.2g}, more than {PARITY:g}: "
            "nothing was written, report this with the recipe."
        )
    eye, encoder = bundle.graph("encoder")
    spec = replace(bundle.graph("painter")[0], member="painter.onnx", receptive_field=painter.spec.receptive_field)
    title = recipe.title or recipe.name.replace("-", " ").title()
    manifest = Manifest(
        kind="style",
        name=recipe.name,
        created=datetime.date.today().isoformat(),
        impasto=impasto.__version__,
        graphs={"encoder": replace(eye, member="encoder.onnx"), "painter": spec},
        code_size=len(beginning.code),
        styles=(
            StyleInfo(
                name=recipe.name, title=title, artist=recipe.artist or "unknown", year=recipe.year or "year unknown"
            ),
        ),
        recipe=_portable(recipe, painter),
        data=(*bundle.manifest.data, *_sources(recipe)),
        step=found.step,
        images_seen=recipe.images_seen(found.step),
        quality=dict(quality or {}),
        licence=Licences(
            code=recipe.licence.code, weights=bundle.manifest.licence.weights, data=bundle.manifest.licence.data
        ),
    )
    members = {"encoder.onnx": encoder, "painter.onnx": brush, STYLES: format_table(beginning.code[None])}
    if COARSER in bundle.members:
        members[COARSER] = bundle.read(COARSER)
    if can_dream(beginning.model):
        members |= {name: bundle.read(name) for name in TABLES}
    written = write_bundle(out, manifest, members, overwrite=overwrite)
    Bundle.open(out, kind="style")  # a file that we cannot open is not one to hand on
    progress(Progress(2, 2, "stages", "done"))
    return ExportedOne(written, difference, out.stat().st_size)


def _sources(recipe: OneRecipe) -> list[DataSource]:
    """What was learnt from besides what the base had learnt from."""
    if recipe.data.sources:
        return [DataSource(**source.model_dump()) for source in recipe.data.sources]
    file, folder = Path(recipe.data.painting).name, Path(recipe.data.photos).name
    sources = [DataSource(name="painting", what=f"one picture, {file}", licence="that of the picture; not checked")]
    if folder:
        sources.append(DataSource(name="photos", what=f"a folder, {folder}", licence="that of the photos; not checked"))
    return sources


def _portable(recipe: OneRecipe, painter: Painter) -> dict[str, Any]:
    """The recipe as it goes into a file: no path of this machine, and the network that came out."""
    table = recipe.model_dump(mode="json", exclude={"title", "artist", "year", "licence"})
    table["data"].pop("sources")
    for key in ("painting", "photos"):
        table["data"][key] = Path(table["data"][key]).name
    table["base"], table["start"] = Path(table["base"]).name, Path(table["start"]).name
    return table | {"net": painter.spec.model_dump(mode="json")}
