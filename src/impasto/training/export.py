"""A checkpoint becomes a model file, and the file is held against the network it came from."""

from __future__ import annotations

import datetime
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import impasto
from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.archive import format_table
from impasto.runtime.bundle import (
    SUFFIX,
    Bundle,
    DataSource,
    GraphSpec,
    Licences,
    Manifest,
    StyleInfo,
    TensorSpec,
    check_target,
    write_bundle,
)
from impasto.runtime.engine import Engine
from impasto.runtime.picture import Picture
from impasto.runtime.pyramid import NUMBERS
from impasto.runtime.style import StyleModel
from impasto.runtime.underpaint import COARSER
from impasto.training.checkpoint import load_checkpoint, restore_modules
from impasto.training.dreams import PAINTINGS, learn_dreams
from impasto.training.journal import Journal
from impasto.training.nets import NETS
from impasto.training.nets.blocks import ModulatedConv, PatchConv, color_stats
from impasto.training.nets.style import COLORS, GRAIN, StyleSpec
from impasto.training.nets.underpaint import Coarser
from impasto.training.recipe import StyleRecipe

PARITY = 1e-3
"""Largest difference allowed between torch and onnxruntime, both in float32, at any pixel or code value."""

SIZES = ((64, 64), (128, 72), (200, 264))
"""Picture sizes (height, width) at which the two are compared; multiples of every size rule are taken below."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, the largest difference between torch and onnxruntime, and what a person should know."""

    manifest: Manifest
    painter_difference: float
    encoder_difference: float
    size: int
    notes: tuple[str, ...] = ()


def load_run(run: str | Path) -> tuple[StyleRecipe, dict[str, nn.Module], int]:
    """Recipe, averaged networks (evaluation mode, float32) and step of a run folder."""
    journal = Journal(run)
    recipe = journal.recipe()
    if not isinstance(recipe, StyleRecipe):
        raise TrainingError(f"{run} is a run of the task {recipe.task!r}, not of style: export it as that.")
    found = load_checkpoint(journal.checkpoint)
    modules = NETS[recipe.net.kind](recipe.net)
    restore_modules(modules, found, "ema")
    for module in modules.values():
        module.eval().requires_grad_(False)
    return recipe, modules, found.step


@torch.no_grad()
def _move_halfway(recipe: StyleRecipe, modules: Mapping[str, nn.Module], run: str | Path) -> None:
    """Give the networks the mean of their weights and those of another run, or of a model file."""
    if Path(run).suffix == SUFFIX:
        from impasto.training.recover import networks_of  # which itself tries graphs as this module does

        bundle = Bundle.open(run, kind="style")
        others = networks_of(bundle)
        net = StyleSpec.model_validate(bundle.manifest.recipe["net"])  # which recovering has looked at
    else:
        other, others, _ = load_run(run)
        net = other.net
    # What lies under is not in the weights of the painter: a file may lack it.
    if net.model_copy(update={"under": recipe.net.under, "ground": recipe.net.ground}) != recipe.net:
        raise TrainingError(f"The networks of {run} are others than those of the run: there is no mean of the two.")
    for name in ("encoder", "painter", "coarser"):
        if name not in modules or name not in others:
            continue
        theirs = others[name].state_dict()
        modules[name].load_state_dict(
            {key: (mine + theirs[key]) / 2 for key, mine in modules[name].state_dict().items()}
        )


