"""The container under a bundle: a strict, stored zip, and npy tables without pickle.

A given content has one legal spelling (version 2.0, no flags, fixed date, no comment, no gap), so reading compares the
headers of a file with those it would have written itself: a byte changed, added or missing anywhere is noticed, and no
two zip tools can disagree about what is inside.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DOS_DATE = (1 << 5) | 1  # 1980-01-01, the zero of the format
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def pack(contents: Mapping[str, bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The archive of these files in this order, in pieces to be written one after another."""
    offset, directory = 0, []
    for name, raw in contents.items():
        spelt = name.encode("ascii")
        # version needed, flags, method, time, date, crc, stored size, size, length of name, length of extra
        common = (20, 0, zipfile.ZIP_STORED, 0, _DOS_DATE, zlib.crc32(raw), len(raw), len(raw), len(spelt), 0)
        directory.append(_CENTRAL.pack(b"PK\x01\x02", 20, *common, 0, 0, 0, 0, offset) + spelt)
        yield _LOCAL.pack(b"PK\x03\x04", *common) + spelt
        yield raw
        offset += _LOCAL.size + len(spelt) + len(raw)
    records = b"".join(directory)
    yield records
    yield _END.pack(b"PK\x05\x06", 0, 0, len(directory), len(directory), len(records), offset, 0)


def read_whole(path: Path, size_limit: int) -> bytes:
    """All bytes of a file of at most ``size_limit``; BundleError if it is missing, empty, unreadable or larger."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # One byte more than there should be tells of a file that grows, or of a device without end.
            data = b"" if size > size_limit else file.read(size + 1)
    except FileNotFoundError as error:
        raise BundleError(f"There is no file {path}: check the path.") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({reason(error)}): check that it is a file you may read.") from error
    if size > size_limit:
        raise BundleError(f"{path} is over the size limit of {size_limit} bytes: do not trust it.")
    if len(data) != size:
        raise BundleError(f"{path} is no plain file, or changed while it was read: try again with a plain file.")
    if not data:
        raise BundleError(f"{path} is empty: get the file again.")
    return data


def unpack(path: Path, data: bytes, size_limit: int) -> dict[str, tuple[int, int]]:
    """File name to (start, end) in ``data``, after checking that it is an archive exactly as :func:`pack` makes it.

    Raises:
        BundleError: it is not, with the first reason found.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    # zipfile lets these through on hostile input.
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error, OSError) as error:
        raise BundleError(f"{path} is not a model file, or it is cut short or damaged: get it again.") from error
    names = [info.filename for info in infos]
    for name in names:
        if not _NAME_CHARACTERS.issuperset(name) or not name or name.startswith("."):
            raise BundleError(f"{path} holds a file with the unsafe name {name[:80]!r}: do not trust it.")
    if len(set(names)) != len(names):
        raise BundleError(f"{path} holds two files of the same name: do not trust it.")
    claimed = sum(info.file_size for info in infos)
    if claimed > size_limit:
        raise BundleError(f"{path} claims {claimed} bytes of content, over the limit of {size_limit}: do not trust it.")
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise BundleError(f"{path} is compressed inside, and a model file is stored plain: get the original file.")
    spans, offset = {}, 0
    for info in infos:
        start = offset + _LOCAL.size + len(info.filename)
        offset = start + info.file_size
        spans[info.filename] = (start, offset)
    view, position = memoryview(data), 0
    for chunk in pack({name: view[start:end] for name, (start, end) in spans.items()}):
        # The contents come from this very place; only the headers are made anew.
        if isinstance(chunk, bytes) and data[position : position + len(chunk)] != chunk:
            raise BundleError(f"{path} is damaged or was packed by another tool: get the original file.")
        position += len(chunk)
    if position != len(data):
        raise BundleError(f"{path} has {len(data) - position} bytes after its end: get the original file.")
    return spans


def write_whole(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write to a neighbour, flush to the disk, then rename, so that nobody ever sees half a file."""
    neighbour = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with neighbour.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be written ({reason(error)}): check the folder and its space.") from error
    finally:
        with suppress(OSError, ValueError):
            neighbour.unlink()


def parse_table(raw: bytes, where: str) -> NDArray[np.float32]:
    """A float32 npy table of finite numbers.

    Written out rather than left to ``numpy.load``, which would first allocate whatever size the header claims.

    Args:
        raw: the whole npy file.
        where: what to call it in an error.

    Raises:
        BundleError: it is no npy file, cut short, pickled, of another type than float32, or not finite.
    """
    stream = io.BytesIO(raw)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("version")
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
    # Its header is a Python literal, and reading one has many ways to fail.
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise BundleError(f"{where} is not a plain npy table: get the file again.") from error
    if dtype != np.dtype("<f4") or columns_first:
        raise BundleError(f"{where} holds {dtype} in place of float32 numbers in row order: export it again.")
    body = raw[stream.tell() :]
    count = 1
    for side in shape:
        count *= side
    if count * 4 != len(body) or min(shape, default=0) < 0:
        raise BundleError(f"{where} has {len(body)} bytes of numbers where {list(shape)} was announced: get it again.")
    table = np.frombuffer(body, "<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(table).all():
        raise BundleError(f"{where} holds numbers that are not finite: export it again.")
    return table


def format_table(table: NDArray[np.float32]) -> bytes:
    """The npy file of a table, as :func:`parse_table` reads it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(table, np.dtype("<f4")), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def reason(error: Exception) -> str:
    """A few words on why the system refused."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
