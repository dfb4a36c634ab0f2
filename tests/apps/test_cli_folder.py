"""Folders of pictures: workers, the report, and going on after anything, even kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import drawn_photo
from impasto.apps.cli import crew, run
from impasto.apps.cli.crew import Crew, crew_size
from impasto.apps.cli.plan import Job
from impasto.apps.cli.report import NAME
from impasto.errors import EngineError
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

Stylize = Callable[..., int]


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` with the tiny model beside a folder ``in`` of a.png, b/c.jpg and b/d.png."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b/c.jpg", "b/d.png")):
        Picture.from_array(drawn_photo(24 + 8 * seed, 16, seed=seed)).save(Path("in") / name)

    def call(*arguments: str, style: str = "starry-night") -> int:
        return run(["stylize", *arguments, "--style", style, "--model", str(style_bundle), "--threads", "1"])

    return call


def report(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / NAME).read_text().splitlines()]


def tree(folder: str) -> dict[str, bytes]:
    """Everything in a folder but its report, hidden files too."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != NAME]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fill(folder: str, count: int) -> None:
    Path(folder).mkdir()
    for index in range(count):
        Picture.from_array(drawn_photo(24, 16, seed=index)).save(Path(folder) / f"{index:03}.png")


def test_a_report_tells_of_each_picture(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 9)
    assert stylize("in", "-o", "out") == 1
    assert "bad.jpg" in capsys.readouterr().err
    lines = report()
    assert lines[0]["of"]["strength"] == 1.0
    assert [line["begun"] for line in lines if "begun" in line] == ["a.png", "bad.jpg", "b/c.jpg", "b/d.png"]
    ended = {line["output"]: line for line in lines if "output" in line}
    assert sorted(ended) == ["a.png", "b/c.jpg", "b/d.png", "bad.jpg"]
    assert ended["b/d.png"]["input"] == os.path.abspath("in/b/d.png")  # noqa: PTH100
    assert (ended["b/d.png"]["width"], ended["b/d.png"]["height"]) == (40, 16)
    assert [name for name, line in ended.items() if "error" in line] == ["bad.jpg"]


def test_the_same_command_goes_on(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("in", "-o", "out") == 0
    first, times = tree("out"), Path("out/b/c.jpg").stat().st_mtime_ns
    Path("out/a.png").unlink()
    Path("out/b/d.png").write_bytes(first["b/d.png"][:-30])
    capsys.readouterr()
    assert stylize("in", "-o", "out", "--json") == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0] == {"input": str(Path("in/b/c.jpg")), "output": str(Path("out/b/c.jpg")), "resumed": True}
    assert [Path(line["output"]).name for line in lines[1:]] == ["a.png", "d.png"]
    assert err == "impasto: 1 of 3 pictures had been painted before.\n"
    assert tree("out") == first and Path("out/b/c.jpg").stat().st_mtime_ns == times
    assert stylize("in", "-o", "out") == 0, "nothing is left to do"


