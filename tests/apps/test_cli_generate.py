"""``impasto generate``, ``walk``, ``mix`` and ``reconstruct``, through the real library with tiny models."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo, make_generator_bundle
from impasto.apps.cli import models, run
from impasto.apps.cli import walk as walk_module
from impasto.runtime.frames import KEYWORD
from impasto.runtime.generator import MIXTURE, Generator
from impasto.runtime.picture import Picture

Capture = pytest.CaptureFixture[str]
Cli = Callable[..., int]
CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models: plain; classy (RGBA, two classes, four layers); vae (grey, with a mixture)."""
    folder = tmp_path_factory.mktemp("models")
    tables = dict(zip(MIXTURE, (np.ones(1, "f"), np.zeros((1, 4), "f"), 0.1 * np.eye(4, dtype="f")[None]), strict=True))
    return {
        "plain": make_generator_bundle(folder / "plain.impasto"),
        "classy": make_generator_bundle(
            folder / "classy.impasto", classes=CLASSES, layers=4, channels=4, name="classy"
        ),
        "vae": make_generator_bundle(
            folder / "vae.impasto", mapped=False, encoder=True, channels=1, tables=tables, name="vae"
        ),
    }


@pytest.fixture
def cli(tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a verb on one of the models, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(verb: str, model: str, *arguments: str) -> int:
        return run([verb, str(tiny.get(model, model)), *arguments, "--threads", "1"])

    return call


def image(path: str | Path) -> Image.Image:
    opened = Image.open(io.BytesIO(Path(path).read_bytes()))
    opened.load()
    return opened


def told(path: str | Path) -> dict[str, Any]:
    return dict(json.loads(image(path).text[KEYWORD]))  # type: ignore[attr-defined]


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def close(path: str | Path, picture: Picture) -> bool:
    return bool(np.abs(Picture.open(path).rgb - picture.rgb).max() < 0.51 / 255 + 1e-5)


# generate ---------------------------------------------------------------------------------------------------------


def test_draws_as_the_library_does(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    assert cli("generate", "plain") == 0
    assert capsys.readouterr() == ("tiny-drawer-0.png\n", "")
    assert cli("generate", "plain", "-n", "3", "--seed", "7", "-o", "out") == 0
    assert capsys.readouterr().out.split() == [str(Path("out") / f"tiny-drawer-{seed}.png") for seed in (7, 8, 9)]
    drawer = Generator.load(tiny["plain"])
    for seed in (7, 8, 9):
        assert close(f"out/tiny-drawer-{seed}.png", drawer.sample(seed)[0])
    assert told("out/tiny-drawer-8.png") == {
        "model": "tiny-drawer",
        "sha256": drawer.bundle.sha256,
        "seed": 8,
        "truncation": 1.0,
    }


def test_more_than_a_batch(cli: Cli, tiny: dict[str, Path]) -> None:
    assert cli("generate", "plain", "-n", "18", "-o", "out/") == 0
    assert len(list(Path("out").iterdir())) == 18
    assert close("out/tiny-drawer-17.png", Generator.load(tiny["plain"]).sample(17)[0])


def test_one_file_in_any_format(cli: Cli, capsys: Capture) -> None:
    assert cli("generate", "plain", "-o", "one.webp", "--quality", "80", "--seed", "5") == 0
    assert json.loads(image("one.webp").getexif()[0x010E])["seed"] == 5
    assert cli("generate", "plain", "--format", "jpg") == 0
    assert image("tiny-drawer-0.jpg").format == "JPEG"
    capsys.readouterr()
    assert cli("generate", "classy", "-o", "flat.jpg") == 0
    assert "JPEG has no transparency" in capsys.readouterr().err


def test_classes_take_turns(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    assert cli("generate", "classy", "-n", "18", "--class", "dog", "--class", "cat", "-o", "out", "--json") == 0
    got = lines(capsys)
    assert [line["class"] for line in got] == ["dog", "cat"] * 9 and got[17]["seed"] == 17
    wanted = Generator.load(tiny["classy"]).sample(17, classes="cat")[0]
    assert close(got[17]["output"], wanted) and told(got[17]["output"])["class"] == "cat"
    assert (got[0]["width"], got[0]["height"]) == (12, 8)


def test_truncation_and_prior(cli: Cli, tiny: dict[str, Path]) -> None:
    drawer = Generator.load(tiny["vae"])
    assert cli("generate", "vae", "--truncation", "0.5", "--prior", "normal", "-o", "a.png") == 0
    assert close("a.png", drawer.sample(0, truncation=0.5, prior="normal")[0]) and image("a.png").mode == "L"
    assert cli("generate", "vae", "-o", "b.png") == 0
    assert close("b.png", drawer.sample(0)[0]) and told("b.png")["prior"] == "mixture"


def test_a_grid_is_one_picture(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    assert cli("generate", "plain", "--grid", "3x2", "--seed", "4", "--json") == 0
    line = lines(capsys)[0]
    assert (line["output"], line["seeds"]) == ("tiny-drawer-4-9.png", [4, 9])
    assert (line["width"], line["height"]) == (3 * 12 + 4, 2 * 8 + 2)
    assert told(line["output"])["seeds"] == [4, 9] and "seed" not in told(line["output"])
    whole, last = Picture.open(line["output"]), Generator.load(tiny["plain"]).sample(9)[0]
    np.testing.assert_allclose(whole.rgb[10:, 28:], last.rgb, atol=0.51 / 255)
    assert cli("generate", "classy", "--grid", "3X2", "-n", "4", "--class", "cat", "-o", "some.png") == 0
    assert image("some.png").mode == "RGBA" and told("some.png")["classes"] == ["cat"]
    assert cli("generate", "plain", "--grid", "2x2", "-n", "5") == 2


def test_standard_output(cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli("generate", "plain", "-o", "-", "--format", "webp") == 0
    assert Image.open(io.BytesIO(stdout.buffer.getvalue())).format == "WEBP"  # type: ignore[attr-defined]
    monkeypatch.setattr(stdout, "isatty", lambda: True, raising=False)
    assert cli("generate", "plain", "-o", "-") == 2
    assert "written to the terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--class", "dgo"], "did you mean 'dog'"),
        (["--grid", "8by4"], "write columns and rows, such as 8x4"),
        (["--grid", "9999x9999"], "make it smaller"),
        (["-n", "3", "-o", "one.png"], "give a folder to -o, or add --grid"),
        (["-n", "3", "-o", "-"], "standard output"),
        (["-o", ""], "-o is empty"),
        (["-n", "2", "-o", ""], "-o is empty"),
        (["-o", "one.gif"], "cannot be written as .gif"),
        (["-o", "-", "--json"], "cannot carry both"),
        (["--format", "jpgg"], "did you mean 'jpg'"),
        (["--prior", "flat"], "no prior called 'flat'"),
        (["--engine", "openvin"], "did you mean 'openvino'"),
        (["--seed", "-1"], "--seed"),
        (["--truncation", "3"], "--truncation"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(
    cli: Cli, capsys: Capture, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    assert cli("generate", "classy", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and fault in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_other_models_are_refused(cli: Cli, style_bundle: Path, capsys: Capture) -> None:
    assert cli("generate", "no-such-model") == 2
    assert "no model called 'no-such-model'" in capsys.readouterr().err
    assert cli("generate", str(style_bundle)) == 2
    assert "kind 'style' where 'generator' is needed" in capsys.readouterr().err
    assert cli("generate", "plain", "--class", "cat") == 2
    assert "knows no classes" in capsys.readouterr().err


def test_what_exists_is_kept_unless_allowed(cli: Cli, capsys: Capture) -> None:
    Path("tiny-drawer-2.png").write_bytes(b"mine")
    assert cli("generate", "plain", "-n", "3") == 2
    assert "tiny-drawer-2.png exists already" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["tiny-drawer-2.png"], "all are refused or none"
    assert cli("generate", "plain", "-n", "3", "--overwrite") == 0
    assert image("tiny-drawer-2.png").size == (12, 8)


# walk and mix -----------------------------------------------------------------------------------------------------


def test_a_walk_is_a_film(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    assert cli("walk", "plain", "--seeds", "1, 2", "--frames", "20", "--fps", "10", "-o", "w.webp", "--json") == 0
    line = lines(capsys)[0]
    assert (line["frames"], line["seeds"], line["width"], line["height"]) == (20, [1, 2], 12, 8)
    film = image("w.webp")
    assert film.n_frames == 20 and film.info["duration"] == 100  # type: ignore[attr-defined]
    film.seek(19)
    drawn = np.asarray(film.convert("RGB")) / 255
    np.testing.assert_allclose(drawn, Generator.load(tiny["plain"]).sample(2)[0].rgb, atol=0.51 / 255)
    assert cli("walk", "plain", "--seeds", "1,2", "--frames", "4", "--loop") == 0
    assert capsys.readouterr().out == "tiny-drawer-walk.gif\n"
    assert image("tiny-drawer-walk.gif").n_frames == 4  # type: ignore[attr-defined]


def test_a_walk_with_classes_and_truncation(cli: Cli) -> None:
    arguments = ("--frames", "3", "--class", "cat", "--truncation", "0.5", "-o", "w.png")
    assert cli("walk", "classy", "--seeds", "1,2", *arguments) == 0
    film = image("w.png")
    assert film.n_frames == 3 and json.loads(film.text[KEYWORD])["truncation"] == 0.5  # type: ignore[attr-defined]
    assert cli("walk", "vae", "--seeds", "1,2", "--prior", "normal", "--frames", "2", "-o", "v.gif") == 0


def test_an_mp4_without_pyav_is_refused_before_the_model_loads(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(walk_module, "load_generator", lambda *_, **__: pytest.fail("loaded"))
    assert cli("walk", "plain", "--seeds", "1,2", "-o", "w.mp4") == 2
    assert "pip install 'impasto[video]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--seeds", "1"], "at least 2 of each"),
        (["--seeds", "1,x"], "no list of seeds"),
        (["--seeds", ""], "no list of seeds"),
        (["--seeds", "1,-2"], "no list of seeds"),
        (["--seeds", "1,2", "-o", "w.avi"], "no film format called '.avi'"),
        (["--seeds", "1,2", "--fps", "0"], "frames a second"),
        (["--seeds", "1,2", "--frames", "1"], "--frames"),
        ([], "--seeds"),
    ],
)
def test_a_bad_walk_is_one_sentence_and_no_file(
    cli: Cli, capsys: Capture, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    assert cli("walk", "plain", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and fault in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_mix_is_a_grid_with_its_parents(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    assert cli("mix", "classy", "1,2", "3,4,5", "--layers", "1", "--class", "cat", "--json") == 0
    line = lines(capsys)[0]
    assert line["output"] == "classy-mix-1-3.png"
    assert [line[key] for key in ("a", "b", "layers", "class")] == [[1, 2], [3, 4, 5], 1, "cat"]
    assert told(line["output"])["b"] == [3, 4, 5]
    whole, drawer = Picture.open(line["output"]), Generator.load(tiny["classy"])
    assert whole.size == (4 * 14 - 2, 3 * 10 - 2)
    places = {
        (0, 1): drawer.sample(3, classes="cat"),
        (2, 0): drawer.sample(2, classes="cat"),
        (2, 3): drawer.mix(2, 5, 1, classes="cat"),
    }
    for (row, column), wanted in places.items():
        part = whole.rgb[row * 10 : row * 10 + 8, column * 14 : column * 14 + 12]
        np.testing.assert_allclose(part, wanted[0].rgb, atol=0.51 / 255)
    assert whole.alpha is not None and (whole.alpha[:8, :12] == 0).all()
    assert cli("mix", "classy", "1", "2", "--truncation", "0.5", "-o", "m.webp") == 0


@pytest.mark.parametrize(
    ("model", "arguments", "fault"),
    [
        ("plain", ["1", "2"], "no layers to mix"),
        ("classy", ["1", "b"], "B 'b' is no list of seeds"),
        ("classy", ["1", "2", "--layers", "5"], "has 4"),
        ("classy", ["1", ",".join("1" * 17)], "at most 16"),
        ("classy", ["1", "2", "--class", "cat", "--class", "dog"], "one --class"),
        ("classy", ["1", "2", "-o", "-", "--json"], "cannot carry both"),
    ],
)
def test_a_bad_mix_is_one_sentence_and_no_file(
    cli: Cli, capsys: Capture, tmp_path: Path, model: str, arguments: list[str], fault: str
) -> None:
    assert cli("mix", model, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and fault in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# reconstruct ------------------------------------------------------------------------------------------------------


def test_reconstruct_keeps_names(cli: Cli, tiny: dict[str, Path], capsys: Capture) -> None:
    (Path("in") / "deep").mkdir(parents=True)
    for index in range(18):  # more than a batch
        Picture.from_array(drawn_photo(30, 20, seed=index)).save(f"in/deep/{index:02d}.png")
    assert cli("reconstruct", "vae", "in", "-o", "out", "--json") == 0
    got = lines(capsys)
    assert [Path(line["output"]) for line in got] == [Path("out/deep") / f"{index:02d}.png" for index in range(18)]
    wanted = Generator.load(tiny["vae"]).reconstruct([Picture.open("in/deep/17.png")])[0]
    assert close("out/deep/17.png", wanted) and image("out/deep/17.png").size == (12, 8)
    assert cli("reconstruct", "vae", "in/deep/00.png", "--format", "jpg", "--quality", "90") == 0
    assert Path("in/deep/00-reconstructed.jpg").exists()


def test_a_picture_that_cannot_be_read_is_passed_over(cli: Cli, capsys: Capture) -> None:
    Picture.from_array(drawn_photo()).save("good.png")
    Path("bad.png").write_bytes(b"no picture")
    assert cli("reconstruct", "vae", "bad.png", "good.png", "-o", "out", "--json") == 1
    out, err = capsys.readouterr()
    assert [("error" in json.loads(line), json.loads(line)["input"]) for line in out.splitlines()] == [
        (True, "bad.png"),
        (False, "good.png"),
    ]
    assert "1 of 2 pictures could not be reconstructed" in err
    assert [path.name for path in Path("out").iterdir()] == ["good.png"]
    assert cli("reconstruct", "vae", "bad.png", "-o", "out") == 2
    assert cli("reconstruct", "vae", "good.png", "--max-pixels", "10", "-o", "out2") == 2


def test_what_cannot_be_reconstructed_is_refused(cli: Cli, capsys: Capture) -> None:
    Picture.from_array(drawn_photo()).save("good.png")
    assert cli("reconstruct", "plain", "good.png") == 2
    assert "has no encoder" in capsys.readouterr().err
    assert cli("reconstruct", "vae", "-") == 2
    assert "Streams (-)" in capsys.readouterr().err
    assert cli("reconstruct", "vae", "good.png", "-o", "good.png", "--overwrite") == 2
    assert "would be lost" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["good.png"]


# models -----------------------------------------------------------------------------------------------------------


def test_models_shows_generators(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(models, "bundled_models", lambda: {"classy": tiny["classy"], "plain": tiny["plain"]})
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "classy  generator  12x8 RGBA, 2 classes  0.0 MB  2024-01-01",
        "plain  generator  12x8 RGB  0.0 MB  2024-01-01",
    ]
    assert run(["models", "list", "--json"]) == 0
    first = lines(capsys)[0]
    assert (first["width"], first["height"], first["channels"], first["classes"]) == (12, 8, 4, 2)
    assert run(["models", "inspect", str(tiny["classy"])]) == 0
    out = capsys.readouterr().out
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert rows["pictures"].strip() == "12x8 RGBA, 2 classes"
    assert "4 numbers, distribution normal" in rows["latent"]
    shown = next(line for line in out.splitlines() if line.startswith("graph synthesis"))
    assert shown.endswith("w nx4x6 -> picture nx4x8x12") and "class            dog" in out
