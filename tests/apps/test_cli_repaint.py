"""``impasto again`` for what ``impasto paint`` made, with a feature network of a few channels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.runtime import bundle
from impasto.runtime.picture import Picture
from impasto.runtime.recipe import carrying, read_recipe, recipe_text

torch = pytest.importorskip("torch")

from impasto.training import paint as paint_module  # noqa: E402 (needs torch)
from training.optimised import SPEC, tiny_vgg  # noqa: E402

Capture = pytest.CaptureFixture[str]
QUICK = ("--size", "48", "--steps", "2", "--coarsest", "48", "--threads", "1", "--device", "cpu")


def drawn(path: str, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    Image.fromarray((drawn_photo(*size, seed=seed) * 255).round().astype(np.uint8)).save(path)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style_bundle: Path) -> Any:
    """A folder with photo.jpg, art/sea.png and art/hill.png; the bundled model is the tiny one."""
    monkeypatch.chdir(tmp_path)
    Path("art").mkdir()
    drawn("photo.jpg", 1)
    drawn("art/sea.png", 5, (60, 52))
    drawn("art/hill.png", 7, (60, 52))
    monkeypatch.setattr(paint_module, "load_features", lambda *_: tiny_vgg())
    whole = paint_module.paint
    layers = {"style_layers": SPEC.style_layers, "content_layers": SPEC.content_layers}
    monkeypatch.setattr(
        paint_module, "paint", lambda photo, brushes, spec, **how: whole(photo, brushes, replace(spec, **layers), **how)
    )
    monkeypatch.setattr(bundle, "bundled_models", lambda: {"tiny": style_bundle})
    monkeypatch.setattr("impasto.apps.cli.again.bundled_models", lambda: {"tiny": style_bundle})
    before = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def paint(*words: str, begin: str = "photo") -> int:
    return run(["paint", "photo.jpg", *QUICK, "--start", begin, *words])


def again(*words: str) -> int:
    return run(["again", *words, "--threads", "1", "--device", "cpu"])


def same(one: str, other: str) -> bool:
    return Path(one).read_bytes() == Path(other).read_bytes()


def test_the_same_photo_and_paintings_give_the_same_picture(place: Path, capsys: Capture) -> None:
    looks = ("--seed", "5", "--content", "0.5", "--detail", "0.5", "--palette", "3", "--strength", "0.9", "--strip")
    both = ("-s", "art/sea.png:2", "-s", "art/hill.png")
    assert paint("-o", "done.jpg", *both, *looks, "--quality", "77", begin="noise") == 0
    assert b"art/" not in Path("done.jpg").read_bytes()
    capsys.readouterr()
    assert again("done.jpg", "photo.jpg", "-s", "art/hill.png", "--style", "art/sea.png") == 0
    assert capsys.readouterr().out == "photo-again.jpg\n"
    assert same("photo-again.jpg", "done.jpg"), "whatever the order of --style"
    for name in ("sea.png", "hill.png"):
        Path(f"art/{name}").rename(name)
    assert again("done.jpg", "photo.jpg", "-o", "found.jpg") == 0, "paintings beside the picture are found"
    assert same("found.jpg", "done.jpg")
    assert again("done.jpg", "photo.jpg", "-o", "other.png", "--keep-colors", "--no-recipe", "--json") == 0
    out, err = capsys.readouterr()
    assert "was painted with a palette" in err and json.loads(out.splitlines()[-1])["style"][0]["weight"] == 2
    assert recipe_text("other.png")[0] is None


def test_at_another_size_and_with_the_fast_painter(place: Path, style_bundle: Path, capsys: Capture) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png", "--model", "tiny", begin="fast") == 0
    recipe = read_recipe("done.png")
    assert recipe.settings["fast"]["model"] == "tiny" and recipe.settings["strip"] is False
    more = ("-s", "art/sea.png", "--size", "64", "--stroke", "auto", "--precision", "fp32", "--max-memory", "100GB")
    assert again("done.png", "photo.jpg", "-o", "large.png", *more, "--max-pixels", "100000") == 0
    meant = ("-o", "meant.png", "-s", "art/sea.png", "--model", "tiny", "--size", "64", "--stroke", "auto")
    assert paint(*meant, "--precision", "fp32", begin="fast") == 0
    assert same("large.png", "meant.png") and Picture.open("large.png").size == (64, 48)
    assert again("done.png", "photo.jpg", "-o", "x.png", "-s", "art/sea.png", "--model", str(style_bundle)) == 0
    assert same("x.png", "done.png")
    told = replace(recipe, settings={**recipe.settings, "fast": {"model": "tiny", "sha256": "0" * 64}})
    carrying(Picture.open("done.png"), told.to_text()).save("changed.png")
    capsys.readouterr()
    assert again("changed.png", "photo.jpg", "-o", "y.png", "-s", "art/sea.png") == 2
    assert "is not the one that painted changed.png" in capsys.readouterr().err


def test_masks_and_places_travel(place: Path) -> None:
    left = np.zeros((48, 64), np.uint8)
    left[:, :30] = 255
    Image.fromarray(left).save("left.png")
    Image.fromarray(left[:, ::-1] // 2).save("right.png")
    both = ("-s", "art/sea.png@left.png", "-s", "art/hill.png")
    paintings = ("-s", "art/sea.png", "-s", "art/hill.png")
    assert paint("-o", "places.png", *both, "--steps", "4") == 0
    assert paint("-o", "part.png", *both, "--protect", "right.png", "--feather", "2px") == 0
    assert paint("-o", "whole.png", *paintings, "--steps", "4") == 0
    for name in ("left.png", "right.png"):
        Path(name).unlink()
    for name in ("places.png", "part.png"):
        assert again(name, "photo.jpg", "-o", f"again-{name}", *paintings) == 0
        assert same(f"again-{name}", name), name
    assert again("places.png", "photo.jpg", "-o", "free.png", *paintings, "--no-mask") == 0
    assert same("free.png", "whole.png") and not same("free.png", "places.png")


def test_other_weights_are_said(place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png") == 0
    specs: list[Any] = []

    def load(spec: Any, *_: Any) -> Any:
        specs.append(spec)
        return tiny_vgg(seed=1)

    monkeypatch.setattr(paint_module, "load_features", load)
    capsys.readouterr()
    assert again("done.png", "photo.jpg", "-o", "x.png", "-s", "art/sea.png") == 2
    assert "The weights of vgg16 are not those that painted done.png" in capsys.readouterr().err
    assert not Path("x.png").exists()
    assert again("done.png", "photo.jpg", "-o", "x.png", "-s", "art/sea.png", "--weights", "own.pth") == 0
    assert "so the picture will be another" in capsys.readouterr().err and specs[-1].weights == "own.pth"
    assert read_recipe("x.png").model_sha256 != read_recipe("done.png").model_sha256


def test_another_painting_is_said(place: Path, capsys: Capture) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png") == 0
    capsys.readouterr()
    assert again("done.png", "photo.jpg", "-o", "x.png", "--style", "art/hill.png") == 0
    assert "art/hill.png is not the painting that done.png was painted after" in capsys.readouterr().err
    assert read_recipe("x.png").styles[0].style == "hill.png" and not same("x.png", "done.png")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "was painted by optimisation after 'sea.png' (sha256 "),
        (["-s", "art/sea.png", "-s", "art/hill.png"], "art/hill.png is none of the paintings of done.png (sea.png)"),
        (["-s", "art/none.png"], "art/none.png cannot be read"),
        (["-s", "starry-night"], "starry-night cannot be read"),
        (["-s", "art/sea.png", "--engine", "onnxruntime"], "--engine runs models"),
        (["-s", "art/sea.png", "--model", "tiny"], "done.png was begun from 'photo': leave --model out"),
        (["-s", "art/sea.png", "--precision", "int8"], "There is no precision called 'int8'"),
        (["-s", "art/sea.png", "--size", "8"], "The size 8 cannot be used"),
        (["-s", "art/sea.png", "--mask-file", "photo.jpg"], "photo.jpg is none of the masks"),
        (["-s", "art/sea.png", "-o", "-"], "give a file in place of -"),
        (["-s", "art/sea.png", "-o", "art/sea.png", "--overwrite"], "art/sea.png is an input as well"),
        (["-s", "art/sea.png", "-o", "done.png", "--overwrite"], "done.png is an input as well"),
        (["-s", "art/sea.png", "--device", "abacus"], "The device 'abacus' cannot be used here"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: list[str], sentence: str, place: Path, capsys: Capture) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png") == 0
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    capsys.readouterr()
    assert run(["again", "done.png", "photo.jpg", "--threads", "1", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sparkle": 1}, "'sparkle', which impasto"),
        ({"weights": "/etc/passwd"}, "'weights', which impasto"),
        ({"steps": "9"}, "settings.steps: is of a wrong kind"),
        ({"steps": 0}, "The number of steps 0 cannot be used"),
        ({"style_layers": "relu"}, "settings.style_layers: is of a wrong kind"),
        ({"start": "end"}, "There is no start called 'end'"),
        ({"palette": 900}, "settings.palette: should be 2 to 32"),
        ({"detail": 7.0}, "settings.detail: should be 0 to 1"),
        ({"quality": 900}, "settings.quality: should be 1 to 100"),
        ({"keep_colors": "some"}, "some"),
        ({"palette": 3, "keep_colors": "luminance"}, "choose one of them"),
        ({"stroke": "huge"}, "huge"),
        ({"fast": 3}, "settings.fast: is of a wrong kind"),
        ({"start": "fast", "fast": {"model": "../tiny.impasto", "sha256": "0"}}, "does not come with impasto"),
        ({"mask": {"feather": 9}}, "The feather 9 cannot be used"),
    ],
)
def test_hostile_recipes_cost_a_sentence(settings: dict[str, Any], sentence: str, place: Path, capsys: Capture) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png") == 0
    told = read_recipe("done.png")
    line = replace(told, settings={**told.settings, **settings}).to_text()
    carrying(Picture.open("done.png"), line).save("wrong.png")
    capsys.readouterr()
    assert again("wrong.png", "photo.jpg", "-o", "x.png", "-s", "art/sea.png") == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1 and not Path("x.png").exists()


def test_what_a_model_painted_needs_no_paintings(place: Path, capsys: Capture) -> None:
    assert (
        run(["stylize", "photo.jpg", "-o", "done.png", "-s", "art/sea.png", "--model", "tiny", "--threads", "1"]) == 0
    )
    for words in (["-s", "art/sea.png"], ["--weights", "a.pth"], ["--device", "cpu"]):
        capsys.readouterr()
        assert run(["again", "done.png", "photo.jpg", "-o", "x.png", *words]) == 2
        assert "holds its styles" in capsys.readouterr().err and not Path("x.png").exists()


def test_without_torch_it_says_what_to_install(place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paint("-o", "done.png", "-s", "art/sea.png") == 0
    monkeypatch.setattr("impasto.apps.cli.trainer.find_spec", lambda module: None if module == "torch" else object())
    assert again("done.png", "photo.jpg", "-o", "x.png", "-s", "art/sea.png") == 2
    assert "This needs torch: pip install 'impasto[train]'." in capsys.readouterr().err
