"""The benchmark of generators: what is run, what is kept, what is skipped; impasto itself is a stand-in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import generator_quality

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """In place of impasto: "trains" by writing a file, "measures" 4 for the default and 10 for the others."""
    made: list[list[str]] = []

    def impasto(*words: str | Path) -> str:
        made.append([str(word) for word in words])
        if words[0] == "train":
            model = Path(made[-1][made[-1].index("--output") + 1])
            if "stopped" not in str(words[2]):
                model.write_bytes(b"")
            return ""
        value = 4.0 if "default" in str(words[2]) else 10.0
        figures = {"fd_efflite0_50": value, "kd_efflite0_50": 0.1}
        return json.dumps({"figures": figures, "baseline": {"fd_efflite0_25": 2.0}, "halves": 25})

    monkeypatch.setattr(generator_quality, "impasto", impasto)
    return made


def main(out: Path, *more: str) -> int:
    return generator_quality.main([str(out), "cats=pictures/cats", "--images", "640", "--count", "50", *more])


def test_both_are_trained_alike_and_measured(tmp_path: Path, calls: list[list[str]], capsys: Capture) -> None:
    assert main(tmp_path / "out", "--threads", "2") == 0
    trained = [call for call in calls if call[0] == "train"]
    assert [call[2] for call in trained] == ["pictures/cats"] * 2
    for call in trained:
        assert call[call.index("--images") + 1] == "640" and call[call.index("--size") + 1] == "64"
        assert call[call.index("--threads") + 1] == "2"
    assert "--preset" not in trained[0] and trained[1][trained[1].index("--preset") + 1] == "dcgan"
    measured = [call for call in calls if call[0] == "measure"]
    assert all(call[3] == "pictures/cats" and "--baseline" in call and "50" in call for call in measured)
    out, _ = capsys.readouterr()
    assert "| cats | dcgan | 640 | fd_efflite0_50 10 | 2.50x | 2 (25 each) |" in out
    assert "cats: the default is 2.50 times closer than dcgan (as wanted)." in out
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(kept) == {"cats/default", "cats/dcgan"} and kept["cats/dcgan"]["images"] == 640


def test_it_goes_on_where_it_was(tmp_path: Path, calls: list[list[str]], capsys: Capture) -> None:
    assert main(tmp_path, "--only", "cats/dcgan") == 0
    assert len(calls) == 2
    assert main(tmp_path) == 0
    assert len(calls) == 4, "only the default was missing"
    assert "cats/dcgan is done." in capsys.readouterr().err
    assert main(tmp_path, "--table") == 0
    assert len(calls) == 4
    # Another number of images is another result.
    assert generator_quality.main([str(tmp_path), "cats=pictures/cats", "--only", "cats/dcgan", "--count", "50"]) == 0
    assert len(calls) == 6


def test_a_stopped_run_is_resumed(tmp_path: Path, calls: list[list[str]], capsys: Capture) -> None:
    words = [str(tmp_path), "x=stopped", "--only", "x/default", "--images", "8"]
    assert generator_quality.main(words) == 2
    assert "goes on from there" in capsys.readouterr().err
    assert "--resume" not in calls[-1]
    run = Path(calls[-1][calls[-1].index("--run") + 1])
    run.mkdir(parents=True)
    (run / "checkpoint.safetensors").write_bytes(b"")
    assert generator_quality.main(words) == 2
    assert "--resume" in calls[-1] and "--images" not in calls[-1]


def test_results_that_are_not_ours(tmp_path: Path, calls: list[list[str]], capsys: Capture) -> None:
    (tmp_path / "results.json").write_text("[1]")
    assert main(tmp_path) == 2
    assert not calls and "holds no results" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["x"], ["a=b", "--images", "0"], ["a=b", "--only", "b/default"], ["a/b=c"]])
def test_wrong_options(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        generator_quality.parse(["out", *wrong])


def test_impasto_is_called() -> None:
    assert "impasto" in generator_quality.impasto("--version")
    with pytest.raises(generator_quality.UsageError, match="impasto nosuch ended with 2"):
        generator_quality.impasto("nosuch")
