from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from impasto.errors import ImpastoError, UnknownName
from impasto.training.recipe import RECIPES, StyleRecipe, load_recipe, make_recipe, override, quoted, recipe_hash
from training.support import recipe_table, tiny_recipe

ROOT = Path(__file__).parents[2]
RECIPE_FILES = sorted((ROOT / "recipes").glob("*.toml"))
MINIMAL = 'name = "tiny"\nsteps = 10\n[data]\nphotos = "photos"\npaintings = "../paintings"\n'


def write(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ImpastoError) as caught:
        call(*arguments, **named)
    said = str(caught.value)
    assert "\n" not in said and said[-1] in ".?" and not said.endswith(".."), said
    return said


# The recipes that come with the package ------------------------------------------------------------------------------


def test_there_are_recipes() -> None:
    assert "anystyle" in {path.stem for path in RECIPE_FILES}


@pytest.mark.parametrize("path", RECIPE_FILES, ids=lambda path: path.stem)
def test_every_recipe_loads_wherever_it_lies(path: Path, tmp_path: Path) -> None:
    """Also where the data it speaks of is missing: reading a recipe touches no folder."""
    alone = tmp_path / "deep" / "er" / path.name
    alone.parent.mkdir(parents=True)
    alone.write_bytes(path.read_bytes())
    here, there = load_recipe(path), load_recipe(alone)
    assert not any(Path(getattr(there.data, key)).exists() for key in there.folders)
    assert recipe_hash(here) == recipe_hash(there)
    assert here.name == path.stem
    assert here.data.sources, "it says what it learns from"
    if isinstance(here, StyleRecipe):
        assert all(Path(style.picture).is_absolute() for style in here.styles)
        assert here.net.receptive_field is not None, "what is bundled paints tiles exactly"
    assert make_recipe(here.model_dump(mode="json")) == here


def test_the_bundled_recipe_names_the_gallery() -> None:
    recipe = load_recipe(ROOT / "recipes" / "anystyle.toml")
    assert len(recipe.styles) == 21
    assert {"starry-night", "great-wave"} <= {style.name for style in recipe.styles}


# Reading ------------------------------------------------------------------------------------------------------------


def test_folders_are_taken_from_where_the_recipe_lies(tmp_path: Path) -> None:
    text = MINIMAL + '[[styles]]\nname = "a"\ntitle = "A"\nartist = "B"\nyear = "1900"\npicture = "a.jpg"\n'
    (tmp_path / "recipes").mkdir()
    recipe = load_recipe(write(tmp_path / "recipes", text))
    assert recipe.data.photos == str(tmp_path / "recipes" / "photos")
    assert recipe.data.paintings == str(tmp_path / "paintings")
    assert recipe.styles[0].picture == str(tmp_path / "recipes" / "a.jpg")
    moved = load_recipe(tmp_path / "recipes" / "tiny.toml", [f"data.photos={tmp_path}/else", "data.paintings=here"])
    assert moved.data.photos == f"{tmp_path}/else"
    assert moved.data.paintings == str(tmp_path / "recipes" / "here")


