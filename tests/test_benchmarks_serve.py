"""The load test of the server: what it makes of answers, and one short run on the tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import serve
from serve import Tally


def test_figures() -> None:
    times = [0.1] * 98 + [0.5, 2.0]
    figures = serve.summary(Tally(times, 7, ["500: x"], [100_000_000] * 5 + [103_000_000] * 5), 10.0)
    assert figures == {
        "answered": 100,
        "per_second": 10.0,
        "p50_ms": 100.0,
        "p99_ms": 515.0,
        "busy_429": 7,
        "lost": 1,
        "peak_mb": 103.0,
        "growth_mb": 3.0,
    }


def test_a_short_run_loses_nothing(style_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--clients", "4", "--seconds", "2", "--warm", "0", "--cores", "1", "--queue", "1", "--workers", "1"]
    assert serve.main([*options, "--size", "48", "--model", str(style_bundle)]) == 0
    figures = json.loads(capfd.readouterr().out)
    assert figures["answered"] > 0 and figures["lost"] == 0 and figures["stopped_with"] == 0
    # Four clients where there are two places: somebody was told to come back.
    assert figures["busy_429"] > 0


def test_a_loss_is_told(style_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--clients", "1", "--seconds", "0.2", "--warm", "0", "--size", "16", "--cores", "1", "--style", "nosuch"]
    assert serve.main([*options, "--model", str(style_bundle)]) == 1
    said = capfd.readouterr()
    assert json.loads(said.out)["lost"] > 0 and "lost: 404" in said.err
