"""Draw pictures with a generator: by seed, by latent, on a walk between latents, mixed, or put back together.

>>> Generator.load("cats").sample(seed=7)[0].save("cat.png")                    # doctest: +SKIP

A seed decides everything (see :mod:`impasto.runtime.latents`): the same seed gives the same picture on every machine,
up to float rounding, however many are drawn at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from impasto.errors import BundleError, EngineError, ImpastoError
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import Engine, EngineName
from impasto.runtime.frames import fitted, origin
from impasto.runtime.labels import UNKNOWN, Classes, Labels
from impasto.runtime.latents import Array, checked, draw_streams, lerp, slerp
from impasto.runtime.picture import Picture
from impasto.runtime.priors import FLOW, MIXTURE, PRIORS, Prior, Priors

__all__ = ["CENTRES", "FLOW", "MIXTURE", "PRIORS", "UNKNOWN", "Classes", "Generator", "Prior"]

CENTRES = "w_mean.npy"
"""Table [1,W], or [C+1,W] for C classes (the last row for the unknown one): the mean of w, for truncation."""

MOST_TRUNCATION = 2.0
# Eight pictures of 128x128 at once, sixteen of 64x64: one by one is a tenth slower, and so are more of them, whose
# activations leave the processor's cache.
_BATCH_PIXELS = 2**17
_LARGEST_BATCH = 16
_MAPPED_AT_ONCE = 1024


class Generator:
    """A bundle of kind ``generator``, ready to draw. Make one with :meth:`load`.

    Graphs are loaded when first needed. It may be used from several threads at once.

    Attributes:
        name: of the model.
        width, height, channels: of the pictures it draws, channels 1 (grey), 3 (RGB) or 4 (RGBA).
        latent_size: Z, the length of a latent.
        w_size: W, the length of an intermediate latent w (Z where there is no mapping).
        layers: L where the synthesis takes one w per layer, else 1.
        classes: names of the classes; empty for a model without.
        priors: what latents can be drawn from, the usual one first.
        batch: pictures that are drawn at once, so that memory stays bounded.
    """

    def __init__(self, bundle: Bundle, *, engine: EngineName, threads: int | None) -> None:
        manifest, where = bundle.manifest, bundle.path
        latent, graphs = manifest.latent, manifest.graphs
        sides = manifest.width, manifest.height, manifest.channels
        if manifest.kind != "generator" or latent is None or None in sides:
            raise BundleError(f"{where} does not describe a generator with its latent and size: choose another file.")
        if "synthesis" not in graphs or not graphs["synthesis"].inputs:
            raise BundleError(f"{where} has no synthesis graph, so it cannot draw: export the model again.")
        shape = graphs["synthesis"].inputs[0].shape
        if len(shape) not in (2, 3) or not all(isinstance(side, int) for side in shape[1:]):
            raise BundleError(f"{where} has a synthesis of {list(shape)}, not of [n,W]: export the model again.")
        self._mapped, self._layered = "mapping" in graphs, len(shape) == 3
        self.layers, self.w_size = (int(shape[1]) if self._layered else 1), int(shape[-1])
        if not self._mapped and (latent.classes or self.w_size != latent.size):
            raise BundleError(f"{where} has no mapping from its latent to its synthesis: export the model again.")
        self.bundle, self.name = bundle, manifest.name
        self.width, self.height, self.channels = (int(side or 0) for side in sides)
        self.latent_size, self.classes = latent.size, latent.classes
        self._priors = Priors(bundle, self._engine)
        self.priors = self._priors.names
        self.batch = max(1, min(_LARGEST_BATCH, _BATCH_PIXELS // (self.width * self.height)))
        self._labels = Labels(self.name, self.classes)
        self._engine_name, self._threads = engine, threads
        self._engines: dict[str, Engine] = {}
        self._lock = Lock()

    @classmethod
    def load(
        cls, name_or_path: str | Path, *, engine: EngineName = "onnxruntime", threads: int | None = None
    ) -> Generator:
        """Open and verify a model file.

        Args:
            name_or_path: the name of a bundled model, or a file.
            engine, threads: see :class:`impasto.runtime.engine.Engine`.

        Raises:
            BundleError: the file cannot be used.
            UnknownName: there is no bundled model of that name.
        """
        return cls(Bundle.open(name_or_path, kind="generator"), engine=engine, threads=threads)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures, in pixels."""
        return self.width, self.height

    @property
    def device(self) -> str:
        """Where it runs, in words (loads it)."""
        return self._engine("synthesis").device

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not go as asked when the graphs loaded, a sentence each."""
        return tuple(dict.fromkeys(note for engine in self._engines.values() for note in engine.notes))

    @property
    def can_reconstruct(self) -> bool:
        """Whether it has an encoder (a VAE)."""
        return "encoder" in self.bundle.manifest.graphs

    def sample(
        self,
        seed: int = 0,
        count: int = 1,
        *,
        classes: Classes = None,
        truncation: float = 1.0,
        prior: Prior | None = None,
    ) -> list[Picture]:
        """Draw the pictures of ``seed``, ``seed + 1``, ... ``seed + count - 1``.

        Args:
            seed: 0 or more.
            count: how many.
            classes: one name or number for all, or one per picture; None: each picture's class is drawn from its seed.
            truncation: 1: as trained; towards 0: less variety, more typical (see :meth:`to_w`).
            prior: one of :attr:`priors`; None: the first of them.

        Returns:
            Pictures whose metadata tell the seed, the settings and the model's hash.

        Raises:
            ImpastoError: an argument is out of range.
            UnknownName: there is no such class or prior.
        """
        drawn = draw_streams(seed, count, self.latent_size)
        rows = self._labels.rows(classes, count, drawn.label)
        z, left = self._priors.place(drawn, prior, _in_range(truncation))
        w = self._to_w(z, rows, left)
        settings: dict[str, Any] = {"truncation": truncation}
        if len(self.priors) > 1:
            settings["prior"] = self._priors.named(prior)
        told = [{"seed": int(seed) + k, **self._labels.told(rows, k), **settings} for k in range(count)]
        return list(self._pictures(w, told))

    def latents(self, seed: int, count: int = 1, *, prior: Prior | None = None) -> Array:
        """The latents [count,Z] that :meth:`sample` draws from."""
        return self._priors.place(draw_streams(seed, count, self.latent_size), prior)[0]

    def draw(self, latents: ArrayLike, *, classes: Classes = None, truncation: float = 1.0) -> list[Picture]:
        """Draw the pictures of latents [N,Z], or of one [Z]. Arguments and errors as in :meth:`to_w`."""
        w = self.to_w(latents, classes=classes, truncation=truncation)
        return list(self._pictures(w, [{"truncation": truncation}] * len(w)))

    def to_w(self, latents: ArrayLike, *, classes: Classes = None, truncation: float = 1.0) -> Array:
        """Intermediate latents w [N,W] of latents [N,Z], or of one [Z].

        Truncation goes from w towards the mean w of the class (Karras et al. 2019, appendix B, but with one mean per
        class, so that classes do not run into each other). A model without a mapping network has no such mean: there it
        scales the latent z itself.

        Args:
            latents: finite numbers.
            classes: one name or number for all, or one per latent. A model with classes must be told; ``"unknown"``
                means no label, which makes sense for a model that saw pictures without one.
            truncation: 0 to 2.

        Raises:
            ImpastoError: the latents are not of this model, or the truncation is out of range.
            UnknownName: there is no such class.
        """
        z = checked(latents, self.latent_size, "latents")
        return self._to_w(z, self._labels.rows(classes, len(z)), truncation)

    def synthesize(self, w: ArrayLike) -> list[Picture]:
        """Draw the pictures of intermediate latents w: [N,W], one [W], or [N,L,W] with one per layer.

        Raises:
            ImpastoError: they are not of this model.
        """
        array = np.asarray(w)
        if array.ndim == 3 and (not self._layered or array.shape[1] != self.layers):
            raise ImpastoError(
                f"w of {list(array.shape)} cannot be drawn: this model takes {self.layers} layer{'s' * self._layered}."
            )
        flat = checked(array.reshape(-1, array.shape[-1]) if array.ndim == 3 else array, self.w_size, "w")
        ready = flat.reshape(array.shape) if array.ndim == 3 else flat
        return list(self._pictures(ready, [{}] * len(ready)))

    def walk(
        self,
        keys: Sequence[int] | Array,
        *,
        frames: int | Sequence[float] = 60,
        classes: Classes = None,
        truncation: float = 1.0,
        loop: bool = False,
        prior: Prior | None = None,
    ) -> Iterator[Picture]:
        """Walk from key to key, ``frames`` pictures in all, drawn as they are asked for.

        With a mapping network the way is straight in w, which is made for that; without one it follows the sphere in z
        (and goes straight between labels). From seed to seed of a flow it follows the sphere of what flows, so that
        every frame is of a latent that the model knows.

        Args:
            keys: two or more seeds, or latents [K,Z].
            frames: 2 or more; the first and the last are the first and last key. Or the places wanted, from 0 to 1.
            classes: one for all or one per key; None: from each seed. Must be given with latents, if there are classes.
            truncation, prior: as in :meth:`sample`.
            loop: come back to the first key after the last, so that the film can be repeated without a jump.

        Raises:
            ImpastoError: see :meth:`sample`; or fewer than two keys or frames.
        """
        flows = self._priors.named(prior) == FLOW and not (isinstance(keys, np.ndarray) and keys.ndim != 1)
        z, rows = self._keys(keys, classes, "normal" if flows else prior)
        count = 2 if isinstance(frames, Sequence) else frames
        if len(z) < 2 or count < 2:
            raise ImpastoError(f"A walk of {count} frames over {len(z)} keys goes nowhere: give at least 2 of each.")
        stretches = len(z) if loop else len(z) - 1
        places = np.arange(count) * (stretches / (count if loop else count - 1))
        if isinstance(frames, Sequence):
            places = np.asarray(frames, np.float64) * stretches
            if not ((places >= 0) & (places <= stretches)).all():
                raise ImpastoError(f"The places {frames} are not all on the way: give numbers from 0 to 1.")
        # The last place is the end of the last stretch, not the beginning of one more.
        start = np.minimum(places.astype(int), stretches - 1)
        end, shares = (start + 1) % len(z), places - start
        at_keys = None if self._centres is None else self._to_w(z, rows, truncation)
        labels = self._labels.one_hot(rows) if self.classes else None
        scale = np.float32(_in_range(truncation))

        def between(some: slice) -> Array:
            a, b, share = start[some], end[some], shares[some]
            if at_keys is not None:
                return lerp(at_keys[a], at_keys[b], share)
            way = np.stack([slerp(z[i], z[j], s) for i, j, s in zip(a, b, share, strict=True)])
            if flows:
                return self._map(self._priors.flowed(way * scale), None)
            return self._map(way * scale, labels if labels is None else lerp(labels[a], labels[b], share))

        told = [{"frame": frame, "truncation": truncation} for frame in range(len(places))]
        parts = (slice(at, at + self.batch) for at in range(0, len(places), self.batch))
        return (picture for some in parts for picture in self._pictures(between(some), told[some]))

    def mix(
        self,
        a: int | ArrayLike,
        b: int | ArrayLike,
        layers: int | None = None,
        *,
        classes: Classes = None,
        truncation: float = 1.0,
        prior: Prior | None = None,
    ) -> list[Picture]:
        """Style mixing (Karras et al. 2019, section 3.1): the coarse layers of ``a``, the fine ones of ``b``.

        Args:
            a, b: a seed, or latents [N,Z] (or one [Z]); one of either goes with several of the other.
            layers: how many of the first, coarse layers follow ``a``: 0 (all of it is b) to L; None: half of them.
            classes: as in :meth:`walk`, for both.
            truncation, prior: as in :meth:`sample`.

        Raises:
            ImpastoError: the model has no layers to mix, or an argument is out of range.
        """
        if not self._layered:
            raise ImpastoError(f"{self.name} has no layers to mix: style mixing works with models of the style family.")
        crossing = self.layers // 2 if layers is None else layers
        if not 0 <= crossing <= self.layers:
            raise ImpastoError(f"{crossing} layers cannot be mixed: this model has {self.layers}, give 0 to that many.")
        sides: list[Array] = []
        told: dict[str, Any] = {"layers": crossing, "truncation": truncation}
        for name, one in (("a", a), ("b", b)):
            by_seed = isinstance(one, int | np.integer)
            if by_seed:
                told[name] = int(one)  # type: ignore[arg-type]
            z, rows = self._keys([one] if by_seed else np.atleast_2d(np.asarray(one)), classes, prior)  # type: ignore[list-item]
            sides.append(self._to_w(z, rows, truncation))
        count = max(map(len, sides))
        if {len(side) for side in sides} - {1, count}:
            raise ImpastoError(f"{len(sides[0])} and {len(sides[1])} latents cannot be paired: give as many of each.")
        coarse = (np.arange(self.layers) < crossing)[:, None]
        return list(self._pictures(np.where(coarse, sides[0][:, None], sides[1][:, None]), [told] * count))

    def encode(self, pictures: Sequence[Picture]) -> Array:
        """Latents [N,Z] of pictures of any size: the middle of each, scaled to the model's size.

        Raises:
            ImpastoError: the model has no encoder.
        """
        if not self.can_reconstruct:
            raise ImpastoError(f"{self.name} has no encoder, so it cannot take a picture in: use a VAE's model file.")
        engine = self._engine("encoder")
        found = [np.zeros((0, self.latent_size), np.float32)]
        for start in range(0, len(pictures), self.batch):
            some = pictures[start : start + self.batch]
            seen = np.stack([fitted(picture, self.size, self.channels) for picture in some])
            found.append(engine.run({engine.inputs[0]: seen * np.float32(2) - np.float32(1)})[engine.outputs[0]])
        return checked(np.concatenate(found), self.latent_size, "latents")

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Each picture through the encoder and back, at the model's size; metadata pass through.

        Raises:
            ImpastoError: the model has no encoder.
        """
        drawn = self._pictures(self.encode(pictures), [{}] * len(pictures))
        return [
            replace(new, info=replace(old.info, depth=8, grey=new.info.grey, text=new.info.text))
            for new, old in zip(drawn, pictures, strict=True)
        ]

    @cached_property
    def _centres(self) -> Array | None:
        if CENTRES not in self.bundle.members:
            return None
        return self.bundle.table(CENTRES, shape=(len(self.classes) + 1, self.w_size))

    def _keys(self, keys: Sequence[int] | Array, classes: Classes, prior: Prior | None) -> tuple[Array, list[int]]:
        """Latents [K,Z] and class numbers of seeds, or of latents."""
        if isinstance(keys, np.ndarray) and keys.ndim != 1:
            latents = checked(keys, self.latent_size, "latents")
            return latents, self._labels.rows(classes, len(latents))
        draws = [draw_streams(seed, 1, self.latent_size) for seed in keys]
        placed = [np.zeros((0, self.latent_size), np.float32), *(self._priors.place(one, prior)[0] for one in draws)]
        shares = np.array([one.label[0] for one in draws])
        return np.concatenate(placed), self._labels.rows(classes, len(draws), shares)

    def _to_w(self, z: Array, rows: list[int], truncation: float) -> Array:
        centres, share = self._centres, _in_range(truncation)
        labels = self._labels.one_hot(rows) if self.classes else None
        if centres is None:
            return self._map(z * np.float32(share), labels)
        w = self._map(z, labels)
        return w if share == 1 else lerp(centres[rows] if self.classes else centres[:1], w, share)

    def _map(self, z: Array, labels: Array | None) -> Array:
        """w [N,W]: z itself where there is no mapping."""
        if not self._mapped:
            return z
        engine = self._engine("mapping")
        parts = [np.zeros((0, self.w_size), np.float32)]
        for start in range(0, len(z), _MAPPED_AT_ONCE):
            some = slice(start, start + _MAPPED_AT_ONCE)
            feeds = {"z": z[some]} if labels is None else {"z": z[some], "labels": labels[some]}
            parts.append(engine.run(feeds)[engine.outputs[0]])
        return np.concatenate(parts)

    def _pictures(self, w: Array, told: Sequence[dict[str, Any]]) -> Iterator[Picture]:
        """Draw w [N,W] or [N,L,W], a batch at a time."""
        if self._layered and w.ndim == 2:
            w = np.broadcast_to(w[:, None], (len(w), self.layers, self.w_size))
        engine = self._engine("synthesis")
        shape = self.channels, self.height, self.width
        for start in range(0, len(w), self.batch):
            drawn = engine.run({engine.inputs[0]: w[start : start + self.batch]})[engine.outputs[0]]
            if drawn.shape[1:] != shape:
                raise EngineError(f"The graph drew {list(drawn.shape)}, not {list(shape)}: export the model again.")
            for planes, about in zip(drawn, told[start : start + self.batch], strict=True):
                picture = Picture.from_array(planes.transpose(1, 2, 0) * np.float32(0.5) + np.float32(0.5))
                info = origin({"model": self.name, "sha256": self.bundle.sha256, **about}, grey=self.channels == 1)
                yield replace(picture, info=info)

    def _engine(self, role: str) -> Engine:
        with self._lock:
            if role not in self._engines:
                _, graph = self.bundle.graph(role)
                # Exact: a seed should give its picture whatever the engine.
                self._engines[role] = Engine(graph, engine=self._engine_name, threads=self._threads, exact=True)
            return self._engines[role]


def _in_range(truncation: float) -> float:
    if not 0 <= truncation <= MOST_TRUNCATION:  # also refuses NaN
        raise ImpastoError(f"The truncation {truncation} cannot be used: choose 0 to {MOST_TRUNCATION:g}.")
    return truncation
