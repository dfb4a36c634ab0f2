"""``impasto dream``, ``impasto models dream`` and ``impasto styles --between``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreaming import make_dreamer
from helpers import CODES, STYLES, drawn_photo, make_style_bundle
from impasto.apps.cli import dream as dream_module
from impasto.apps.cli import run
from impasto.apps.cli.scene import HEIGHT, WIDTH, scene
from impasto.apps.cli.sheet import Tile, contact_sheet
from impasto.runtime.bundle import Bundle
from impasto.runtime.dream import TABLES, between, dream
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

Cli = Callable[..., int]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photo.jpg (96x64) and dreamer.impasto."""
    monkeypatch.chdir(tmp_path)
    Picture.from_array(drawn_photo(96, 64)).save("photo.jpg")
    make_dreamer(tmp_path / "dreamer.impasto")
    return tmp_path


@pytest.fixture
def cli(here: Path) -> Cli:
    return lambda *arguments: run([*arguments, "--model", "dreamer.impasto"])


def rgb(path: str | Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def same(a: np.ndarray[tuple[int, ...], np.dtype[np.int64]], b: Image.Image) -> bool:
    other = np.asarray(b.convert("RGB")).astype(np.int64)
    return a.shape == other.shape and int(np.abs(a - other).max()) <= 2  # threads may change the last bit


# Dreams -----------------------------------------------------------------------------------------------------------


def test_pictures_styles_and_sheet(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seed", "11", "-n", "2", "--sheet", "sheet.png", "-o", "out", "--save-style", "kept"]
    more = ["--strength", "0.5", "--keep-colors", "--size", "80", "--thumb", "64", "--threads", "1"]
    assert cli("dream", "photo.jpg", *options, *more, "--engine", "onnxruntime", "--max-pixels", "10000") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "kept/dream-11.npy",
        "out/photo-dream-11.jpg",
        "kept/dream-12.npy",
        "out/photo-dream-12.jpg",
        "sheet.png",
    ]
    assert err == ""
    model, photo = StyleModel.load("dreamer.impasto"), Picture.open("photo.jpg").resized(80)
    codes, tiles = dream(model, 11, 2), []
    for seed, code in zip((11, 12), codes, strict=True):
        assert np.array_equal(np.load(f"kept/dream-{seed}.npy"), code)
        painted = model.paint(photo, code, strength=0.5, keep_colors=True)
        tiles.append(Tile(painted.to_pil(), f"Dream {seed}", f"--seed {seed} -n 1", ""))
        assert rgb(f"out/photo-dream-{seed}.jpg").shape == (53, 80, 3)
    assert same(rgb("sheet.png"), contact_sheet(tiles, thumb=64))


def test_pictures_are_not_kept_at_full_size_for_the_sheet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[int, int]] = []

    def laid_out(tiles: list[Tile], *, thumb: int) -> Image.Image:
        kept.extend(tile.picture.size for tile in tiles)
        return contact_sheet(tiles, thumb=thumb)

    monkeypatch.setattr(dream_module, "contact_sheet", laid_out)
    assert cli("dream", "photo.jpg", "-n", "2", "--sheet", "sheet.png", "-o", "out", "--thumb", "64") == 0
    assert kept == [(64, 43), (64, 43)] and rgb("out/photo-dream-0.jpg").shape == (64, 96, 3)


def test_a_kept_style_paints_the_same_again(cli: Cli) -> None:
    assert cli("dream", "photo.jpg", "--seed", "3", "-n", "1", "-o", "dreamt.png", "--save-style", ".") == 0
    assert cli("stylize", "photo.jpg", "-s", "dream-3.npy", "-o", "again.png") == 0
    assert np.array_equal(rgb("dreamt.png"), rgb("again.png"))


