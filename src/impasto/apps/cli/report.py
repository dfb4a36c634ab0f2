"""``impasto-report.jsonl`` in the output folder: what became of each picture, and what the same command may skip.

Only ever appended to, a line in one piece, so that a process that is killed takes nothing back:

    {"settings": "5f1c...", "of": {...}}                                   once for each set of settings
    {"begun": "sea/a.jpg", "input": ..., "bytes": ..., "mtime_ns": ..., "settings": ...}   before it is painted
    {"output": "sea/a.jpg", "sha256": ..., the fields of begun, the fields of --json}      it is there, complete
    {"output": "sea/a.jpg", "error": ..., "input": ..., "settings": ...}   it failed

Outputs are relative to the folder, inputs absolute. The last line about an output counts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from threading import Lock
from typing import Any

from impasto.apps.cli.plan import Job
from impasto.errors import PictureError
from impasto.runtime.files import temporary_prefix
from impasto.runtime.picture import Picture

NAME = "impasto-report.jsonl"
_BLOCK = 1 << 20


class State(Enum):
    """What the report and the disk say about an output."""

    NEW = auto()  # nothing is known: whatever is there is somebody's
    FINISHED = auto()  # painted from this very file with these settings, and unchanged
    STALE = auto()  # ours, and to be painted again: begun and not finished, damaged, or the photo has changed
    CHANGED = auto()  # it was finished, and somebody has worked on it since


class Ledger(ABC):
    """Lines about outputs, by their names. Where they are kept is for those that inherit this to say.

    Args:
        settings: all that a painted picture depends on beside the photo, as JSON.

    Raises:
        PictureError: the lines cannot be read.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lock, self._known = Lock(), False
        self._last: dict[str, dict[str, Any]] = {}
        data = self._read()
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            fields: Any = None
            with suppress(ValueError, RecursionError):  # the disk was full, or the machine lost power
                fields = json.loads(line)
            if isinstance(fields, dict):
                name = fields.get("begun", fields.get("output"))
                if isinstance(name, str):
                    self._last[name] = fields
                self._known |= "of" in fields and fields.get("settings") == self.digest

    def claim(self, name: str, source: str) -> State | dict[str, Any]:
        """What the lines alone say of an output: a state, or the line of a finished one, to be checked by ``judge``.

        Args:
            name: the output, below the folder.
            source: the photo that it is to be painted from now.
        """
        last = self._last.get(name)
        if last is None or last.get("settings") != self.digest or last.get("input") != source:
            return State.NEW
        if "begun" in last or "lost" in last:
            return State.STALE
        return last if "sha256" in last else State.NEW

    def begin_name(self, name: str, source: str, stamp: Mapping[str, int | None]) -> None:
        """Say that an output is being painted, from a photo with this ``bytes`` and ``mtime_ns``."""
        self._add({"begun": name, "input": source, "settings": self.digest, **stamp})

    def end_name(self, name: str, line: Mapping[str, Any]) -> None:
        """Say what became of an output that was begun: fields of ``--json`` and ``sha256``, or those of a failure."""
        origin = {key: value for key, value in self._last[name].items() if key != "begun"}
        self._add({**line, **origin, "output": name})

    def flush(self) -> None:  # noqa: B027 -- a ledger that holds nothing back has nothing to do here.
        """Write what is still held back, where anything is."""

    @abstractmethod
    def _read(self) -> bytes:
        """All lines that there are so far."""

    @abstractmethod
    def _write(self, text: bytes) -> None:
        """Keep a line, or hold it back until ``flush``."""

    def _add(self, fields: dict[str, Any]) -> None:
        with self._lock:
            lines = [] if self._known else [{"settings": self.digest, "of": dict(self._settings)}]
            text = "".join(json.dumps(line) + "\n" for line in [*lines, fields])
            self._write((("\n" if self._torn else "") + text).encode())
            self._known, self._torn = True, False
            self._last[str(fields.get("begun", fields.get("output")))] = fields


