"""Networks. ``NETS`` is the one table of what can be built: kind -> builder of the named parts from a spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from torch import nn

from impasto.errors import TrainingError
from impasto.training.nets.gan import GanSpec, build_gan
from impasto.training.nets.style import Painter, StyleDoubt, StyleEncoder, StyleSpec
from impasto.training.nets.underpaint import Coarser
from impasto.training.nets.vae import VaeSpec, build_vae

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Builder(Generic[S]):
    """Makes the named parts of a network from a spec of its own class.

    Args:
        spec: the class.
        parts: what makes them.
    """

    spec: type[S]
    parts: Callable[[S], dict[str, nn.Module]]

    def __call__(self, spec: BaseModel) -> dict[str, nn.Module]:
        """The parts, by name.

        Raises:
            TrainingError: ``spec`` is that of another kind of network.
        """
        if not isinstance(spec, self.spec):
            raise TrainingError(f"This network is built from a {self.spec.__name__}, not from a {type(spec).__name__}.")
        return self.parts(spec)


def _anystyle(spec: StyleSpec) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {"encoder": StyleEncoder(spec), "painter": Painter(spec)}
    if spec.variational:
        parts["doubt"] = StyleDoubt(spec)
    if spec.under:
        parts["coarser"] = Coarser(spec)
    return parts


_GAN = Builder(GanSpec, build_gan)
_VAE = Builder(VaeSpec, build_vae)

NETS: dict[str, Builder[Any]] = {
    "anystyle": Builder(StyleSpec, _anystyle),
    "dcgan": _GAN,
    "resnet": _GAN,
    "style": _GAN,
    "r3": _GAN,
    "vae": _VAE,
    "vae-gan": _VAE,
    "vq-vae": _VAE,
}
