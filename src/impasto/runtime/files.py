"""Picture files on disk: what they are, reading them whole, and writing them so that nothing is ever lost.

A file is recognised by its first bytes, never by its suffix; what is written follows the suffix. Writing goes to a
temporary file beside the target, is flushed to the disk and then moved into place in one step.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from impasto.errors import PictureError, PictureExists

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""What a picture is read from: a path, the bytes of a file, or an open binary file."""

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""The suffixes that can be written, and the format of each."""

READABLE_SUFFIXES = frozenset({*SUFFIXES, ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".apng"})
"""Suffixes that a picture to be read usually has: what a face collects from a folder."""

READABLE = "JPEG, PNG, WebP, AVIF, TIFF, GIF and BMP"

_HEAD = 64  # bytes that tell every format below apart
_LONG_NAME = 40  # letters
_NEAR = 5000  # a folder may hold a million files: look for a near name among this many at most

# Formats that people meet and that are not read, so that the refusal can say what the file is.
_STRANGERS = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document or SVG drawing"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself"),
)


def sniff(head: bytes) -> str | None:
    """The format that the first bytes of a file belong to.

    Args:
        head: at least the first 32 bytes of the file.

    Returns:
        ``"JPEG"``, ``"PNG"``, ``"WEBP"``, ``"AVIF"``, ``"TIFF"``, ``"GIF"``, ``"BMP"``, or None for anything else.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and _brands(head) & {b"avif", b"avis"}:
        return "AVIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:2] == b"BM":
        return "BMP"
    return None


def _brands(head: bytes) -> set[bytes]:
    """The brands that an ISO media file says it belongs to, as far as the first bytes show them."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))}


def _stranger(head: bytes) -> str:
    """What an unreadable file is, in words."""
    if head[4:8] == b"ftyp":
        kinds = _brands(head)
        return "an HEIC picture" if kinds & {b"heic", b"heix", b"mif1", b"heim"} else "a film"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, words in _STRANGERS:
        if start.startswith(magic) or head.startswith(magic):
            return words
    return "not a picture"


def read_source(source: Source) -> tuple[bytes, str, str]:
    """Read a picture file whole, after checking by its first bytes that it is one.

    Returns:
        The bytes, the format (see `sniff`), and the name to use in messages.

    Raises:
        PictureError: missing, a folder, not permitted, empty, or not a picture of a known format.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return data, _known(data[:_HEAD], "The data"), "The data"
    if isinstance(source, str | os.PathLike):
        with _opened(source) as (file, name):
            return *_read(file, name), name
    if hasattr(source, "read"):
        name = _name_of(source)
        try:
            return *_read(source, name), name
        except (OSError, ValueError) as error:
            raise PictureError(f"{name} cannot be read ({error}): pass a file that is open for reading.") from error
    raise PictureError(
        f"A picture is read from a path, bytes or a binary file: {type(source).__name__} is none of them."
    )


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str, str]]:
    """A picture file open at its start, its format (see `sniff`), and the name to use in messages.

    Raises:
        PictureError: missing, a folder, not permitted, empty, or not a picture of a known format.
    """
    with _opened(path) as (file, name):
        kind = _known(file.read(_HEAD), name)
        file.seek(0)
        yield file, kind, name


@contextmanager
def _opened(source: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str]]:
    path = Path(source)
    name = f"{path.name or str(path)!r}"
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder: name a picture in it.")
        with path.open("rb") as file:
            yield file, name
    except FileNotFoundError:
        raise PictureError(missing_file(path)) from None
    except PermissionError:
        raise PictureError(f"{path} may not be read: check its permissions.") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise PictureError(f"{name} cannot be read ({reason}): check the name and the disk.") from error


def _read(file: BinaryIO, name: str) -> tuple[bytes, str]:
    # The head is judged first, so that a large file of another kind is refused without being read.
    head = file.read(_HEAD)
    if not isinstance(head, bytes):
        raise PictureError(f"{name} is open as text: open it in binary mode ('rb').")
    kind = _known(head, name)
    return head + file.read(), kind