@pytest.mark.parametrize("name", ["plain", 'a "b" \\ c', "caf\u00e9", "\U0001f3a8 = 1", "\x7f\n", "7", "true"])
def test_quoted_texts_come_through_as_they_are(name: str) -> None:
    table: dict[str, Any] = {}
    override(table, f"data.folder={quoted(name)}")
    assert table == {"data": {"folder": name}}


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path)
    recipe = load_recipe(
        path,
        [
            "steps = 20",
            "optim.lr=1e-4",
            "precision=fp32",
            'name="other"',
            "loss.style_layers=['relu1_1']",
            "net.blocks=2",
            "stages=[{share=1.0, crop=64, batch=2}]",
            "title=Two words",
            "optim.lr=2e-4",
        ],
    )
    assert (recipe.steps, recipe.optim.lr, recipe.precision, recipe.name) == (20, 2e-4, "fp32", "other")
    assert recipe.loss.style_layers == ("relu1_1",)
    assert (recipe.net.blocks, recipe.title) == (2, "Two words")
    assert (recipe.stages[0].crop, recipe.stages[0].batch) == (64, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps", "--set wants key=value, such as optim.lr=1e-3, not 'steps'."),
        ("=3", "--set wants key=value, such as optim.lr=1e-3, not '=3'."),
        ("steps.of=3", "--set steps.of: steps is a value, not a table."),
        ("stages.0.crop=64", "--set stages.0.crop: stages is a value, not a table."),
        ("optim.lr=fast", "The recipe's optim.lr does not fit: input should be a valid number"),
        ("optim.lr=0", "The recipe's optim.lr does not fit: input should be greater than 0."),
        ("optim.lr=inf", "The recipe's optim.lr does not fit: input should be a finite number."),
        ("optim=3", "The recipe's optim does not fit:"),
        ("data=3", "The recipe's data does not fit:"),
        ("styles=3", "The recipe's styles does not fit:"),
        ("data.photos=3", "The recipe's data.photos does not fit: input should be a valid string."),
        ("task=[1]", "There is no task called '[1]'"),
        ("task=styel", "There is no task called 'styel': did you mean 'style' or 'style-one'?"),
        ("optim.rl=1", "There is no recipe key called 'optim.rl': did you mean 'optim.lr'"),
        ("optmi.lr=1", "There is no recipe key called 'optmi': did you mean 'optim'"),
        ("net.blokcs=1", "There is no recipe key called 'net.blokcs': did you mean 'net.blocks'"),
        (".steps=1", "There is no recipe key called ''"),
    ],
)
def test_bad_overrides(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(load_recipe, write(tmp_path), ["net.blocks=1", "optim.lr=1", "stages=[]", text]).startswith(said)


def test_unknown_keys_at_every_depth(tmp_path: Path) -> None:
    stage = {"share": 1.0, "crop": 64, "batch": 2}
    style = {"name": "a", "title": "A", "artist": "B", "year": "1900", "picture": "a.jpg"}
    source = {"name": "a", "what": "b", "licence": "c"}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"step": 3}, "step", "steps"),
        ({"optim": {"warmpu": 1}}, "optim.warmpu", "optim.warmup"),
        ({"loss": {"contnet": 1}}, "loss.contnet", "loss.content"),
        ({"licence": {"wieghts": "x"}}, "licence.wieghts", "licence.weights"),
        ({"net": {"coarze": 8}}, "net.coarze", "net.coarse"),
        ({"stages": (stage, stage | {"bacth": 2})}, "stages.1.bacth", "stages.1.batch"),
        ({"styles": [style | {"titel": "x"}]}, "styles.0.titel", "styles.0.title"),
        ({"data": {"sources": [source | {"licnce": "x"}]}}, "data.sources.0.licnce", "data.sources.0.licence"),
    ]
    for change, wrong, right in cases:
        with pytest.raises(UnknownName) as caught:
            make_recipe(recipe_table(tmp_path, **change))
        assert str(caught.value).startswith(f"There is no recipe key called '{wrong}': did you mean '{right}'"), wrong
    # Patterns are names of one's own, not keys.
    assert tiny_recipe(tmp_path, data={"weights": {"anything_*": 2.0}}).data.weights == {"anything_*": 2.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "The recipe's steps does not fit: input should be greater than or equal to 1."),
        ({"steps": "many"}, "The recipe's steps does not fit: input should be a valid integer"),
        ({"name": "Not A Name"}, "The recipe's name does not fit:"),
        ({"name": "x" * 65}, "The recipe's name does not fit:"),
        ({"precision": "fp16"}, "The recipe's precision does not fit: input should be 'bf16' or 'fp32'."),
        ({"stages": ()}, "The recipe does not fit: the shares of the stages must sum to 1."),
        (
            {"stages": ({"share": 0.5, "crop": 64, "batch": 1},)},
            "The recipe does not fit: the shares of the stages must",
        ),
        ({"stages": ({"share": 1.0, "crop": 65, "batch": 1},)}, "The recipe's stages.0.crop does not fit:"),
        ({"stages": ({"share": 1.0, "crop": 64},)}, "The recipe's stages.0.batch does not fit: field required."),
        ({"stages": (3,)}, "The recipe's stages.0 does not fit:"),
        ({"data": {"style_size": 60}}, "The recipe's data.style_size does not fit:"),
        (
            {"data": {"style_zoom": (2.0, 1.0)}},
            "The recipe's data does not fit: style_zoom must be two numbers above 0",
        ),
        (
            {"data": {"style_zoom": (0.0, 1.0)}},
            "The recipe's data does not fit: style_zoom must be two numbers above 0",
        ),
        ({"data": {"weights": {"a*": -1.0}}}, "The recipe's data does not fit: weights must not be negative."),
        ({"optim": {"betas": (0.9, 1.0)}}, "The recipe's optim does not fit: betas must lie in"),
        ({"optim": {"decay": "step", "final": 0}}, "The recipe's optim does not fit: step decay needs a final above 0"),
        ({"optim": {"ema": 1.0}}, "The recipe's optim.ema does not fit:"),
        ({"loss": {"content_layers": ()}}, "The recipe's loss.content_layers does not fit:"),
        ({"loss": {"style": float("nan")}}, "The recipe's loss.style does not fit:"),
        ({"net": {"eyes": (8, 8, 0)}}, "The recipe's net.eyes.2 does not fit:"),
        (
            {"loss": {"kl": 0.1}},
            "The recipe does not fit: loss.kl is about codes that are drawn: set net.variational = true",
        ),
    ],
)
def test_values_that_do_not_fit_are_one_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert refusal(make_recipe, recipe_table(tmp_path, **change)).startswith(said)


