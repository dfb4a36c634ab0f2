"""What a generator's latents are drawn from: N(0, 1), and what was fitted to the latents of a VAE's pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from impasto.errors import BundleError, EngineError, UnknownName
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import Engine
from impasto.runtime.latents import Array, Draw, Mixture

Prior = Literal["normal", "mixture", "flow"]
PRIORS: tuple[Prior, ...] = get_args(Prior)

MIXTURE = ("mixture_weights.npy", "mixture_means.npy", "mixture_roots.npy")
"""Tables of a Gaussian mixture, see ``latents.Mixture``."""

FLOW = "flow"
"""Role of the graph that carries N(0, 1) [n,Z] to latents [n,Z]."""


class Priors:
    """The distributions that a model file has, the usual one first.

    Args:
        bundle: of kind ``generator``.
        engine: loads a graph by its role.

    Attributes:
        names: the distributions.
    """

    def __init__(self, bundle: Bundle, engine: Callable[[str], Engine]) -> None:
        self._bundle, self._engine = bundle, engine
        self._mixture: Mixture | None = None
        there = {FLOW: FLOW in bundle.manifest.graphs, "mixture": MIXTURE[0] in bundle.members, "normal": True}
        self.names: tuple[Prior, ...] = tuple(name for name in reversed(PRIORS) if there[name])

    def named(self, prior: Prior | None) -> Prior:
        """``prior``, or the usual one.

        Raises:
            UnknownName: the model has no such distribution.
        """
        if prior is not None and prior not in self.names:
            raise UnknownName(f"prior in {self._bundle.manifest.name}", prior, self.names)
        return prior or self.names[0]

    def place(self, drawn: Draw, prior: Prior | None, truncation: float = 1.0) -> tuple[Array, float]:
        """Latents [N,Z] of what was drawn, and how much of the truncation is still to be done to them.

        A flow takes shorter normals, which it carries to more typical latents. Elsewhere latents themselves are scaled,
        or w is, which is not done here.
        """
        match self.named(prior):
            case "flow":
                return self.flowed(drawn.normals * np.float32(truncation)), 1.0
            case "mixture":
                return self._fitted().place(drawn), truncation
            case _:
                return drawn.normals, truncation

    def flowed(self, normals: Array) -> Array:
        """Where the flow carries ``normals`` [N,Z].

        Raises:
            EngineError: the graph gives something else than latents.
        """
        engine, placed = self._engine(FLOW), np.empty_like(normals)
        for row in range(len(normals)):  # one by one: a batched product may round differently with the batch
            latent = engine.run({engine.inputs[0]: normals[row : row + 1]})[engine.outputs[0]]
            if latent.shape != (1, normals.shape[1]):
                raise EngineError(f"The flow gave {list(latent.shape)}, no latent: export the model again.")
            placed[row] = latent[0]
        return placed

    def _fitted(self) -> Mixture:
        if self._mixture is None:
            mixture = Mixture(*(self._bundle.table(member) for member in MIXTURE))
            latent = self._bundle.manifest.latent
            if latent is None or mixture.means.shape[1] != latent.size:
                raise BundleError(
                    f"The mixture in {self._bundle.path} is of another latent size: export the model again."
                )
            self._mixture = mixture
        return self._mixture
