from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.errors import TrainingError
from impasto.training.journal import Journal
from impasto.training.recipe import recipe_hash
from training.support import tiny_recipe


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text("utf-8").splitlines()]


def test_a_recipe_comes_back_as_it_went_in(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, stages=({"share": 0.25, "crop": 64, "batch": 2}, {"share": 0.75, "crop": 72, "batch": 1})
    )
    journal = Journal(tmp_path / "deep" / "run")
    journal.start(recipe, resume=False)
    assert journal.recipe() == recipe
    assert recipe_hash(journal.recipe()) == recipe_hash(recipe)
    assert {path.name for path in journal.folder.iterdir()} == {"recipe.json", "samples"}, "no temporary file is left"


def test_a_folder_is_used_once_unless_resumed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"holds no checkpoint to resume from: leave --resume out\.$"):
        journal.start(tiny_recipe(tmp_path), resume=True)
    assert not journal.folder.exists(), "a refusal leaves nothing behind"
    journal.start(tiny_recipe(tmp_path), resume=False)
    journal.checkpoint.write_bytes(b"state")
    with pytest.raises(TrainingError, match="holds a run already: pass --resume"):
        journal.start(tiny_recipe(tmp_path), resume=False)
    journal.start(tiny_recipe(tmp_path), resume=True)
    assert journal.checkpoint.read_bytes() == b"state"


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b"[]", b"3"])
def test_what_is_no_run_folder(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        Journal(tmp_path).recipe()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_figures_and_going_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(tiny_recipe(tmp_path), resume=False)
    for step in (25, 50, 75):
        journal.log({"step": step, "loss": step / 10})
    with (tmp_path / "stats.jsonl").open("ab") as file:
        file.write(b'{"step": 100, "lo\xc3')  # a kill in the middle of a line
    journal.rewind(50)
    assert lines(tmp_path) == [{"step": 25, "loss": 2.5}, {"step": 50, "loss": 5.0}]
    journal.log({"step": 75, "loss": 7.5})
    assert [line["step"] for line in lines(tmp_path)] == [25, 50, 75]


def test_a_figure_that_is_not_finite_is_null(tmp_path: Path) -> None:
    Journal(tmp_path).log({"step": 1, "loss": float("nan"), "grad": float("inf"), "lr": 0.5})
    assert lines(tmp_path) == [{"step": 1, "loss": None, "grad": None, "lr": 0.5}]


def test_a_run_that_never_saved_leaves_no_figures_to_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(tiny_recipe(tmp_path), resume=False)
    journal.log({"step": 25, "loss": 1.0})
    journal.start(tiny_recipe(tmp_path), resume=False)
    assert lines(tmp_path) == []


def test_samples_are_pictures_named_by_step(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start(tiny_recipe(tmp_path), resume=False)
    grid = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    journal.sample(500, grid)
    with Image.open(tmp_path / "samples" / "0000500.png") as image:
        assert np.array_equal(np.asarray(image), grid)
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    recipe = tiny_recipe(tmp_path)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TrainingError, match=r"cannot be written \(.+\): make room, or name another with --run\.$"):
            Journal(folder).start(recipe, resume=False)
    with pytest.raises(TrainingError, match="cannot be written"):
        Journal(tmp_path / "gone").log({"step": 1})
    with pytest.raises(TrainingError, match="cannot be written"):
        Journal(tmp_path / "gone").sample(1, np.zeros((8, 8, 3), np.uint8))
