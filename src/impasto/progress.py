"""The one way a long job reports: it calls a function with a ``Progress``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands.

    Attributes:
        done: units finished so far.
        total: units in all, or None if nobody knows.
        unit: what is counted, such as ``"pictures"``.
        message: a few words for a person, or empty.
        numbers: figures to show beside it (losses, images per second).
    """

    done: int
    total: int | None = None
    unit: str = "steps"
    message: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The default callback: report to nobody."""
