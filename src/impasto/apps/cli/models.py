"""``impasto models``: list, inspect and verify model files, let one dream (dream.py) or underpaint (underpaint.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.apps.cli.dream import know
from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.terminal import explain, put, put_json, say
from impasto.apps.cli.underpaint import underpaint
from impasto.errors import ImpastoError
from impasto.runtime.bundle import Bundle, GraphSpec, Manifest, bundled_models

app = typer.Typer(help="List, inspect and verify model files; let one dream.", no_args_is_help=True, **TYPER_OPTIONS)

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text.")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that came with impasto."""
    for name, path in bundled_models().items():
        bundle = Bundle.open(path)
        manifest = bundle.manifest
        if json:
            put_json(
                {
                    "name": name,
                    "kind": manifest.kind,
                    "styles": len(manifest.styles),
                    **_drawn(manifest),
                    "bytes": path.stat().st_size,
                    "created": manifest.created,
                    "path": str(path),
                }
            )
        else:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            what = f"{len(manifest.styles)} styles" if manifest.kind == "style" else _pictures(manifest)
            put(f"{name}  {manifest.kind}  {what}  {size}  {manifest.created}")


@app.command("inspect")
def inspect_model(
    model: Annotated[str, typer.Argument(help="Name of a model that came with impasto, or a file.")],
    json: Json = False,
) -> None:
    """Show what a model file says about itself."""
    bundle = Bundle.open(model)
    manifest = bundle.manifest
    if json:
        put_json({"path": str(bundle.path), "sha256": bundle.sha256, **manifest.to_fields()})
        return
    rows = [
        ("name", manifest.name),
        ("kind", manifest.kind),
        ("file", str(bundle.path)),
        ("size", f"{bundle.path.stat().st_size:,} bytes"),
        ("sha256", bundle.sha256),
        ("created", f"{manifest.created} with impasto {manifest.impasto}, format {manifest.format}"),
        ("trained", f"{manifest.step:,} steps, {manifest.images_seen:,} images seen"),
    ]
    rows += [(f"graph {role}", _graph(spec)) for role, spec in manifest.graphs.items()]
    if manifest.code_size is not None:
        rows.append(("style code", f"{manifest.code_size} numbers"))
    if manifest.latent is not None:
        rows.append(("pictures", _pictures(manifest)))
        rows.append(("latent", f"{manifest.latent.size} numbers, distribution {manifest.latent.distribution}"))
        rows += [("class", name) for name in manifest.latent.classes]
    rows += [("style", f"{style.name}: {style.title}, {style.artist}, {style.year}") for style in manifest.styles]
    rows += [("data", f"{source.name}: {source.what} ({source.licence})") for source in manifest.data]
    rows += [("quality", f"{protocol}: {figure:g}") for protocol, figure in manifest.quality.items()]
    licence = manifest.licence
    rows += [("licence", f"code {licence.code}; weights {licence.weights}; data {licence.data}")]
    rows += [("recipe", f"{key} = {value}") for key, value in manifest.recipe.items()]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        put(f"{label:<{width}}  {value}")


app.command("dream")(know)
app.command("underpaint")(underpaint)


@app.command("verify")
def verify_models(
    models: Annotated[list[str], typer.Argument(help="Names of models that came with impasto, or files.")],
    json: Json = False,
) -> None:
    """Check model files byte by byte: whole, unaltered, and of a format that this impasto reads."""
    failed = 0
    for model in models:
        try:
            bundle = Bundle.open(model)
        except ImpastoError as error:
            if len(models) == 1 and not json:
                raise
            failed += 1
            if json:
                put_json({"model": model, "ok": False, "error": str(error)})
            say(explain(error))
            continue
        if json:
            put_json({"model": model, "ok": True, "sha256": bundle.sha256})
        else:
            put(f"{model}: whole and unaltered, sha256 {bundle.sha256}")
    if failed:
        raise typer.Exit(2 if len(models) == 1 else 1)


def _graph(spec: GraphSpec) -> str:
    takes = ", ".join(f"{one.name} {_shape(one.shape)}" for one in spec.inputs)
    gives = ", ".join(f"{one.name} {_shape(one.shape)}" for one in spec.outputs)
    if not any(len(one.shape) == 4 and "H" in map(str.upper, map(str, one.shape)) for one in spec.inputs):
        return f"{spec.member}: {takes} -> {gives}"  # no picture of any size goes in, so there is no rule for sizes
    reach = "the whole picture" if spec.receptive_field is None else f"{spec.receptive_field} px"
    return (
        f"{spec.member}: {takes} -> {gives}; "
        f"sides of {spec.minimum} px or more in multiples of {spec.multiple}, sees {reach} around a pixel"
    )


def _pictures(manifest: Manifest) -> str:
    """What a generator draws, in words."""
    modes = {1: "grey", 3: "RGB", 4: "RGBA"}
    classes = len(manifest.latent.classes) if manifest.latent is not None else 0
    return f"{manifest.width}x{manifest.height} {modes.get(manifest.channels or 0, '?')}" + (
        f", {classes} classes" if classes else ""
    )


def _drawn(manifest: Manifest) -> dict[str, object]:
    if manifest.latent is None:
        return {}
    sizes = {"width": manifest.width, "height": manifest.height, "channels": manifest.channels}
    return {**sizes, "classes": len(manifest.latent.classes)}


def _shape(shape: tuple[int | str, ...]) -> str:
    return "x".join(map(str, shape))