class Report(Ledger):
    """The report of a folder.

    Args:
        folder: the output folder; it need not exist yet.
        settings: all that a painted picture depends on beside the photo, as JSON.

    Raises:
        PictureError: the report cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.folder = folder / NAME, folder
        super().__init__(settings)

    def state(self, job: Job) -> State:
        """What is known of a job's output; a finished one is read whole and compared with its sha256."""
        target = job.target
        if target is None:
            return State.NEW
        claim = self.claim(self._name(job), _absolute(job.source))
        if isinstance(claim, State):
            return claim
        if not target.is_file():
            return State.NEW
        return judge(claim, digest_of(target), stamp_of(job.source), lambda: is_whole(target))

    def begin(self, job: Job) -> None:
        """Say that a picture is being painted; what a killed process left of its output beside it is deleted."""
        if "begun" in self._last.get(self._name(job), {}):
            sweep(job)
        self.begin_name(self._name(job), _absolute(job.source), stamp_of(job.source))

    def end(self, job: Job, line: Mapping[str, Any]) -> None:
        """Say what became of a picture that was begun: the fields of ``--json``, or those of a failure.

        Raises:
            PictureError: the report cannot be written.
        """
        painted = {"sha256": digest_of(job.target)} if "error" not in line and job.target is not None else {}
        self.end_name(self._name(job), {**line, **painted})

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise PictureError(
                f"{self.path} cannot be read ({error.strerror or error}): choose another folder."
            ) from error

    def _write(self, text: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One write to a file open for appending: lines of two commands do not mix.
            # O_BINARY is Windows': it counts bytes as they are.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            place = os.open(self.path, flags, 0o666)
            try:
                written = os.write(place, text)
            finally:
                os.close(place)
            if written < len(text):  # a disk that has room for some of it raises nothing
                self._torn = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise PictureError(
                f"{self.path} cannot be written ({error.strerror or error}): choose another folder."
            ) from error

    def _name(self, job: Job) -> str:
        assert job.target is not None, "standard output has no report"
        return job.target.relative_to(self.folder).as_posix()


def judge(line: Mapping[str, Any], sha256: str, stamp: Mapping[str, int | None], whole: Callable[[], bool]) -> State:
    """What became of an output since the report said that it was finished.

    Args:
        line: what the report says.
        sha256: of what is there now.
        stamp: ``bytes`` and ``mtime_ns`` of the photo now.
        whole: whether what is there can be read as a picture; asked only where it was changed.
    """
    if sha256 == line["sha256"]:
        return State.FINISHED if dict(stamp) == {key: line.get(key) for key in stamp} else State.STALE
    return State.CHANGED if whole() else State.STALE


def is_whole(path: Path) -> bool:
    """Whether a file is a picture that can be read to its end."""
    try:
        Picture.open(path, max_pixels=None)
    except PictureError:
        return False
    return True


def digest_of(path: Path) -> str:
    """The sha256 of a file; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def sweep(job: Job) -> None:
    """Delete what a killed process left half-written beside the target (see ``impasto.runtime.files.writing``)."""
    if job.target is None or not job.target.parent.is_dir():
        return
    left = re.compile(re.escape(temporary_prefix(job.target.name)) + r"[0-9a-f]{12}\.tmp")
    with suppress(OSError):
        for path in job.target.parent.iterdir():
            if left.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _absolute(source: Path | None) -> str:
    return "-" if source is None else os.path.abspath(source)  # noqa: PTH100 -- Path.absolute() keeps "..".


def stamp_of(source: Path | None) -> dict[str, int | None]:
    """What tells that a photo is still the same without reading it."""
    try:
        found = None if source is None else source.stat()
    except OSError:
        found = None
    return {
        "bytes": None if found is None else found.st_size,
        "mtime_ns": None if found is None else found.st_mtime_ns,
    }
