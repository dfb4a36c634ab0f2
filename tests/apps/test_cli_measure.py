"""``impasto measure``: figures on stdout, talk on stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.apps.cli.measure import parse_size
from impasto.errors import ImpastoError
from impasto.training import conditional, parts
from impasto.training import measure_generator as measuring
from impasto.training.classify import Lesson
from impasto.training.measure_features import FeatureNet

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, a network that is there at once, and short lessons."""
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))

    def look(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x / 255, 2).flatten(1)

    def load(inception: Path | None, device: str) -> FeatureNet:
        assert device == "cpu"
        name = "tiny" if inception is None else "inception"
        return FeatureNet(name, 12, 16, "0" * 12, look, torch.device("cpu"))

    monkeypatch.setattr(measuring, "load_features", load)
    short = Lesson(epochs=1, batch=4, width=4)
    monkeypatch.setattr(parts, "Lesson", lambda: short)
    monkeypatch.setattr(conditional.measure_classes, "__kwdefaults__", {**_defaults(), "lesson": short})


def _defaults() -> dict[str, Any]:
    return dict(conditional.measure_classes.__kwdefaults__ or {})


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Samples and data: 12 and 14 pictures in two sub-folders each."""
    for name, count in (("made", 12), ("data", 14)):
        for i in range(count):
            folder = tmp_path / name / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (drawn_photo(20, 16, i + 100 * count) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(tmp_path / "made"), str(tmp_path / "data")


def test_a_table(folders: tuple[str, str], capsys: Capture) -> None:
    assert run(["measure", "generator", *folders, "-n", "12", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert [name for name, _ in lines] == [
        "fd_tiny_12",
        "kd_tiny_12",
        "precision_k3_tiny_12",
        "recall_k3_tiny_12",
        "density_k5_tiny_12",
        "coverage_k5_tiny_12",
    ]
    assert all(np.isfinite(float(figure)) for _, figure in lines)
    assert "impasto: 14 pictures, 20x16 RGB." in err


def test_json_and_every_option(folders: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    options = [
        "--json",
        "--threads",
        "1",
        "--count",
        "6",
        "--baseline",
        "--seed",
        "3",
        "--truncation",
        "1",
        "--size",
        "10x8",
    ]
    options += ["--inception", str(tmp_path / "any.pt"), "--device", "cpu"]
    assert run(["measure", "generator", *folders, *options]) == 0
    out, _ = capsys.readouterr()
    told = json.loads(out)
    assert (told["samples"], told["real"], told["halves"], told["seed"]) == (6, 6, 6, 3)
    assert (told["width"], told["height"], told["features"]) == (10, 8, "inception")
    assert set(told["figures"]) == set(told["baseline"]) == set(told["same_size"])
    assert {"fid_6", "kid_6"} < set(told["figures"])
    assert told == measuring.Measured(**told).to_fields() | {"remarks": told["remarks"]}


def test_the_baseline_in_words(folders: tuple[str, str], capsys: Capture) -> None:
    assert run(["measure", "generator", *folders, "--baseline", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.count("7 real against 7 other real pictures: ") == out.count("7 samples against the same: ") == 6
    assert "has 12 pictures where 10000 were asked for" in err


def test_parts(folders: tuple[str, str], capsys: Capture) -> None:
    made, data = folders
    lines = ["file\tcolour\tkind", *(f"{'ab'[i % 2]}/{i}.png\t{i % 3}\t{i % 2}" for i in range(14))]
    (Path(data) / "factors.tsv").write_text("\n".join(lines))
    assert run(["measure", "parts", made, data, "--size", "20x16", "-n", "9", "--threads", "1"]) == 0
    out, _ = capsys.readouterr()
    first = [line.split()[0] for line in out.splitlines()]
    assert first == ["valid", "valid_real", "valid_blends", "colour:", "kind:", "pairs:"]
    assert "of 3 values" in out and "pairs: " in out
    assert run(["measure", "parts", made, data, "--json", "--seed", "1", "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 12 and told["pairs"][1] == 6 and told["with_layers"] is False
    assert run(["measure", "parts", made, data, "--layers", str(Path(made) / "a")]) == 2
    assert "does not hold a folder of layers" in capsys.readouterr().err


def test_classes(folders: tuple[str, str], capsys: Capture) -> None:
    made, data = folders
    assert run(["measure", "classes", made, data, "--json", "--size", "20x16", "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 12 and set(told["by_class"]) == {"a", "b"} and told["tested"] == 1
    options = ["-n", "8", "--seed", "2", "--truncation", "1", "--threads", "1"]
    assert run(["measure", "classes", made, data, "--test", made, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "classifier", "class", "class"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generator", "nosuch", "{data}"], "There is no model called 'nosuch'"),
        (["generator", "{made}", "nosuch"], "nosuch does not exist"),
        (["generator", "{made}", "{data}", "-n", "3"], "3 samples say nothing"),
        (["generator", "{made}", "{data}", "--size", "large"], "'large' cannot be used"),
        (["generator", "{made}", "{data}", "--truncation", "0.5"], "cannot be truncated"),
        (["generator", "{made}", "{data}", "--truncatoin", "1"], "did you mean '--truncation'?"),
        (["parts", "{made}", "{data}"], "There is no "),
        (["generatr", "{made}", "{data}"], "generator"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, folders: tuple[str, str], capsys: Capture) -> None:
    made, data = folders
    assert run(["measure", *(word.format(made=made, data=data) for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and "Traceback" not in err


def test_help_needs_no_torch() -> None:
    import subprocess
    import sys

    code = """
import sys
from impasto.apps.cli import run
run(["measure", "generator", "--help"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "10000" in done.stdout, "the default is shown"


def test_sizes() -> None:
    assert parse_size(None) is None
    assert parse_size("64") == (64, 64)
    assert parse_size("48x64") == (64, 48)
    for wrong in ("0x4", "4x", "x", "4x4x4", "-1"):
        with pytest.raises(ImpastoError):
            parse_size(wrong)
