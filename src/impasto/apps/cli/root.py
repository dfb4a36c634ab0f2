"""Understanding the command line: the verbs as typer commands, and what is said and returned when they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from impasto import __version__
from impasto.apps.cli import VERBS
from impasto.apps.cli.optional import completed
from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.terminal import DEBUG, ReaderLeftError, explain, forgive_odd_characters, say, trace
from impasto.errors import ImpastoError, UnknownName

__all__ = ["app", "run"]


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
        code = typer.main.get_command(app).main(completed(arguments) or ["--help"], "impasto", standalone_mode=False)
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
