"""One model is one file: ``name.impasto``, a stored (never deflated) zip of a manifest, ONNX graphs and npy tables.

Reading is strict: a file with any byte changed, added or missing is refused before a graph or a table of it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.errors import BundleError, UnknownName
from impasto.runtime.archive import pack, parse_table, read_whole, reason, unpack, write_whole
from impasto.runtime.manifest import (
    FORMAT,
    DataSource,
    GraphSpec,
    Kind,
    LatentInfo,
    Licences,
    Manifest,
    ManifestError,
    Member,
    StyleInfo,
    TensorSpec,
)

__all__ = [
    "FORMAT",
    "MANIFEST",
    "MANIFEST_LIMIT",
    "SIZE_LIMIT",
    "SUFFIX",
    "Bundle",
    "DataSource",
    "GraphSpec",
    "Kind",
    "LatentInfo",
    "Licences",
    "Manifest",
    "Member",
    "StyleInfo",
    "TensorSpec",
    "bundled_models",
    "find_bundle",
    "write_bundle",
]

SUFFIX = ".impasto"
MANIFEST = "manifest.json"
SIZE_LIMIT = 512 * 1024**2
MANIFEST_LIMIT = 1024**2
MODELS = Path(__file__).with_name("models")
"""Where the models that came with the package are."""


class Bundle:
    """A verified model file. Make one with :meth:`open`.

    Attributes:
        path: where it was read from.
        manifest: what it says about itself.
    """

    def __init__(self, path: Path, manifest: Manifest, data: bytes, spans: Mapping[str, tuple[int, int]]) -> None:
        self.path, self.manifest = path, manifest
        self._data, self._spans = data, dict(spans)

    @classmethod
    def open(cls, name_or_path: str | Path, *, kind: Kind | None = None, size_limit: int = SIZE_LIMIT) -> Bundle:
        """Read a file and verify all of it.

        Args:
            name_or_path: a file, or the name of a bundled model (see :func:`find_bundle`).
            kind: refuse any other kind of model.
            size_limit: refuse a file, or content, of more bytes than this.

        Raises:
            BundleError: the file is missing, damaged, altered, too large, too new or of another kind.
            UnknownName: there is no bundled model of that name.
        """
        path = find_bundle(name_or_path)
        data = read_whole(path, size_limit)
        spans = unpack(path, data, size_limit)
        if MANIFEST not in spans:
            raise BundleError(f"{path} has no {MANIFEST}, so it is not a model file: choose another.")
        manifest = _parse_manifest(path, data[slice(*spans[MANIFEST])])
        if kind is not None and manifest.kind != kind:
            raise BundleError(
                f"{path} holds a model of kind {manifest.kind!r} where {kind!r} is needed: choose another file."
            )
        _check_members(path, manifest, data, spans)
        return cls(path, manifest, data, spans)

    def read(self, member: str) -> bytes:
        """The bytes of one member; UnknownName if it is not there."""
        if member not in self._spans:
            raise UnknownName(f"file in {self.path.name}", member, self._spans)
        return self._data[slice(*self._spans[member])]

    def graph(self, role: str) -> tuple[GraphSpec, bytes]:
        """What a graph takes and gives, and the graph itself; UnknownName if there is none of that role."""
        if role not in self.manifest.graphs:
            raise UnknownName(f"graph in {self.path.name}", role, self.manifest.graphs)
        spec = self.manifest.graphs[role]
        return spec, self.read(spec.member)

    def table(self, member: str, *, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
        """A float32 table of finite numbers, optionally of a demanded shape; never unpickled.

        Raises:
            BundleError: it is no npy file, or of another type or shape, or holds NaN or infinity.
        """
        table = parse_table(self.read(member), f"{member} in {self.path}")
        if shape is not None and table.shape != shape:
            raise BundleError(
                f"{member} in {self.path} has the shape {table.shape} where {shape} is needed: export it again."
            )
        return table

    @cached_property
    def sha256(self) -> str:
        """Hash of the whole file: the model's identity."""
        return hashlib.sha256(self._data).hexdigest()

    @property
    def members(self) -> tuple[str, ...]:
        """File names inside, the manifest first."""
        return tuple(self._spans)


