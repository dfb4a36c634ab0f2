"""The container: strict reading, deterministic writing, tables without pickle."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from impasto.errors import BundleError
from impasto.runtime import archive
from impasto.runtime.archive import format_table, pack, parse_table, read_whole, unpack, write_whole

PATH = Path("some.impasto")
CONTENTS = {"manifest.json": b"{}", "a.onnx": b"graph" * 9, "empty.npy": b""}


def packed(contents: dict[str, bytes] | None = None) -> bytes:
    return b"".join(pack(CONTENTS if contents is None else contents))


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, raw in files:
            file.writestr(zipfile.ZipInfo(name), raw, method)
        file.comment = comment
    return stream.getvalue()


@given(
    st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True), st.binary(max_size=300), max_size=5),
)
def test_what_is_packed_is_unpacked_by_us_and_by_zipfile(contents: dict[str, bytes]) -> None:
    data = packed(contents)
    spans = unpack(PATH, data, 10_000)
    assert {name: data[start:end] for name, (start, end) in spans.items()} == contents
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == contents


def test_zipfile_writes_the_same_headers() -> None:
    """The slow twin: what the standard library writes for the same files differs in the attributes only."""
    ours, theirs = packed(), zipped(*CONTENTS.items())
    assert len(ours) == len(theirs)
    differing = [index for index, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    start = ours.index(b"PK\x01\x02")
    assert differing and min(differing) > start


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(method: int) -> None:
    with pytest.raises(BundleError, match="compressed inside"):
        unpack(PATH, zipped(("a.onnx", b"graph" * 99), method=method), 10_000)


@pytest.mark.parametrize(
    "name",
    ["../a.onnx", "/a.onnx", "a/b.onnx", "a\\b.onnx", "c:a.onnx", ".hidden", "..", "A.onnx", "ä.onnx", "a b", "a/"],
)
def test_names_that_are_not_plain_files_are_refused(name: str) -> None:
    with pytest.raises(BundleError, match="unsafe name"):
        unpack(PATH, zipped((name, b"x")), 10_000)


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(("a.onnx", b"1"), ("a.onnx", b"2"))
    with pytest.raises(BundleError, match="two files of the same name"):
        unpack(PATH, data, 10_000)


def test_a_bomb_is_refused_by_what_it_claims() -> None:
    data = zipped(("a.onnx", bytes(1_000_000)), method=zipfile.ZIP_DEFLATED)
    assert len(data) < 5_000
    with pytest.raises(BundleError, match=r"claims 1000000 bytes of content, over the limit of 5000"):
        unpack(PATH, data, 5_000)


def test_a_false_claim_of_size_is_refused() -> None:
    data = bytearray(packed())
    for signature, at in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        start = data.index(signature, data.index(b"a.onnx") - 60 if signature == b"PK\x03\x04" else 0)
        data[start + at : start + at + 8] = struct.pack("<2I", 4_000, 4_000)
    with pytest.raises(BundleError, match=r"damaged|claims"):
        unpack(PATH, bytes(data), 10_000)


@pytest.mark.parametrize(
    "data",
    [
        b"x" + packed(),
        packed() + b"x",
        zipped(*CONTENTS.items(), comment=b"hello"),
        zipped(*CONTENTS.items()),
        packed() + packed(),
    ],
    ids=["before", "after", "comment", "other tool", "twice"],
)
def test_anything_but_our_own_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"damaged|after its end"):
        unpack(PATH, data, 10_000)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="not a model file"):
        unpack(PATH, data, 10_000)


@given(st.integers(0, len(packed()) - 1), st.binary(min_size=1, max_size=30))
def test_noise_inside_an_archive_is_refused_or_changes_nothing(at: int, noise: bytes) -> None:
    good = packed()
    data = (good[:at] + noise + good[at + len(noise) :])[: max(len(good), at + len(noise))]
    if data == good:
        assert unpack(PATH, data, 10_000)
    else:
        with pytest.raises(BundleError):
            unpack(PATH, data, 10_000)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.impasto"
    with path.open("wb") as file:
        file.truncate(50 * 1024**3)  # a hole: takes no room
    with pytest.raises(BundleError, match="over the size limit of 1000 bytes"):
        read_whole(path, 1000)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without end")
def test_a_device_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(BundleError, match="no plain file"):
        read_whole(Path("/dev/zero"), 1000)


def test_missing_empty_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no file"):
        read_whole(tmp_path / "none", 10)
    with pytest.raises(BundleError, match="cannot be read"):
        read_whole(tmp_path, 10)
    with pytest.raises(BundleError, match="cannot be read"):
        read_whole(tmp_path / "nul\0byte", 10)
    (tmp_path / "empty").touch()
    with pytest.raises(BundleError, match="is empty"):
        read_whole(tmp_path / "empty", 10)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_whole(path, [b"old"])

    def failing() -> object:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match="No space left on device"):
        write_whole(path, failing())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "new", interrupted())
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)  # files, on a machine that may be busy
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_tables_come_back(table: np.ndarray) -> None:
    raw = format_table(table)
    back = parse_table(raw, "table")
    assert back.dtype == np.float32 and back.flags.writeable
    np.testing.assert_array_equal(back, np.load(io.BytesIO(raw), allow_pickle=False).reshape(back.shape))
    np.testing.assert_array_equal(back.ravel(), table.ravel())


def saved(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("something was unpickled",))


def test_pickled_tables_are_refused_unopened() -> None:
    raw = saved(np.array([Explosive()], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError, match="object in place of float32"):
        parse_table(raw, "table")


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (saved(np.zeros(3)), "float64 in place of float32"),
        (saved(np.zeros(3, ">f4")), "in place of float32"),
        (saved(np.zeros((2, 3), np.float32, order="F")), "row order"),
        (saved(np.array([1, np.nan], np.float32)), "not finite"),
        (saved(np.array([1, -np.inf], np.float32)), "not finite"),
        (saved(np.zeros(3, np.float32))[:-1], "11 bytes of numbers"),
        (saved(np.zeros(3, np.float32)) + b"x", "13 bytes of numbers"),
        (saved(np.zeros(3, np.float32)).replace(b"(3,)", b"(3000000000000,)", 1), "plain npy|bytes of numbers"),
        (saved(np.zeros(4, np.float32)).replace(b"(4,), ", b"(-4,),", 1), "bytes of numbers"),
        (saved(np.zeros(4, np.float32)).replace(b"(4,), }   ", b"(-2,-2), }", 1), "bytes of numbers"),
        (b"", "not a plain npy"),
        (b"\x93NUMPY\x02\x00" + saved(np.zeros(3, np.float32))[8:], "not a plain npy"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"[" * 16, "not a plain npy"),
        (b"PK\x03\x04" + bytes(100), "not a plain npy"),
    ],
)
def test_other_tables_are_refused(raw: bytes, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        parse_table(raw, "table")


def test_a_header_of_a_table_may_not_claim_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body is compared with the claim before anything of that size is made."""
    raw = saved(np.zeros(3, np.float32))
    header = raw[:128].replace(b"(3,), }" + b" " * 12, b"(3" + b"0" * 12 + b",), }", 1)
    monkeypatch.setattr(archive.np, "frombuffer", lambda *_: pytest.fail("it was trusted"))
    with pytest.raises(BundleError, match="was announced"):
        parse_table(header + raw[128:], "table")
