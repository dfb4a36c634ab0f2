"""``impasto again`` and ``impasto show``, with the tiny model."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreaming import make_dreamer
from helpers import CODES, drawn_photo, make_style_bundle
from impasto.apps.cli import run
from impasto.runtime import bundle
from impasto.runtime.picture import Picture, PictureInfo
from impasto.runtime.pixels.icc import srgb_profile
from impasto.runtime.recipe import carrying, read_recipe, recipe_text
from impasto.runtime.style import save_code

Run = Callable[..., int]

ART = "0" * 64
BAD = base64.b64encode(b"RIFF\x10\0\0\0WEBPno more").decode()


@pytest.fixture
def place(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photo.jpg, art.png and out.png, painted by the tiny model, which is a bundled one here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "bundled_models", lambda: {"tiny": style_bundle})
    monkeypatch.setattr("impasto.apps.cli.again.bundled_models", lambda: {"tiny": style_bundle})
    photo = Picture.from_array(drawn_photo())
    replace(photo, info=replace(photo.info, dpi=(300, 300), xmp=b"<x:xmpmeta></x:xmpmeta>")).save("photo.jpg")
    Picture.from_array(drawn_photo(64, 20, seed=1)).save("art.png")
    assert paint("photo.jpg", "-o", "out.png", "-s", "art.png:2", "-s", "great-wave", "--strength", "0.75") == 0
    return tmp_path


def paint(*arguments: str) -> int:
    return run(["stylize", *arguments, "--model", "tiny", "--threads", "1"])


def again(*arguments: str) -> int:
    return run(["again", *arguments, "--threads", "1"])


def pixels(path: str) -> np.ndarray[Any, Any]:
    return Picture.open(path).rgb


def told(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tif"])
def test_the_same_photo_gives_the_same_picture(place: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--keep-colors", "--quality", "70") if format != "png" else ()
    assert (
        paint("photo.jpg", "-o", f"done.{format}", "-s", "art.png:3", "-s", "the-scream", "--size", "40", *options) == 0
    )
    Path("art.png").unlink()
    capsys.readouterr()
    assert again(f"done.{format}", "photo.jpg") == 0
    assert capsys.readouterr() == (f"photo-again.{format}\n", "")
    assert Path(f"photo-again.{format}").read_bytes() == Path(f"done.{format}").read_bytes()


def test_at_another_size_and_strength(place: Path) -> None:
    assert again("out.png", "photo.jpg", "--size", "96", "--strength", "0.5", "-o", "large.png") == 0
    assert (
        paint("photo.jpg", "-o", "same.png", "-s", "art.png:2", "-s", "great-wave", "--strength", "0.5", "--size", "96")
        == 0
    )
    assert np.array_equal(pixels("large.png"), pixels("same.png")) and pixels("large.png").shape == (80, 96, 3)
    assert read_recipe("large.png").to_fields() == read_recipe("same.png").to_fields(), "and it can be painted again"


def test_other_options(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert again("out.png", "photo.jpg", "-o", "o/", "--format", "jpg", "--quality", "50", "--strip", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["output"] == str(Path("o/photo.jpg")) and line["style"][0] == {"style": "art.png", "weight": 2.0}
    assert Picture.open("o/photo.jpg").info.dpi is None
    assert again("out.png", "photo.jpg", "-o", "o/", "--format", "jpg", "--no-recipe", "--no-strip", "--overwrite") == 0
    assert recipe_text("o/photo.jpg")[0] is None and Picture.open("o/photo.jpg").info.dpi is not None
    assert again("out.png", "photo.jpg", "-o", "parts.png", "--max-memory", "100GB", "--engine", "onnxruntime") == 0
    assert again("out.png", "photo.jpg", "-o", "x.png", "--max-pixels", "5") == 2
    assert again("out.png", "photo.jpg", "-o", "x.png", "--precision", "int8") == 2
    assert not Path("x.png").exists()


def test_several_photos_and_a_stream(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbad")
    assert again("out.png", "photo.jpg", "bad.png", "art.png", "-o", "all") == 1
    assert sorted(path.name for path in Path("all").iterdir()) == ["art.png", "photo.png"]
    capfdbinary.readouterr()
    stdin = io.TextIOWrapper(io.BytesIO(Path("photo.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert again("out.png", "-", "-o", "-") == 0
    stream = capfdbinary.readouterr().out
    assert np.array_equal(Picture.open(stream).rgb, pixels("out.png"))
    assert read_recipe(stream).to_fields() == read_recipe("out.png").to_fields()


def test_no_file_is_lost(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("out.png").read_bytes()
    assert again("out.png", "photo.jpg", "-o", "out.png", "--overwrite") == 2
    assert "is an input as well" in told(capsys)
    assert again("out.png", "photo.jpg", "-o", "art.png") == 2 and "exists already" in told(capsys)
    assert Path("out.png").read_bytes() == before


def test_the_photo_is_never_named(place: Path) -> None:
    Path("secret-place").mkdir()
    Path("photo.jpg").rename("secret-place/secret.jpg")
    Path("art.png").rename("secret-place/art.png")
    assert paint("secret-place/secret.jpg", "-o", "told.jpg", "-s", "secret-place/art.png") == 0
    text, _ = recipe_text("told.jpg")
    assert text is not None and "secret" not in text and "art.png" in text
    assert b"secret" not in Path("told.jpg").read_bytes()


def test_recipes_leave_the_rest_of_the_photo_alone(place: Path) -> None:
    photo = Picture.from_array(drawn_photo())
    about = PictureInfo(exif=None, xmp=b"<x:xmpmeta></x:xmpmeta>", dpi=(300, 300), icc=srgb_profile())
    replace(photo, info=about).save("rich.png")
    assert paint("rich.png", "-o", "with.png", "-s", "the-scream") == 0
    assert paint("rich.png", "-o", "without.png", "-s", "the-scream", "--no-recipe") == 0
    with_, without = Picture.open("with.png"), Picture.open("without.png")
    assert np.array_equal(with_.rgb, without.rgb) and with_.info.icc == without.info.icc
    assert with_.info.xmp is not None and with_.info.xmp.startswith(b"<x:xmpmeta></x:xmpmeta>")
    assert without.info.xmp == b"<x:xmpmeta></x:xmpmeta>" and with_.info.dpi == without.info.dpi


def test_a_painting_that_is_painted_over_tells_of_the_last_time(place: Path) -> None:
    assert paint("out.png", "-o", "over.png", "-s", "the-scream") == 0
    assert [one.style for one in read_recipe("over.png").styles] == ["the-scream"]
    assert paint("out.png", "-o", "bare.png", "-s", "the-scream", "--no-recipe") == 0
    assert recipe_text("bare.png")[0] is None


def test_strokes_colours_and_palettes_travel(place: Path) -> None:
    options = ("--stroke", "6px", "--detail", "0.4", "--palette", "3")
    assert paint("photo.jpg", "-o", "done.png", "-s", "art.png", *options) == 0
    Path("art.png").unlink()
    assert again("done.png", "photo.jpg", "-o", "same.png") == 0
    assert Path("same.png").read_bytes() == Path("done.png").read_bytes()
    assert again("done.png", "photo.jpg", "-o", "other.png", "--stroke", "auto", "--detail", "0") == 0
    told = read_recipe("other.png").settings
    assert told["stroke"] == "auto" and told["detail"] == 0 and len(told["palette"]) == 3
    assert again("out.png", "photo.jpg", "-o", "kept.png", "--keep-colors", "histogram") == 0
    assert read_recipe("kept.png").settings["keep_colors"] == "histogram"
    assert again("done.png", "photo.jpg", "-o", "photos.png", "--keep-colors", "luminance") == 0
    assert read_recipe("photos.png").settings["palette"] is None
    assert again("out.png", "photo.jpg", "-o", "x.png", "--stroke", "huge") == 2


def test_small_masks_travel(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("hidden").mkdir()
    shade = np.rint(np.linspace(0, 255, 48)).astype(np.uint8)[None].repeat(40, 0)
    Image.fromarray(shade).save("hidden/sky.png")
    masks = ("--mask", "hidden/sky.png", "--protect", "hidden/sky.png", "--feather", "2px")
    assert paint("photo.jpg", "-o", "done.png", "-s", "the-scream", *masks) == 0
    assert b"hidden" not in Path("done.png").read_bytes()
    assert len(read_recipe("done.png").masks) == 1, "one file twice is one mask"
    before = Path("hidden/sky.png").read_bytes()
    Path("hidden/sky.png").unlink()
    assert again("done.png", "photo.jpg", "-o", "same.png") == 0
    assert Path("same.png").read_bytes() == Path("done.png").read_bytes()
    assert again("same.png", "photo.jpg", "-o", "third.png") == 0, "and so on"
    assert Path("third.png").read_bytes() == Path("done.png").read_bytes()
    assert again("done.png", "photo.jpg", "-o", "all.png", "--no-mask") == 0
    assert paint("photo.jpg", "-o", "plain.png", "-s", "the-scream") == 0
    assert Path("all.png").read_bytes() == Path("plain.png").read_bytes() and not read_recipe("all.png").masks
    Path("hidden/sky.png").write_bytes(before)
    Image.fromarray(255 - shade).save("other.png")
    assert again("done.png", "photo.jpg", "-o", "turned.png", "--mask", "other.png") == 0
    assert paint("photo.jpg", "-o", "meant.png", "-s", "the-scream", *masks, "--mask", "other.png") == 0
    assert Path("turned.png").read_bytes() == Path("meant.png").read_bytes() != Path("done.png").read_bytes()
    assert again("out.png", "photo.jpg", "-o", "part.png", "--mask", "hidden/sky.png") == 0
    assert len(read_recipe("part.png").masks) == 1
    assert again("part.png", "photo.jpg", "-o", "hidden/sky.png", "--mask", "hidden/sky.png", "--overwrite") == 2
    for more in (("--mask", "hidden/sky.png"), ("--mask-file", "hidden/sky.png")):
        assert again("done.png", "photo.jpg", "-o", "x.png", "--no-mask", *more) == 2
    assert again("done.png", "photo.jpg", "-o", "x.png", "--mask-file", "other.png") == 2
    assert "other.png is none of the masks that done.png was painted with (sky.png)" in capsys.readouterr().err


def test_each_style_in_its_place(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = np.zeros((40, 48), np.uint8)
    left[:, :20] = 255
    Image.fromarray(left).save("left.png")
    Image.fromarray(left[::-1] // 2).save("dim.png")
    places = ("-s", "art.png:2@left.png", "-s", "the-scream@dim.png", "-s", "great-wave")
    assert paint("photo.jpg", "-o", "done.png", *places, "--palette", "4", "--strength", "0.9") == 0
    blend = ("-s", "art.png:2", "-s", "the-scream", "-s", "great-wave", "--strength", "0.9")
    for name in ("left.png", "dim.png", "art.png"):
        Path(name).rename(f"away-{name}")
    assert again("done.png", "photo.jpg", "-o", "same.png") == 0
    assert Path("same.png").read_bytes() == Path("done.png").read_bytes()
    assert again("done.png", "photo.jpg", "-o", "large.png", "--size", "96", "--keep-colors") == 0
    Path("away-art.png").rename("art.png")
    places = ("-s", "art.png:2@away-left.png", "-s", "the-scream@away-dim.png", "-s", "great-wave")
    more = ("--strength", "0.9", "--size", "96", "--keep-colors")
    assert paint("photo.jpg", "-o", "meant.png", *places, *more) == 0
    assert np.array_equal(pixels("large.png"), pixels("meant.png")), "the photo's colours, and so no palette"
    assert not any((one or {}).get("palette") for one in read_recipe("large.png").settings["mask"]["styles"])
    assert again("done.png", "photo.jpg", "-o", "blend.png", "--no-mask", "--keep-colors") == 0
    assert paint("photo.jpg", "-o", "meant2.png", *blend, "--keep-colors") == 0
    assert np.array_equal(pixels("blend.png"), pixels("meant2.png"))
    capsys.readouterr()
    Image.fromarray(left[:, ::-1]).save("left.png")
    assert again("done.png", "photo.jpg", "-o", "right.png", "--mask-file", "left.png") == 0
    assert "left.png is not the mask that done.png was painted with" in capsys.readouterr().err
    assert not np.array_equal(pixels("right.png"), pixels("done.png"))
    assert again("right.png", "photo.jpg", "-o", "right2.png") == 0
    assert Path("right2.png").read_bytes() == Path("right.png").read_bytes()


def test_a_mask_that_is_too_long_is_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    Path("hidden").mkdir()
    Image.fromarray(noise).save("hidden/sky.png")
    Image.fromarray(255 - noise).save("hidden/ground.png")
    masks = ("-s", "art.png@hidden/ground.png", "--mask", "hidden/sky.png")
    assert paint("photo.jpg", "-o", "done.png", *masks) == 0
    assert not read_recipe("done.png").masks
    capsys.readouterr()
    assert again("done.png", "photo.jpg", "-o", "x.png", "--mask-file", "hidden/ground.png") == 2
    assert "with the mask 'sky.png' (sha256 " in (sentence := told(capsys)) and "give it to --mask, or" in sentence
    assert again("done.png", "photo.jpg", "-o", "x.png", "--mask", "hidden/sky.png") == 2
    assert "with the mask 'ground.png' (sha256 " in (sentence := told(capsys))
    assert "give it to --mask-file, or add --no-mask" in sentence and not Path("x.png").exists()
    given = ("--mask-file", "hidden/sky.png", "--mask-file", "hidden/ground.png")
    assert again("done.png", "photo.jpg", "-o", "same.png", *given) == 0
    assert Path("same.png").read_bytes() == Path("done.png").read_bytes()
    Path("hidden/sky.png").rename("sky.png")  # beside OUT, and the very file
    assert again("done.png", "photo.jpg", "-o", "found.png", "--mask-file", "hidden/ground.png") == 0
    assert Path("found.png").read_bytes() == Path("done.png").read_bytes()
    Image.fromarray(noise.T).save("ground.png")  # another one
    capsys.readouterr()
    assert again("done.png", "photo.jpg", "-o", "x.png") == 2 and "'ground.png'" in told(capsys)


def test_a_folder_with_workers(place: Path) -> None:
    Path("in").mkdir()
    for seed in range(2):
        Picture.from_array(drawn_photo(24, 16, seed=seed)).save(f"in/{seed}.png")
    assert paint("in", "-o", "out/", "-s", "art.png") == 0
    assert again("out/1.png", "in/1.png", "-o", "one.png") == 0
    assert Path("one.png").read_bytes() == Path("out/1.png").read_bytes()


def test_a_dream(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = read_recipe("out.png")
    line = replace(text, command="dream", settings={"strength": 1.0, "engine": "onnxruntime", "precision": "fp32"})
    carrying(Picture.open("art.png"), line.to_text()).save("dream.png")
    assert again("dream.png", "photo.jpg", "-o", "dreamt.png") == 0
    assert paint("photo.jpg", "-o", "same.png", "-s", "art.png:2", "-s", "great-wave") == 0
    assert np.array_equal(pixels("dreamt.png"), pixels("same.png"))


def test_a_dream_of_a_model(place: Path) -> None:
    make_dreamer(place / "dreamer.impasto")
    dreamt = ("--seed", "11", "-n", "1", "--strength", "0.5", "--model", "dreamer.impasto", "--threads", "1")
    assert run(["dream", "photo.jpg", *dreamt, "-o", "dream.png"]) == 0
    recipe = read_recipe("dream.png")
    assert recipe.command == "dream" and [one.style for one in recipe.styles] == ["dream 11"]
    assert again("dream.png", "photo.jpg", "-o", "same.png", "--model", "dreamer.impasto") == 0
    assert np.array_equal(pixels("same.png"), pixels("dream.png"))
    assert run(["dream", "photo.jpg", *dreamt, "-o", "bare.png", "--no-recipe"]) == 0
    assert recipe_text("bare.png")[0] is None


def test_a_picture_of_the_server(place: Path) -> None:
    """Its recipe tells only what was asked for; the rest is as the command line has it."""
    told = read_recipe("out.png")
    mask = {"foreground": None, "feather": None, "paint": {"file": "mask", "sha256": "0" * 64}, "protect": None}
    settings = {"engine": "onnxruntime", "precision": "fp32", "strength": 0.75, "mask": mask}
    carrying(Picture.open("art.png"), replace(told, settings=settings).to_text()).save("web.png")
    Picture.from_array(np.ones((8, 8), np.float32)).save("white.png")
    assert again("web.png", "photo.jpg", "-o", "same.png", "--mask", "white.png") == 0
    assert np.array_equal(pixels("same.png"), pixels("out.png"))


def test_another_model(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_style_bundle(place / "other.impasto", created="2024-02-02")
    monkeypatch.setattr("impasto.apps.cli.again.bundled_models", lambda: {"tiny": other})
    monkeypatch.setattr(bundle, "bundled_models", lambda: {"tiny": other})
    assert again("out.png", "photo.jpg", "-o", "x.png") == 2
    sentence = told(capsys)
    assert "is not the one that painted out.png" in sentence and "--model tiny" in sentence
    assert not Path("x.png").exists()
    assert again("out.png", "photo.jpg", "-o", "x.png", "--model", "tiny") == 0
    assert "so the picture will be another" in capsys.readouterr().err
    assert read_recipe("x.png").model_sha256 != read_recipe("out.png").model_sha256
    monkeypatch.setattr("impasto.apps.cli.again.bundled_models", dict)
    assert again("out.png", "photo.jpg", "-o", "y.png") == 2
    assert "does not come with impasto: give its file to --model" in told(capsys)


def write(changes: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
    fields = {**read_recipe("out.png").to_fields(), **changes}
    fields["settings"] = {**fields["settings"], **(settings or {})}
    carrying(Picture.open("art.png"), json.dumps(fields)).save("wrong.png", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({"format": 99}, {}, "install a newer impasto"),
        ({"command": "scribble"}, {}, "which this impasto cannot repeat"),
        ({"styles": [{"style": "photo.jpg", "weight": 1}]}, {}, "no style called 'photo.jpg'"),
        ({"styles": [{"style": "a", "weight": 1, "code": "AAAAAA=="}]}, {}, "this model takes float32 [8]"),
        ({"model": "../tiny.impasto"}, {}, "does not come with impasto"),
        ({}, {"strength": "1"}, "settings.strength: is of a wrong kind"),
        ({}, {"strength": 7}, "choose a number from 0 to 1"),
        ({}, {"size": True}, "settings.size: is of a wrong kind"),
        ({}, {"size": -4}, "give a size from 1 on"),
        ({}, {"quality": 900}, "Quality 900"),
        ({}, {"max_memory": 5}, "'max_memory', which impasto"),
        ({}, {"sparkle": 5}, "'sparkle', which impasto"),
        ({}, {"palette": [[1, 2]]}, "1 to 32 colours"),
        ({}, {"palette": "red"}, "settings.palette: is of a wrong kind"),
        ({}, {"stroke": "-1px"}, "is no size of strokes"),
        ({}, {"keep_colors": "all"}, "all"),
        ({}, {"mask": {"paint": 5, "feather": 0}}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": {"feather": 9}}, "The feather 9 cannot be used"),
        ({}, {"mask": {"more": 1, "feather": 0}}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": [1]}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": {"paint": {"file": "../a.png"}}}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": {"paint": {"file": 5, "sha256": ""}}}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": {"paint": {"file": "../art.png", "sha256": ART}}}, "with the mask '../art.png'"),
        ({}, {"mask": {"paint": {"file": "a\0b", "sha256": ART}}}, "with the mask 'a\\x00b'"),
        ({}, {"mask": {"styles": [None]}}, "masks for 1 styles, and its recipe had no room"),
        ({}, {"mask": {"styles": [None, 3]}}, "settings.mask: is of a wrong kind"),
        ({}, {"mask": {"styles": [None, {"file": "a", "sha256": "b", "palette": [[9]]}]}}, "1 to 32 colours"),
        ({"masks": {"x": "y"}}, {}, "named by 64 hexadecimal digits"),
        ({"masks": {ART: "R0lGODlhAQABAAAAACw="}}, {}, "masks: should be small WebP or PNG"),
        ({"masks": {ART: BAD}}, {"mask": {"paint": {"file": "m", "sha256": ART}}}, "The mask 'm' in the recipe of"),
        ({}, {"mask": {"foreground": "all", "feather": 0}}, "no foreground called 'all'"),
        ({}, {"engine": "warp"}, "no engine called 'warp'"),
        ({}, {"engine": 5}, "settings.engine: is of a wrong kind"),
    ],
)
def test_hostile_recipes_are_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    write(changes, settings)
    assert again("wrong.png", "photo.jpg", "-o", "x.jpg") == 2
    assert sentence in told(capsys)
    assert not Path("x.jpg").exists()


def test_show(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_code("own.npy", CODES[0])
    assert paint("photo.jpg", "-o", "second.jpg", "-s", "own.npy") == 0
    capsys.readouterr()
    assert run(["show", "out.png", "second.jpg"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["model"] == "tiny" and first["settings"]["strength"] == 0.75 and first["format"] == 1
    assert second["styles"][0]["style"] == "own.npy" and len(second["styles"][0]["sha256"]) == 64
    assert run(["show", "photo.jpg"]) == 2
    assert "'photo.jpg' carries no recipe" in told(capsys)
    assert run(["again", "photo.jpg", "photo.jpg"]) == 2
    assert "'photo.jpg' carries no recipe" in told(capsys)
