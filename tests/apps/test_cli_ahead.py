"""Loading the model ahead: what is guessed from the arguments, and that a wrong guess changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import drawn_photo, make_style_bundle
from impasto.apps.cli import ahead, run
from impasto.apps.cli.ahead import load_ahead, started
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    ahead._started.clear()
    yield
    ahead._started.clear()


@pytest.mark.parametrize(
    ("options", "engine", "threads"),
    [
        ([], "onnxruntime", None),
        (["--threads", "1"], "onnxruntime", 1),
        (["--threads=2", "--engine", "onnxruntime"], "onnxruntime", 2),
        (["--threads=2", "--threads=1"], "onnxruntime", 1),
    ],
)
def test_the_model_of_the_arguments_is_begun_once(
    options: list[str], engine: str, threads: int | None, style_bundle: Path
) -> None:
    load_ahead(["stylize", "photo.jpg", "-s", "starry-night", "--model", str(style_bundle), *options])
    assert started(str(style_bundle), engine, (threads or 0) + 1) is None, "other settings are another model"
    begun = started(str(style_bundle), engine, threads)
    assert begun is not None and begun.bundle.path == style_bundle
    assert threads is None or f"{threads} thread" in begun.device
    assert started(str(style_bundle), engine, threads) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "nosuch"],
        ["--model"],
        ["--model", "{model}", "--engine", "steam"],
        ["--model", "{model}", "--threads", "many"],
        ["--model", "{model}", "--threads", "-1"],
    ],
)
def test_what_cannot_be_loaded_is_left_to_the_verb(
    arguments: list[str], style_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_ahead(["stylize", "photo.jpg", *(word.format(model=style_bundle) for word in arguments)])
    assert ahead._started == {}
    assert capfd.readouterr() == ("", "")


def test_the_verb_takes_what_was_begun(
    style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    Picture.from_array(drawn_photo()).save(photo)
    arguments = ["stylize", str(photo), "--style", "great-wave", "--model", str(style_bundle), "--threads", "1"]
    assert run([*arguments, "-o", str(tmp_path / "plain.png")]) == 0
    load_ahead(arguments)
    monkeypatch.setattr(StyleModel, "load", lambda *_, **__: pytest.fail("the model was loaded again"))
    assert run([*arguments, "-o", str(tmp_path / "ahead.png")]) == 0
    assert (tmp_path / "ahead.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert capsys.readouterr().err == ""


def test_an_error_of_the_painter_is_one_sentence(broken_painter: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Picture.from_array(drawn_photo()).save(photo)
    command = [sys.executable, "-c", "from impasto.apps.cli import main; main()", "stylize", str(photo)]
    options = ["--style", "great-wave", "--model", str(broken_painter)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("impasto: onnxruntime cannot load the graph") and done.stderr.count("\n") == 1


@pytest.fixture
def broken_painter(tmp_path: Path) -> Path:
    return make_style_bundle(tmp_path / "broken.impasto", members={"painter.onnx": b"no graph"})
