"""The parts of painting on a cluster that need no Ray: planning, the report at an address, a worker, the figures."""

from __future__ import annotations

import io
import json
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import CODES, drawn_photo
from impasto.apps import cluster_worker
from impasto.apps.cli import cluster as cli_cluster
from impasto.apps.cli import errands as errands_module
from impasto.apps.cli import run
from impasto.apps.cli.cluster import Throughput, _Apart
from impasto.apps.cli.errands import FarReport, plan_errands
from impasto.apps.cli.report import State, digest_of
from impasto.apps.cluster_worker import ATTEMPTS, Errand, Painter, Tally, check, store_at
from impasto.errors import PictureError
from impasto.runtime.picture import Picture

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'impasto[scale]'")

SETTINGS = {
    "style": [], "suffix": None, "strength": 1.0, "keep_colors": "off", "stroke": None, "detail": 0.0, "size": None,
    "quality": None, "strip": False, "max_pixels": 10**8, "max_memory": None,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder that holds ``in/a.png`` and ``in/b/c.jpg``; the folder itself is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster_worker, "store_at", store_at.__wrapped__)
    monkeypatch.setattr(errands_module, "store_at", store_at.__wrapped__)
    for seed, name in enumerate(("a.png", "b/c.jpg")):
        Picture.from_array(drawn_photo(24, 16, seed=seed)).save(Path("in") / name)
    return f"local://{tmp_path}"


def test_folders_and_addresses_are_planned_alike(place: str, tmp_path: Path) -> None:
    here = plan_errands(["in"], "out", suffix=".webp")
    far = plan_errands([f"{place}/in"], f"{place}/out/", suffix=".webp")
    mixed = plan_errands(["in/a.png", f"{place}/in/b"], "out", suffix=".webp")
    assert [errand.name for errand in here.errands] == [errand.name for errand in far.errands] == ["a.webp", "b/c.webp"]
    assert [errand.name for errand in mixed.errands] == ["a.webp", "c.webp"]
    assert [errand.stamp for errand in here.errands] == [errand.stamp for errand in far.errands]
    assert here.errands[1].input == str(tmp_path / "in/b/c.jpg") and far.errands[1].input == f"{place}/in/b/c.jpg"
    assert here.errands[1].output == str(tmp_path / "out/b/c.webp") and far.errands[1].output == f"{place}/out/b/c.webp"
    assert plan_errands([f"file://{tmp_path}/in"], f"file://{tmp_path}/out", suffix=".webp").errands == here.errands
    assert far.there == here.there == frozenset()
    Picture.from_array(drawn_photo()).save("out/a.webp")
    assert plan_errands(["in"], "out", suffix=".webp").there == {"a.webp"}
    assert plan_errands([f"{place}/in"], f"{place}/out", suffix=".webp").there == {"a.webp"}


def test_an_output_inside_the_input_is_no_input(place: str) -> None:
    Picture.from_array(drawn_photo()).save("in/painted/a.png")
    assert [one.name for one in plan_errands([f"{place}/in"], f"{place}/in/painted").errands] == ["a.png", "b/c.jpg"]


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (["in"], None, "A cluster paints files into a folder"),
        (["-"], "out", "A cluster paints files into a folder"),
        (["in/a.png"], "out.png", "-o out.png is a file: give a folder"),
        (["PLACE/in/a.png"], "PLACE/in/a.png", "is a picture: give a folder"),
        (["PLACE/in/b", "in/b"], "out", "would both be written to "),
        (["PLACE/in"], "PLACE/in", "is an input as well"),
        (["PLACE/in/b", "PLACE/in/a.png"], "PLACE/in", "is an input as well"),
        (["PLACE/nothing"], "out", "There is no picture at local://"),
        (["nosuch://x"], "out", "nosuch://x cannot be read"),
    ],
)
def test_wrong_plans(place: str, inputs: list[str], output: str | None, said: str) -> None:
    with pytest.raises(PictureError, match=said.replace(".", r"\.")):
        plan_errands([text.replace("PLACE", place) for text in inputs], output and output.replace("PLACE", place))


def test_an_address_needs_a_cluster(capsys: pytest.CaptureFixture[str], place: str) -> None:
    assert run(["stylize", "s3://bucket/photos", "-o", "out", "-s", "starry-night"]) == 2
    assert run(["stylize", "in", "-o", "s3://bucket/photos", "-s", "starry-night"]) == 2
    assert capsys.readouterr().err.count("s3://bucket/photos is an address, which a cluster reads and writes") == 2
    assert not Path("s3:").exists()


