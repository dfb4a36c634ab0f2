"""Folders at addresses, on fsspec's file systems of this machine: its disk (``local://``) and its memory."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from impasto.apps import store as store_module
from impasto.apps.store import Entry, Store
from impasto.errors import ImpastoError, PictureError

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'impasto[scale]'")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'impasto[scale]'")


@pytest.fixture(params=["local", "memory", "at once"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty place; "at once" is written as an object store is."""
    if request.param == "at once":
        monkeypatch.setattr(store_module, "_WHOLE", ("py::fsspec+memory",))
    yield f"local://{tmp_path}/far" if request.param == "local" else f"memory://{tmp_path.name}/far"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "here.png"
    path.write_bytes(b"picture" * 1000)
    return path


def names(store: Store) -> list[str]:
    return [entry.inside for entry in store.entries()]


def test_files_go_and_come_back(address: str, file: Path, tmp_path: Path) -> None:
    store = Store(address + "/")
    assert store.entries() == [] and store.address == address
    for name in ("b/c d.png", "a.png", ".hidden/e.png", "notes.txt"):
        store.put(file, name)
    store.put(file, "a.png")
    assert names(store) == [".hidden/e.png", "a.png", "b/c d.png", "notes.txt"], "nothing of the writing is left"
    pictures = store.pictures()
    assert [entry.inside for entry in pictures] == ["a.png", "b/c d.png"]
    assert pictures[0].bytes == 7000 and set(pictures[0].stamp) == {"bytes", "mtime_ns"}
    assert store.at("b/c d.png") == f"{address}/b/c d.png"
    assert store.read("a.png") == file.read_bytes()
    store.fetch("b/c d.png", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert store.digest("a.png") == hashlib.sha256(file.read_bytes()).hexdigest() and store.digest("z.png") == ""

    single = Store(f"{address}/b/c d.png")
    assert single.address == f"{address}/b" and names(single) == ["c d.png"]
    assert names(Store(f"{address}/nothing.png")) == []


@pytest.mark.parametrize("how", ["breaks", "is cut short"])
def test_what_does_not_arrive_whole_is_not_there(
    address: str, file: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store = Store(address)

    def copy(source: Any, target: Any, size: int) -> None:
        target.write(source.read(10))
        if how == "breaks":
            raise OSError("the line is down")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", copy)
        with pytest.raises(
            PictureError, match=r"a\.png cannot be written \((the line is down|10 of 7000 bytes arrived)\)"
        ):
            store.put(file, "a.png")
    assert names(store) == []


def test_what_cannot_be_opened() -> None:
    with pytest.raises(PictureError, match=r"^nosuch://x/y cannot be read \(.*\): check the address"):
        Store("nosuch://x/y")
    store = Store("memory://nothing")
    with pytest.raises(PictureError, match=r"^memory://nothing/a\.png cannot be read"):
        store.read("a.png")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(address: str) -> Any:
        raise ModuleNotFoundError("No module named 's3fs'", name="s3fs")

    monkeypatch.setattr(store_module, "_opened", opened)
    with pytest.raises(ImpastoError, match=r"needs s3fs: pip install 'impasto\[scale\]'"):
        Store("s3a://bucket")


def test_a_query_is_for_the_opening_alone() -> None:
    store = Store("s3://bucket/photos?region=eu-west-1&endpoint_override=127.0.0.1:1")
    assert store.at("a.png") == "s3://bucket/photos/a.png?region=eu-west-1&endpoint_override=127.0.0.1:1"
    assert store.address == "s3://bucket/photos?region=eu-west-1&endpoint_override=127.0.0.1:1"
    assert Entry("a.png", 1, None).stamp == {"bytes": 1, "mtime_ns": None}


def test_two_at_a_time_whose_long_names_begin_alike(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = Store(f"local://{tmp_path}/far"), tmp_path / "other.png"
    other.write_bytes(b"another" * 1000)  # as long as the first
    names = [f"{'a very long name of a picture ' * 2}{k}.png" for k in range(2)]
    copy = store_module.shutil.copyfileobj

    def meanwhile(*arguments: object) -> None:
        monkeypatch.undo()
        copy(*arguments)
        store.put(other, names[1])  # by another worker, before the first file has got its name

    monkeypatch.setattr(store_module.shutil, "copyfileobj", meanwhile)
    store.put(file, names[0])
    assert [store.read(name) for name in names] == [file.read_bytes(), other.read_bytes()]
