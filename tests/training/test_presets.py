from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from impasto.errors import TrainingError, UnknownName
from impasto.training.nets.gan import PAIRS
from impasto.training.pictures import PictureSet
from impasto.training.presets import PRESETS, gan_recipe, looks_alike_mirrored, merged, model_name, preset_for
from training.support import draw_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("presets") / "My Cats", 24, size=(24, 24))


def recipe_of(folder: Path, **options: Any) -> Any:
    return gan_recipe(folder, **({"size": 16, "cache": folder.parent / "cache"} | options))


def test_the_number_of_pictures_decides() -> None:
    counts = (16, 100, 1_000, 1_001, 10_000, 10_001, 100_000)
    assert [preset_for(count) for count in counts] == ["few"] * 3 + ["medium"] * 2 + ["large"] * 2


def test_a_newcomer_sets_nothing(folder: Path) -> None:
    recipe = recipe_of(folder)
    assert (recipe.name, recipe.data.folder) == ("my-cats", str(folder))
    assert (recipe.net.kind, recipe.net.height, recipe.net.channels, recipe.net.classes) == ("style", 16, 3, 0)
    few = PRESETS["few"]
    assert (recipe.steps, recipe.batch) == (few.images // recipe.batch, 8)
    assert recipe.augment.strength == few.table["augment"]["strength"]
    assert recipe.loss.r1 == pytest.approx((few.slope or 0) * 16 * 16 / 8)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_recipe(folder: Path, name: str) -> None:
    recipe = recipe_of(folder, preset=name)
    assert recipe.images_seen(recipe.steps) >= PRESETS[name].images
    assert recipe.net.kind == (name if name in PAIRS else "style")


def test_the_article_and_nothing_else() -> None:
    table = PRESETS["dcgan"].table
    assert table["loss"] == {"kind": "nonsaturating", "r1": 0.0}
    assert (table["augment"], table["optim"]["ema"]) == ({"adaptive": False}, 0.0)


def test_length_size_and_settings(folder: Path) -> None:
    recipe = recipe_of(folder, size=(16, 32), images=1_000, overrides=["batch=6", "accumulate=2", "loss.r1=7"])
    assert (recipe.net.height, recipe.net.width) == (16, 32)
    assert (recipe.steps, recipe.loss.r1) == (84, 7), "1,000 images and no fewer; what is set has the last word"
    assert recipe_of(folder, steps=9).steps == 9
    assert recipe_of(folder, steps=9, overrides=["steps=8", "name=other"]).steps == 8
    wide = recipe_of(folder, overrides=["net.width=32", "net.channels=1", "data.flip=false"])
    assert (wide.net.width, wide.net.channels, wide.data.flip) == (32, 1, False)


def test_what_the_pictures_are_decides(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.full((16, 16, 4), 20 * i, np.uint8)
            pixels[:8, :, 3] = 255
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    recipe = gan_recipe(tmp_path / "set", size=16, cache=tmp_path / "cache")
    assert (recipe.net.channels, recipe.net.classes) == (4, 2)
    plain = gan_recipe(tmp_path / "set", size=16, cache=tmp_path / "cache", overrides=["data.labels=none"])
    assert plain.net.classes == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preset": "medum"}, "There is no preset called 'medum': did you mean 'medium'"),
        ({"steps": 3, "images": 3}, "A run is as long as its steps or as its images: give one of the two."),
        ({"size": 50}, "The recipe's net does not fit: a picture of 50 x 50"),
        ({"overrides": ["optim.rl=1"]}, "There is no recipe key called 'optim.rl': did you mean 'optim.lr'"),
        ({"overrides": ["task=style"]}, "There is no recipe key called"),
        ({"overrides": ["batch"]}, "--set wants key=value"),
    ],
)
def test_slips_are_found_before_pictures_are_prepared(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises((TrainingError, UnknownName)) as caught:
        gan_recipe(tmp_path / "no such folder", cache=tmp_path / "cache", **options)
    assert str(caught.value).startswith(said), caught.value
    assert not (tmp_path / "cache").exists()


def test_folders_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not exist: give a folder of pictures"):
        gan_recipe(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="has no pictures: give a folder"):
        gan_recipe(tmp_path / "empty")
    draw_folder(tmp_path / "three", 3, size=(16, 16))
    with pytest.raises(TrainingError, match="has only 3 pictures"):
        gan_recipe(tmp_path / "three", size=16, cache=tmp_path / "cache")


def test_pictures_whose_left_is_not_their_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = np.arange(16)

    def symmetric(count: int, offset: float) -> PictureSet:
        """Blobs at any place, or all a little to the left by ``offset`` of the width."""
        centre = rng.uniform(3, 12, (count, 1, 1)) - offset * 16
        blobs = np.exp(-np.square(x[None, None, :] - centre) / 8) * np.ones((1, 16, 1))
        name = tmp_path / f"{count}-{offset}.npz"
        np.savez(name, images=(255 * blobs).astype(np.uint8))
        return PictureSet(name, 16, 16, cache=tmp_path / "cache")

    for count in (16, 100, 1_000):
        assert looks_alike_mirrored(symmetric(count, 0.0)), count
    for count in (100, 1_000):
        assert not looks_alike_mirrored(symmetric(count, 0.25)), count


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Cats", "my-cats"),
        ("a/B_c.d", "b-c-d"),
        ("x.npz", "x"),
        ("猫", "pictures"),
        ("-a-", "a"),
        ("y" * 90, "y" * 64),
    ],
)
def test_names_of_folders_as_names_of_models(folder: str, name: str) -> None:
    assert model_name(Path("/") / folder) == name


def test_merging_tables() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}, {"d": {"e": 5}}) == {
        "a": {"b": 4, "c": 2},
        "d": {"e": 5},
    }