def test_without_ray(
    capsys: pytest.CaptureFixture[str], place: str, style_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["in", "-o", "out", "-s", "starry-night", "--model", str(style_bundle), "--cluster", "local"]
    assert run(["stylize", *words]) == 2
    assert run(["cluster", "train", "--cluster", "local", "--workers", "2", "--cpus", "1", "x.toml"]) == 2
    assert capsys.readouterr().err.count("pip install 'impasto[scale]'") == 2
    assert not Path("out").exists()


def test_a_video_is_not_for_a_cluster(capsys: pytest.CaptureFixture[str], place: str) -> None:
    Path("clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    assert run(["stylize", "clip.mp4", "-o", "out.mp4", "-s", "starry-night", "--cluster", "local"]) == 2
    assert "--cluster" in capsys.readouterr().err


def test_the_report_at_an_address(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"strength": 1.0}
    plan = plan_errands([f"{place}/in"], f"{place}/out")
    report = plan.report(settings)
    assert isinstance(report, FarReport)
    first, second = plan.errands
    assert report.claim(first.name, first.input) is State.NEW
    for errand in plan.errands:
        report.begin_name(errand.name, errand.input, errand.stamp)
    assert not Path("out").exists(), "held back"
    report.flush()
    report.flush()
    monkeypatch.setattr(errands_module, "_BYTES", 1)
    report.end_name(first.name, {"sha256": "5", "width": 24})
    report.end_name(second.name, {"error": "no"})
    parts = sorted(Path("out/impasto-report").iterdir())
    assert len(parts) == 3, "one for each time that it was written"
    assert json.loads(parts[0].read_text().splitlines()[0])["of"] == settings

    again = plan_errands([f"{place}/in"], f"{place}/out").report(settings)
    claim = again.claim(first.name, first.input)
    assert isinstance(claim, dict) and claim["sha256"] == "5" and claim["bytes"] == first.stamp["bytes"]
    assert again.claim(second.name, second.input) is State.NEW
    assert again.claim(first.name, "another photo") is State.NEW
    other = plan_errands([f"{place}/in"], f"{place}/out").report({"strength": 0.5})
    assert other.claim(first.name, first.input) is State.NEW


@pytest.mark.parametrize("far", [False, True])
def test_what_became_of_a_finished_output(place: str, far: bool) -> None:
    plan = plan_errands([f"{place}/in"], f"{place}/out") if far else plan_errands(["in"], "out")
    errand, target = plan.errands[0], Path("out/a.png")
    claim = {"sha256": digest_of(Path("in/a.png")), **errand.stamp}
    assert check(errand, claim) is State.NEW
    target.parent.mkdir()
    target.write_bytes(Path("in/a.png").read_bytes())
    assert check(errand, claim) is State.FINISHED
    assert check(replace(errand, stamp={"bytes": 1, "mtime_ns": 1}), claim) is State.STALE
    target.write_bytes(target.read_bytes()[:40])
    assert check(errand, claim) is State.STALE
    Picture.from_array(drawn_photo(seed=7)).save(target, overwrite=True)
    assert check(errand, claim) is State.CHANGED


class _Ray:
    """As much of Ray as a worker uses, in this process."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.util = SimpleNamespace(get_node_ip_address=lambda: "here")
        calls = {name: SimpleNamespace(remote=getattr(self.tally, name)) for name in ("begin", "end", "forget")}
        self.actor = SimpleNamespace(**calls)

    def get(self, value: Any) -> Any:
        return value


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> _Ray:
    ray = _Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    return ray


def painter_of(ray: _Ray, model: bytes, **settings: Any) -> Painter:
    load = {"engine": "onnxruntime", "threads": 1, "precision": "fp32"}
    kit = {"load": load, "code": CODES[0].tolist(), "settings": SETTINGS | settings, "folder": ".", "debug": True}
    return Painter(kit, model, ray.actor)


def told(painter: Painter, *errands: Errand, first: int = 0) -> list[dict[str, Any]]:
    orders = [{"number": number, **asdict(errand)} for number, errand in enumerate(errands, first)]
    answer = painter({"order": cluster_worker.np.array([json.dumps(order) for order in orders], dtype=object)})
    return [json.loads(line) for line in answer["line"].tolist()]


def test_a_worker_paints_what_is_ordered(place: str, fake_ray: _Ray, style_bundle: Path) -> None:
    painter = painter_of(fake_ray, style_bundle.read_bytes())
    assert painter._settings.max_memory, "a share of the machine's"
    far = plan_errands([f"{place}/in"], f"{place}/far").errands
    Path("out/b").mkdir(parents=True)
    left = Path("out/b/.c.jpg.0123456789ab.tmp")
    left.write_bytes(b"half")
    here = [replace(errand, begun=True) for errand in plan_errands(["in"], "out").errands]
    lines = told(painter, *far, *here)
    assert [line["output"] for line in lines] == [*(one.output for one in far), *(one.output for one in here)]
    assert [line["input"] for line in lines] == [*(one.input for one in far), *(one.input for one in here)]
    for line, name in zip(lines, ("far/a.png", "far/b/c.jpg", "out/a.png", "out/b/c.jpg"), strict=True):
        assert line["sha256"] == digest_of(Path(name)) and line["busy"] > 0 and line["worker"].startswith("here:")
    assert Path("far/a.png").read_bytes() == Path("out/a.png").read_bytes()
    assert not left.exists(), "what a lost one left is swept"


@pytest.mark.parametrize("far", [False, True])
def test_what_somebody_put_there_meanwhile_is_kept(place: str, fake_ray: _Ray, style_bundle: Path, far: bool) -> None:
    errand = plan_errands(["in/a.png"], f"{place}/out" if far else "out").errands[0]
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    painter = painter_of(fake_ray, style_bundle.read_bytes())
    assert "exists already" in told(painter, errand)[0]["error"]
    assert Path("out/a.png").read_bytes() == b"precious"
    assert "error" not in told(painter, replace(errand, overwrite=True), first=1)[0]
    assert Path("out/a.png").read_bytes() != b"precious"


def test_a_broken_picture_costs_itself(place: str, fake_ray: _Ray, style_bundle: Path) -> None:
    Path("in/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 9)
    bad, good = told(painter_of(fake_ray, style_bundle.read_bytes()), *plan_errands([f"{place}/in"], "out").errands)
    assert "a.png" in bad["error"]
    assert "impasto-" not in bad["error"], "not as the worker's copy is called"
    assert "Traceback" in bad["trace"] and "error" not in good


def test_work_that_was_lost(place: str, fake_ray: _Ray, style_bundle: Path) -> None:
    painter = painter_of(fake_ray, style_bundle.read_bytes())
    (first, second), tally = plan_errands(["in"], "out").errands, fake_ray.tally
    done = told(painter, first)
    Path("out/a.png").unlink()
    assert told(painter, first) == done and not Path("out/a.png").exists(), "it is not painted twice"
    tally.forget(0)
    assert "error" not in told(painter, first)[0] and Path("out/a.png").exists()
    tally.forget(0)
    tally.begin(0)  # by a worker that was lost when it had put the picture there
    assert "error" not in told(painter, first)[0]
    for _ in range(ATTEMPTS):
        assert isinstance(tally.begin(1), int)  # by workers that were lost at it
    (line,) = told(painter, second, first=1)
    assert line["lost"] and line["error"].startswith(f"The worker that painted it was lost {ATTEMPTS} times")
    assert not Path("out/b/c.jpg").exists()


def test_a_worker_that_cannot_load(place: str, fake_ray: _Ray) -> None:
    (line,) = told(painter_of(fake_ray, b"no model"), plan_errands(["in/a.png"], "out").errands[0])
    assert line["fatal"].startswith("A worker on here:") and not Path("out").exists()


def test_throughput(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter((10.0, 14.0, 14.0))
    monkeypatch.setattr(cli_cluster.time, "perf_counter", lambda: next(clock))
    speed = Throughput()
    for worker, width, busy in (("a:1", 2000, 1.0), ("a:1", 1000, 1.0), ("b:2", 1000, 4.0)):
        speed.add({"worker": worker, "width": width, "height": 1000}, busy)
    speed.add({"worker": "b:2", "error": "no"}, 9.0)
    figures = speed.figures()
    assert (figures["pictures"], figures["megapixels"], figures["seconds"]) == (3, 4.0, 4.0)
    assert (figures["pictures_per_second"], figures["megapixels_per_second"]) == (0.75, 1.0)
    assert figures["workers"]["a:1"] == {"pictures": 2, "megapixels": 3.0, "busy": 2.0, "megapixels_per_second": 1.5}
    speed.tell(json=False)
    err = capsys.readouterr().err
    assert "3 pictures (4.0 MP) in 4.0 s by 2 workers: 0.75 pictures/s, 1.00 MP/s." in err and "  b:2: 1 pict" in err


def test_stdout_is_the_commands_own() -> None:
    data, talk = io.StringIO(), io.StringIO()
    apart = _Apart(data, talk)
    other = threading.Thread(target=lambda: print("a worker was lost", file=apart, flush=True))
    other.start()
    other.join()
    print("line", file=apart, flush=True)
    assert (data.getvalue(), talk.getvalue()) == ("line\n", "a worker was lost\n") and not apart.isatty()
