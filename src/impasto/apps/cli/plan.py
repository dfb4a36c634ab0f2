"""Which pictures are read and where each is written, settled before anything is painted."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import PictureError, PictureExists, UnknownName
from impasto.runtime.files import READABLE_SUFFIXES, SUFFIXES, check_target, format_for

STREAM = "-"


@dataclass(frozen=True, slots=True)
class Found:
    """One input.

    Attributes:
        path: the file, or None for standard input.
        inside: its place in the output folder: the path below the folder or pattern it was found through.
        named: it was named itself, not found through a folder.
    """

    path: Path | None
    inside: Path
    named: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to paint: ``source`` None is standard input, ``target`` None is standard output."""

    source: Path | None
    target: Path | None


def plan_jobs(
    inputs: Sequence[str],
    *,
    output: str | None,
    label: str,
    suffix: str | None = None,
    overwrite: bool = False,
    kept: Sequence[str] = (),
) -> list[Job]:
    """Settle every source and target, or refuse all of it.

    Args:
        inputs: files, folders, patterns such as ``"photos/**/*.jpg"``, or ``"-"`` alone for standard input.
        output: a file, a folder, ``"-"`` for standard output, or None for ``<stem>-<label><suffix>`` beside each input
            (standard output for standard input).
        label: the style, for the names of outputs.
        suffix: write this format, such as ``".webp"``; None: the input's, or PNG where that cannot be written.
        overwrite: targets may exist.
        kept: other files in use, such as style pictures, that no target may replace either.

    Raises:
        PictureError: no picture was found, or two outputs, or an output and an input, are one file.
        PictureExists: a target exists and ``overwrite`` is false.
    """
    if output == "":
        raise PictureError("-o is empty: give a file or a folder to it.")
    address = next((text for text in [*inputs, output or ""] if is_address(text)), None)
    if address is not None:
        raise PictureError(f"{address} is an address, which a cluster reads and writes: add --cluster local.")
    folder = output_folder(inputs, output, suffix)
    found = find_inputs(inputs, avoid=folder)
    if STREAM in inputs and len(inputs) > 1:
        raise PictureError("Standard input (-) cannot be mixed with other pictures: paint it in a command of its own.")
    if len(found) > 1 and output is not None and folder is None:
        where = "standard output" if output == STREAM else output
        raise PictureError(f"{len(found)} pictures cannot all be written to {where}: give a folder to -o.")
    jobs = []
    for one in found:
        if output == STREAM or (output is None and one.path is None):
            target = None
        elif folder is not None:
            target = folder / suffixed(one.inside, suffix)
        elif output is not None:
            target = Path(output)
        else:
            assert one.path is not None
            beside = suffixed(one.path, suffix)
            target = beside.with_name(f"{beside.stem}-{label}{beside.suffix}")
        jobs.append(Job(one.path, target))
    if output is None:
        jobs = _without_earlier_results(jobs, found)
    _refuse_clashes(jobs, kept)
    if not overwrite:
        refuse_existing(jobs)
    return jobs


def find_inputs(inputs: Sequence[str], *, avoid: Path | None = None) -> list[Found]:
    """Every picture that the inputs name, each once, in the order given and sorted within a folder.

    Args:
        inputs: as for :func:`plan_jobs`.
        avoid: the output folder; where it lies inside an input folder, what it holds is not painted again.

    Raises:
        PictureError: a folder holds no picture or a pattern matches none.
    """
    found: dict[str, Found] = {}
    for text in inputs:
        path = Path(text)
        if not text:
            raise PictureError("An input is empty: give a picture, a folder, a pattern or - for standard input.")
        if text == STREAM:
            batch = [Found(None, Path("stdin"), True)]
        elif path.is_dir():
            batch = [Found(file, file.relative_to(path), False) for file in _walk(path, avoid)]
            if not batch:
                raise PictureError(f"The folder {text} holds no picture: name another folder, or the files themselves.")
        elif glob.has_magic(text) and not os.path.lexists(path):
            root = _fixed_part(text)
            shut = avoid if avoid is not None and _is_below(avoid, root) else None
            # Not Path.glob: it refuses absolute patterns, and shells hide dot files as glob.glob does.
            matches = sorted(Path(match) for match in glob.glob(text, recursive=True))  # noqa: PTH207
            batch = [
                Found(file, file.relative_to(root), False)
                for file in matches
                if _is_picture(file) and not (shut and _is_below(file, shut))
            ]
            if not batch:
                raise PictureError(f"No picture matches {text}: check the pattern.")
        else:
            batch = [Found(path, Path(path.name), True)]
        for one in batch:
            found.setdefault("" if one.path is None else _key(one.path), one)
    return list(found.values())


