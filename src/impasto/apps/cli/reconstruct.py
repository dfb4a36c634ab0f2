"""``impasto reconstruct``: pictures through the encoder of a VAE and back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from impasto.apps.cli.drawer import Json, Model, load_generator
from impasto.apps.cli.painter import Engine, MaxPixels, Overwrite, Threads
from impasto.apps.cli.plan import Job, plan_jobs, suffix_of
from impasto.apps.cli.terminal import default_of, explain, progress_bar, put, put_json, say, trace
from impasto.errors import ImpastoError, PictureError
from impasto.progress import Progress
from impasto.runtime.generator import Generator
from impasto.runtime.picture import Picture


def reconstruct(
    model: Model,
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN", help="Pictures, folders, or quoted patterns like 'photos/**/*.jpg'.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A file, or a folder (inputs keep their names). Without it: <name>-reconstructed beside each input.",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Write jpg, png, webp, avif or tif; else the format of the input.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF: 1 to 100.")
    ] = default_of(Picture.save, "quality"),
    overwrite: Overwrite = default_of(Picture.save, "overwrite"),
    engine: Engine = default_of(Generator.load, "engine"),
    threads: Threads = default_of(Generator.load, "threads"),
    max_pixels: MaxPixels = default_of(Picture.open, "max_pixels"),
    json: Json = False,
) -> None:
    """Put pictures through a VAE and back: what comes out is what the model knows of them.

    The middle of each picture is taken, at the model's size. Prints the path of each result.
    """
    suffix = None if format is None else suffix_of(format)
    jobs = plan_jobs(inputs, output=output, label="reconstructed", suffix=suffix, overwrite=overwrite)
    if any(job.source is None or job.target is None for job in jobs):
        raise PictureError("Streams (-) cannot be reconstructed: give files, and a file or folder to -o.")
    drawer = load_generator(model, engine=engine, threads=threads)
    if not drawer.can_reconstruct:
        drawer.encode([])  # says why
    failed = 0
    with progress_bar(len(jobs), quiet=json) as report:
        for start in range(0, len(jobs), drawer.batch):
            some = jobs[start : start + drawer.batch]
            report(Progress(start, len(jobs), "pictures", str(some[0].source)))
            started = time.perf_counter()
            read: list[tuple[Job, Picture]] = []
            for job in some:
                try:
                    assert job.source is not None
                    read.append((job, Picture.open(job.source, max_pixels=max_pixels)))
                except ImpastoError as error:
                    failed += _missed(job, error, len(jobs), json)
            for (job, photo), picture in zip(read, drawer.reconstruct([one for _, one in read]), strict=True):
                try:
                    assert job.target is not None
                    lost = picture.save(job.target, overwrite=overwrite, quality=quality)
                except ImpastoError as error:
                    failed += _missed(job, error, len(jobs), json)
                    continue
                _tell(job, picture, [*photo.info.notes, *lost], started, json)
    if failed:
        say(f"{failed} of {len(jobs)} pictures could not be reconstructed.")
        raise typer.Exit(1)


def _missed(job: Job, error: ImpastoError, total: int, json: bool) -> int:
    """Report a picture that failed, and count it; the only picture of a command does not fail quietly."""
    if total == 1:
        raise error
    trace()
    say(f"{job.source}: {explain(error)}")
    if json:
        put_json({"input": str(job.source), "error": explain(error)})
    return 1


def _tell(job: Job, picture: Picture, notes: list[str], started: float, json: bool) -> None:
    for note in notes:
        say(f"{job.source}: {note}")
    if not json:
        put(str(job.target))
        return
    width, height = picture.size
    told: dict[str, Any] = {"input": str(job.source), "output": str(job.target), "width": width, "height": height}
    put_json({**told, "seconds": round(time.perf_counter() - started, 4), "notes": notes})