def test_two_styles_of_one_name(tmp_path: Path) -> None:
    style = {"name": "a", "title": "A", "artist": "B", "year": "1900", "picture": "a.jpg"}
    assert (
        refusal(tiny_recipe, tmp_path, styles=[style, style])
        == "The recipe does not fit: two styles have the same name."
    )
    assert refusal(tiny_recipe, tmp_path, styles=[style | {"name": "A b"}]).startswith(
        "The recipe's styles.0.name does"
    )


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    assert refusal(load_recipe, tmp_path / "nosuch.toml") == (
        f"There is no recipe at {tmp_path / 'nosuch.toml'}: give the path of a .toml file."
    )
    assert refusal(load_recipe, tmp_path).startswith("There is no recipe at ")
    assert "is not TOML" in refusal(load_recipe, write(tmp_path, "steps = "))
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refusal(load_recipe, tmp_path / "raw.toml")
    assert refusal(load_recipe, write(tmp_path, "steps = 3")).startswith(
        "The recipe's name does not fit: field required"
    )
    assert refusal(make_recipe, [1, 2]).startswith("A recipe must be a table")
    assert set(RECIPES) == {"style", "gan", "vae", "style-one"}


# Stages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shares", [(1.0,), (0.7, 0.3), (1 / 3, 1 / 3, 1 / 3), (0.05, 0.9, 0.05), (0.1,) * 10, (0.001, 0.999)]
)
@pytest.mark.parametrize("steps", [1, 7, 10, 97])
def test_images_seen_is_the_sum_over_steps(tmp_path: Path, shares: tuple[float, ...], steps: int) -> None:
    stages = tuple({"share": share, "crop": 64 + 8 * i, "batch": i + 1} for i, share in enumerate(shares))
    recipe = tiny_recipe(tmp_path, steps=steps, stages=stages)
    total = 0
    for step in range(steps):
        assert recipe.images_seen(step) == total
        total += recipe.stage(step).batch
    assert recipe.images_seen(steps) == total
    assert recipe.images_seen(steps + 5) == total
    crops = [recipe.stage(step).crop for step in range(steps)]
    assert crops == sorted(crops), "one stage after the other"
    assert recipe.stage(steps + 5) == recipe.stages[-1]


def test_stages_change_at_their_share(tmp_path: Path) -> None:
    stages = ({"share": 0.7, "crop": 64, "batch": 8}, {"share": 0.3, "crop": 96, "batch": 4})
    recipe = tiny_recipe(tmp_path, steps=10, stages=stages)
    assert [recipe.stage(step).crop for step in (0, 6, 7, 9)] == [64, 64, 96, 96]
    assert [recipe.images_seen(step) for step in (0, 1, 7, 8, 10)] == [0, 8, 56, 60, 68]


# What a checkpoint depends on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"seed": 4},
        {"precision": "bf16"},
        {"net": {"blocks": 2}},
        {"net": {"norm": "instance"}},
        {"data": {"seed": 1}},
        {"data": {"variants": 2}},
        {"data": {"weights": {"a*": 2.0}}},
        {"data": {"photos": "/elsewhere/others"}},
        {"loss": {"style": 5.0}},
        {"loss": {"style_layers": ("relu1_2",)}},
        {"optim": {"lr": 1e-3}},
        {"optim": {"ema": 0.9}},
        {"stages": ({"share": 1.0, "crop": 72, "batch": 2},)},
        {"net": {"variational": True}},
        {"net": {"variational": True}, "loss": {"kl": 0.1}},
        {"loss": {"adversarial": 0.1}},
    ],
)
def test_what_matters_changes_the_hash(tmp_path: Path, change: dict[str, Any]) -> None:
    assert recipe_hash(tiny_recipe(tmp_path, **change)) != recipe_hash(tiny_recipe(tmp_path))


def test_what_does_not_matter_leaves_the_hash(tmp_path: Path) -> None:
    style = {"name": "a", "title": "A", "artist": "B", "year": "1900", "picture": "a.jpg"}
    source = {"name": "a", "what": "b", "licence": "c"}
    for change in (
        {"save_every": 7},
        {"sample_every": 7},
        {"title": "Another"},
        {"styles": [style]},
        {"licence": {"weights": "MIT"}},
        {"data": {"sources": [source]}},
        {"data": {"photos": "/elsewhere/photos", "paintings": "C/paintings"}},
        {"critic": {"widths": (8, 8)}},  # there is none without loss.adversarial
    ):
        assert recipe_hash(tiny_recipe(tmp_path, **change)) == recipe_hash(tiny_recipe(tmp_path)), change


def test_runs_from_before_codes_were_drawn_go_on() -> None:
    """The digest that this recipe had before ``net.variational``, ``loss.kl``, ``loss.adversarial`` and ``critic``."""
    assert recipe_hash(tiny_recipe(Path("/nowhere/pictures"))) == "2b715e071d4c5b64"


def test_what_the_critic_is_matters_where_there_is_one(tmp_path: Path) -> None:
    def digest(**critic: Any) -> str:
        return recipe_hash(tiny_recipe(tmp_path, loss={"adversarial": 0.1}, critic=critic))

    assert len({digest(), digest(widths=(8, 8)), digest(conditional=False), digest(kind="hinge")}) == 4


def test_a_recipe_cannot_be_changed_behind_ones_back(tmp_path: Path) -> None:
    recipe: StyleRecipe = tiny_recipe(tmp_path)
    with pytest.raises(Exception, match="frozen"):
        recipe.steps = 3  # type: ignore[misc]
