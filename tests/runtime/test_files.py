"""What a file is, reading it, and writing that loses nothing."""

from __future__ import annotations

import io
import os
import stat
import threading
from pathlib import Path

import pytest

from drawing import sample
from impasto.errors import PictureError, PictureExists
from impasto.runtime import files
from impasto.runtime.files import check_target, format_for, read_source, sniff, write_atomic

KINDS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["links", "no links"])
def linking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With hard links, and on a file system that has none."""
    if request.param == "no links":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_is_known_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    data = sample(kind)
    assert sniff(data[:64]) == kind
    path = tmp_path / "no-suffix"
    path.write_bytes(data)
    assert read_source(path) == (data, kind, "'no-suffix'")
    assert read_source(str(path))[0] == data
    assert (
        read_source(data) == read_source(bytearray(data)) == read_source(memoryview(data)) == (data, kind, "The data")
    )
    assert read_source(io.BytesIO(data))[:2] == (data, kind)
    with path.open("rb") as file:
        assert read_source(file) == (data, kind, "no-suffix")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"\n <svg xmlns='x'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>", "an XML document"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "a film"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"hello", "not a picture"),
        (bytes(100), "not a picture"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    with pytest.raises(PictureError, match=f"^The data is .*{words}.*give a JPEG, PNG.*file\\.$"):
        read_source(data)


def test_avif_is_found_among_the_compatible_brands() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"


def test_empty_sources() -> None:
    for source in (b"", io.BytesIO()):
        with pytest.raises(PictureError, match=r"The data is empty \(0 bytes\)"):
            read_source(source)


def test_a_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "Photo.jpg").write_bytes(b"x")
    with pytest.raises(PictureError, match=r"There is no file fhoto.jpg in .*: did you mean Photo.jpg\?"):
        read_source(tmp_path / "fhoto.jpg")
    with pytest.raises(PictureError, match=r"There is no file zebra.png in .*: check the name\."):
        read_source(tmp_path / "zebra.png")
    with pytest.raises(PictureError, match=r"There is no folder .*nowhere: check the path of photo.jpg\."):
        read_source(tmp_path / "nowhere" / "photo.jpg")


def test_a_missing_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PictureError, match=r"There is no file x.jpg here"):
        read_source("x.jpg")


def test_a_folder_a_text_file_and_a_wrong_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="is a folder: name a picture in it"):
        read_source(tmp_path)
    with pytest.raises(PictureError, match="open as text"):
        read_source(io.StringIO("hello"))  # type: ignore[arg-type]
    with pytest.raises(PictureError, match="int is none of them"):
        read_source(3)  # type: ignore[arg-type]
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(PictureError, match="open for reading"):
        read_source(closed)
    with pytest.raises(PictureError, match="cannot be read"):
        read_source("a\0b.jpg")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(sample("JPEG"))

    def refuse(*_: object, **__: object) -> None:  # the permission bits alone do not stop root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PictureError, match=r"secret.jpg may not be read: check its permissions\."):
        read_source(path)


def test_a_large_file_of_another_kind_is_refused_by_its_head(tmp_path: Path) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(PictureError, match="not a picture"):
        read_source(path)


@pytest.mark.parametrize(
    "name, kind",
    [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a.b.webp", "WEBP"), ("a.avif", "AVIF"),
     ("a.tif", "TIFF"), ("a.TIFF", "TIFF")],
)  # fmt: skip
def test_the_suffix_is_the_format(name: str, kind: str) -> None:
    assert format_for(name) == kind


def test_suffixes_that_cannot_be_written() -> None:
    with pytest.raises(PictureError, match=r"written as \.jpgg: did you mean \.jpg\?"):
        format_for("a.jpgg")
    with pytest.raises(PictureError, match=r"written as \.gif: use one of \.jpg, "):
        format_for("a.gif")
    with pytest.raises(PictureError, match=r"'painted' has no suffix"):
        format_for("painted")


def test_targets_are_checked_early(tmp_path: Path) -> None:
    check_target(tmp_path / "new.png", overwrite=False)
    (tmp_path / "old.png").write_bytes(b"old")
    check_target(tmp_path / "old.png", overwrite=True)
    with pytest.raises(PictureExists, match=r"old\.png exists already"):
        check_target(tmp_path / "old.png", overwrite=False)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="is a folder"):
        check_target(tmp_path / "folder.png", overwrite=True)


def test_writing_creates_the_folder_and_leaves_nothing_else(tmp_path: Path, linking: str) -> None:
    target = tmp_path / "a" / "b" / "out.png"
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["out.png"]


def test_an_existing_file_is_refused_and_untouched(tmp_path: Path, linking: str) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    with pytest.raises(PictureExists, match="exists already"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old" and names(tmp_path) == ["out.png"]
    write_atomic(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new" and names(tmp_path) == ["out.png"]


def test_of_many_writers_exactly_one_wins_and_no_one_clobbers(tmp_path: Path, linking: str) -> None:
    target, won, lost = tmp_path / "out.png", [], []
    start = threading.Barrier(8)

    def write(i: int) -> None:
        start.wait()
        try:
            write_atomic(target, b"%d" % i * 100_000)
            won.append(i)
        except PictureExists:
            lost.append(i)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7
    assert target.read_bytes() == b"%d" % won[0] * 100_000
    assert names(tmp_path) == ["out.png"]


def test_a_file_that_appears_while_writing_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linking: str
) -> None:
    target = tmp_path / "out.png"
    real = os.fsync

    def meanwhile(descriptor: int) -> None:
        real(descriptor)
        target.write_bytes(b"someone else's")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(PictureExists):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"someone else's" and names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, overwrite: bool
) -> None:
    target = tmp_path / "out.png"
    if overwrite:
        target.write_bytes(b"old")

    def fail(_: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PictureError if isinstance(failure, OSError) else type(failure)):
        write_atomic(target, b"new", overwrite=overwrite)
    assert names(tmp_path) == (["out.png"] if overwrite else [])
    assert not overwrite or target.read_bytes() == b"old"


def test_a_failed_rename_frees_the_reserved_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PictureError, match=r"cannot be written \(Operation not supported\)"):
        write_atomic(tmp_path / "out.png", b"new")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_permissions_follow_the_umask_or_the_old_file(tmp_path: Path) -> None:
    target, plain = tmp_path / "out.png", tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomic(target, b"new")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    target.chmod(0o640)
    write_atomic(target, b"newer", overwrite=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(PictureExists):
        write_atomic(link, b"new")
    write_atomic(link, b"new", overwrite=True)
    assert link.is_symlink() and real.read_bytes() == b"new"
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nothing.png")
    with pytest.raises(PictureExists):
        check_target(dangling, overwrite=False)
    with pytest.raises(PictureExists):
        write_atomic(dangling, b"new")


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(PictureError, match="is a file, not a folder") as caught:
        write_atomic(tmp_path / "file" / "out.png", b"new")
    assert not isinstance(caught.value, PictureExists)


def test_a_very_long_name_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 240 + ".png")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    with pytest.raises(PictureError, match="cannot be written"):
        write_atomic(tmp_path / ("x" * 300 + ".png"), b"new")


def test_every_suffix_that_is_written_is_read() -> None:
    assert set(files.SUFFIXES) <= files.READABLE_SUFFIXES
