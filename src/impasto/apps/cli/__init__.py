"""The command line: ``impasto VERB ...``. Data on stdout, talk on stderr.

Exit codes: 0 done; 1 some of several pictures failed, or a fault of impasto itself; 2 wrong usage or input;
130 stopped with Ctrl-C, 143 by SIGTERM, 141 because nobody reads the output any more (as with ``| head``).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from impasto.apps.cli.root import app, run

__all__ = ["VERBS", "Verb", "app", "main", "run"]


class Verb(NamedTuple):
    """Where a verb lives.

    Attributes:
        attribute: in the module: a typer function, or a ``typer.Typer`` for a verb with verbs of its own.
        brief: it is over in about a second, so the time to start and to end counts (see :func:`main`).
    """

    module: str
    attribute: str
    help: str
    brief: bool = False


VERBS: dict[str, Verb] = {
    "stylize": Verb("impasto.apps.cli.stylize", "stylize", "Paint pictures in the manner of others.", True),
    "again": Verb("impasto.apps.cli.again", "again", "Paint once more by the recipe in a painted picture.", True),
    "show": Verb("impasto.apps.cli.again", "show", "Print the recipe that a picture carries.", True),
    "paint": Verb("impasto.apps.cli.paint", "paint", "Paint a photo by optimisation, slowly and well."),
    "styles": Verb(
        "impasto.apps.cli.styles", "styles", "List the named styles, or paint a sheet of all of them.", True
    ),
    "dream": Verb("impasto.apps.cli.dream", "dream", "Paint a picture in styles that never existed.", True),
    "generate": Verb("impasto.apps.cli.generate", "generate", "Draw new pictures with a generator.", True),
    "walk": Verb("impasto.apps.cli.walk", "walk", "Film the way from one drawn picture to the next.", True),
    "mix": Verb("impasto.apps.cli.walk", "mix", "Mix the styles of drawn pictures, as a grid.", True),
    "reconstruct": Verb("impasto.apps.cli.reconstruct", "reconstruct", "Put pictures through a VAE and back.", True),
    "models": Verb("impasto.apps.cli.models", "app", "List, inspect and verify model files.", True),
    "train": Verb("impasto.apps.cli.train", "train", "Train a model by a recipe."),
    "cluster": Verb("impasto.apps.cli.cluster", "app", "Train over several machines of a Ray cluster."),
    "measure": Verb("impasto.apps.cli.measure", "app", "Measure what was painted or drawn."),
    "compare": Verb("impasto.apps.cli.compare", "compare", "Lay the same pictures of several folders side by side."),
    "explain": Verb("impasto.apps.cli.explain", "app", "Explain on a page what a style did to a photo."),
    "export": Verb("impasto.apps.cli.train", "export", "Write a trained model as a model file."),
    "serve": Verb("impasto.apps.cli.serve", "serve", "Open a page to play on, and an HTTP API."),
    "web": Verb("impasto.apps.cli.web_build", "app", "The page as static files that paint in the browser itself."),
    "quantize": Verb("impasto.apps.cli.quantize", "quantize", "Add a painter in 8 bits to a style model."),
}


def __getattr__(name: str) -> Any:
    # Not imported above: typer is to be imported while the model loads.
    if name not in ("app", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("impasto.apps.cli.root"), name)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """The ``impasto`` command: ``run`` in a process of its own."""
    brief = any(VERBS[word].brief for word in sys.argv[1:2] if word in VERBS)
    if brief:
        # Painting multiplies nothing with numpy, and starting a pool of threads for it takes 30 ms.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # Imports make many objects and no garbage: looking for some every 700 objects takes 15 ms of the start.
        gc.set_threshold(50_000)
    # The default would end the process at once and leave a temporary file beside the picture being written.
    signal.signal(signal.SIGTERM, _stop)
    # Pillow warns of odd metadata tags; what matters to a person about a picture is in its notes.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        if sys.argv[1:2] == ["stylize"]:
            from impasto.apps.cli.ahead import load_ahead

            load_ahead(sys.argv[1:])
        from impasto.apps.cli.root import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before run() was there to take it
        code = 130
    if brief:
        # Every file is closed by now. Taking the interpreter and onnxruntime apart would take another 90 ms.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
