"""A run of the gan or vae task becomes a model file, and the file is held against the networks it came from."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    DataSource,
    GraphSpec,
    LatentInfo,
    Licences,
    Manifest,
    TensorSpec,
    check_target,
    write_bundle,
)
from impasto.runtime.engine import Engine
from impasto.runtime.generator import CENTRES, FLOW, Generator
from impasto.runtime.latents import draw_streams
from impasto.training.checkpoint import load_checkpoint, restore_modules
from impasto.training.export import PARITY, quiet_exporter, strip
from impasto.training.flow import fit_flow
from impasto.training.halve import halved, round_weights
from impasto.training.journal import Journal
from impasto.training.mixture import fit_mixture
from impasto.training.nets import NETS
from impasto.training.nets.gan_spec import GanGenerator
from impasto.training.nets.vae import Means
from impasto.training.recipe import Recipe
from impasto.training.recipe_base import last_part
from impasto.training.tasks.vae import VaeTask

Array = NDArray[np.float32]

BATCHES = (1, 2, 5)
"""Batches at which torch and onnxruntime are compared."""

CENTRE_DRAWS = 10_000
"""Latents whose mean w is what truncation goes towards (Karras et al. 2019, appendix B)."""

_EXAMPLES = 3  # in the traced batch: 1 would be taken for a constant, 2 for a pair
_MOST = 8192


@dataclass(frozen=True, slots=True)
class ExportedGenerator:
    """What was written, the largest difference between torch and onnxruntime per graph, and the size in bytes."""

    manifest: Manifest
    differences: dict[str, float]
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """One graph to be.

    Attributes:
        module: takes the inputs by these names.
        inputs: an example of each with a batch of any size, in order.
        output: name and meaning of what it gives.
        ranges: least and greatest value of inputs and the output, where they have any.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    output: str
    ranges: Mapping[str, tuple[float, float]]