def test_without_a_photo_a_landscape_is_painted(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("dream", "-n", "1", "--seed", "2", "-o", "out/", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line.pop("seconds") > 0
    assert line == {"output": "out/landscape-dream-2.png", "input": None, "seed": 2, "strength": 1.0}
    assert rgb("out/landscape-dream-2.png").shape == (HEIGHT, WIDTH, 3)
    picture = scene()
    assert picture.rgb.min() >= 0 and picture.rgb.max() <= 1 and picture.rgb.std() > 0.15
    assert np.array_equal(picture.rgb, scene().rgb)


def test_nine_by_default_and_only_styles_where_only_they_are_asked_for(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("dream", "--save-style", "kept") == 0
    assert capsys.readouterr().out.splitlines() == [f"kept/dream-{seed}.npy" for seed in range(9)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["photo.jpg"], "add --sheet OUT.png, or -o FOLDER"),
        (["photo.jpg", "-o", "out.png"], "9 pictures cannot all be written to out.png: give a folder to -o, or -n 1."),
        (["photo.jpg", "-o", ""], "-o is empty"),
        (["photo.jpg", "-o", "photo.jpg", "-n", "1", "--overwrite"], "is the photo itself"),
        (["photo.jpg", "--sheet", "./photo.jpg", "--overwrite"], "is the photo itself"),
        (["photo.jpg", "--sheet", "a.png", "-o", "a.png", "-n", "1"], "or another output"),
        (["photo.jpg", "--sheet", "sheet.gif"], "cannot be written as .gif"),
        (["fhoto.jpg", "--sheet", "sheet.png"], "did you mean photo.jpg?"),
        (["photo.jpg", "--sheet", "sheet.png", "--seed", "-1"], "--seed"),
        (["photo.jpg", "--sheet", "sheet.png", "--max-pixels", "10"], "photo.jpg"),
        (["photo.jpg", "--sheet", "sheet.png", "--engine", "onnx"], "did you mean 'onnxruntime'"),
    ],
)
def test_wrong_usage_is_one_sentence(
    cli: Cli, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert cli("dream", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.startswith("impasto: ") and err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["dreamer.impasto", "photo.jpg"]


def test_nothing_is_lost(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sheet.png", "photo-dream-1.jpg", "dream-1.npy"):
        Path(name).write_bytes(b"precious")
    for place in (["--sheet", "sheet.png"], ["-o", "."], ["--save-style", "."]):
        assert cli("dream", "photo.jpg", "-n", "2", *place) == 2
        assert "exists already" in capsys.readouterr().err
    assert not Path("photo-dream-0.jpg").exists() and not Path("dream-0.npy").exists()
    assert all(Path(n).read_bytes() == b"precious" for n in ("sheet.png", "photo-dream-1.jpg", "dream-1.npy"))
    everything = ["--sheet", "sheet.png", "-o", ".", "--save-style", "."]
    assert cli("dream", "photo.jpg", "-n", "2", *everything, "--overwrite") == 0
    assert not any(Path(n).read_bytes() == b"precious" for n in ("sheet.png", "photo-dream-1.jpg", "dream-1.npy"))


# Letting a model dream --------------------------------------------------------------------------------------------


def test_a_model_learns_to_dream(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_style_bundle(here / "plain.impasto")
    Path("paintings").mkdir()
    for seed in range(21):
        Picture.from_array(drawn_photo(70, 66, seed)).save(f"paintings/{seed:02}.png")
    assert run(["dream", "photo.jpg", "--sheet", "a.png", "--model", "plain.impasto"]) == 2
    assert "impasto models dream plain PAINTINGS" in capsys.readouterr().err
    assert run(["models", "dream", "plain.impasto", "paintings", "-o", "new.impasto"]) == 0
    assert capsys.readouterr() == ("new.impasto\n", "")
    assert set(TABLES) <= set(Bundle.open("new.impasto").members)
    assert run(["dream", "photo.jpg", "--sheet", "a.png", "-n", "1", "--model", "new.impasto"]) == 0
    capsys.readouterr()
    again = ["models", "dream", "plain.impasto", "paintings", "-o", "new.impasto"]
    assert run(again) == 2 and "exists already" in capsys.readouterr().err
    assert run([*again, "--overwrite", "-n", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": "new.impasto", "bytes": Path("new.impasto").stat().st_size}
    assert run(["models", "dream", "plain.impasto", "paintings", "-o", "b.impasto", "-n", "5"]) == 2
    assert "5 paintings are too few" in capsys.readouterr().err and not Path("b.impasto").exists()


# Between two styles -----------------------------------------------------------------------------------------------


def test_the_way_between_two_styles(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--between", "starry-night", "own.npy", "-n", "3", "--photo", "photo.jpg", "-o", "way.png"]
    np.save("own.npy", CODES[2])
    assert cli("styles", *options, "--thumb", "64", "--strength", "0.8", "--keep-colors") == 0
    assert capsys.readouterr() == ("way.png\n", "")
    model, small = StyleModel.load("dreamer.impasto"), Picture.open("photo.jpg").resized(128)
    first = STYLES[0]
    labels = [(first.title, f"{first.artist}, {first.year}", first.name), ("50 %", "", ""), ("own", "own.npy", "")]
    tiles = [
        Tile(model.paint(small, code, strength=0.8, keep_colors=True).to_pil(), *label)
        for code, label in zip(between(model, "starry-night", CODES[2], 3), labels, strict=True)
    ]
    assert same(rgb("way.png"), contact_sheet(tiles, thumb=64))


def test_seven_and_a_landscape_by_default(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli("styles", "--between", "starry-night", "great-wave", "--output", "way.png", "--thumb", "64", "--json") == 0
    )
    line = json.loads(capsys.readouterr().out)
    assert line.pop("seconds") > 0
    assert line == {"input": None, "output": "way.png", "between": ["starry-night", "great-wave"], "count": 7}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--between", "starry-night", "great-wave"], "add -o OUT.png"),
        (["--between", "starry-night", "great-wafe", "-o", "way.png"], "did you mean 'great-wave'?"),
        (["--between", "starry-night", "great-wave", "-o", "way.png", "-n", "1"], "--count"),
        (["--between", "starry-night", "photo.jpg", "-o", "photo.jpg", "--overwrite"], "or a style"),
        (["-n", "3", "photo.jpg", "--sheet", "way.png"], "add --between A B"),
        (["photo.jpg", "--photo", "photo.jpg", "--sheet", "way.png"], "Two photos are given"),
        (["--between", "starry-night", "great-wave", "-o", "way.gif"], "cannot be written as .gif"),
    ],
)
def test_ways_that_cannot_be_painted(
    cli: Cli, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert cli("styles", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1
    assert not Path("way.png").exists()


def test_the_photo_by_option_is_that_by_place(cli: Cli) -> None:
    assert cli("styles", "--sheet", "a.png", "photo.jpg", "--thumb", "64") == 0
    assert cli("styles", "-o", "b.png", "--photo", "photo.jpg", "--thumb", "64") == 0
    assert np.array_equal(rgb("a.png"), rgb("b.png"))