def test_a_failed_picture_is_tried_again_and_a_new_photo_painted_anew(
    stylize: Stylize, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Path("in/a.png").read_bytes()
    Path("in/a.png").write_bytes(good[:40])
    assert stylize("in", "-o", "out") == 1
    Path("in/a.png").write_bytes(good)
    assert stylize("in", "-o", "out") == 0
    before = Path("out/b/d.png").read_bytes()
    Picture.from_array(drawn_photo(40, 16, seed=9)).save("in/b/d.png", overwrite=True)
    capsys.readouterr()
    assert stylize("in", "-o", "out") == 0
    assert capsys.readouterr().out.splitlines() == [str(Path("out/b/d.png"))]
    assert Path("out/b/d.png").read_bytes() != before


def test_what_others_made_is_kept(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    assert stylize("in", "-o", "out") == 2
    assert tree("out") == {"a.png": b"precious"}
    Path("out/a.png").unlink()
    assert stylize("in", "-o", "out") == 0
    Picture.from_array(drawn_photo(seed=5)).save("out/a.png", overwrite=True)
    retouched = tree("out")
    capsys.readouterr()
    assert stylize("in", "-o", "out") == 2
    assert "a.png was changed after it had been painted" in capsys.readouterr().err
    assert stylize("in", "-o", "out", style="great-wave") == 2, "other settings are another picture"
    assert stylize("in", "-o", "out", "--no-resume") == 2
    assert tree("out") == retouched
    assert stylize("in", "-o", "out", "--overwrite", "--resume") == 0
    assert capsys.readouterr().out.splitlines() == [str(Path("out/a.png"))]
    assert stylize("in", "-o", "out", "--overwrite") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3, "--overwrite alone begins anew"


def test_what_a_killed_process_left_is_painted_again_and_swept(stylize: Stylize) -> None:
    assert stylize("in", "-o", "out") == 0
    whole = tree("out")
    lines = [line for line in Path("out", NAME).read_text().splitlines() if '"output": "b/d.png"' not in line]
    Path("out", NAME).write_text("\n".join(lines) + '\n{"output": "b/d.p')
    Path("out/b/.d.png.0123456789ab.tmp").write_bytes(b"half")
    Path("out/b/.d.png.swp").write_bytes(b"an editor's")
    assert stylize("in", "-o", "out") == 0
    assert tree("out") == {**whole, "b/.d.png.swp": b"an editor's"}
    assert json.loads(Path("out", NAME).read_text().splitlines()[-1])["output"] == "b/d.png"


def test_workers_paint_the_same(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/bad.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 9)
    assert stylize("in", "-o", "one", "--jobs", "1") == 1
    capsys.readouterr()
    assert stylize("in", "-o", "two", "--jobs", "2", "--json") == 1
    out, err = capsys.readouterr()
    assert tree("one") == tree("two")
    assert "bad.jpg: " in err and "1 of 4 pictures could not be painted." in err
    assert sum("error" in json.loads(line) for line in out.splitlines()) == 1 and len(out.splitlines()) == 4


def test_one_picture_pays_nothing_for_folders(stylize: Stylize, style_bundle: Path) -> None:
    arguments = ["stylize", "in/a.png", "-o", "out.png", "-s", "starry-night", "--model", str(style_bundle)]
    heavy = ["multiprocessing", "impasto.apps.cli.folder", "impasto.apps.cli.crew"]
    code = f"import sys; from impasto.apps.cli import run; run({arguments}); print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["out.png", "set()"]
    assert not list(Path().glob("*.jsonl")), "one picture needs no report"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["in", "-o", "out", "--jobs", "0"], "--jobs"),
        (["in/a.png", "-o", "out", "--resume"], "--resume goes on with a folder"),
        (["in/a.png", "-o", "-", "--jobs", "2"], "a stream is one picture"),
    ],
)
def test_wrong_usage(stylize: Stylize, capfd: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert stylize(*arguments) == 2
    out, err = capfd.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1
    assert not Path("out").exists()


def test_how_many_workers_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "usable_cores", lambda: 8)
    monkeypatch.setattr(crew, "default_limit", lambda: 5 * 10**9)
    assert crew_size(3) == (1, None, None), "starting workers for a few pictures does not pay"
    assert crew_size(1000) == (5, 1, 10**9), "as memory goes"
    assert crew_size(1000, threads=4) == (2, 4, 25 * 10**8)
    assert crew_size(1000, max_memory=10**9) == (1, None, 10**9)
    assert crew_size(1000, jobs=3) == (3, 2, 5 * 10**9 // 3)
    assert crew_size(1000, jobs=8) == (8, 1, 10**9), "what nobody limits is enough for a picture"
    assert crew_size(2, jobs=6, threads=3, max_memory=10**9) == (2, 3, 5 * 10**8)


def test_a_graphics_card_is_not_shared(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StyleModel, "device", "onnxruntime on CUDA")
    monkeypatch.setattr(Crew, "paint", lambda *_: pytest.fail("workers were started"))
    assert stylize("in", "-o", "out", "--jobs", "2") == 0
    assert "onnxruntime on CUDA, where one process paints: --jobs is ignored." in capsys.readouterr().err


def starting(bundle: Path) -> dict[str, Any]:
    load = {"name_or_path": str(bundle), "engine": "onnxruntime", "threads": 1, "precision": "fp32"}
    return {"load": load, "code": [], "settings": {}, "debug": False}


def test_a_worker_that_cannot_load_is_an_error(tmp_path: Path) -> None:
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    with pytest.raises(EngineError, match="nosuch"):
        list(Crew(1, starting(tmp_path / "nosuch.impasto")).paint([(job, False)], lambda _: None))


def test_a_lost_worker_costs_one_picture(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, killed = crew._exchange, []

    def exchange(worker: subprocess.Popen[str], order: Any, text: str = "") -> Any:
        if order and order["source"].endswith("a.png"):
            killed.append(worker.pid)
            worker.kill()
        return real(worker, order, text)

    monkeypatch.setattr(crew, "_exchange", exchange)
    assert stylize("in", "-o", "out", "--jobs", "2") == 1
    assert "a.png: The worker that painted it ended (" in capsys.readouterr().err
    assert sorted(tree("out")) == ["b/c.jpg", "b/d.png"] and len(killed) == 1
    Path("out/a.png").write_bytes(b"what it had placed before it could say so")
    monkeypatch.setattr(crew, "_exchange", real)
    assert stylize("in", "-o", "out", "--jobs", "1") == 0
    assert Picture.open("out/a.png").size == (24, 16)


def command(bundle: Path, *arguments: str) -> list[str]:
    # Tests that a shell runs in the background have Ctrl-C turned off, and so would their children.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    options = ["in", "-o", "out", "--style", "starry-night", "--model", str(bundle), "--threads", "1", *arguments]
    return [sys.executable, "-c", f"{start}; from impasto.apps.cli import main; main()", "stylize", *options]


def undisturbed(stylize: Stylize, count: int) -> dict[str, bytes]:
    Path("in").rename("unused")
    fill("in", count)
    assert stylize("in", "-o", "whole", "--jobs", "1") == 0
    return tree("whole")


def interrupted(bundle: Path, number: int, *, wait: float = 0.0) -> int:
    """Start the command with two workers, send it a signal some seconds after its first picture; its exit code."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(bundle, "--jobs", "2"), **pipes) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        time.sleep(wait)
        process.send_signal(number)
        # Its workers write to the same stderr, so this waits until they have ended too.
        _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return int(process.returncode)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_killed_and_started_again(stylize: Stylize, style_bundle: Path) -> None:
    whole = undisturbed(stylize, 40)
    assert interrupted(style_bundle, signal.SIGKILL) == -signal.SIGKILL
    assert 0 < len(tree("out")) < 40, "it was killed half way"
    assert stylize("in", "-o", "out", "--jobs", "1") == 0
    assert tree("out") == whole


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_ends_the_workers_and_leaves_no_half_file(
    stylize: Stylize, style_bundle: Path, number: int, code: int
) -> None:
    whole = undisturbed(stylize, 40)
    assert interrupted(style_bundle, number) == code
    left = tree("out")
    assert 0 < len(left) < 40 and all(whole[name] == data for name, data in left.items())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_killed_at_random_moments(stylize: Stylize, style_bundle: Path) -> None:
    whole = undisturbed(stylize, 240)
    rng = random.Random(4)
    codes = [interrupted(style_bundle, signal.SIGKILL, wait=rng.uniform(0, 0.15)) for _ in range(5)]
    assert codes.count(-signal.SIGKILL) >= 2, "it was killed several times before it was done"
    assert stylize("in", "-o", "out", "--jobs", "2") == 0
    assert tree("out") == whole
    done = [line["output"] for line in report() if "sha256" in line]
    assert set(done) == set(whole)