def export(
    run: str | Path,
    out: str | Path,
    *,
    mean_with: str | Path | None = None,
    quality: Mapping[str, float] | None = None,
    overwrite: bool = False,
    created: str | None = None,
    dreams: int = PAINTINGS,
    progress: OnProgress = silent,
) -> Exported:
    """Write the newest checkpoint of ``run`` as a model file, checked.

    Args:
        run: a run folder.
        out: the ``.impasto`` file.
        mean_with: another run, or a model file, of the same networks; the mean of both ones' weights is written. Where
            one began from the other, what lies between them is often better than either (Wortsman et al. 2022, "Robust
            fine-tuning of zero-shot models").
        quality: measured figures for the manifest, the protocol in the key.
        overwrite: replace an existing file.
        created: date for the manifest (today).
        dreams: how many of the recipe's paintings to look at, so that the model can dream (``dreams.learn_dreams``);
            0: it cannot. Nor can it, and a note says so, where too few of them are on this machine.
        progress: told of each stage.

    Raises:
        TrainingError: the run cannot be read, or the exported graphs differ from torch by more than ``PARITY``.
        BundleError: the file exists or cannot be written.
        PictureError: the picture of a named style cannot be read.
    """
    recipe, modules, step = load_run(run)
    told = portable(recipe)
    if mean_with is not None:
        _move_halfway(recipe, modules, mean_with)
        told["mean_with"] = Path(mean_with).name
    _foresee(recipe, Path(out), overwrite)
    encoder, painter = modules["encoder"], modules["painter"]
    progress(Progress(0, 4, "stages", "encoder"))
    eye = to_onnx(encoder, {"style": torch.rand(1, 3, 64, 96)}, {"style": 16}, "code")
    progress(Progress(1, 4, "stages", "painter"))
    code = encoder(torch.rand(1, 3, 64, 64))
    photo = torch.rand(1, 3, 64, 96)
    inputs = {"photo": photo, "photo_stats": color_stats(photo), "code": code, "grain": torch.randn(1, GRAIN, 8, 12)}
    brush = to_onnx(painter, inputs, {"photo": 8}, "painted", parts={"grain": ("photo", 8)})
    progress(Progress(2, 4, "stages", "parity"))
    differences = _parity(encoder, painter, eye, brush)
    progress(Progress(3, 4, "stages", "styles"))
    manifest = Manifest(
        kind="style",
        name=recipe.name,
        created=created or datetime.date.today().isoformat(),
        impasto=impasto.__version__,
        graphs=_graphs(recipe),
        code_size=recipe.net.code_size,
        recipe=told,
        data=tuple(DataSource(**source.model_dump()) for source in recipe.data.sources),
        step=step,
        images_seen=recipe.images_seen(step),
        quality=dict(quality or {}),
        licence=Licences(code=recipe.licence.code, weights=recipe.licence.weights, data=recipe.licence.data),
    )
    members = {"encoder.onnx": eye, "painter.onnx": brush}
    coarser = modules.get("coarser")
    if isinstance(coarser, Coarser):
        members[COARSER] = format_table(coarser.table().numpy())
    table, notes = BytesIO(), ()  # type: tuple[BytesIO, tuple[str, ...]]
    with _opened(manifest, members) as model:
        np.save(table, _named_codes(recipe, model), allow_pickle=False)
        if dreams:
            known, notes = _dreams(recipe, model, dreams, progress)
            members |= known
    members["styles.npy"] = table.getvalue()
    infos = tuple(StyleInfo(name=s.name, title=s.title, artist=s.artist, year=s.year) for s in recipe.styles)
    manifest = replace(manifest, styles=infos)
    written = write_bundle(out, manifest, members, overwrite=overwrite)
    Bundle.open(Path(out), kind="style")  # a file that we cannot open is not one to hand on
    progress(Progress(4, 4, "stages", "done"))
    return Exported(written, *differences, Path(out).stat().st_size, notes)


def _foresee(recipe: StyleRecipe, out: Path, overwrite: bool) -> None:
    """Raise now what would otherwise be found after a minute's work."""
    check_target(out, overwrite=overwrite)
    for style in recipe.styles:
        if not Path(style.picture).is_file():
            raise TrainingError(f"The named style {style.name!r} wants {style.picture}: put the picture there.")


