"""The benchmark of style-one: who paints what, what is kept, the table; training is a stand-in."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers import drawn_photo

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import style_one
import style_quality

# Stands in for the yardstick: the gap of "one" is half of that of "any".
YARDSTICK = """
import json, sys
from pathlib import Path
photos, paintings, out = sys.argv[1:]
n, gap = len(list(Path(out).glob("*__*.png"))), 0.25 if Path(out).name == "one" else 0.5
print(out, json.dumps({"vgg": {"n": n, "style_gap": gap, "content_lost": 0.4, "quality": 1 - gap}}))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, (folder, names) in enumerate((("photos", ("cat", "dog")), ("paintings", ("night", "wave")))):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            pixels = (drawn_photo(40, 30, 10 * seed + number) * 255).round().astype("uint8")
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "yardstick.py").write_text(YARDSTICK)
    monkeypatch.setattr(style_one, "SIDE", 32)
    return tmp_path


@pytest.fixture
def learnt(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of training: the tiny model is copied. Which paintings were learnt."""
    done: list[str] = []

    def learn(painting: Path, model: Path, options: argparse.Namespace) -> float:
        done.append(painting.stem)
        shutil.copy(style_bundle, model)
        return 12.0

    monkeypatch.setattr(style_one, "learn", learn)
    return done


def main(place: Path, model: Path, *more: str) -> int:
    words = [str(place / name) for name in ("photos", "paintings", "out")]
    return style_one.main([*words, "--model", str(model), "--threads", "1", "--cell", "32", *more])


def test_both_paint_every_pair_and_are_scored(
    place: Path, style_bundle: Path, learnt: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(place, style_bundle, "--eval", str(place / "yardstick.py")) == 0
    assert learnt == ["night", "wave"]
    names = {f"{photo}__{painting}.png" for photo in ("cat", "dog") for painting in learnt}
    for folder in ("any", "one"):
        assert {path.name for path in (place / "out" / folder).iterdir()} == names
    out, _ = capsys.readouterr()
    assert "| vgg | style_gap | 0.5000 | 0.2500 | 0.50 |" in out
    assert "| vgg | content_lost | 0.4000 | 0.4000 | 1.00 |" in out
    assert "4 pairs, strength 1, size full; night, full 12 s, wave, full 12 s" in out
    kept = json.loads((place / "out" / "results.json").read_text())
    assert kept["scores"]["one"]["vgg"]["n"] == 4 and kept["minutes"] == 10
    with Image.open(place / "out" / "sheet.jpg") as page:
        assert page.width > 4 * 32
    # Again with one painting: nothing is learnt anew, and pictures of the other are not scored.
    assert main(place, style_bundle, "--eval", str(place / "yardstick.py"), "--limit", "1", "--strength", "0.5") == 0
    assert learnt == ["night", "wave"] and "2 pairs, strength 0.5" in capsys.readouterr().out
    assert len(list((place / "out" / "one").glob("*.png"))) == 2


def test_without_a_yardstick_it_says_how(
    place: Path, style_bundle: Path, learnt: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(place, style_bundle, "--limit", "1", "--size", "small") == 0
    out, err = capsys.readouterr()
    assert out == "" and "--eval STYLE_EVAL" in err
    assert (place / "out" / "models-small" / "night.impasto").exists()


def test_how_it_is_learnt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def call(command: list[str], **_: object) -> argparse.Namespace:
        calls.append(command[3:])
        if len(calls) > 1:
            Path(calls[-1][calls[-1].index("--output") + 1]).write_bytes(b"")
        return argparse.Namespace(returncode=0)

    monkeypatch.setattr(style_one.subprocess, "run", call)
    options = style_one.parse(["a", "b", "c", "--minutes", "3", "--size", "small", "--learn", "L", "--threads", "2"])
    model = place / "night.impasto"
    with pytest.raises(style_quality.UsageError, match="goes on from there"):
        style_one.learn(place / "night.png", model, options)
    assert calls[0][:3] == ["train", "style-one", str(place / "night.png")]
    for option, value in (("--minutes", "3.0"), ("--size", "small"), ("--photos", "L"), ("--threads", "2")):
        assert calls[0][calls[0].index(option) + 1] == value
    (place / "night.run").mkdir()
    (place / "night.run" / "checkpoint.safetensors").write_bytes(b"")
    assert style_one.learn(place / "night.png", model, options) >= 0
    assert "--resume" in calls[1] and "--minutes" not in calls[1] and "--size" not in calls[1]


@pytest.mark.parametrize("wrong", [["--size", "tiny"], ["--strength", "2"], ["--limit", "0"], ["--minutes", "x"]])
def test_wrong_options(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        style_one.parse(["a", "b", "c", *wrong])


def test_folders_without_pictures_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert style_one.main([str(tmp_path), str(tmp_path), str(tmp_path / "out")]) == 2
    assert "holds no pictures" in capsys.readouterr().err
