"""``impasto measure``: how good drawn or painted pictures are. Figures on stdout, talk on stderr."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from impasto.apps.cli.measure_style import measure_style
from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.terminal import default_of, put, put_json, say
from impasto.apps.cli.trainer import Reporter, Threads, need
from impasto.errors import ImpastoError
from impasto.runtime.generator import MOST_TRUNCATION, Generator
from impasto.training.measure import COUNT

app = typer.Typer(help="Measure what was painted or drawn.", no_args_is_help=True, **TYPER_OPTIONS)
app.command("style")(measure_style)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="One of 'impasto models list', a file, or a folder of its pictures.")
]
Count = Annotated[int, typer.Option("-n", "--count", min=1, help="How many samples.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the first sample; the next have the next seeds.")]
Truncation = Annotated[
    float, typer.Option("--truncation", min=0, max=MOST_TRUNCATION, help="Of the samples; 1: as trained.")
]
Size = Annotated[
    str | None, typer.Option("--size", metavar="WIDTHxHEIGHT", help="Of a folder's pictures; else that of its first.")
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON with all there is to know, not a table.")]

SEED, TRUNCATION = default_of(Generator.sample, "seed"), default_of(Generator.sample, "truncation")


@app.command("generator")
def measure_generator(
    model: Model,
    data: Annotated[Path, typer.Argument(help="The real pictures: a folder or an .npz.")],
    count: Count = COUNT,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also hold one half of the real pictures against the other.")
    ] = False,
    seed: Seed = SEED,
    truncation: Truncation = TRUNCATION,
    size: Size = None,
    inception: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The Inception of FID (TorchScript or ONNX) in place of our own features."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the feature network runs: cpu, cuda ...")] = "cpu",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Distances of what a generator draws from real pictures. The name of a figure is its protocol."""
    need("torch", "safetensors", "onnx")
    from impasto.training import measure_generator as measuring
    from impasto.training.loop import set_threads

    set_threads(threads)
    with Reporter(json) as progress:
        found = measuring.measure_generator(
            model,
            data,
            count=count,
            seed=seed,
            truncation=truncation,
            baseline=baseline,
            size=parse_size(size),
            inception=inception,
            device=device,
            progress=progress,
        )
    for remark in found.remarks:
        say(remark)
    if json:
        put_json(found.to_fields())
        return
    _table("", found.figures)
    if found.baseline:
        _table(f"{found.halves} real against {found.halves} other real pictures: ", found.baseline)
        _table(f"{found.halves} samples against the same: ", found.same_size)


@app.command("parts")
def measure_parts(
    model: Model,
    compositions: Annotated[Path, typer.Argument(help="Pictures with factors.tsv, for the classifier to learn from.")],
    layers: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The layers of the compositions; with them the count is surer."),
    ] = None,
    count: Count = COUNT,
    seed: Seed = SEED,
    truncation: Truncation = TRUNCATION,
    size: Size = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Count which parts, and pairs of parts, a generator of compositions makes, and how many samples are valid."""
    need("torch", "safetensors")
    from impasto.training import parts
    from impasto.training.loop import set_threads

    set_threads(threads)
    with Reporter(json) as progress:
        found = parts.measure_parts(
            model,
            compositions,
            layers=layers,
            count=count,
            seed=seed,
            truncation=truncation,
            size=parse_size(size),
            progress=progress,
        )
    if json:
        put_json(found.to_fields())
        return
    _table("", {"valid": found.valid, "valid_real": found.valid_real, "valid_blends": found.valid_blends})
    for name, (made, possible) in found.values.items():
        left = f", not {', '.join(found.missing[name])}" if name in found.missing else ""
        put(f"{name}: {made} of {possible} values{left}; read rightly {found.accuracy[name]:.2%}")
    put(f"pairs: {found.pairs[0]} of {found.pairs[1]} (by chance {found.pairs_by_chance:.0f})")


@app.command("classes")
def measure_classes(
    model: Model,
    data: Annotated[Path, typer.Argument(help="Labelled pictures: a folder with sub-folders, or an .npz.")],
    test: Annotated[Path | None, typer.Option(help="Others to test the classifier on.")] = None,
    count: Count = COUNT,
    seed: Seed = SEED,
    truncation: Truncation = TRUNCATION,
    size: Size = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Ask a generator for each class, and a small classifier what came."""
    need("torch", "safetensors")
    from impasto.training import conditional
    from impasto.training.loop import set_threads

    set_threads(threads)
    with Reporter(json) as progress:
        found = conditional.measure_classes(
            model,
            data,
            test=test,
            count=count,
            seed=seed,
            truncation=truncation,
            size=parse_size(size),
            progress=progress,
        )
    if json:
        put_json(found.to_fields())
        return
    _table("", {"accuracy": found.accuracy, "classifier": found.classifier})
    _table("class ", found.by_class)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of ``WIDTHxHEIGHT``, or of one number for both.

    Raises:
        ImpastoError: it is not of this form.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,3})(?:[xX×]([1-9]\d{0,3}))?", text.strip())
    if found is None:
        raise ImpastoError(f"The size {text!r} cannot be used: write width and height, such as 64x64.")
    return int(found[2] or found[1]), int(found[1])


def _table(before: str, figures: Mapping[str, Any]) -> None:
    width = max(map(len, figures), default=0)
    for name, figure in figures.items():
        put(f"{before}{name:<{width}}  {figure:.6g}")
