"""The models of a server: loaded once, shared by all requests, and the only ones that a client can name."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from impasto.apps.web.problems import Problem
from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.archive import parse_table
from impasto.runtime.bundle import Bundle, bundled_models
from impasto.runtime.dream import can_dream, dream
from impasto.runtime.engine import EngineName
from impasto.runtime.generator import Generator
from impasto.runtime.picture import Picture
from impasto.runtime.precision import INT8_PAINTER, PRECISIONS, Precision, painter_role
from impasto.runtime.style import DEFAULT_MODEL, Code, StyleModel
from impasto.runtime.weights import count_weights

_KEPT_CODES = 64
NPY = b"\x93NUMPY"


class Shelf:
    """The models that a server offers, by name.

    Args:
        models: names of bundled models, or files; none: all that came with impasto.
        engine, threads: see :class:`impasto.runtime.engine.Engine`.

    Attributes:
        engine: what runs them.
        generators: by name.

    Raises:
        ImpastoError: a model cannot be used, or two have one name.
    """

    def __init__(self, models: Sequence[str], *, engine: EngineName, threads: int | None) -> None:
        self.engine, self._threads = engine, threads
        self._bundles: dict[str, Bundle] = {}
        self._painters: dict[tuple[str, str], StyleModel] = {}
        self._codes: OrderedDict[tuple[str, str], Code] = OrderedDict()
        self._told: list[dict[str, Any]] = []
        self._lock = Lock()
        self.generators: dict[str, Generator] = {}
        for wanted in models or bundled_models():
            bundle = Bundle.open(wanted)
            name = wanted if wanted in bundled_models() else bundle.manifest.name
            if name in self._bundles:
                raise ImpastoError(f"Two models are called {name}: leave one of them out.")
            self._bundles[name] = bundle
            if bundle.manifest.kind == "style":
                self.painter(name)
            else:
                self.generators[name] = Generator(bundle, engine=engine, threads=threads)

    @property
    def styles(self) -> list[str]:
        """Names of the style models."""
        return [name for name, bundle in self._bundles.items() if bundle.manifest.kind == "style"]

    def default(self, kind: str) -> str | None:
        """The model of a kind that is used where none is named."""
        names = self.styles if kind == "style" else list(self.generators)
        return DEFAULT_MODEL if DEFAULT_MODEL in names else next(iter(names), None)

    def painter(self, name: str | None = None, precision: Precision = PRECISIONS[0]) -> StyleModel:
        """A style model.

        Raises:
            UnknownName, BundleError: there is none of that name, or it has no such painter.
        """
        bundle = self._bundles[self._named(name, "style", self.styles)]
        role = painter_role(bundle, precision, self.engine)
        with self._lock:
            key = (bundle.sha256, role)
            if key not in self._painters:
                self._painters[key] = self._new_painter(bundle, precision)
            return self._painters[key]

    def own_painter(self, model: StyleModel, precision: Precision = PRECISIONS[0]) -> StyleModel:
        """One more of the same, whose memory goes with it: an engine keeps what its largest picture took."""
        return self._new_painter(model.bundle, precision)

    def generator(self, name: str | None = None) -> Generator:
        """A generator; UnknownName if there is none of that name."""
        return self.generators[self._named(name, "generator", list(self.generators))]

    def warm(self) -> None:
        """Load the usual painter ahead of the first request."""
        if self.default("style") is not None:
            self.painter().warm()

    def style(self, model: StyleModel, name: str) -> Code:
        """The code of a named style, or of ``dream:SEED``; nothing is ever taken for a path.

        Raises:
            UnknownName: there is no such style.
        """
        kind, _, seed = name.partition(":")
        if kind == "dream" and seed.isdecimal():
            code: Code = dream(model, int(seed))[0]
            return code
        if name not in model.styles:
            raise UnknownName("style", name, model.styles)
        return model.code(name)

    def style_of(self, model: StyleModel, data: bytes, what: str, read: Callable[[bytes, str], Picture]) -> Code:
        """The code of a painting, or of an npy file; the last ones are remembered: a page sends them again and again.

        Args:
            data: of the file.
            what: to call it in messages.
            read: opens a picture.
        """
        key = (model.bundle.sha256, hashlib.sha256(data).hexdigest())
        with self._lock:
            if key in self._codes:
                self._codes.move_to_end(key)
                return self._codes[key]
        if data.startswith(NPY):
            table = parse_table(data, what)
            if table.ndim != 1:
                raise Problem(422, f"{what} holds {list(table.shape)} numbers where a style code is a vector.")
            code = model.code(table)
        else:
            code = model.encode(read(data, what))
        with self._lock:
            self._codes[key] = code
            while len(self._codes) > _KEPT_CODES:
                self._codes.popitem(last=False)
        return code

    def describe(self) -> list[dict[str, Any]]:
        """What ``/v1/models`` tells."""
        if not self._told:
            self._told = [self._about(name, bundle) for name, bundle in self._bundles.items()]
        return self._told

    def describe_styles(self, name: str | None) -> dict[str, Any]:
        """What ``/v1/styles`` tells."""
        known = self._named(name, "style", self.styles)
        model = self.painter(known)
        rows = []
        for info in model.styles.values():
            code = base64.b64encode(np.asarray(model.code(info.name), "<f4").tobytes()).decode()
            rows.append(
                {**info.to_fields(), "code": code, "thumbnail": f"/v1/styles/{info.name}/thumbnail?model={known}"}
            )
        return {"model": known, "can_dream": can_dream(model), "styles": rows}

    def _named(self, name: str | None, kind: str, known: Sequence[str]) -> str:
        wanted = self.default(kind) if name is None else name
        if wanted is None:
            raise Problem(
                404, f"This server has no {kind} model: start it with one, as in 'impasto serve --model NAME'."
            )
        if wanted not in known:
            raise UnknownName(f"{kind} model here", wanted, known)
        return wanted

    def _new_painter(self, bundle: Bundle, precision: Precision) -> StyleModel:
        return StyleModel(bundle, engine=self.engine, threads=self._threads, precision=precision)

    def _about(self, name: str, bundle: Bundle) -> dict[str, Any]:
        manifest = bundle.manifest
        about: dict[str, Any] = {
            "name": name,
            "kind": manifest.kind,
            "bytes": sum(member.size for member in manifest.members.values()),
            "parameters": sum(
                count_weights(bundle.read(spec.member))
                for role, spec in manifest.graphs.items()
                if role != INT8_PAINTER  # the same weights once more
            ),
            "sha256": bundle.sha256,
            "created": manifest.created,
            "licence": manifest.licence.to_fields(),
        }
        if manifest.kind == "style":
            precisions = [one for one in PRECISIONS if one != "int8" or INT8_PAINTER in manifest.graphs]
            dreams = can_dream(self.painter(name))
            return {**about, "styles": len(manifest.styles), "can_dream": dreams, "precisions": precisions}
        generator = self.generators[name]
        return {
            **about,
            "width": generator.width,
            "height": generator.height,
            "channels": generator.channels,
            "classes": list(generator.classes),
            "priors": list(generator.priors),
            "latent_size": generator.latent_size,
        }
