"""One model is one file: ``name.impasto``, a stored (never deflated) zip of a manifest, ONNX graphs and npy tables.

Reading is strict: a file with any byte changed, added or missing is refused before a graph or a table of it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from impasto.errors import BundleError, UnknownName
from impasto.runtime.archive import pack, parse_table, read_whole, unpack, write_whole

FORMAT = 1
SUFFIX = ".impasto"
MANIFEST = "manifest.json"
SIZE_LIMIT = 512 * 1024**2
MANIFEST_LIMIT = 1024**2

Kind = Literal["style", "generator"]

# A lower-case word, so that members are plain files in one folder on every system and names are easy to type.
_MEMBER = r"^[a-z0-9][a-z0-9_.-]{0,99}$"
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
_MemberName = Annotated[str, Field(pattern=_MEMBER)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(_Model):
    """One float32 input or output of a graph."""

    name: str = Field(description="name in the graph")
    shape: tuple[int | str, ...] = Field(description="sizes, or names of sizes that vary, such as (1, 3, 'H', 'W')")
    range: tuple[float, float] | None = Field(default=None, description="least and greatest value; None: unbounded")
    meaning: str = Field(description="what it holds, in a few words")


class GraphSpec(_Model):
    """One ONNX graph: what it takes, what it gives, and which picture sizes it accepts."""

    member: _MemberName = Field(description="file in the bundle, such as 'painter.onnx'")
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    minimum: int = Field(default=1, ge=1, description="least height and width of the picture input, in pixels")
    multiple: int = Field(default=1, ge=1, description="height and width must be multiples of this many pixels")
    receptive_field: int | None = Field(
        default=None, ge=0, description="radius in pixels beyond which an input pixel has no effect; None: unbounded"
    )


class StyleInfo(_Model):
    """A named style: where its code comes from."""

    name: str = Field(pattern=_NAME, description="what a person types, such as 'starry-night'")
    title: str
    artist: str
    year: str = Field(description="as museums give it, such as '1889' or 'about 1665'")


class DataSource(_Model):
    """A set of pictures that the model was trained on."""

    name: str
    what: str = Field(description="what it is and how much of it")
    licence: str


class Licences(_Model):
    """Under what terms the parts may be used."""

    code: str
    weights: str
    data: str


class Member(_Model):
    """Fingerprint of one file in the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="bytes")


class Manifest(_Model):
    """Everything a bundle says about itself (``manifest.json``).

    Nothing is inferred from a file name. ``members`` is filled in by :func:`write_bundle`.
    """

    format: int = Field(default=FORMAT, ge=1, description="version of this layout; a newer one is refused")
    kind: Kind = Field(description="what the model does")
    name: str = Field(pattern=_NAME)
    created: str = Field(description="date or moment of the export, ISO 8601")
    impasto: str = Field(description="version of impasto that wrote it")
    graphs: dict[str, GraphSpec] = Field(description="role, such as 'painter', to graph")
    code_size: int | None = Field(default=None, ge=1, description="length D of a style code")
    styles: tuple[StyleInfo, ...] = Field(default=(), description="named styles, in the order of styles.npy")
    recipe: dict[str, Any] = Field(default_factory=dict, description="the recipe as trained")
    data: tuple[DataSource, ...] = ()
    step: int = Field(default=0, ge=0, description="training steps taken")
    images_seen: int = Field(default=0, ge=0)
    quality: dict[str, float] = Field(default_factory=dict, description="measured figures; the key is the protocol")
    licence: Licences
    members: dict[_MemberName, Member] = Field(
        default_factory=dict, description="file name to fingerprint, manifest excepted"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [style.name for style in self.styles]
        if len(set(names)) != len(names):
            raise ValueError("two styles have the same name")
        return self

    def to_json(self) -> bytes:
        """The one spelling of this manifest: sorted keys, indent 1, UTF-8, a newline at the end.

        Raises:
            ValueError, TypeError: the recipe holds what JSON cannot: NaN, infinity, or objects.
        """
        text = json.dumps(self.model_dump(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()


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
    path = Path(path)
    if path.suffix != SUFFIX:
        raise BundleError(f"A model file must end in {SUFFIX}: {path} does not, so rename it.")
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists already: choose another name or allow overwriting.")
    prints = {name: Member(sha256=hashlib.sha256(raw).hexdigest(), size=len(raw)) for name, raw in members.items()}
    try:
        # Validated anew: model_copy would let a malformed member name or a non-finite figure through.
        whole = Manifest.model_validate({**manifest.model_dump(), "members": prints})
        text = whole.to_json()
    except (ValidationError, ValueError, TypeError) as error:
        raise BundleError(f"The manifest for {path} is not valid ({_first_fault(error)}): correct it.") from error
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
    folder = resources.files("impasto.runtime") / "models"
    if not isinstance(folder, Path) or not folder.is_dir():
        return {}
    return {file.stem: file for file in sorted(folder.glob(f"*{SUFFIX}"))}


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
        return Manifest.model_validate(fields)
    except ValidationError as error:
        fault = _first_fault(error)
        raise BundleError(f"The manifest of {path} is not valid ({fault}): get the file again.") from error


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


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return f"{where}: {fault['msg']}" if where else fault["msg"]
    return str(error).splitlines()[0] if str(error) else type(error).__name__