def _known(head: bytes, name: str) -> str:
    if not head:
        raise PictureError(f"{name} is empty (0 bytes): copy or download it again.")
    kind = sniff(head)
    if kind is None:
        raise PictureError(f"{name} is {_stranger(head)}: give a {READABLE.replace(' and ', ' or ')} file.")
    return kind


def _name_of(file: BinaryIO) -> str:
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) and not name.startswith("<") else "The data"


def missing_file(path: Path) -> str:
    """One sentence for a path that is not there, with the nearest name in its folder."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {folder}: check the path of {path.name}."
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _NEAR)]
    except OSError:
        names = []
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(path.name.lower(), by_lower, n=1, cutoff=0.6)
    where = "here" if str(folder) == "." else f"in {folder}"
    if near:
        return f"There is no file {path.name} {where}: did you mean {by_lower[near[0]]}?"
    return f"There is no file {path.name} {where}: check the name."


def format_for(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for by its suffix.

    Raises:
        PictureError: the suffix is none of `SUFFIXES`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    known = ", ".join(SUFFIXES)
    if not suffix:
        raise PictureError(f"The output {path.name!r} has no suffix to tell the format: use one of {known}.")
    near = get_close_matches(suffix, SUFFIXES, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else f"use one of {known}."
    raise PictureError(f"Pictures cannot be written as {suffix}: {hint}")


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse a target early, before any costly work; `write_atomic` decides again, without a race.

    Raises:
        PictureExists: something is there and ``overwrite`` is False.
        PictureError: a folder is there, or the suffix cannot be written.
    """
    target = Path(path)
    format_for(target)
    if target.is_dir():
        raise PictureError(f"{target} is a folder: name a picture file to write in it.")
    if not overwrite and os.path.lexists(target):
        raise PictureExists(_exists(target))


def _exists(target: Path) -> str:
    return f"{target} exists already: choose another name or allow overwriting."


def write_atomic(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write a file so that its name shows either what was there before or all of ``data``, never a part.

    The folder is created if it is missing. Without ``overwrite`` a file that appears meanwhile is never replaced.
    With it, a symbolic link stays a link (its target is replaced) and the permissions of the old file are kept.

    Raises:
        PictureExists: something is there and ``overwrite`` is False.
        PictureError: the place cannot be written.
    """
    with writing(path, overwrite=overwrite) as file:
        file.write(data)


@contextmanager
def writing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when the block ends without an error; see `write_atomic`."""
    target = Path(path)
    try:
        if overwrite and target.is_symlink():
            target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(target) as temporary:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                if target.exists():
                    temporary.chmod(target.stat().st_mode & 0o7777)
                temporary.replace(target)
            else:
                place_new(temporary, target)
    except FileExistsError:
        if target.parent.exists() and not target.parent.is_dir():
            raise PictureError(f"{target.parent} is a file, not a folder: choose another place to write.") from None
        raise PictureExists(_exists(target)) from None
    except OSError as error:
        raise PictureError(f"{target} cannot be written ({error.strerror or error}): choose another place.") from error


def temporary_prefix(name: str) -> str:
    """What the names of temporary files for ``name`` begin with, twelve digits and ``.tmp`` following.

    Short, because names have a greatest length, and unlike that of any other name in the folder, so that whoever
    deletes what is left of one file leaves alone those that are being written.
    """
    if len(name) <= _LONG_NAME:
        return f".{name}."
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f".{name[: _LONG_NAME - 9]}-{digits}."


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """A new empty hidden file in the target's folder; gone afterwards whatever happens, even Ctrl-C."""
    # Not tempfile.mkstemp: that makes files only their owner may read, and a picture should follow the umask.
    temporary = target.with_name(f"{temporary_prefix(target.name)}{secrets.token_hex(6)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def place_new(temporary: Path, target: Path) -> None:
    """Give the temporary file its name, or raise FileExistsError if anything has that name."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):
        # A file system without hard links: reserve the name first, then move onto our own reservation.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
