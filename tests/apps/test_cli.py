"""The command line as a whole: verbs, exit codes, what a start costs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from helpers import drawn_photo
from impasto import __version__
from impasto.apps import cli
from impasto.apps.cli import VERBS, run, terminal
from impasto.errors import ImpastoError
from impasto.progress import Progress
from impasto.runtime.picture import Picture

Capture = pytest.CaptureFixture[str]


def in_a_process(*arguments: str, before: str = "", after: str = "", **rest: Any) -> subprocess.CompletedProcess[str]:
    """``impasto`` in a process of its own, with Python to run before and after it."""
    code = f"import sys\n{before}\nfrom impasto.apps.cli import main, run\n{after or 'main()'}"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **rest)


def test_version_and_help(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"impasto {__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        assert run(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        for name, verb in VERBS.items():
            assert f"  {name} " in out
            assert verb.help in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_a_home(verb: str, capsys: Capture) -> None:
    assert run([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: impasto {verb} ")
    assert err == ""
    assert hasattr(import_module(VERBS[verb].module), VERBS[verb].attribute)


def test_misspelt_verbs_and_options(capsys: Capture) -> None:
    assert run(["stylise"]) == 2
    assert capsys.readouterr().err.startswith("impasto: There is no command called 'stylise': did you mean 'stylize'")
    assert run(["--versoin"]) == 2
    assert "did you mean '--version'" in capsys.readouterr().err
    assert run(["styles", "--jsn"]) == 2
    err = capsys.readouterr().err
    assert err == "impasto: There is no option called '--jsn': did you mean '--json'? Try 'impasto styles --help'.\n"


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_debug_shows_the_traceback(place: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ["models", "inspect", "nosuch.impasto"]
    assert run(wrong) == 2
    assert "Traceback" not in capsys.readouterr().err
    if place == "environment":
        monkeypatch.setenv("IMPASTO_DEBUG", "1")
    assert run({"before": ["--debug", *wrong], "after": [*wrong, "--debug"]}.get(place, wrong)) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("impasto: There is no file nosuch.impasto")
    monkeypatch.delenv("IMPASTO_DEBUG", raising=False)
    assert run(wrong) == 2
    assert "Traceback" not in capsys.readouterr().err, "it does not stick"


def test_a_file_may_be_called_debug(capsys: Capture) -> None:
    assert run(["models", "inspect", "--", "--debug"]) == 2
    assert "no model called '--debug'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ImpastoError("It is so."), 2, "impasto: It is so.\n"),
        (
            ZeroDivisionError("a\n b"),
            1,
            "impasto: Unexpected ZeroDivisionError (a b): run",
        ),
        (RuntimeError(), 1, "impasto: Unexpected RuntimeError (no details): "),
        (KeyboardInterrupt(), 130, "impasto: Stopped; "),
        (MemoryError(), 1, "impasto: There is not enough memory"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, sentence: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("impasto.apps.cli.styles.Bundle.open", fail)
    assert run(["styles"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence)
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["styles", "stylize"])
def test_a_reader_that_leaves_ends_it_quietly(verb: str, style_bundle: Path, tmp_path: Path) -> None:
    Picture.from_array(drawn_photo()).save(tmp_path / "photo.jpg")
    more = [] if verb == "styles" else ["photo.jpg", "--style", "starry-night", "-o", "-"]
    read, write = os.pipe()
    os.close(read)
    code = "from impasto.apps.cli import main; main()"
    command = [sys.executable, "-c", code, verb, *more, "--model", str(style_bundle)]
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


def test_odd_file_names_can_be_printed(style_bundle: Path, tmp_path: Path) -> None:
    name = b"caf\xe9 \xff.png"
    try:
        (tmp_path / os.fsdecode(name)).write_bytes(Picture.from_array(drawn_photo(20, 20)).to_bytes("png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    options = ["--style", "starry-night", "--model", str(style_bundle), "-o", "out"]
    command = [
        sys.executable,
        "-c",
        "from impasto.apps.cli import main; main()",
        "stylize",
        os.fsdecode(name),
        *options,
    ]
    for encoding in ("utf-8", "ascii"):
        env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        command.append("--overwrite")
        expected = b"out/" + name if encoding == "utf-8" else b"out/caf? ?.png"
        assert done.stdout.strip() == expected


def test_paints_where_torch_cannot_be_imported(style_bundle: Path, tmp_path: Path) -> None:
    Picture.from_array(drawn_photo()).save(tmp_path / "photo.jpg")
    # None in sys.modules makes an import raise. rich would draw a bar for nobody; the others are for training only.
    absent = ["torch", "onnx", "onnxscript", "safetensors", "h5py", "rich", "matplotlib", "openvino"]
    before = "".join(f"sys.modules[{name!r}] = None\n" for name in absent)
    arguments = ["stylize", "photo.jpg", "--style", "starry-night", "--model", str(style_bundle), "--json"]
    done = in_a_process(*arguments, before=before, cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    assert (tmp_path / json.loads(done.stdout)["output"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], ["numpy", "PIL", "onnxruntime", "rich", "pydantic"]),
        (["--help"], ["numpy", "PIL", "onnxruntime", "rich"]),
        (["styles"], ["onnxruntime", "rich", "PIL.ImageCms"]),
    ],
)
def test_a_verb_imports_what_it_needs(arguments: list[str], absent: list[str], style_bundle: Path) -> None:
    more = ["--model", str(style_bundle)] if arguments == ["styles"] else []
    after = f"code = run(sys.argv[1:])\nprint(sorted(set({absent!r}) & set(sys.modules)), code, file=sys.stderr)"
    done = in_a_process(*arguments, *more, after=after)
    assert done.stderr == "[] 0\n"


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("impasto")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"impasto {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["styles", "--model", "nosuch.impasto"], ["--nosuch"]])
def test_the_process_ends_with_the_exit_code(arguments: list[str]) -> None:
    done = in_a_process(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("impasto: There is no ")


def test_defaults_come_from_the_library() -> None:
    def function(*, given: int = 3, needed: int) -> None:
        raise AssertionError(given, needed)

    assert terminal.default_of(function, "given") == 3
    with pytest.raises(TypeError, match="gives needed no default"):
        terminal.default_of(function, "needed")


def test_the_bar_follows_the_progress(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar(3) as report:
        report(Progress(2, 3, "pictures", "a [bold] name"))
    err = capsys.readouterr().err
    assert "2/3" in err
    assert "a [bold] name" in err, "no markup"
    with terminal.progress_bar(1) as report:
        report(Progress(0, 1))
    assert capsys.readouterr().err == "", "one picture needs no bar"


def test_streams_without_an_encoding_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.run(["--version"]) == 0
    assert stream.getvalue() == f"impasto {__version__}\n"
