"""The benchmark of painting by optimisation: who paints what, the race, the table; the networks are tiny."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import drawn_photo

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import paint as benchmark  # noqa: E402
from impasto.runtime.picture import Picture  # noqa: E402
from impasto.runtime.style import StyleModel  # noqa: E402
from training.optimised import SPEC, tiny_vgg  # noqa: E402

# Stands in for the yardstick: "paint" has a third of the gap of "fast", and loses a little more.
YARDSTICK = """
import json, sys
from pathlib import Path
photos, paintings, out = sys.argv[1:]
n, slow = len(list(Path(out).glob("*__*.png"))), Path(out).name == "paint"
row = {"n": n, "style_gap": 0.1 if slow else 0.3, "content_lost": 0.6 if slow else 0.5, "quality": 0.5}
print(out, json.dumps({"vgg": row, "eff": row}))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style_bundle: Path) -> Any:
    for seed, (folder, names) in enumerate((("photos", ("cat", "dog")), ("paintings", ("ice", "night", "wave")))):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            pixels = (drawn_photo(40, 36, 10 * seed + number) * 255).round().astype("uint8")
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "yardstick.py").write_text(YARDSTICK)
    load = StyleModel.load

    def spec(**given: Any) -> Any:
        layers = {"style_layers": SPEC.style_layers, "content_layers": SPEC.content_layers}
        return type(SPEC)(**{**layers, "start": "photo", "coarsest": 32, "steps": 2, **given})

    monkeypatch.setattr(benchmark, "SIDE", 32)
    monkeypatch.setattr(benchmark, "PaintSpec", spec)
    monkeypatch.setattr(benchmark, "RIVAL_LAYERS", SPEC.style_layers)
    monkeypatch.setattr(benchmark, "RIVAL_CONTENT", SPEC.content_layers)
    monkeypatch.setattr(benchmark, "load_features", lambda *_: tiny_vgg())
    monkeypatch.setattr(benchmark, "load_vgg", lambda *_: tiny_vgg())
    monkeypatch.setattr(StyleModel, "load", lambda *_, **options: load(style_bundle, **options))
    before = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def test_quality_paints_with_both_and_says_what_was_met(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quality", place / "photos", place / "paintings", place / "out", "--styles", "2", "--pairs", "3"]
    words += ["--eval", place / "yardstick.py", "--threads", "1"]
    assert benchmark.main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    assert "| vgg | style_gap | 0.300 | 0.100 | 0.33 | 0.35, met |" in out
    assert "| eff | content_lost | 0.500 | 0.600 | 1.20 | 1, missed |" in out
    made = sorted(path.name for path in (place / "out" / "paint").iterdir())
    assert made == sorted(path.name for path in (place / "out" / "fast").iterdir()) and len(made) == 3
    assert not any("wave" in name for name in made)  # two of three paintings: the first and the second
    assert json.loads((place / "out" / "results.json").read_text())["scores"]["paint"]["eff"]["n"] == 3
    # What is there is kept.
    marked = place / "out" / "paint" / made[0]
    Image.new("RGB", (32, 32)).save(marked)
    assert benchmark.main([str(word) for word in words]) == 0
    assert Picture.open(marked).rgb.max() == 0


def test_speed_runs_both_on_one_objective(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["speed", place / "photos" / "cat.png", place / "paintings" / "night.png", "--size", "32", "--steps", "12"]
    assert benchmark.main([str(word) for word in [*words, "--threads", "1"]]) == 0
    out = capsys.readouterr().out
    assert "s a step at 32 px" in out and "theirs has loss" in out
    assert "ours has it after" in out or "ours does not reach it in 12 steps" in out
    assert "the fast painter's style gap (" in out


def test_both_start_from_the_same_loss_and_go_down(place: Path) -> None:
    photo, style = Picture(drawn_photo(32, 32, 1)), Picture(drawn_photo(32, 32, 5))
    judge = benchmark.objective(benchmark.THEIRS, SPEC, photo, style)
    first = judge(benchmark.planes(photo.rgb, torch.device("cpu"))).loss
    for one in (benchmark.OURS, benchmark.THEIRS):
        marks = list(benchmark.race(one, SPEC, photo, style, judge, 20))
        assert [mark.steps for mark in marks] == list(range(1, 21))
        assert marks[-1].loss < first and marks[-1].seconds > marks[0].seconds


def test_a_folder_without_pictures_is_one_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    assert benchmark.main(["quality", str(place / "empty"), str(place / "paintings"), str(place / "out")]) == 2
    assert "holds no pictures" in capsys.readouterr().err
