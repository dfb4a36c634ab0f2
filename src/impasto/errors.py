"""Every error that impasto raises on purpose.

    ImpastoError                 one sentence: what is wrong and what to do
    |-- PictureError             a picture cannot be read or written
    |   `-- PictureExists        the output is there already (pass overwrite=True)
    |-- BundleError              a model file is damaged, altered, too new or of another kind
    |-- EngineError              a graph cannot be run (engine not installed, wrong input)
    |-- UnknownName              a style, model, key or flag that does not exist; offers the nearest one
    |-- TrainingError            a recipe, a data folder or a run cannot be used
    `-- StoppedError             work that was stopped from outside (see runtime/stopping.py)

Faces (the command line, a server) print ``str(error)`` and stop with exit code 2; libraries never print.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ImpastoError(Exception):
    """Base of all of them. ``str(error)`` is one sentence for a person."""


class PictureError(ImpastoError):
    """A picture cannot be read or written."""


class PictureExists(PictureError):
    """The output file is there already."""


class BundleError(ImpastoError):
    """A model file is damaged, altered, too new or of another kind."""


class EngineError(ImpastoError):
    """A graph cannot be run."""


class TrainingError(ImpastoError):
    """A recipe, a data folder or a run cannot be used."""


class UnknownName(ImpastoError):
    """A name that does not exist.

    Args:
        what: the kind of thing, such as ``"style"``.
        name: what was asked for.
        known: the names that exist; the nearest are offered.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, sorted(known)
        near = get_close_matches(name.lower(), self.known, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(repr(n) for n in near)}?"
        elif self.known:
            hint = f"there is {', '.join(self.known)}."
        else:
            hint = "there is none."
        super().__init__(f"There is no {what} called {name!r}: {hint}")
