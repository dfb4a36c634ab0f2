from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.errors import TrainingError, UnknownName
from impasto.training.losses.adversarial import LOSSES
from impasto.training.recipe import changed, load_recipe, make_recipe, recipe_hash
from impasto.training.recipe_gan import GanLossTable, GanRecipe

TABLE: dict[str, Any] = {"task": "gan", "name": "cats", "steps": 10, "data": {"folder": "cats"}}


def made(**changes: Any) -> GanRecipe:
    recipe = make_recipe(TABLE | changes)
    assert isinstance(recipe, GanRecipe)
    return recipe


def test_a_recipe_needs_no_more_than_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cats.toml").write_text(
        'task = "gan"\nname = "cats"\nsteps = 10\n[data]\nfolder = "../pictures"\n[net]\nkind = "r3"\nheight = 32\n'
    )
    recipe = load_recipe(tmp_path / "cats.toml", ["net.width=32", "loss.kind=hinge"])
    assert isinstance(recipe, GanRecipe)
    assert recipe.data.folder == str((tmp_path.parent / "pictures").resolve())
    assert (recipe.net.kind, recipe.net.height, recipe.net.width, recipe.loss.kind) == ("r3", 32, 32, "hinge")
    assert make_recipe(recipe.model_dump(mode="json")) == recipe


def test_the_loop_asks_these() -> None:
    recipe = made(batch=8, accumulate=3, watch_every=7)
    assert (recipe.parts, recipe.watch_steps, recipe.images_seen(0), recipe.images_seen(5)) == (3, 7, 0, 120)


def test_every_loss_of_the_table_may_be_named() -> None:
    for kind in LOSSES:
        assert made(loss={"kind": kind, "slope": 10.0}).loss.kind == kind
    assert set(GanLossTable.model_fields["kind"].annotation.__args__) == set(LOSSES)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": {"kind": "wasserstein", "r1": 0}}, "The recipe's loss does not fit: a wasserstein loss has no lower"),
        ({"loss": {"kind": "softmax"}}, "The recipe's loss.kind does not fit:"),
        ({"augment": {"strength": 2}}, "The recipe's augment.strength does not fit:"),
        ({"batch": 0}, "The recipe's batch does not fit:"),
        ({"critic": 0}, "The recipe's critic does not fit:"),
        ({"net": {"height": 50}}, "The recipe's net does not fit: a picture of 50 x 64 pixels is no base"),
        ({"net": {"channels": 2}}, "The recipe's net.channels does not fit:"),
        ({"data": {}}, "The recipe's data.folder does not fit: field required."),
    ],
)
def test_values_that_do_not_fit_are_one_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError) as caught:
        made(**change)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "wrong", "right"),
    [
        ({"crtic": 2}, "crtic", "critic"),
        ({"loss": {"evrey": 1}}, "loss.evrey", "loss.every"),
        ({"net": {"hieght": 64}}, "net.hieght", "net.height"),
        ({"augment": {"stength": 1}}, "augment.stength", "augment.strength"),
        ({"data": {"folder": "a", "label": "none"}}, "data.label", "data.labels"),
    ],
)
def test_unknown_keys_offer_the_nearest(change: dict[str, Any], wrong: str, right: str) -> None:
    with pytest.raises(UnknownName) as caught:
        made(**change)
    assert str(caught.value).startswith(f"There is no recipe key called '{wrong}': did you mean '{right}'")


def test_what_a_checkpoint_depends_on() -> None:
    plain = recipe_hash(made())
    for change in (
        {"critic": 2},
        {"batch": 8},
        {"accumulate": 2},
        {"mixing": 0.0},
        {"loss": {"r1": 1.0}},
        {"augment": {"target": 0.5}},
        {"net": {"kind": "dcgan"}},
        {"data": {"folder": "dogs"}},
        {"data": {"folder": "cats", "flip": False}},
    ):
        assert recipe_hash(made(**change)) != plain, change
    for change in (
        {"watch_every": 9},
        {"measure_every": 9},
        {"measure_count": 99},
        {"save_every": 9},
        {"title": "Cats"},
        {"data": {"folder": "/elsewhere/cats"}},
        {"data": {"folder": "cats", "sources": ({"name": "a", "what": "b", "licence": "c"},)}},
    ):
        assert recipe_hash(made(**change)) == plain, change


def test_changing_a_recipe() -> None:
    recipe = changed(made(), ["loss.r1=2.5", "save_every=7"])
    assert isinstance(recipe, GanRecipe)
    assert (recipe.loss.r1, recipe.save_every, recipe.name) == (2.5, 7, "cats")
    with pytest.raises(UnknownName):
        changed(made(), ["loss.r9=1"])
