"""Style codes in files: one ``.npy`` vector each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError
from impasto.runtime.archive import format_table, parse_table, read_whole, write_whole

Code = NDArray[np.float32]

CODE_FILE_LIMIT = 1024**2


def save_code(path: str | Path, code: Code, *, overwrite: bool = False) -> None:
    """Write a style code [D] to a ``.npy`` file, whole or not at all.

    Raises:
        BundleError: it is no finite vector, the name does not end in ``.npy``, or the file exists or cannot be written.
    """
    path, array = Path(path), np.asarray(code, np.float32)
    if path.suffix != ".npy":
        raise BundleError(f"A style code must end in .npy: {path} does not, so rename it.")
    if array.ndim != 1 or not np.isfinite(array).all():
        raise BundleError(f"A style code must be a vector of finite numbers, not {list(array.shape)}: encode it again.")
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists already: choose another name or allow overwriting.")
    write_whole(path, [format_table(array)])


def load_code(path: str | Path) -> Code:
    """A style code [D] from a ``.npy`` file.

    Raises:
        BundleError: the file is missing, no plain npy of float32, no vector, or not finite.
    """
    path = Path(path)
    code = parse_table(read_whole(path, CODE_FILE_LIMIT), str(path))
    if code.ndim != 1:
        raise BundleError(f"{path} holds {list(code.shape)} numbers where a style code is a vector: choose another.")
    return code
