"""Which pictures a cluster reads and where each is written, and the report of it, in folders or at addresses."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from impasto.apps.cli.plan import STREAM, find_inputs, is_address, output_folder, plan_jobs, suffixed
from impasto.apps.cli.report import Ledger, Report, stamp_of
from impasto.apps.cluster_worker import Errand, store_at
from impasto.apps.store import Entry, Store
from impasto.errors import PictureError

PARTS = "impasto-report"
"""At an address nothing can be appended to, so the report is a folder of files, each with the lines of some time."""

_BYTES, _SECONDS = 1 << 23, 30.0  # a part is written when it is so large, or its first line so old


@dataclass(frozen=True, slots=True)
class Scatter:
    """What a cluster is to do.

    Attributes:
        folder: the output folder or address.
        errands: every picture, finished or not.
        there: names of outputs that exist.
        parts: names of the files of the report at an address.
    """

    folder: str
    errands: Sequence[Errand]
    there: frozenset[str]
    parts: Sequence[str] = ()

    def report(self, settings: Mapping[str, Any]) -> Ledger:
        """The report of the output folder; PictureError where it cannot be read."""
        if is_address(self.folder):
            return FarReport(store_at(self.folder), self.parts, settings)
        return Report(Path(self.folder), settings)


class FarReport(Ledger):
    """The report of an output folder at an address.

    Args:
        parts: the files that it consists of so far, oldest first.
        settings: all that a painted picture depends on beside the photo, as JSON.

    Raises:
        PictureError: it cannot be read.
    """

    def __init__(self, store: Store, parts: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._store, self._parts = store, parts
        self._waiting: list[bytes] = []
        self._size, self._since = 0, 0.0
        super().__init__(settings)

    def flush(self) -> None:
        """Write what was said since the last time; PictureError where that fails."""
        if not self._waiting:
            return
        # Names sort by time; two commands never have the same.
        name = f"{PARTS}/{time.time_ns():020}-{secrets.token_hex(4)}.jsonl"
        with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
            path = Path(folder) / "part"
            path.write_bytes(b"".join(self._waiting))
            self._store.put(path, name)
        self._waiting.clear()
        self._size = 0

    def _read(self) -> bytes:
        return b"".join(self._store.read(name) for name in self._parts)

    def _write(self, text: bytes) -> None:
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(text)
        self._size += len(text)
        if self._size >= _BYTES or time.monotonic() - self._since > _SECONDS:
            self.flush()


def plan_errands(
    inputs: Sequence[str], output: str | None, *, suffix: str | None = None, kept: Sequence[str] = ()
) -> Scatter:
    """Settle every source and target, or refuse all of it.

    Args:
        inputs: files, folders, patterns, and addresses of folders or pictures.
        output: a folder, or the address of one.
        suffix, kept: as for ``plan_jobs``.

    Raises:
        PictureError: no picture was found, the output is no folder, two outputs, or an output and an input, are one,
            or an address cannot be read.
    """
    if output is None or output in ("", STREAM) or STREAM in inputs:
        raise PictureError("A cluster paints files into a folder: give -o a folder or an address, and no stream.")
    inputs, output = [_as_path(text) for text in inputs], _as_path(output)
    output = output.rstrip("/") if is_address(output) else output
    far = is_address(output)
    folder = None if far else output_folder(inputs, output, suffix)
    if not far and folder is None:
        raise PictureError(f"A cluster paints into a folder, and -o {output} is a file: give a folder.")
    if folder is not None and not any(map(is_address, inputs)):
        jobs = plan_jobs(inputs, output=output, label="", suffix=suffix, overwrite=True, kept=kept)
        named = [(job.source, job.target) for job in jobs if job.source is not None and job.target is not None]
        errands = [
            Errand(
                source=_absolute(source),
                source_at=None,
                target=_absolute(target),
                target_at=None,
                name=target.relative_to(folder).as_posix(),
                stamp=stamp_of(source),
            )
            for source, target in named
        ]
        return Scatter(str(folder), errands, _existing(errands))
    entries: list[Entry] = []
    if far:
        store = store_at(output)
        if store.address.rstrip("/") != output.rstrip("/"):
            raise PictureError(f"A cluster paints into a folder, and -o {output} is a picture: give a folder.")
        entries = store.entries()
    errands = []
    for text in inputs:
        for source, source_at, inside, stamp in _found(text, output if far else None, folder):
            name = suffixed(Path(inside), suffix).as_posix()
            place = name if folder is None else _absolute(folder / name)
            at = output if far else None
            errands.append(
                Errand(source=source, source_at=source_at, target=place, target_at=at, name=name, stamp=stamp)
            )
    _refuse_clashes(errands)
    there = frozenset(entry.inside for entry in entries) if far else _existing(errands)
    return Scatter(
        output if folder is None else str(folder),
        errands,
        there,
        [name for name in sorted(there) if far and name.startswith(f"{PARTS}/") and name.endswith(".jsonl")],
    )


def _found(
    text: str, output: str | None, folder: Path | None
) -> Iterator[tuple[str, str | None, str, Mapping[str, int | None]]]:
    """What one input names: the source, its address, its place in the output folder, and its stamp."""
    if not is_address(text):
        for one in find_inputs([text], avoid=folder):
            assert one.path is not None, "no stream"
            yield _absolute(one.path), None, one.inside.as_posix(), stamp_of(one.path)
        return
    store = store_at(text)
    seen = store.pictures()
    # What was painted before, in an output folder inside the input, is no photo.
    below = "" if output is None else f"{output.partition('?')[0].rstrip('/')}/"
    if below.startswith(f"{text.partition('?')[0].rstrip('/')}/") and output != store.address:
        seen = [entry for entry in seen if not store.at(entry.inside).startswith(below)]
    if not seen:
        raise PictureError(f"There is no picture at {text}: name a folder that holds some, or the picture itself.")
    for entry in seen:
        yield entry.inside, store.address, entry.inside, entry.stamp


def _refuse_clashes(errands: Sequence[Errand]) -> None:
    sources = {errand.input for errand in errands}
    taken: dict[str, Errand] = {}
    for errand in errands:
        if errand.output in sources:
            raise PictureError(f"{errand.output} is an input as well, and it would be lost: choose another output.")
        other = taken.setdefault(errand.target, errand)
        if other is not errand:
            raise PictureError(
                f"{other.input} and {errand.input} would both be written to {errand.output}: paint them one by one."
            )


def _existing(errands: Sequence[Errand]) -> frozenset[str]:
    return frozenset(errand.name for errand in errands if os.path.lexists(errand.target))


def _as_path(text: str) -> str:
    """``file:///photos`` as the path that it is; anything else as it was."""
    return unquote(urlsplit(text).path) if text.startswith("file://") else text


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- Path.absolute() keeps "..".
