"""``impasto measure style``: how good painted pictures are, whoever painted them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.terminal import put_json, say
from impasto.apps.cli.trainer import Reporter, Threads, need


def measure_style(
    photos: Annotated[Path, typer.Option("--photos", metavar="FOLDER", help="The photos, and clips.")],
    paintings: Annotated[Path, typer.Option("--paintings", metavar="FOLDER", help="The paintings.")],
    painted: Annotated[
        list[Path],
        typer.Option(
            "--painted",
            metavar="FOLDER",
            help="What was made of them, as PHOTO--STYLE.png, PHOTO__STYLE.png, PHOTO-STYLE.png or STYLE/PHOTO.png. "
            "Give several to compare.",
        ),
    ],
    size: Annotated[
        int | None, typer.Option("--size", min=32, help="Pixels of the squares that are compared; 512 unless given.")
    ] = None,
    vgg: Annotated[
        Path | None,
        typer.Option("--vgg", metavar="FILE", help="Weights of VGG-16, such as vgg16-397923af.pth of torchvision."),
    ] = None,
    lpips: Annotated[
        Path | None,
        typer.Option("--lpips", metavar="FILE", help="Also LPIPS: vgg.pth of LPIPS 0.1; needs torchvision's --vgg."),
    ] = None,
    artfid: Annotated[
        Path | None,
        typer.Option(
            "--artfid", metavar="FILE", help="Also ArtFID: its Inception, as TorchScript or ONNX; needs --lpips."
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="After the line of each folder, one for each picture and clip in it.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where the feature networks run: cpu, cuda ...")] = "cpu",
    threads: Threads = None,
) -> None:
    """Measure style gap, content lost and more: one line of JSON for each folder. A figure's name is its protocol."""
    need("torch", "safetensors", "h5py")
    from impasto.training import measure_style as measuring
    from impasto.training.loop import set_threads

    set_threads(threads)
    with Reporter(False) as progress:
        scores = measuring.measure_style(
            photos,
            paintings,
            painted,
            size=measuring.SIDE if size is None else size,
            vgg=vgg,
            lpips=lpips,
            inception=artfid,
            device=device,
            progress=progress,
        )
    for remark in dict.fromkeys(remark for one in scores for remark in one.remarks):
        say(remark)
    for one in scores:
        put_json(one.to_fields())
        for pair in one.pairs if pairs else ():
            put_json(pair.to_fields(one.folder))
