"""Folders at an address, such as ``s3://bucket/photos``: whatever pyarrow's or fsspec's file systems open.

pyarrow itself knows ``s3://``, ``gs://``, ``abfs://`` and ``hdfs://``; for any other scheme fsspec is asked, as in Ray
Data. Who may read and write is settled where these libraries look for it (for S3: the usual ``AWS_...`` variables,
files and roles), on every machine that paints.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from posixpath import basename, dirname
from typing import Any, NamedTuple

from impasto.errors import ImpastoError, PictureError
from impasto.runtime.files import READABLE_SUFFIXES, temporary_prefix

_BLOCK = 1 << 20
_WHOLE = ("s3", "gcs", "abfs")
"""File systems in which an object is there only once all of it has arrived."""


class Entry(NamedTuple):
    """A file below an address: its path below it, its size, and when it was changed."""

    inside: str
    bytes: int
    mtime_ns: int | None

    @property
    def stamp(self) -> dict[str, int | None]:
        """What tells that it is still the same without reading it."""
        return {"bytes": self.bytes, "mtime_ns": self.mtime_ns}


class Store:
    """A folder at an address.

    Args:
        address: ``scheme://...`` of a folder or a picture; a query (``?region=...``) is for pyarrow.

    Raises:
        ImpastoError: pyarrow or the file system of this scheme is not installed.
        PictureError: the address cannot be opened.
    """

    def __init__(self, address: str) -> None:
        self._address, _, self._query = address.partition("?")
        self._address = self._address.rstrip("/")
        try:
            with _reaching(address):
                self._files, root = _opened(address)
        except ImportError as error:
            raise ImpastoError(
                f"{address} needs {error.name or error}: pip install 'impasto[scale]', and the fsspec package of "
                f"{address.partition(':')[0]}."
            ) from error
        self._root, self._only = root.rstrip("/"), ""
        self._at_once = self._files.type_name in _WHOLE
        if Path(self._address).suffix.lower() in READABLE_SUFFIXES and self._size(self._root) is not None:
            self._only = basename(self._root)
            self._root, self._address = dirname(self._root), dirname(self._address)

    @property
    def address(self) -> str:
        """The address of the folder: of that which a file is in, where it was given a file's."""
        return self._address + (f"?{self._query}" if self._query else "")

    def at(self, inside: str) -> str:
        """The address of a file below this one."""
        return f"{self._address}/{inside}" + (f"?{self._query}" if self._query else "")

    def entries(self) -> list[Entry]:
        """Every file below, sorted; none where nothing is. Given the address of a file, that one.

        Raises:
            PictureError: it cannot be listed.
        """
        from pyarrow.fs import FileSelector, FileType

        with _reaching(self._address):
            wanted = FileSelector(self._root, recursive=True, allow_not_found=True)
            found = self._files.get_file_info([f"{self._root}/{self._only}"] if self._only else wanted)
        cut = len(self._root) + 1
        return sorted(Entry(f.path[cut:], f.size, f.mtime_ns) for f in found if f.type == FileType.File)

    def pictures(self) -> list[Entry]:
        """Those of the entries that seem to be pictures; hidden files and folders are left out."""
        return [
            entry
            for entry in self.entries()
            if Path(entry.inside).suffix.lower() in READABLE_SUFFIXES
            and not any(part.startswith(".") for part in entry.inside.split("/"))
        ]

    def fetch(self, inside: str, path: Path) -> None:
        """Copy a file to this machine; PictureError where it cannot be read."""
        with (
            _reaching(self.at(inside)),
            self._files.open_input_stream(self._place(inside)) as source,
            path.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _BLOCK)

    def read(self, inside: str) -> bytes:
        """The bytes of a file; PictureError where it cannot be read."""
        with _reaching(self.at(inside)), self._files.open_input_stream(self._place(inside)) as source:
            return bytes(source.read())

    def has(self, inside: str) -> bool:
        """Whether there is such a file; PictureError where nobody can tell."""
        return self._size(self._place(inside)) is not None

    def digest(self, inside: str) -> str:
        """The sha256 of a file; empty where it cannot be read."""
        digest = hashlib.sha256()
        with suppress(OSError), self._files.open_input_stream(self._place(inside)) as source:
            while block := source.read(_BLOCK):
                digest.update(block)
            return digest.hexdigest()
        return ""

    def put(self, path: Path, inside: str) -> None:
        """Copy a file from this machine, whole or not at all; one that is there is replaced.

        In an object store it is written to its name in one go, and is there only when all of it is; elsewhere it goes
        to a hidden name beside, always the same one, and is then moved into place.

        Raises:
            PictureError: it cannot be written, or less arrived than was sent; then nothing is left of it.
        """
        final = self._place(inside)
        place = final if self._at_once else f"{dirname(final)}/{temporary_prefix(basename(final))}impasto.tmp"
        with _reaching(self.at(inside), "written"):
            if not self._at_once:
                self._files.create_dir(dirname(final), recursive=True)
            try:
                with path.open("rb") as source, self._files.open_output_stream(place) as target:
                    shutil.copyfileobj(source, target, _BLOCK)
                arrived, sent = self._size(place), path.stat().st_size
                if arrived != sent:
                    raise OSError(f"{arrived or 0} of {sent} bytes arrived")
                if place != final:
                    self._files.move(place, final)
            except BaseException:
                with suppress(Exception):
                    self._files.delete_file(place)
                raise

    def _place(self, inside: str) -> str:
        return f"{self._root}/{inside}"

    def _size(self, place: str) -> int | None:
        """The size of a file; None where there is none."""
        from pyarrow.fs import FileType

        with _reaching(self._address):
            (there,) = self._files.get_file_info([place])
        return int(there.size) if there.type == FileType.File else None


def _opened(address: str) -> tuple[Any, str]:
    import pyarrow
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        files, root = FileSystem.from_uri(address)
        return files, str(root)
    except pyarrow.ArrowInvalid:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(address)
        return PyFileSystem(FSSpecHandler(files)), str(root)


@contextmanager
def _reaching(address: str, what: str = "read") -> Iterator[None]:
    """Say in one sentence what these libraries raise in a dozen classes."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{address} cannot be {what} ({reason}): check the address and who may use it.") from error