class _Mapping(nn.Module):
    def __init__(self, generator: GanGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generator.mapping(z, labels)


class _Synthesis(nn.Module):
    def __init__(self, draw: Callable[[Tensor], Tensor], module: nn.Module) -> None:
        super().__init__()
        self.draw, self.module = draw, module

    def forward(self, w: Tensor) -> Tensor:
        return self.draw(w)


def export_generator(
    run: str | Path,
    out: str | Path,
    *,
    best: bool = False,
    half: bool = False,
    lean: bool = False,
    classes: Sequence[str] | None = None,
    quality: Mapping[str, float] | None = None,
    overwrite: bool = False,
    created: str | None = None,
    progress: OnProgress = silent,
) -> ExportedGenerator:
    """Write a checkpoint of ``run`` as a model file of kind ``generator``, checked.

    Args:
        run: a run folder of the gan or vae task.
        out: the ``.impasto`` file.
        best: take the best checkpoint by the run's own measurements, where there is one, and not the newest.
        half: store weights in 16 bits, which makes half the file (they are computed with in 32).
        lean: leave out what drawing does not take: a VAE's encoder, and the mixture where there is a flow.
        classes: names of the classes; None: what the run noted, or else the sub-folders of its data.
        quality: measured figures for the manifest, the protocol in the key.
        overwrite: replace an existing file.
        created: date for the manifest (today).
        progress: told of each stage.

    Raises:
        TrainingError: the run cannot be read or draws no pictures, the pictures that a VAE learnt from are gone, or the
            exported graphs differ from torch by more than ``PARITY``.
        BundleError: the file exists or cannot be written.
    """
    journal = Journal(run)
    recipe = journal.recipe()
    if recipe.task not in ("gan", "vae"):
        raise TrainingError(f"{run} is a run of the task {recipe.task!r}, which draws no pictures: export it as that.")
    _foresee(Path(out), overwrite)
    table: Any = recipe  # both recipes have a net and data; what they have in common says nothing about those
    found = load_checkpoint(journal.best if best and journal.best.exists() else journal.checkpoint)
    names = tuple(classes) if classes is not None else class_names(journal.folder, table)
    tables: dict[str, Array] = {}
    if recipe.task == "vae":
        progress(Progress(0, 3, "stages", "mixture"))
        task = VaeTask.from_run(run)
        modules = task.modules
        restore_modules(modules, found, "ema")  # latents of one checkpoint mean nothing to the decoder of another
        tables = fit_mixture(task).tables()
        if task.recipe.prior.flows(len(task.learnt)):
            flow = fit_flow(task, progress=progress)
            modules = modules | {"flow": flow}
    else:
        modules = NETS[table.net.kind](table.net)
        restore_modules(modules, found, "ema")
    return write_generator(
        out,
        modules,
        recipe,
        classes=names,
        tables=tables,
        step=found.step,
        half=half,
        lean=lean,
        quality=quality,
        overwrite=overwrite,
        created=created,
        progress=progress,
    )


def write_generator(
    out: str | Path,
    modules: Mapping[str, nn.Module],
    recipe: Recipe,
    *,
    classes: Sequence[str] = (),
    tables: Mapping[str, Array] | None = None,
    step: int = 0,
    half: bool = False,
    lean: bool = False,
    quality: Mapping[str, float] | None = None,
    overwrite: bool = False,
    created: str | None = None,
    progress: OnProgress = silent,
) -> ExportedGenerator:
    """Write networks as a model file: ``generator``, or ``encoder`` and ``decoder``, in float32 and evaluation mode.

    Args:
        out, half, lean, quality, overwrite, created, progress: as in :func:`export_generator`.
        modules: by name, as ``build_gan`` or ``build_vae`` gives them; those of training are left out.
        recipe: says the sizes, and goes into the file.
        classes: names, as many as the spec has classes.
        tables: further tables of the file, such as those of a mixture.
        step: training steps taken.

    Raises:
        As :func:`export_generator`.
    """
    out = Path(out)
    _foresee(out, overwrite)
    spec = recipe.net  # type: ignore[attr-defined]  # every recipe has one; which, the base does not say
    if len(classes) != getattr(spec, "classes", 0):
        raise TrainingError(f"The network knows {spec.classes} classes and {len(classes)} have names: name them all.")
    for module in modules.values():
        module.float().eval().requires_grad_(False)
    if half:
        round_weights(modules.values())
    members = {name: format_table(table) for name, table in (tables or {}).items()}
    if "generator" in modules:
        generator = modules["generator"]
        assert isinstance(generator, GanGenerator)
        parts = _gan_parts(generator, len(classes))
        if generator.has_mapping:
            members[CENTRES] = format_table(mean_w(generator, len(classes)))
    else:
        parts = _vae_parts(modules["encoder"], modules["decoder"], spec)
        if "flow" in modules:
            parts[FLOW] = _flow_part(modules["flow"], spec.latent)
        if lean:
            del parts["encoder"]
            members = {} if FLOW in parts else members
    differences: dict[str, float] = {}
    for done, (role, part) in enumerate(parts.items()):
        progress(Progress(done, len(parts) + 1, "stages", role))
        graph = batched_onnx(part)
        members[f"{role}.onnx"] = halved(graph) if half else graph
        differences[role] = _parity(role, part, members[f"{role}.onnx"])
    manifest = Manifest(
        kind="generator",
        name=recipe.name,
        created=created or datetime.date.today().isoformat(),
        impasto=impasto.__version__,
        graphs={role: _graph_spec(role, part) for role, part in parts.items()},
        latent=LatentInfo(size=spec.latent, classes=tuple(classes)),
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        recipe=portable(recipe),
        data=tuple(DataSource(**source.model_dump()) for source in recipe.data.sources),  # type: ignore[attr-defined]
        step=step,
        images_seen=recipe.images_seen(step),
        quality=dict(quality or {}),
        licence=Licences(code=recipe.licence.code, weights=recipe.licence.weights, data=recipe.licence.data),
    )
    written = write_bundle(out, manifest, members, overwrite=overwrite)
    Generator.load(out).sample(0)  # a file that we cannot draw with is not one to hand on
    progress(Progress(len(parts) + 1, len(parts) + 1, "stages", "done"))
    return ExportedGenerator(written, differences, out.stat().st_size)


def class_names(folder: Path, recipe: Any) -> tuple[str, ...]:
    """Names of the classes: from ``classes.json`` of the run folder, or else the sub-folders of the data.

    Raises:
        TrainingError: the network has classes and their names are not to be found.
    """
    count = getattr(recipe.net, "classes", 0)
    if not count:
        return ()
    try:
        names = tuple(map(str, json.loads((folder / "classes.json").read_text("utf-8"))))
    except (OSError, ValueError, TypeError):
        data = Path(recipe.data.folder)
        names = tuple(sorted(sub.name for sub in data.iterdir() if sub.is_dir())) if data.is_dir() else ()
    if len(names) != count:
        raise TrainingError(f"The network knows {count} classes and {len(names)} names were found: name them all.")
    return names


def portable(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it goes into a file: folders by name only, no path of this machine."""
    table = recipe.model_dump(mode="json", exclude={"licence"})
    table["data"].pop("sources", None)
    table["start"] = last_part(table["start"])
    for key in recipe.folders:
        table["data"][key] = last_part(table["data"][key])
    return table


def mean_w(generator: GanGenerator, classes: int) -> Array:
    """Mean w of ``CENTRE_DRAWS`` latents: [1,W], or [C+1,W] with a row for every class and the last for the unknown."""
    normals = draw_streams(0, CENTRE_DRAWS, generator.latent_size).normals
    rows = np.eye(classes + 1, classes, dtype=np.float32) if classes else None
    means = []
    with torch.no_grad():
        for row in [None] if rows is None else rows:
            total = torch.zeros(generator.w_size, dtype=torch.float64)
            for start in range(0, CENTRE_DRAWS, 1000):
                z = torch.from_numpy(normals[start : start + 1000])
                labels = None if row is None else torch.from_numpy(row).expand(len(z), -1)
                total += generator.mapping(z, labels).double().sum(0)
            means.append((total / CENTRE_DRAWS).float().numpy())
    return np.stack(means)


def batched_onnx(part: Part) -> bytes:
    """An ONNX graph with a free batch ``n``, the first axis of every input."""
    batch = torch.export.Dim("n", min=1, max=_MOST)
    with quiet_exporter(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about torch internals
        program = torch.onnx.export(
            part.module,
            tuple(part.inputs.values()),
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamic_shapes={name: {0: batch} for name in part.inputs},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
    return bytes(model.SerializeToString())


def _foresee(out: Path, overwrite: bool) -> None:
    """Raise now what would otherwise be found after a minute's work."""
    check_target(out, overwrite=overwrite)


def _gan_parts(generator: GanGenerator, classes: int) -> dict[str, Part]:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(_EXAMPLES, generator.latent_size, generator=random)
    labels = torch.eye(_EXAMPLES, classes) if classes else None
    parts = {}
    if generator.has_mapping or classes:
        inputs = {"z": z} if labels is None else {"z": z, "labels": labels}
        parts["mapping"] = Part(_Mapping(generator), inputs, "w", {"labels": (0, 1)})
    with torch.no_grad():
        w = generator.mapping(z, labels)
    if generator.layers > 1:
        w = w[:, None].repeat(1, generator.layers, 1)
    parts["synthesis"] = Part(_Synthesis(generator.synthesis, generator), {"w": w}, "picture", {"picture": (-1, 1)})
    return parts


def _vae_parts(encoder: nn.Module, decoder: nn.Module, spec: Any) -> dict[str, Part]:
    random = torch.Generator().manual_seed(0)
    w = torch.randn(_EXAMPLES, spec.latent, generator=random)
    coarse = torch.rand(_EXAMPLES, spec.channels, 4, 4, generator=random) * 2 - 1
    picture = nn.functional.interpolate(coarse, (spec.height, spec.width), mode="bilinear")
    return {
        "synthesis": Part(_Synthesis(decoder, decoder), {"w": w}, "picture", {"picture": (-1, 1)}),
        "encoder": Part(Means(encoder), {"picture": picture}, "mean", {"picture": (-1, 1)}),
    }


def _flow_part(flow: nn.Module, size: int) -> Part:
    normals = torch.randn(_EXAMPLES, size, generator=torch.Generator().manual_seed(0))
    return Part(flow, {"normals": normals}, "latent", {})


def _parity(role: str, part: Part, graph: bytes) -> float:
    """Largest difference between torch and onnxruntime over ``BATCHES`` of inputs like the examples."""
    engine = Engine(graph, threads=torch.get_num_threads())
    random = torch.Generator().manual_seed(1)
    worst = 0.0
    for count in BATCHES:
        feeds = {}
        for name, example in part.inputs.items():
            # Each row is between two of the examples: as large as they are, and none of them.
            a, b = (torch.randint(_EXAMPLES, (count,), generator=random) for _ in range(2))
            share = torch.rand(count, generator=random).reshape(-1, *[1] * (example.ndim - 1))
            feeds[name] = example[a] * share + example[b] * (1 - share)
        with torch.no_grad():
            expected = part.module(**feeds).numpy()
        got = engine.run({name: feed.numpy() for name, feed in feeds.items()})[part.output]
        # Not Python's max(): that would pass over what is not a number.
        worst = float(np.maximum(worst, np.abs(got - expected).max()))
    if not worst < PARITY:
        raise TrainingError(
            f"The exported {role} differs from torch by {worst:.2g}, more than {PARITY:g}: "
            "nothing was written, report this with the recipe."
        )
    return worst


_MEANINGS = {
    "z": "latent, N(0, 1)",
    "normals": "N(0, 1)",
    "latent": "latent as the pictures learnt from have them",
    "labels": "one-hot class, all zero where it is unknown",
    "w": "intermediate latent",
    "picture": "picture: grey, RGB or RGBA",
    "mean": "latent of the picture",
}


def _graph_spec(role: str, part: Part) -> GraphSpec:
    with torch.no_grad():
        given = part.module(*part.inputs.values())
    tensors = [
        TensorSpec(name=name, shape=("n", *tensor.shape[1:]), range=part.ranges.get(name), meaning=_MEANINGS[name])
        for name, tensor in [*part.inputs.items(), (part.output, given)]
    ]
    return GraphSpec(member=f"{role}.onnx", inputs=tuple(tensors[:-1]), outputs=(tensors[-1],))
