"""The options that every drawing verb has, the generator that they ask for, and where single pictures go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.terminal import put_bytes, say
from impasto.errors import ImpastoError, PictureError, UnknownName
from impasto.runtime.engine import ENGINES
from impasto.runtime.files import check_target
from impasto.runtime.generator import MOST_TRUNCATION, PRIORS, Generator, Prior
from impasto.runtime.picture import Picture

STREAM = "-"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="One of 'impasto models list', or a file.")]
Class = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="NAME", help="What to draw; give several and they take turns. Else: by the seed."),
]
Truncation = Annotated[
    float,
    typer.Option("--truncation", min=0, max=MOST_TRUNCATION, help="1: as trained; towards 0: typical, less varied."),
]
From = Annotated[
    str | None,
    typer.Option("--prior", help=f"Of a VAE: draw from {' or '.join(PRIORS)}; without it, the better that it has."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per picture, not its path.")]


def load_generator(model: str, *, engine: str, threads: int | None) -> Generator:
    """A generator that is ready to draw, so that whatever is wrong with it shows before any picture.

    Raises:
        ImpastoError: the model, the engine or the number of threads cannot be used.
    """
    chosen = next((known for known in ENGINES if known == engine), None)
    if chosen is None:
        raise UnknownName("engine", engine, ENGINES)
    generator = Generator.load(model, engine=chosen, threads=threads)
    _ = generator.device  # Loads it.
    for note in generator.notes:
        say(note)
    return generator


def prior_of(name: str | None) -> Prior | None:
    """The prior of that name; UnknownName if there is none."""
    known = next((one for one in PRIORS if one == name), None)
    if name is not None and known is None:
        raise UnknownName("prior", name, PRIORS)
    return known


def take_turns(classes: list[str] | None, start: int, count: int) -> list[str] | None:
    """The class of each of ``count`` pictures, the first of them being number ``start`` of the command."""
    if not classes:
        return None
    return [classes[(start + k) % len(classes)] for k in range(count)]


def parse_seeds(text: str, what: str) -> list[int]:
    """Seeds such as ``1,2,3``.

    Raises:
        ImpastoError: it is not a list of whole numbers from 0 on.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ImpastoError(f"{what} {text!r} is no list of seeds: give whole numbers from 0 on, such as 1,2,3.")
    return [int(part) for part in parts]


def is_folder(output: str) -> bool:
    """Whether ``-o`` means a folder: one that exists, ends in a slash or has no suffix."""
    separators = tuple(sep for sep in (os.sep, os.altsep) if sep)
    return Path(output).is_dir() or output.endswith(separators) or not Path(output).suffix


def one_target(output: str | None, name: str, *, overwrite: bool) -> Path | None:
    """Where the one picture of a command goes, refused early; None for standard output.

    Args:
        output: a file, a folder, ``-`` for standard output, or None for the folder we are in.
        name: of the file, where a folder is meant.
        overwrite: it may exist.

    Raises:
        PictureError: it cannot be written, or standard output is a terminal.
    """
    if output == STREAM:
        if sys.stdout.isatty():
            raise PictureError("A picture would be written to the terminal: give -o a file, or send stdout to one.")
        return None
    if output == "":
        raise PictureError("-o is empty: give a file or a folder to it.")
    target = Path(name) if output is None else Path(output) / name if is_folder(output) else Path(output)
    check_target(target, overwrite=overwrite)
    return target


def write_picture(picture: Picture, target: Path | None, suffix: str, *, overwrite: bool, quality: int | None) -> str:
    """Write to a file, or to standard output in the format of ``suffix``; gives the name to report."""
    if target is None:
        put_bytes(picture.to_bytes(suffix, quality=quality))
        return STREAM
    for note in picture.save(target, overwrite=overwrite, quality=quality):
        say(f"{target}: {note}")
    return str(target)
