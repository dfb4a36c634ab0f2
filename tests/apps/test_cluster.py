"""Painting and training on a Ray cluster of two CPUs, started once for this file."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import drawn_photo
from impasto.apps import cluster
from impasto.apps.cli import run
from impasto.apps.cli.errands import plan_errands
from impasto.apps.cli.report import NAME
from impasto.runtime.picture import Picture

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'impasto[scale]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'impasto[train]'")

from together import assert_as_one, write_recipes  # noqa: E402 (needs torch)

Stylize = Callable[..., int]
Capture = pytest.CaptureFixture[str]

pytestmark = [
    pytest.mark.slow,
    # Ray warns of settings that it makes itself, and leaves the files and pipes of its processes to the collector.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for attempt in range(3):
        try:
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
            break
        except Exception:  # On a machine that is very busy, Ray gives its own processes too little time to start.
            ray.shutdown()
            gc.collect()
            if attempt == 2:
                raise
    yield
    ray.shutdown()
    gc.collect()  # here, where what it finds of Ray's is forgiven


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` with the tiny model beside a folder ``in`` of a.png, b/c.jpg and b/d.png."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b/c.jpg", "b/d.png")):
        Picture.from_array(drawn_photo(24 + 8 * seed, 16, seed=seed)).save(Path("in") / name)

    def call(*arguments: str, style: str = "starry-night") -> int:
        return run(["stylize", *arguments, "--style", style, "--model", str(style_bundle), "--threads", "1"])

    return call


def tree(folder: str | Path) -> dict[str, bytes]:
    """Everything in a folder but its report, hidden files too."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and "impasto-report" not in str(path)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_as_without_a_cluster(stylize: Stylize, capsys: Capture) -> None:
    Path("in/bad.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 9)
    assert stylize("in", "-o", "alone") == 1
    capsys.readouterr()
    assert stylize("in", "-o", "out", "--cluster", "local", "--jobs", "2", "--json") == 1
    out, err = capsys.readouterr()
    assert tree("out") == tree("alone")
    *told, last = lines(out)
    assert sorted(Path(line["input"]).name for line in told) == ["a.png", "bad.jpg", "c.jpg", "d.png"]
    assert [Path(line["input"]).name for line in told if "error" in line] == ["bad.jpg"]
    assert "bad.jpg: " in err and "1 of 4 pictures could not be painted." in err
    figures = last["throughput"]
    assert figures["pictures"] == 3 and figures["megapixels"] == pytest.approx((24 + 32 + 40) * 16 / 1e6)
    assert sum(worker["pictures"] for worker in figures["workers"].values()) == 3

    # The report is that of a folder: without a cluster, the same command goes on with it.
    Path("in/bad.jpg").unlink()
    Path("out/a.png").unlink()
    assert stylize("in", "-o", "out", "--json") == 0
    assert [line.get("resumed", False) for line in lines(capsys.readouterr().out)] == [True, True, False]


def test_going_on_and_what_others_made(stylize: Stylize, capsys: Capture) -> None:
    assert stylize("in", "-o", "out", "--cluster", "local") == 0
    err = capsys.readouterr().err
    assert "3 pictures (" in err and "MP/s." in err
    whole = tree("out")
    Path("out/a.png").unlink()
    Path("out/b/d.png").write_bytes(whole["b/d.png"][:-30])
    assert stylize("in", "-o", "out", "--cluster", "local", "--json") == 0
    out, err = capsys.readouterr()
    assert tree("out") == whole
    assert [Path(line["output"]).name for line in lines(out)[:-1] if line.get("resumed")] == ["c.jpg"]
    assert "1 of 3 pictures had been painted before." in err

    Picture.from_array(drawn_photo(seed=5)).save("out/a.png", overwrite=True)
    retouched = tree("out")
    assert stylize("in", "-o", "out", "--cluster", "local") == 2
    assert "a.png was changed after it had been painted" in capsys.readouterr().err
    assert stylize("in", "-o", "out", "--cluster", "local", "--no-resume") == 2
    assert tree("out") == retouched


def test_at_addresses(stylize: Stylize, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's address of this machine's own disk: all goes the way of s3://, but for the moving into place."""
    here, there = f"local://{tmp_path}/in", f"local://{tmp_path}/far/out"
    assert stylize("in", "-o", "alone") == 0
    assert stylize(here, "-o", there, "--cluster", "local", "--format", "jpg") == 0
    assert sorted(tree("far/out")) == ["a.jpg", "b/c.jpg", "b/d.jpg"], "and nothing half-written"
    assert tree("far/out")["b/c.jpg"] == tree("alone")["b/c.jpg"]
    parts = sorted(Path("far/out/impasto-report").iterdir())
    told = [line for part in parts for line in lines(part.read_text())]
    assert {line["output"] for line in told if "sha256" in line} == {"a.jpg", "b/c.jpg", "b/d.jpg"}
    capsys.readouterr()
    monkeypatch.setattr(cluster, "FEW", 0)  # what is finished is checked all over the cluster
    Path("far/out/b/d.jpg").unlink()
    Picture.from_array(drawn_photo(40, 16, seed=9)).save("in/a.png", overwrite=True)
    assert stylize(here, "-o", there, "--cluster", "local", "--format", "jpg", "--json") == 0
    out = capsys.readouterr().out
    resumed = {line["output"]: line.get("resumed", False) for line in lines(out)[:-1]}
    assert resumed == {f"{there}/a.jpg": False, f"{there}/b/c.jpg": True, f"{there}/b/d.jpg": False}


def test_a_worker_is_killed(stylize: Stylize, style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost and nothing is told twice."""
    shutil.rmtree("in")
    for index in range(60):
        Picture.from_array(drawn_photo(120, 90, seed=index)).save(f"in/{index:03}.png")
    assert stylize("in", "-o", "alone", "--jobs", "1") == 0
    real, killed = cluster.paint, []

    def paint(*arguments: Any, **options: Any) -> Iterator[Any]:
        for errand, line in real(*arguments, **options):
            if not killed:
                killed.append(line["worker"])
                os.kill(int(line["worker"].rpartition(":")[2]), signal.SIGKILL)
            yield errand, line

    monkeypatch.setattr(cluster, "paint", paint)
    assert stylize("in", "-o", "out", "--cluster", "local", "--jobs", "1") == 0
    assert tree("out") == tree("alone")
    done = [line for line in lines(Path("out", NAME).read_text()) if "sha256" in line]
    assert len(done) == 60 and len({line["output"] for line in done}) == 60
    assert len({line["worker"] for line in done}) == 2, "another one took its place, in the midst of the work"
    assert stylize("in", "-o", "out", "--cluster", "local") == 0, "nothing is left to do"


def test_a_worker_that_cannot_paint(stylize: Stylize, style_bundle: Path) -> None:
    errands = plan_errands(["in"], "out").errands
    kit = {"load": {"engine": "onnxruntime", "threads": 1, "precision": "fp32"}, "code": [0.0] * 8}
    kit |= {"settings": {}, "folder": ".", "debug": False}
    with pytest.raises(cluster.EngineError, match=r"^A worker on .* cannot paint: "):
        list(cluster.paint(errands, b"no model", kit, workers=1))


def test_training_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    write_recipes(tmp_path)
    together = ["cluster", "train", "--cluster", "local", "--workers", "2", "1.toml", "--run", "ours"]
    assert run([*together, "--set", "optim.rl=1"]) == 2
    assert "There is no recipe key called 'optim.rl'" in capsys.readouterr().err
    assert run([*together, "--stop-at", "2"]) == 0
    assert capsys.readouterr().out == "ours\n"
    assert run([*together, "--resume", "--json"]) == 0
    assert lines(capsys.readouterr().out)[0]["step"] == 4
    assert not Path(".impasto-ray").exists()

    assert_as_one(tmp_path)
