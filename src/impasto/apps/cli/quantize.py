"""``impasto quantize``: add a painter in 8 bits to a style model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.painter import Overwrite, Threads
from impasto.apps.cli.terminal import put, put_json, say
from impasto.apps.cli.trainer import Json, Reporter, need


def quantize(
    model: Annotated[str, typer.Argument(help="A style model: a file, or one of 'impasto models list'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write, NAME.impasto.")],
    photos: Annotated[
        Path, typer.Option("--photos", help="A folder of photos: some to measure ranges on, others to compare.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if it is hardly faster than in 32 bits.")
    ] = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Add a painter that computes in 8 bits to a style model: for 'impasto stylize --precision int8'.

    Layers that would cost too much stay in 32 bits. Nothing is written where it is not clearly faster.
    """
    need("onnx", "torch")
    from impasto.training.quantize_model import add_int8

    with Reporter(json) as progress:
        made = add_int8(model, output, photos, threads=threads, force=force, overwrite=overwrite, progress=progress)
    found = made.found
    if json:
        put_json(
            {
                "path": str(output),
                "bytes": made.size,
                "psnr_mean": round(found.mean, 2),
                "psnr_worst": round(found.worst, 2),
                "psnr_worst_picture": round(found.worst_picture, 2),
                "psnr": {name: round(value, 2) for name, value in found.psnr.items()},
                "faster": round(made.faster, 3),
                "int8": list(found.layers),
                "fp32": list(found.kept),
            }
        )
        return
    put(str(output))
    for name, value in found.psnr.items():
        say(f"{name}: {value:.1f} dB")
    say(
        f"{len(found.layers)} of {len(found.layers) + len(found.kept)} inner convolutions in int8, "
        f"{made.faster:.2f} times as fast, {found.mean:.1f} dB in the mean of styles, {found.worst:.1f} in the worst."
    )