def output_folder(inputs: Sequence[str], output: str | None, suffix: str | None) -> Path | None:
    """The folder that ``output`` means, or None where it is a file, a stream or not given."""
    if output is None or output == STREAM:
        return None
    path = Path(output)
    ends_as_folder = output.endswith(tuple(sep for sep in (os.sep, os.altsep) if sep))
    if path.is_dir() or ends_as_folder or not path.suffix:
        return path
    several = len(inputs) > 1 or any(Path(text).is_dir() or glob.has_magic(text) for text in inputs)
    if several and path.suffix.lower() not in SUFFIXES:
        return path
    if suffix is not None and SUFFIXES[suffix] != format_for(path):
        raise PictureError(f"-o {output} and --format {suffix[1:]} disagree: leave one of them out.")
    return None


def is_address(text: str) -> bool:
    """Whether a text is an address, such as ``s3://bucket/photos``, and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def reported_folder(inputs: Sequence[str], output: str | None, suffix: str | None) -> Path | None:
    """The output folder, where inputs are found through folders or patterns, so that a report is kept in it."""
    found = any(Path(text).is_dir() or (glob.has_magic(text) and not os.path.lexists(text)) for text in inputs if text)
    return output_folder(inputs, output, suffix) if found and output else None


def suffix_of(format: str) -> str:
    """The suffix that a ``--format`` such as ``png`` or ``JPEG`` means; UnknownName where it cannot be written."""
    suffix = f".{format.lower().lstrip('.')}"
    if suffix not in SUFFIXES:
        raise UnknownName("format", format, [known[1:] for known in SUFFIXES])
    return suffix


def suffixed(path: Path, suffix: str | None) -> Path:
    """A path with the suffix that was asked for; without one, with its own, or ``.png`` where that is not written."""
    if suffix is not None and SUFFIXES[suffix] != SUFFIXES.get(path.suffix.lower()):
        return path.with_suffix(suffix)
    return path if path.suffix.lower() in SUFFIXES else path.with_suffix(".png")


def _walk(folder: Path, avoid: Path | None) -> list[Path]:
    files = []
    shut = None if avoid is None else _real(avoid)
    for place, folders, names in os.walk(folder):
        here = Path(place)
        # Hidden folders hold thumbnails and trash, hidden files the leftovers of other systems.
        folders[:] = sorted(name for name in folders if name[0] != "." and _real(here / name) != shut)
        files += [here / name for name in sorted(names) if name[0] != "." and _is_picture(here / name)]
    return files


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READABLE_SUFFIXES and not path.is_dir()


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _without_earlier_results(jobs: list[Job], found: list[Found]) -> list[Job]:
    """Leave out what this very command painted before: files found in a folder that are another one's target."""
    targets = {_key(job.target) for job in jobs if job.target is not None}
    return [
        job
        for job, one in zip(jobs, found, strict=True)
        if one.named or one.path is None or _key(one.path) not in targets
    ]


def _refuse_clashes(jobs: list[Job], kept: Sequence[str]) -> None:
    sources = {_real(job.source) for job in jobs if job.source is not None} | {_real(Path(name)) for name in kept}
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        if _real(job.target) in sources:
            raise PictureError(f"{job.target} is an input as well, and it would be lost: choose another output.")
        other = taken.setdefault(_real(job.target), job)
        if other is not job:
            raise PictureError(
                f"{other.source} and {job.source} would both be written to {job.target}: paint them one by one."
            )
        check_target(job.target, overwrite=True)
        ancestor = next((parent for parent in job.target.parents if os.path.lexists(parent)), None)
        if ancestor is not None and not ancestor.is_dir():
            raise PictureError(f"{ancestor} is a file, so nothing can be written inside it: choose another folder.")


def refuse_existing(jobs: Sequence[Job]) -> None:
    """Refuse to replace what is there; PictureExists."""
    refuse_there([job.target for job in jobs if job.target is not None and os.path.lexists(job.target)])


def refuse_there(there: Sequence[object]) -> None:
    """Refuse to replace outputs that are there; PictureExists."""
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise PictureExists(f"{there[0]}{more} exists already: choose another output or add --overwrite.")


def _is_below(path: Path, folder: Path) -> bool:
    return Path(_real(folder)) in Path(_real(path)).parents


def _key(path: Path) -> str:
    """A name under which the same path is always filed; links are not followed."""
    return _folded(os.path.abspath(path))  # noqa: PTH100 -- Path.absolute() keeps "..".


def _real(path: Path) -> str:
    """A name under which the same file is always filed, through links."""
    return _folded(os.path.realpath(path))


def _folded(name: str) -> str:
    # Windows and macOS see Photo.jpg and photo.JPG as one file.
    return name.casefold() if sys.platform in ("win32", "darwin") else name