def portable(recipe: StyleRecipe) -> dict[str, Any]:
    """The recipe as it goes into a file: folders by name only, no path of this machine."""
    table = recipe.model_dump(mode="json", exclude={"styles", "licence"})
    table["data"].pop("sources")
    table["start"] = Path(table["start"]).name
    for key in ("photos", "paintings"):
        table["data"][key] = Path(table["data"][key]).name
    return table


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    multiples: Mapping[str, int],
    output: str,
    parts: Mapping[str, tuple[str, int]] | None = None,
) -> bytes:
    """An ONNX graph with free height and width of the inputs in ``multiples``; constants are folded first.

    Args:
        module: the network.
        inputs: an example of each input, by name, in order.
        multiples: the inputs of free size, and what their height and width are multiples of.
        output: name of the output.
        parts: inputs whose size is that of another one, divided.
    """
    with frozen(module), quiet_exporter(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about torch internals
        shapes: dict[str, Any] = {name: {} for name in inputs}
        for name, multiple in multiples.items():
            high = torch.export.Dim(f"{name}_h", min=2, max=8192)
            wide = torch.export.Dim(f"{name}_w", min=2, max=8192)
            shapes[name] = {2: multiple * high, 3: multiple * wide}
            for part, (whole, divisor) in (parts or {}).items():
                if whole == name:
                    rule = multiple // divisor
                    shapes[part] = {2: rule * high, 3: rule * wide} if rule > 1 else {2: high, 3: wide}
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
    strip(model)
    return bytes(model.SerializeToString())


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """It warns on stderr of packages that we do not use."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def strip(model: Any) -> None:
    """Leave out what the exporter says about this machine: source paths and stack traces."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del graph.value_info[:]


class frozen:  # noqa: N801 (a context manager, used as a word)
    """While it lasts, convolutions hold their folded kernels as constants."""

    def __init__(self, module: nn.Module) -> None:
        self._convs = [m for m in module.modules() if isinstance(m, (ModulatedConv, PatchConv))]

    def __enter__(self) -> None:
        for conv in self._convs:
            conv.freeze()

    def __exit__(self, *_: object) -> None:
        for conv in self._convs:
            conv.thaw()


def _parity(encoder: nn.Module, painter: nn.Module, eye: bytes, brush: bytes) -> tuple[float, float]:
    """Largest differences (painter, encoder) over ``SIZES`` and random codes."""
    ours, theirs = Engine(eye), Engine(brush)
    generator = torch.Generator().manual_seed(0)
    worst = {"painter": 0.0, "encoder": 0.0}
    for height, width in SIZES:
        # Smooth pictures with some noise: what photographs are like, unlike plain noise.
        photo, style = (
            nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (h, w), mode="bicubic")
            .add(0.05 * torch.randn(1, 3, h, w, generator=generator))
            .clamp(0, 1)
            for h, w in ((height, width), (height // 16 * 16, width // 16 * 16))
        )
        with torch.no_grad():
            code = encoder(style)
            stats = color_stats(photo)
            grain = torch.randn(1, GRAIN, height // 8, width // 8, generator=generator)
            painted = painter(photo, stats, code, grain)
        got = ours.run({"style": style.numpy()})["code"]
        worst["encoder"] = _worse(worst["encoder"], got - code.numpy())
        inputs = {"photo": photo, "photo_stats": stats, "code": code, "grain": grain}
        out = theirs.run({name: tensor.numpy() for name, tensor in inputs.items()})["painted"]
        worst["painter"] = _worse(worst["painter"], out - painted.numpy())
    for name, difference in worst.items():
        if not difference < PARITY:
            raise TrainingError(
                f"The exported {name} differs from torch by {difference:.2g}, more than {PARITY:g}: "
                "nothing was written, report this with the recipe."
            )
    return worst["painter"], worst["encoder"]


def _worse(before: float, difference: NDArray[np.float32]) -> float:
    # Not Python's max(): that would pass over what is not a number.
    return float(np.maximum(before, np.abs(difference).max()))


def _graphs(recipe: StyleRecipe) -> dict[str, GraphSpec]:
    said = f", the {NUMBERS} before them the spread of bands" if recipe.net.bands else ""
    code = TensorSpec(
        name="code",
        shape=(1, recipe.net.code_size),
        meaning="style code; its last nine are mean and spread of the colours" + said,
    )
    return {
        "encoder": GraphSpec(
            member="encoder.onnx",
            inputs=(TensorSpec(name="style", shape=(1, 3, "h", "w"), range=(0, 1), meaning="painting, RGB"),),
            outputs=(code,),
            minimum=32,
            multiple=16,
        ),
        "painter": GraphSpec(
            member="painter.onnx",
            inputs=(
                TensorSpec(name="photo", shape=(1, 3, "H", "W"), range=(0, 1), meaning="photo, RGB"),
                TensorSpec(
                    name="photo_stats",
                    shape=(1, COLORS),
                    meaning="mean of R, G, B over the whole photo, then the spread: rr, rg, rb, gg, gb, bb",
                ),
                code,
                TensorSpec(name="grain", shape=(1, GRAIN, "H/8", "W/8"), meaning="noise of mean 0 and deviation 1"),
            ),
            outputs=(TensorSpec(name="painted", shape=(1, 3, "H", "W"), range=(0, 1), meaning="painted photo, RGB"),),
            minimum=16,
            multiple=8,
            receptive_field=recipe.net.receptive_field,
            bands=NUMBERS if recipe.net.bands else 0,
            under=recipe.net.under,
            ground=recipe.net.ground if recipe.net.under else 0.0,
        ),
    }


@contextmanager
def _opened(manifest: Manifest, members: Mapping[str, bytes]) -> Iterator[StyleModel]:
    """The model to be, as the runtime sees it: codes are made by the exported encoder, as any code is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder-only.impasto"
        write_bundle(path, manifest, members)
        yield StyleModel.load(path)


def _named_codes(recipe: StyleRecipe, model: StyleModel) -> NDArray[np.float32]:
    """Codes [S,D] of the recipe's named styles."""
    if not recipe.styles:
        return np.zeros((0, recipe.net.code_size), np.float32)
    return np.stack([model.encode(Picture.open(style.picture)) for style in recipe.styles])


def _dreams(
    recipe: StyleRecipe, model: StyleModel, count: int, progress: OnProgress
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Tables to dream by, or a sentence on why there are none."""
    try:
        return learn_dreams(model, recipe.data.paintings, count=count, progress=progress), ()
    except TrainingError as error:
        return {}, (f"The model cannot dream. {error} Or use 'impasto models dream' on the file later.",)
