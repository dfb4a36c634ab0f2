"""The command line: ``impasto VERB ...``. Data on stdout, talk on stderr.

Exit codes: 0 done; 1 some of several pictures failed, or a fault of impasto itself; 2 wrong usage or input;
130 stopped with Ctrl-C, 143 by SIGTERM, 141 because nobody reads the output any more (as with ``| head``).
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from impasto import __version__
from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.terminal import DEBUG, ReaderLeftError, explain, forgive_odd_characters, say, trace
from impasto.errors import ImpastoError, UnknownName

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
    "styles": Verb(
        "impasto.apps.cli.styles", "styles", "List the named styles, or paint a sheet of all of them.", True
    ),
    "models": Verb("impasto.apps.cli.models", "app", "List, inspect and verify model files.", True),
    "train": Verb("impasto.apps.cli.train", "train", "Train a model by a recipe."),
    "export": Verb("impasto.apps.cli.train", "export", "Write a trained model as a model file."),
}


class Verbs(TyperGroup):
    """A group whose verbs are imported when they are called, so that no verb pays for another's imports."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            raise UnknownName("command", cmd_name, VERBS)
        verb = VERBS[cmd_name]
        target = getattr(import_module(verb.module), verb.attribute)
        if isinstance(target, typer.Typer):
            command: Any = typer.main.get_command(target)
        else:
            command = _single(cmd_name, target)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


def _single(name: str, function: Callable[..., Any]) -> Any:
    lone = typer.Typer(**TYPER_OPTIONS)
    lone.command(name)(function)
    return typer.main.get_command(lone)


app = typer.Typer(cls=Verbs, **TYPER_OPTIONS)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"impasto {__version__}")
        raise typer.Exit


@app.callback()
def impasto(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Say which impasto."),
    # run() takes it out of the arguments, so that it may stand after the verb too; it is declared here for --help.
    debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error (or IMPASTO_DEBUG=1)."),
) -> None:
    """Make pictures with small convolutional networks, offline."""


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what stands after ``impasto`` on the command line.

    Returns:
        The exit code.
    """
    forgive_odd_characters()
    arguments, debug = _take_debug(arguments)
    DEBUG.set(debug)
    try:
        code = typer.main.get_command(app).main(list(arguments) or ["--help"], "impasto", standalone_mode=False)
        sys.stdout.flush()
    except (ReaderLeftError, BrokenPipeError):
        return _reader_left()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        return _report(error)
    if code == 130:
        say("Stopped; finished pictures are kept and no half-written one is left.")
    return code if isinstance(code, int) else 0


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*kept, *arguments[end:]], len(kept) < end or os.environ.get("IMPASTO_DEBUG", "0") not in ("", "0")


def _report(error: Exception) -> int:
    trace()
    if isinstance(error, ImpastoError):
        say(explain(error))
        return 2
    if hasattr(error, "format_message"):
        return _report_usage(error)
    say(explain(error))
    return 1


def _report_usage(error: Any) -> int:
    """Say what click or typer found wrong. Both have these fields; which of the two raised depends on the version."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return 2
    message = str(error.format_message()).strip()
    if context is not None and type(error).__name__ == "NoSuchOption":
        known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        # Names of options are all alike in their dashes, so only the really near ones are offered.
        near = get_close_matches(error.option_name, known, cutoff=0.7)
        message = str(UnknownName("option", error.option_name, near or known))
    hint = f" Try '{context.command_path} --help'." if context is not None else ""
    say(f"{message.rstrip('.').replace(chr(10), ' ')}.{hint}" if message[-1:] != "?" else f"{message}{hint}")
    return 2


def _reader_left() -> int:
    # Whoever read our output (such as head) has enough; give the interpreter a stdout that it can flush at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """The ``impasto`` command: :func:`run` in a process of its own."""
    brief = any(VERBS[word].brief for word in sys.argv[1:2] if word in VERBS)
    if brief:
        # Painting multiplies nothing with numpy, and starting a pool of threads for it takes 30 ms.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The default would end the process at once and leave a temporary file beside the picture being written.
    signal.signal(signal.SIGTERM, _stop)
    # Pillow warns of odd metadata tags; what matters to a person about a picture is in its notes.
    warnings.filterwarnings("ignore", module="PIL")
    code = run(sys.argv[1:])
    if brief:
        # Every file is closed by now. Taking the interpreter and onnxruntime apart would take another 90 ms.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
