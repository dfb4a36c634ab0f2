"""``impasto paint``: from photo and painting to a file, every option, and every way to get it wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.runtime.picture import Picture
from impasto.runtime.recipe import read_recipe, recipe_text

torch = pytest.importorskip("torch")

from impasto.training import paint as paint_module  # noqa: E402 (needs torch)
from training.optimised import SPEC, tiny_vgg  # noqa: E402

Capture = pytest.CaptureFixture[str]
QUICK = ("--size", "48", "--steps", "2", "--coarsest", "48", "--start", "photo", "--threads", "1", "--device", "cpu")


def drawn(path: Path, seed: int, size: tuple[int, int] = (64, 48), **options: Any) -> Path:
    pixels = (drawn_photo(*size, seed=seed) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a photo, paintings and masks; a network of a few channels in place of VGG."""
    drawn(tmp_path / "photo.jpg", 1)
    drawn(tmp_path / "sea.png", 5, (60, 52))
    drawn(tmp_path / "hill.png", 7, (60, 52))
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    Image.fromarray(255 - left).save(tmp_path / "right.png")
    (tmp_path / "text.jpg").write_text("no picture")

    def load(spec: Any, *_: Any) -> Any:
        return tiny_vgg()

    monkeypatch.setattr(paint_module, "load_features", load)
    layers = {"style_layers": SPEC.style_layers, "content_layers": SPEC.content_layers}
    whole = paint_module.paint
    # The verb's settings are for VGG: the tiny network has fewer layers.
    monkeypatch.setattr(
        paint_module, "paint", lambda photo, brushes, spec, **how: whole(photo, brushes, _with(spec, layers), **how)
    )
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def _with(spec: Any, layers: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(spec, **layers)


def test_a_photo_is_painted_beside_itself_and_carries_its_recipe(place: Path, capsys: Capture) -> None:
    assert run(["paint", "photo.jpg", "-s", "sea.png", *QUICK]) == 0
    assert capsys.readouterr().out == "photo-sea.jpg\n"
    done = Picture.open(place / "photo-sea.jpg")
    assert done.size == (48, 36)
    recipe = read_recipe(place / "photo-sea.jpg")
    assert (recipe.command, recipe.model) == ("paint", "vgg16") and recipe.styles[0].style == "sea.png"
    assert recipe.settings["steps"] == 2 and "weights" not in recipe.settings
    assert run(["paint", "photo.jpg", "-s", "sea.png", "-o", "plain.png", "--no-recipe", *QUICK]) == 0
    assert recipe_text(place / "plain.png")[0] is None


def test_it_tells_as_json_what_came_out(place: Path, capsys: Capture) -> None:
    options = ["--optimizer", "adam", "--style-loss", "gram", "--smooth", "0.5", "--content", "2", "--seed", "3"]
    options += ["--even", "0.5", "--bands", "0.5", "--views", "1"]
    words = ["paint", "photo.jpg", "-s", "sea.png:2", "-s", "hill.png", "-o", "out/", "--json", *QUICK, *options]
    assert run([*words, "--start", "noise", "--strength", "0.8", "--precision", "fp32", "--network", "vgg16"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["output"] == str(Path("out/photo.jpg")) and (line["width"], line["height"]) == (48, 36)
    assert line["style"] == [{"style": "sea.png", "weight": 2.0}, {"style": "hill.png", "weight": 1.0}]
    assert (line["steps"], line["planned"], line["stopped"], line["strength"]) == (2, 2, False, 0.8)
    assert set(line["losses"]) == {"loss", "content", "style", "bands", "smooth"}


def test_several_photos_and_the_fast_painter(place: Path, style_bundle: Path, capsys: Capture) -> None:
    drawn(place / "two.jpg", 2)
    words = ["paint", "photo.jpg", "two.jpg", "-s", "sea.png", "-o", "out", "--format", "webp", "--quality", "80"]
    assert run([*words, *QUICK, "--start", "fast", "--model", str(style_bundle), "--stroke", "auto"]) == 0
    assert sorted(path.name for path in (place / "out").iterdir()) == ["photo.webp", "two.webp"]


def test_masks_colours_and_detail_are_those_of_stylize(place: Path) -> None:
    plain = ["paint", "photo.jpg", "-s", "sea.png", *QUICK, "--steps", "5", "--content", "0.05"]
    assert run([*plain, "-o", "plain.png"]) == 0
    whole = Picture.open("plain.png").rgb
    photo = Picture.open("photo.jpg").resized(48).rgb
    assert run([*plain, "-o", "half.png", "--mask", "left.png", "--feather", "0"]) == 0
    half = Picture.open("half.png").rgb
    assert np.abs(half[:, 26:] - photo[:, 26:]).max() < 0.003 < np.abs(half[:, :22] - photo[:, :22]).max()
    assert run([*plain, "-o", "other.png", "--protect", "left.png"]) == 0
    assert np.abs(Picture.open("other.png").rgb[:, :20] - photo[:, :20]).max() < 0.003
    assert (
        run(["paint", "photo.jpg", "-s", "sea.png@left.png", "-s", "hill.png@right.png", "-o", "two.png", *QUICK]) == 0
    )
    for name, words in {
        "lum.png": ["--keep-colors"],
        "hist.png": ["--keep-colors", "histogram"],
        "few.png": ["--palette", "3"],
        "sharp.png": ["--detail", "1"],
    }.items():
        assert run([*plain, "-o", name, *words]) == 0
        assert np.abs(Picture.open(name).rgb - whole).max() > 0.01, name


def test_weights_and_the_foreground_are_passed_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs: list[Any] = []

    def load(spec: Any, *_: Any) -> Any:
        specs.append(spec)
        return tiny_vgg()

    monkeypatch.setattr(paint_module, "load_features", load)
    front = np.zeros((36, 48), np.float32)
    front[:, 24:] = 1
    monkeypatch.setattr("impasto.runtime.foreground.find_foreground", lambda photo: front)
    words = ["paint", "photo.jpg", "-s", "sea.png", "-o", "front.png", *QUICK, "--steps", "5", "--content", "0.05"]
    assert run([*words, "--weights", "own.pth", "--foreground", "auto"]) == 0
    assert specs[0].weights == "own.pth"
    apart = np.abs(Picture.open("front.png").rgb - Picture.open("photo.jpg").resized(48).rgb)
    assert apart[:, :20].max() < 0.003 < apart[:, 28:].max()
    assert read_recipe("front.png").settings["detail"] == 0


def test_what_the_photo_file_held_is_kept_unless_stripped(place: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    drawn(place / "told.jpg", 3, exif=exif)
    words = ["paint", "told.jpg", "-s", "sea.png", *QUICK, "--max-pixels", "100000", "--max-memory", "100GB"]
    assert run([*words, "-o", "kept.jpg"]) == 0 and run([*words, "-o", "bare.jpg", "--strip"]) == 0
    with Image.open("kept.jpg") as kept, Image.open("bare.jpg") as bare:
        assert kept.getexif().get(0x010F) == "a camera" and bare.getexif().get(0x010F) is None
    assert run([*words, "-o", "kept.jpg"]) == 2
    assert run([*words, "-o", "kept.jpg", "--overwrite"]) == 0


def test_previews_are_whole_pictures_and_a_failing_one_costs_nothing(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["paint", "photo.jpg", "-s", "sea.png", *QUICK, "--preview", "so-far.png", "--every", "1"]
    assert run([*words, "-o", "one.png"]) == 0
    assert Picture.open("so-far.png").size == (48, 36)
    assert run([*words, "-o", "two.png"]) == 2  # it would be lost
    assert "so-far.png exists already" in capsys.readouterr().err
    (place / "so-far.png").unlink()
    (place / "file").write_text("in the way")
    words[words.index("so-far.png")] = "file/so-far.png"
    assert run([*words, "-o", "three.png"]) == 0
    err = capsys.readouterr().err
    assert err.count("There are no more previews") == 1 and (place / "three.png").exists()


def test_ctrl_c_keeps_the_best_so_far(place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paint_module.paint

    def interrupted(photo: Any, brushes: Any, spec: Any, *, progress: Any, **how: Any) -> Any:
        def tell(now: Any) -> None:
            progress(now)
            if now.done == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return whole(photo, brushes, spec, progress=tell, **how)

    monkeypatch.setattr(paint_module, "paint", interrupted)
    drawn(place / "two.jpg", 2)
    words = ["paint", "photo.jpg", "two.jpg", "-s", "sea.png", "-o", "out", *QUICK, "--steps", "30"]
    assert run(words) == 130
    err = capsys.readouterr().err
    assert "is the best after 2 of 30 steps." in err
    assert [path.name for path in (place / "out").iterdir()] == ["photo.jpg"]
    assert Picture.open(place / "out" / "photo.jpg").size == (48, 36)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-s", "starry-night"], "impasto paint needs the painting itself, and starry-night is no picture"),
        (["-s", "code.npy"], "needs the painting itself"),
        (["-s", "nothing.png"], "nothing.png"),
        (["-s", "text.jpg"], "text.jpg"),
        (["-s", "sea.png", "--start", "foto"], "There is no start called 'foto': did you mean 'photo'"),
        (["-s", "sea.png", "--style-loss", "grams"], "did you mean 'gram'"),
        (["-s", "sea.png", "--stroke", "huge"], "huge"),
        (["-s", "sea.png", "--optimizer", "sgd"], "There is no optimizer called 'sgd'"),
        (["-s", "sea.png", "--network", "vgg11"], "did you mean 'vgg1"),
        (["-s", "sea.png", "--palette", "4", "--keep-colors", "histogram"], "choose one of them"),
        (["-s", "sea.png", "--feather", "0.1"], "there is none"),
        (["-s", "sea.png", "--preview", "photo.jpg", "--overwrite"], "photo.jpg is an input as well"),
        (["-s", "sea.png", "--preview", "sea.png", "--overwrite"], "sea.png is an input as well"),
        (["-s", "sea.png", "-o", "sea.png", "--overwrite"], "sea.png is an input as well"),
        (["-s", "sea.png", "-o", "-"], "give a file in place of -"),
        (["-s", "sea.png", "--size", "8"], "32"),
        (["-s", "sea.png", "--max-memory", "1"], "choose a smaller --size or a larger --max-memory"),
        (["-s", "sea.png", "--device", "abacus"], "The device 'abacus' cannot be used here"),
        ([], "--style"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    words: list[str], sentence: str, place: Path, capsys: Capture
) -> None:
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    quick = [word for word in QUICK if word not in ("--device", "cpu")] if "--device" in words else list(QUICK)
    if "--start" in words:
        quick = [word for word in quick if word not in ("--start", "photo")]
    assert run(["paint", "photo.jpg", *quick, *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.startswith("impasto: ")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_photo_that_is_missing_is_said_before_anything_is_painted(place: Path, capsys: Capture) -> None:
    assert run(["paint", "photo.jpg", "gone.jpg", "-s", "sea.png", "-o", "out", *QUICK]) == 2
    assert "gone.jpg" in capsys.readouterr().err and not (place / "out").exists()


def test_without_torch_it_says_what_to_install(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.apps.cli.trainer.find_spec", lambda module: None if module == "torch" else object())
    assert run(["paint", "photo.jpg", "-s", "sea.png", *QUICK]) == 2
    assert "This needs torch: pip install 'impasto[train]'." in capsys.readouterr().err
