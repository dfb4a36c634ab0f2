"""The style-one task: data, losses, exact resume, the recipe that fits the time, and the model file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dreaming import dream_members
from helpers import drawn_photo
from impasto.errors import BundleError, PictureError, TrainingError, UnknownName
from impasto.runtime.bundle import MANIFEST, Bundle, write_bundle
from impasto.runtime.dream import TABLES, dream
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training import loop
from impasto.training import style_one as style_one_module
from impasto.training.checkpoint import load_checkpoint
from impasto.training.data import Pixels
from impasto.training.estimate import Estimate
from impasto.training.journal import Journal
from impasto.training.losses.perceptual import gram_vector
from impasto.training.nets.blocks import color_stats
from impasto.training.recipe import RECIPES, OneRecipe, load_recipe, make_recipe, recipe_hash
from impasto.training.recipe_one import OneLossTable
from impasto.training.recover import recover_painter
from impasto.training.style_one import export_one, one_recipe, painting_name
from impasto.training.tasks import TASKS
from impasto.training.tasks.style_one import StyleOneTask
from training.bases import TINY_ONE, make_base, painter_graph
from training.support import draw_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model, a painting and two photos."""
    folder = tmp_path_factory.mktemp("place")
    make_base(folder / "base.impasto")
    draw_folder(folder / "photos", 2, size=(90, 80), seed=10)
    pixels = (drawn_photo(96, 72, seed=4) * [0.3, 1.0, 0.7] * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(folder / "My Night.png")
    return folder


def recipe_of(place: Path, **changes: Any) -> OneRecipe:
    table: dict[str, Any] = {
        "task": "style-one", "name": "my-night", "steps": 4, "base": str(place / "base.impasto"), **TINY_ONE,
        "data": {"painting": str(place / "My Night.png"), "photos": str(place / "photos"), "scale": 64},
        "optim": {"lr": 3e-3, "warmup": 2},
    }  # fmt: skip
    for key, value in changes.items():
        table[key] = table[key] | value if isinstance(value, dict) else value
    recipe = make_recipe(table)
    assert isinstance(recipe, OneRecipe)
    return recipe


def task_of(place: Path, **changes: Any) -> StyleOneTask:
    return StyleOneTask(recipe_of(place, **changes))


# Data ---------------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_the_step_alone(place: Path) -> None:
    one, two = task_of(place), task_of(place, steps=9)
    assert TASKS["style-one"] is StyleOneTask and RECIPES["style-one"] is OneRecipe
    late, early = one.batch(3), one.batch(0)
    for mine, theirs in ((early, two.batch(0)), (late, two.batch(3))):
        for field in ("photos", "others", "codes", "grain"):
            assert torch.equal(getattr(mine, field), getattr(theirs, field)), field
    assert early.photos.shape == early.others.shape == (2, 3, 64, 64) and early.photos.dtype == torch.uint8
    assert early.codes.shape == (2, 17) and early.grain.shape == (4, 4, 8, 8)
    assert not torch.equal(early.photos, late.photos) and not torch.equal(early.grain[0], early.grain[1])


def test_other_manners_are_the_photos_own_and_those_that_the_base_names(place: Path) -> None:
    task = task_of(place)
    model = task.beginning.model
    own, named = set(), set()
    for step in range(4):
        batch = task.batch(step)
        crop = Picture.from_array(batch.others[0].permute(1, 2, 0).numpy())
        own.add(np.array_equal(batch.codes[0].numpy(), model.encode(crop, scale=64)))
        named.add(next(name for name in model.styles if np.array_equal(model.code(name), batch.codes[1].numpy())))
    assert own == {True} and named == {"old-1", "old-2"}
    without = task_of(place, others=0).batch(0)
    assert without.others.shape == (0, 3, 64, 64) and without.grain.shape[0] == 2


def test_a_named_style_that_is_the_painting_itself_is_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(place)
    assert len(task._other_codes()) == 2
    same = task.beginning.code + np.float32(0.1)
    monkeypatch.setattr(type(task.beginning.model), "code", lambda self, name: same)
    assert task._other_codes() == []


def test_without_photos_it_draws_scenes_and_says_so(place: Path) -> None:
    task = task_of(place, data={"photos": ""})
    assert task.batch(0).photos.float().std() > 5
    assert "scenes drawn by code: --photos FOLDER" in task.remarks()[-1]
    lines = task_of(place, data={"scale": 200}).remarks()
    assert lines[0].endswith("My Night.png: 96x72.") and lines[-1] == "2 photos."
    assert any("The painting is small" in line for line in lines)


# Loss ---------------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_its_figures(place: Path) -> None:
    weights = {"content": 0.5, "style": 2, "moments": 0.7, "variation": 0.3, "range": 4, "keep": 3, "distil": 6}
    assert set(weights) == {name for name, field in OneLossTable.model_fields.items() if field.annotation is float} - {
        "distil_share"
    }
    for size, step, names in (("full", 0, set(weights) - {"distil"}), ("small", 1, set(weights))):
        task = task_of(place, size=size, loss={**weights, "distil_share": 0.5}, steps=8)
        assert task.distil(0) == (6.0 if size == "small" else 0.0)
        with torch.no_grad():
            total, figures = task.loss("all", task.batch(step), step)
        assert set(figures) == names
        expected = sum(weights[name] * float(value) for name, value in figures.items() if name != "distil")
        expected += task.distil(step) * float(figures.get("distil", 0))
        assert float(total) == pytest.approx(expected, rel=1e-5)
        assert float(figures["keep"]) < 1e-6 if size == "full" else float(figures["keep"]) > 1e-5
    assert [task.distil(step) for step in (1, 4, 7)] == [4.5, 0.0, 0.0]
    task = task_of(place, loss={"keep": 0})
    assert "keep" not in task.loss("all", task.batch(0), 0)[1]


def test_statistics_are_those_of_the_whole_painting_at_every_size(place: Path) -> None:
    task = task_of(place)
    whole = torch.from_numpy(task.painting.copy()).permute(2, 0, 1)[None].float() / 255
    assert task.painting.shape == (64, 85, 3), "its short side at the scale"
    half = torch.nn.functional.avg_pool2d(whole, 2)
    for picture, target in zip((whole, half), task._targets, strict=True):
        seen = task.vgg(picture)
        for layer, gram, (deviation, mean) in zip(
            task.recipe.loss.style_layers, target.grams, target.moments, strict=True
        ):
            torch.testing.assert_close(gram, gram_vector(seen[layer]))
            torch.testing.assert_close(mean, seen[layer].mean((2, 3)))
            torch.testing.assert_close(deviation, seen[layer].std((2, 3), correction=0))
    style, moments = task._style(whole, task.vgg(whole))
    assert float(style) < 1e-6 and float(moments) < 1e-6, "the painting has its own style"
    wide = Picture(np.tile(drawn_photo(40, 20), (1, 5, 1)))
    transparent = Picture(np.ones((20, 20, 3), np.float32), np.eye(20, dtype=np.float32))
    from impasto.training.tasks.style_one import _seen_at

    assert _seen_at(wide, 64).shape == (64, 192, 3), "at most 3:1"
    assert (_seen_at(transparent, 20) == 255).all(), "what is transparent has the mean colour"


# Runs ---------------------------------------------------------------------------------------------------------------


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(*_: object) -> Pixels:
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(StyleOneTask, "sample", sample)


@pytest.mark.parametrize("size", ["full", "small"])
def test_four_steps_are_two_and_two_bit_for_bit(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    quiet(monkeypatch)
    changes: dict[str, Any] = {"size": size, "batch": 1}
    loop.run(task_of(place, **changes), Journal(tmp_path / "whole"))
    loop.run(task_of(place, **changes), Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(place, **changes), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (
        load_checkpoint(tmp_path / name / "checkpoint.safetensors").tensors for name in ("whole", "halves")
    )
    assert whole.keys() == halves.keys() and len(whole) > 20
    assert all(torch.equal(whole[key], halves[key]) for key in whole)


def test_a_short_run_takes_the_style_and_keeps_the_others(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(monkeypatch)
    task = task_of(place, steps=25, loss={"style": 6.0})
    batch = task.batch(100)  # one that it does not train on
    with torch.no_grad():
        before = {name: float(value) for name, value in task.loss("all", batch, 0)[1].items()}
    loop.run(task, Journal(tmp_path / "run"))
    with torch.no_grad():
        after = {name: float(value) for name, value in task.loss("all", batch, 0)[1].items()}
        assert after["style"] < 0.9 * before["style"] and after["moments"] < before["moments"]
        painter = task.modules["painter"]
        photos = batch.photos.float() / 255
        inputs = photos, color_stats(photos), task.code.expand(2, -1), batch.grain[:2]
        moved = float((painter(*inputs) - task._before(*inputs)).abs().mean())
    assert before["keep"] < 1e-6 and after["keep"] < 0.7 * moved, "other manners move less than this one"


def test_samples_show_the_painting_the_photo_before_and_now(place: Path) -> None:
    task = task_of(place)
    grid = task.sample(task.modules, count=2, size=32)
    assert grid.shape == (64, 128, 3) and grid.dtype == np.uint8
    assert np.array_equal(grid[:, 64:96], grid[:, 96:]), "nothing was learnt yet"
    assert (grid[32:, :32] == 255).all() and grid[:32, :32].std() > 5
    assert not np.array_equal(grid[:, 32:64], grid[:, 64:96])


# The recipe -----------------------------------------------------------------------------------------------------------


def test_the_run_is_as_long_as_the_minutes_allow(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def rehearse(task: StyleOneTask) -> Estimate:
        tried.append(task.recipe.precision)
        return Estimate({"fp32": 2.0, "bf16": bf16}[task.recipe.precision], None, {})

    monkeypatch.setattr(style_one_module, "rehearse", rehearse)
    sets = [f"{key}={json.dumps(value)}" for key, value in TINY_ONE.items() if key in ("crop", "batch", "loss")]
    sets = [text for text in sets if not text.startswith("loss")] + ["data.scale=64"]
    sets += [f"loss.{key}={json.dumps(value)}" for key, value in TINY_ONE["loss"].items()]  # type: ignore[attr-defined]
    arguments: dict[str, Any] = {"base": str(place / "base.impasto"), "overrides": sets}
    bf16 = 1.9  # not worth its rounding
    recipe = one_recipe(place / "My Night.png", minutes=1.5, **arguments)
    assert (recipe.steps, recipe.precision, recipe.name, recipe.size) == (45, "fp32", "my-night", "full")
    assert tried == ["fp32", "bf16"] and len(recipe.data.prints) == 16 and recipe.data.photos == ""
    bf16 = 0.5
    recipe = one_recipe(place / "My Night.png", minutes=1.5, size="small", photos=place / "photos", **arguments)
    assert (recipe.steps, recipe.precision, recipe.size) == (180, "bf16", "small")
    assert recipe.data.photos == str((place / "photos").resolve())
    tried.clear()
    arguments["overrides"] = [*sets, "precision=fp32"]
    assert one_recipe(place / "My Night.png", minutes=0.01, **arguments).steps == style_one_module.LEAST_STEPS
    assert tried == ["fp32"], "nothing to choose"
    assert one_recipe(place / "My Night.png", **(arguments | {"overrides": [*sets, "steps=7"]})).steps == 7
    assert tried == ["fp32"], "nothing to time"


def test_what_cannot_be_learnt_from_is_said(place: Path, tmp_path: Path) -> None:
    picture, base = place / "My Night.png", str(place / "base.impasto")
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(TrainingError, match="minutes teaches nothing: give a number above 0"):
            one_recipe(picture, minutes=minutes, base=base)
    with pytest.raises(UnknownName, match="no size called 'smal': did you mean 'small'"):
        one_recipe(picture, size="smal", base=base)
    with pytest.raises(UnknownName, match="no model called 'anystlye': did you mean 'anystyle'"):
        one_recipe(picture, base="anystlye")
    with pytest.raises(PictureError, match="There is no file"):
        one_recipe(place / "gone.jpg", base=base)
    with pytest.raises(TrainingError, match="leave task out of --set"):
        one_recipe(picture, base=base, overrides=["task=gan"])
    with pytest.raises(TrainingError, match="There is no folder"):
        task_of(place, data={"photos": str(tmp_path / "gone")})
    with pytest.raises(TrainingError, match="too small for"):
        recipe_of(place, data={"octaves": 4})
    assert painting_name("a/The Starry Night.v2.jpg") == "the-starry-night-v2"
    assert painting_name("/") and painting_name("."), "no picture, but that is for others to say"


def test_a_run_stays_with_its_painting_and_base(place: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not the one that this run was started with"):
        task_of(place, data={"prints": "0" * 16})
    moved = recipe_of(place, data={"painting": str(tmp_path / "My Night.png")}, base=str(tmp_path / "base.impasto"))
    assert recipe_hash(moved) == recipe_hash(recipe_of(place)), "files may be moved between two parts of a run"
    assert recipe_hash(recipe_of(place, title="Night", year="1889")) == recipe_hash(moved)
    assert recipe_hash(recipe_of(place, size="small")) != recipe_hash(moved)
    (tmp_path / "one.toml").write_text(
        'task = "style-one"\nname = "n"\nsteps = 5\n[data]\npainting = "My Night.png"\n', "utf-8"
    )
    loaded = load_recipe(tmp_path / "one.toml")
    assert isinstance(loaded, OneRecipe) and loaded.base == "anystyle" and loaded.data.photos == ""
    assert loaded.data.painting == str((tmp_path / "My Night.png").resolve())


# The model file -------------------------------------------------------------------------------------------------------


def test_the_model_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the graph itself, which the test of the command makes: the exporter takes a while."""
    quiet(monkeypatch)
    run, out = tmp_path / "run", tmp_path / "one.impasto"
    dreamer, plain = tmp_path / "dreamer.impasto", Bundle.open(place / "base.impasto")
    held = {name: plain.read(name) for name in plain.members if name != MANIFEST}
    write_bundle(dreamer, replace(plain.manifest, members={}), held | dream_members(17))
    loop.run(task_of(place, artist="Me", base=str(dreamer), data={"octaves": 1}), Journal(run), stop_at=1)
    monkeypatch.setattr(style_one_module, "to_onnx", lambda *_, **__: painter_graph())
    with pytest.raises(TrainingError, match="The exported painter differs from torch by"):
        export_one(run, out)
    assert not out.exists()
    monkeypatch.setattr(style_one_module, "painter_difference", lambda *_: 1e-6)
    made = export_one(run, out, quality={"style gap": 0.5})
    bundle, base = Bundle.open(out, kind="style"), Bundle.open(dreamer)
    assert bundle.manifest == made.manifest and made.size == out.stat().st_size
    assert bundle.read("encoder.onnx") == base.read("encoder.onnx")
    assert all(bundle.read(name) == base.read(name) for name in TABLES), "it dreams as the base does"
    model = StyleModel.load(out, threads=1)
    assert np.array_equal(dream(model, 3, 2), dream(StyleModel.load(dreamer, threads=1), 3, 2))
    (style,) = bundle.manifest.styles
    assert (style.name, style.title, style.artist, style.year) == ("my-night", "My Night", "Me", "year unknown")
    assert (bundle.manifest.step, bundle.manifest.images_seen) == (1, 2)
    assert bundle.manifest.licence.weights == "CC0-1.0" and bundle.manifest.quality == {"style gap": 0.5}
    assert [source.what for source in bundle.manifest.data] == ["one picture, My Night.png", "a folder, photos"]
    assert str(tmp_path) not in bundle.manifest.to_json().decode()
    assert str(place) not in bundle.manifest.to_json().decode()
    recover_painter(bundle)  # it can be learnt from once more
    with pytest.raises(BundleError, match="exists already"):
        export_one(run, out)
    export_one(run, out, overwrite=True)
    with pytest.raises(BundleError, match=r"must end in \.impasto"):
        export_one(run, tmp_path / "one.onnx")
    (place / "My Night.png").rename(place / "away.png")
    try:
        with pytest.raises(PictureError, match="There is no file"):
            export_one(run, tmp_path / "two.impasto")
    finally:
        (place / "away.png").rename(place / "My Night.png")
