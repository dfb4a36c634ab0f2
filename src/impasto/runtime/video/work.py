"""What is finished of a long video: a hidden folder beside the output, from which the same command goes on.

.out.mp4.parts/
  plan.json        what is being made; a folder of another plan is not gone on with
  00000.packets    the encoded frames of a part
  00000.json       what is known of them; a part counts once this is there
  00000.npz        what the next part depends on; only the newest is kept
  lock             held while somebody works here
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from impasto.errors import PictureError, PictureExists
from impasto.runtime.video.reel import Part

State = dict[str, NDArray[Any]]
_BLOCK = 1 << 20


def parts_folder(target: Path) -> Path:
    """Where the finished parts of an output lie."""
    return target.with_name(f".{target.name}.parts")


class Work:
    """The folder of one output, held until :meth:`close`.

    Args:
        target: the video to be made.
        plan: all that its frames depend on, as JSON.
        fresh: what another plan has left there may be deleted.

    Attributes:
        folder: where it is.
        parts: the finished parts, in order.
        state: what was kept with the last of them; empty where there is none.

    Raises:
        PictureExists: the folder belongs to another plan.
        PictureError: another process works there, or the folder cannot be written.
    """

    def __init__(self, target: Path, plan: Mapping[str, Any], *, fresh: bool) -> None:
        self.folder = parts_folder(target)
        self.parts: list[Part] = []
        self.state: State = {}
        self._lock: Any = None
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take(target)
            wanted, there = json.loads(json.dumps(plan)), self._read("plan.json")
            if there != wanted:
                if there is not None and self._names(".json") and not fresh:
                    self.close()
                    raise PictureExists(
                        f"{self.folder} holds parts of {target.name} made with other settings: use the same as then, "
                        f"or allow overwriting to begin anew."
                    )
                self._empty()
                self._write("plan.json", json.dumps(wanted).encode())
            else:
                self._gather()

    def path(self, number: int) -> Path:
        """The packets of a part."""
        return self.folder / f"{number:05d}.packets"

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """The file of the next part; nothing is left of it where the block fails."""
        path = self.path(len(self.parts))
        with _explained(self.folder):
            file = _PartFile(path)
        try:
            with file:
                yield file
                with _explained(self.folder):
                    os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def add(self, part: Part, state: State) -> None:
        """Take a part whose packets are written, with what the next depends on. From here on it counts."""
        number = len(self.parts)
        with _explained(self.folder):
            neighbour = self.folder / "state.new"
            with neighbour.open("wb") as file:
                np.savez(file, **state)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            neighbour.replace(self.folder / f"{number:05d}.npz")
            self._write(f"{number:05d}.json", json.dumps(asdict(part)).encode())
            (self.folder / f"{number - 1:05d}.npz").unlink(missing_ok=True)
        self.parts.append(part)
        self.state = state

    def close(self) -> None:
        """Let go of the folder; one without a finished part is deleted."""
        if self._lock is None:
            return
        if not self._names(".packets"):
            self.remove()
            return
        self._lock.close()
        self._lock = None

    def remove(self) -> None:
        """Delete the folder: the video is done."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, target: Path) -> None:
        self._lock = (self.folder / "lock").open("ab")
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise PictureError(f"Another command is making {target.name}: wait for it, or stop it.") from None

    def _gather(self) -> None:
        """Find what is finished. Parts are used only with the state after the last of them, and if all are whole."""
        for number in range(len(self._names(".json"))):
            fields = self._read(f"{number:05d}.json")
            if fields is None or _digest(self.path(number)) != fields.get("sha256"):
                break
            names = ("times", "sizes", "keys")
            lists = {name: tuple(fields[name]) for name in names}
            self.parts.append(Part(**lists, header=fields["header"], sha256=fields["sha256"]))
        state = self.folder / f"{len(self.parts) - 1:05d}.npz"
        try:
            with state.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self.state = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            self.parts, self.state = [], {}
        # What a killed process has left half-made.
        for path in self.folder.iterdir():
            if path.stem.isdecimal() and int(path.stem) >= len(self.parts):
                path.unlink()

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "lock":
                path.unlink()

    def _names(self, suffix: str) -> list[str]:
        with suppress(OSError):
            return [p.name for p in self.folder.iterdir() if p.suffix == suffix and p.stem.isdecimal()]
        return []

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError):
            return None

    def _write(self, name: str, data: bytes) -> None:
        neighbour = self.folder / f"{name}.new"
        with neighbour.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(self.folder / name)


class _PartFile(io.FileIO):
    """Unbuffered, so that a full disk shows where something is written: painting has OSErrors of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self._folder = path.parent

    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        with _explained(self._folder):
            while left:
                left = left[super().write(left) :]
        return len(data)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with suppress(OSError), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PictureError(
            f"{folder} cannot be written ({error.strerror or error}): check its place and space."
        ) from error
