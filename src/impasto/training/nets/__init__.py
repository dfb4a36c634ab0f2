"""Networks. ``NETS`` is the one table of what can be built: kind -> builder of the named parts from a spec."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from impasto.training.nets.style import Painter, StyleEncoder, StyleSpec


def _anystyle(spec: StyleSpec) -> dict[str, nn.Module]:
    return {"encoder": StyleEncoder(spec), "painter": Painter(spec)}


NETS: dict[str, Callable[[StyleSpec], dict[str, nn.Module]]] = {"anystyle": _anystyle}