def check_target(path: str | Path, *, overwrite: bool) -> Path:
    """Refuse a model file that could not be written: before minutes of work, not after.

    Raises:
        BundleError: it has another suffix, or exists and may not be replaced.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise BundleError(f"A model file must end in {SUFFIX}: {path} does not, so rename it.")
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists already: choose another name or allow overwriting.")
    return path


def write_bundle(
    path: str | Path, manifest: Manifest, members: Mapping[str, bytes], *, overwrite: bool = False
) -> Manifest:
    """Write a bundle: the whole file or nothing, and the same bytes for the same input.

    Args:
        path: the file to write; must end in ``.impasto``.
        manifest: its ``members`` are ignored and made anew.
        members: file name to content; every graph of the manifest must be among them.
        overwrite: replace a file that is there already.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the file exists, cannot be written, or the manifest and the members do not fit together.
    """
    path = check_target(path, overwrite=overwrite)
    prints = {name: Member(sha256=hashlib.sha256(raw).hexdigest(), size=len(raw)) for name, raw in members.items()}
    try:
        # A manifest that was put together in code has not been checked yet.
        whole = Manifest.read({**manifest.to_fields(), "members": prints})
        text = whole.to_json()
    except (ValueError, TypeError) as error:
        raise BundleError(f"The manifest for {path} is not valid ({reason(error)}): correct it.") from error
    _check_names(path, whole)
    if len(text) > MANIFEST_LIMIT:
        raise BundleError(f"The manifest for {path} is over {MANIFEST_LIMIT} bytes: shorten the recipe.")
    contents = {MANIFEST: text, **{name: members[name] for name in sorted(members)}}
    size = sum(map(len, contents.values()))
    if size > SIZE_LIMIT:
        raise BundleError(f"The members of {path} come to {size} bytes, over the limit of {SIZE_LIMIT}: shrink them.")
    write_whole(path, pack(contents))
    return whole


def bundled_models() -> dict[str, Path]:
    """Name to file of the models that came with the package, sorted by name."""
    return {file.stem: file for file in sorted(MODELS.glob(f"*{SUFFIX}"))}


def find_bundle(name_or_path: str | Path) -> Path:
    """Where a model is: a ``Path``, an existing file or anything ending in ``.impasto`` is a path, else a bundled name.

    Raises:
        UnknownName: there is no bundled model of that name.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(SUFFIX):
        return Path(name_or_path)
    bundled = bundled_models()
    if name_or_path in bundled:
        return bundled[name_or_path]
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    raise UnknownName("model", name_or_path, bundled)


def _parse_manifest(path: Path, raw: bytes) -> Manifest:
    if len(raw) > MANIFEST_LIMIT:
        raise BundleError(f"The manifest of {path} is over {MANIFEST_LIMIT} bytes: do not trust it.")
    try:
        fields = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The manifest of {path} is not JSON: get the file again.") from error
    made = fields.get("format") if isinstance(fields, dict) else None
    # The format comes first: a newer manifest may have fields that this version would call errors.
    if isinstance(made, int) and made > FORMAT:
        raise BundleError(
            f"{path} was made by a newer impasto (format {made}, this reads {FORMAT}): upgrade impasto to use it."
        )
    try:
        return Manifest.read(fields)
    except ManifestError as error:
        raise BundleError(f"The manifest of {path} is not valid ({error}): get the file again.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_names(path: Path, manifest: Manifest) -> None:
    for role, spec in manifest.graphs.items():
        if spec.member not in manifest.members:
            raise BundleError(f"{path} lacks {spec.member}, its {role} graph: export the model again.")
    if MANIFEST in manifest.members:
        raise BundleError(f"{path} lists its own manifest as a member: export the model again.")


def _check_members(path: Path, manifest: Manifest, data: bytes, spans: Mapping[str, tuple[int, int]]) -> None:
    _check_names(path, manifest)
    view = memoryview(data)
    for name in sorted(manifest.members.keys() - spans.keys()):
        raise BundleError(f"{path} lacks {name}, which its manifest lists: get the file again.")
    for name in sorted(spans.keys() - manifest.members.keys() - {MANIFEST}):
        raise BundleError(f"{path} holds {name}, which its manifest does not list: do not trust it.")
    for name, member in manifest.members.items():
        start, end = spans[name]
        if end - start != member.size or hashlib.sha256(view[start:end]).hexdigest() != member.sha256:
            raise BundleError(f"{name} in {path} is not what the manifest says, so it was altered: do not trust it.")
