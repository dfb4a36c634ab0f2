"""``--max-memory``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import drawn_photo, make_style_bundle, style_manifest
from impasto.apps.cli import parts, run
from impasto.runtime import mural, painting
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files painted in parts, in a process that seems to hold nothing yet."""
    files: list[str] = []
    real = mural.paint_file
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setattr(painting, "_RESERVE", 0)
    monkeypatch.setattr(mural, "resident", lambda: 0)
    monkeypatch.setattr(mural, "_READING", 0)

    def noted(model: StyleModel, source: Path, *rest: Any, **how: Any) -> object:
        files.append(source.name)
        return real(model, source, *rest, **how)

    monkeypatch.setattr(mural, "paint_file", noted)
    return files


@pytest.fixture
def command(tmp_path: Path, style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Picture(drawn_photo(90, 70)).save("photo.png")
    Picture(drawn_photo(30, 20)).save("small.png")
    return ["stylize", "--style", "great-wave", "--model", str(style_bundle)]


def test_what_is_larger_than_allowed_is_painted_in_parts(
    command: list[str], painted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "photo.png", "-o", "whole.png"]) == 0
    assert painted == []
    assert run([*command, "photo.png", "-o", "parts.png", "--max-memory", "500kB"]) == 0
    assert painted == ["photo.png"]
    assert capsys.readouterr() == ("whole.png\nparts.png\n", "")
    np.testing.assert_array_equal(Picture.open("parts.png").rgb, Picture.open("whole.png").rgb)


def test_only_what_is_larger(command: list[str], painted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--strength", "0.5", "--keep-colors", "--size", "60", "--quality", "50", "--strip", "--json"]
    code = run([*command, "photo.png", "small.png", "-o", "out", "--format", "jpg", "--max-memory", "0.5MB", *options])
    assert code == 0 and painted == ["photo.png"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["width"], line["height"]) for line in lines] == [(60, 47), (60, 40)]
    assert run([*command, "photo.png", "-o", "whole.jpg", *options]) == 0
    difference = np.abs(Picture.open("out/photo.jpg").rgb - Picture.open("whole.jpg").rgb)
    assert difference.mean() < 0.3 / 255


def test_streams_are_painted_in_parts_too(
    command: list[str], painted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[object] = []
    real = painting._paint
    monkeypatch.setattr(painting, "_paint", lambda *how: (windows.append(how), real(*how))[1])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    assert run([*command, "-", "-o", "parts.png", "--max-memory", "500kB"]) == 0
    assert len(windows) > 1 and painted == []
    assert run([*command, "photo.png", "-o", "whole.png"]) == 0
    np.testing.assert_array_equal(Picture.open("parts.png").rgb, Picture.open("whole.png").rgb)


def test_a_failure_among_several_is_told_and_the_rest_painted(
    command: list[str], painted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path("photo.png").read_bytes()
    Path("photo.png").write_bytes(whole[: len(whole) // 2])
    assert run([*command, "photo.png", "small.png", "-o", "out", "--max-memory", "500kB"]) == 1
    assert painted == ["photo.png"]
    assert "damaged or cut short" in capsys.readouterr().err
    assert [path.name for path in Path("out").iterdir()] == ["small.png"]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("much", "'much' is no amount of memory"),
        ("1kB", "Painting within 1 MB is not possible"),
    ],
)
def test_what_cannot_be_is_refused(
    command: list[str],
    painted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: str,
    said: str,
) -> None:
    monkeypatch.setattr(mural, "_READING", -100_000_000)
    assert run([*command, "photo.png", "-o", "out.png", "--max-memory", size]) == 2
    assert said in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_a_model_that_cannot_says_so(
    command: list[str], tmp_path: Path, painted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    graphs = {name: spec.to_fields() for name, spec in style_manifest().graphs.items()}
    graphs["painter"]["receptive_field"] = None
    model = make_style_bundle(tmp_path / "instance.impasto", graphs=graphs)
    assert run([*command[:-1], str(model), "photo.png", "-o", "out.png", "--max-memory", "500kB"]) == 2
    assert "takes statistics of the whole picture inside" in capsys.readouterr().err
    assert painted == [] and not Path("out.png").exists()


def test_the_bar_counts_windows(command: list[str], painted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int | None]] = []

    class Bar:
        def __init__(self, total: int, *, quiet: bool) -> None:
            assert total > 1 and not quiet

        def __enter__(self) -> object:
            return lambda report: told.append((report.done, report.total))

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(parts, "progress_bar", Bar)
    assert run([*command, "photo.png", "-o", "out.png", "--max-memory", "500kB"]) == 0
    assert (0, None) in told and any(done == total and done > 1 for done, total in told)
