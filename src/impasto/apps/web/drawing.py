"""The work of ``/v1/generate``; it runs in a thread of the pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from impasto.apps.web.body import Asked
from impasto.apps.web.fields import told
from impasto.apps.web.painting import _SUFFIX, Clock, Emit, Made, pause
from impasto.apps.web.problems import Problem
from impasto.apps.web.shelf import Shelf
from impasto.runtime.frames import about, origin
from impasto.runtime.generator import Generator
from impasto.runtime.picture import Picture

FORMAT = "PNG"
"""What is answered where nothing else is asked for: it keeps transparency, and tells how it was drawn."""

_DEFAULT_AT, _DEFAULT_SEED = 0.0, 0


@dataclass(frozen=True)
class Drawing:
    """What drawing needs to know of the server: its models."""

    shelf: Shelf

    def one(self, asked: Asked, accepted: Callable[[str], str]) -> Made:
        """One picture: of a seed, or of a place on the way between two.

        Raises:
            ImpastoError: something that was asked for does not do.
        """
        clock, values = Clock(), asked.values
        generator = self.shelf.generator(values.get("model"))
        kind = accepted(FORMAT)
        with clock.measured("draw"):
            picture = self._between(generator, values) if "to" in values else self._drawn(generator, values, 0)
        with clock.measured("write"):
            return _written(picture, kind, values, clock)

    def several(self, asked: Asked, accepted: Callable[[str], str], emit: Emit) -> None:
        """The pictures of one seed after the other; ``emit`` gets a line for each."""
        values = asked.values
        if "to" in values:
            raise Problem(
                422, "A place on a walk is one picture: leave out count, or ask for one place after the other."
            )
        generator = self.shelf.generator(values.get("model"))
        kind = accepted(FORMAT)
        for offset in range(values["count"]):
            pause()
            picture = self._drawn(generator, values, offset)
            told_ = about(picture)
            emit(_written(picture, kind, values, Clock()).line(seed=told_["seed"], **{"class": told_.get("class")}))

    def _drawn(self, generator: Generator, values: dict[str, Any], offset: int) -> Picture:
        if "at" in values:
            raise Problem(422, "A place on a walk needs its end: add the field to, or leave out at.")
        seed = values.get("seed", _DEFAULT_SEED) + offset
        return generator.sample(seed, classes=values.get("class"), **told(values, ["truncation", "prior"]))[0]

    def _between(self, generator: Generator, values: dict[str, Any]) -> Picture:
        seed, end, at = values.get("seed", _DEFAULT_SEED), values["to"], values.get("at", _DEFAULT_AT)
        settings = told(values, ["truncation", "prior"])
        picture = next(generator.walk([seed, end], frames=[at], classes=values.get("class"), **settings))
        facts = {key: value for key, value in about(picture).items() if key != "frame"}
        facts |= {"seed": seed, "to": end, "at": at} | told(values, ["class"])
        return replace(picture, info=origin(facts, grey=picture.info.grey))


def _written(picture: Picture, kind: str, values: dict[str, Any], clock: Clock) -> Made:
    data = picture.to_bytes(_SUFFIX[kind], **told(values, ["quality"]))
    facts = about(picture)
    headers = {"Impasto-Seed": str(facts["seed"])}
    if "class" in facts:
        headers["Impasto-Class"] = str(facts["class"]).encode("ascii", "backslashreplace").decode()
    return Made(data, kind, picture.size, picture.losses(_SUFFIX[kind]), clock.times, headers)
