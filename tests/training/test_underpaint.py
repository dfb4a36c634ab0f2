"""Smaller paintings under a larger one: in torch as in numpy, learnt, taken over, and put into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.errors import BundleError, TrainingError
from impasto.runtime.bundle import Bundle
from impasto.runtime.grain import grain
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.runtime.underpaint import COARSER
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.style import GRAIN
from impasto.training.nets.underpaint import Coarser, grounded, underpaint
from impasto.training.recover import networks_of, recover_coarser
from impasto.training.tasks.style import StyleTask
from impasto.training.underpaintings import add_underpaintings, half_map
from training.support import draw_folder, tiny_recipe, tiny_spec
from training.whole import make_whole_bundle


def planes(picture: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def noise(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.array(grain(GRAIN, height // 8, width // 8)))


@torch.no_grad()
def test_torch_paints_as_the_bundled_model_does() -> None:
    bundle = Bundle.open("anystyle")
    networks = networks_of(bundle)
    model = StyleModel.load("anystyle", threads=1)
    picture, code = Picture(drawn_photo(128, 96, seed=2)), model.code("the-scream")
    photo = planes(picture.rgb)
    inputs = photo, color_stats(photo), torch.from_numpy(code)[None], noise
    painter: Any = networks["painter"]
    assert painter.spec.under == 1 + 1 == bundle.manifest.graphs["painter"].under
    _, finished = underpaint(painter, networks["coarser"], *inputs)
    np.testing.assert_allclose(planes(model.paint(picture, code).rgb), finished.clamp(0, 1), atol=2e-4)
    # 96 pixels can be halved once: of 24 nothing would be left to see.
    seen, colors = grounded(painter, networks["coarser"], *inputs)
    once, _ = grounded(painter, networks["coarser"], *inputs, level=1)
    assert torch.equal(seen, once) and torch.equal(colors, inputs[2][:, -9:])
    assert not torch.equal(seen, photo)
    same, stats = grounded(painter, None, *inputs, level=0)
    assert same is photo and stats is inputs[1]


def test_the_map_is_found_and_is_the_same_in_a_file() -> None:
    random = torch.Generator().manual_seed(0)
    coarser = Coarser(tiny_spec(bands=True))
    size = tiny_spec(bands=True).code_size
    numbers = torch.randn(400, size, generator=random)
    code = numbers * coarser.spread + coarser.typical
    torch.testing.assert_close(coarser(code), code, atol=1e-5, rtol=1e-5)  # at first it changes nothing
    matrix = torch.randn(size, size, generator=random) / size**0.5
    halves = (numbers @ matrix.T + 0.5) * coarser.spread + coarser.typical
    coarser.fit(code, halves)
    # A little shrunk, as ridge regression is.
    apart = ((coarser(code) - halves) / coarser.spread).square().mean()
    assert apart < 1e-3 < ((code - halves) / coarser.spread).square().mean()
    table = coarser.table()
    torch.testing.assert_close(code @ table[:, :-1].T + table[:, -1], coarser(code), atol=1e-4, rtol=1e-4)
    again = Coarser(tiny_spec(bands=True))
    again.fill(table)
    torch.testing.assert_close(again(code), coarser(code), atol=1e-4, rtol=1e-4)
    found = half_map(code.numpy(), halves.numpy(), strength=1e-6)
    np.testing.assert_allclose(code.numpy() @ found[:, :-1].T + found[:, -1], halves, atol=1e-3)


def test_a_run_learns_through_it_in_several_views(pictures: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"net": {"under": 1, "bands": True}, "loss": {"views": 2}}
    task = StyleTask(tiny_recipe(pictures, **changes), keep=tmp_path)
    coarser = task.modules["coarser"]
    assert isinstance(coarser, Coarser)
    before = coarser.map.weight.clone()
    task.begin(["encoder", "painter"])
    assert not torch.equal(coarser.map.weight, before), "fitted, as the run began from knew none"
    fitted = coarser.map.weight.clone()
    task.begin(["encoder", "painter", "coarser"])
    assert torch.equal(coarser.map.weight, fitted)
    styles = []
    for step in range(3):
        batch = task.batch(step)
        total, figures = task.loss("", batch, step)
        total.backward()
        styles.append(float(figures["style"].detach()))
    assert coarser.map.weight.grad is not None and float(coarser.map.weight.grad.abs().max()) > 0
    # The same batch, as it is and in another view.
    batch = task.batch(0)
    plain = task._gram_targets(batch.entries, task._float(batch.styles))
    turned = task._gram_targets(batch.entries, task._float(batch.styles), 1)
    assert all(a.shape == b.shape and not torch.allclose(a, b, rtol=1e-2) for a, b in zip(plain, turned, strict=True))
    again = task._gram_targets(batch.entries, task._float(batch.styles))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True)), "kept apart"
    grid = task.sample(task.modules, count=2, size=64)
    assert grid.shape == (3 * 64, 3 * 64, 3)


def test_older_runs_go_on(pictures: Path) -> None:
    plain = tiny_recipe(pictures)
    assert not {"under", "ground"} & set(plain.identity()["net"]) and "views" not in plain.identity()["loss"]
    assert tiny_recipe(pictures, net={"ground": 0.1}).identity() == plain.identity()
    under = tiny_recipe(pictures, net={"under": 1}).identity()["net"]
    assert (under["under"], under["ground"]) == (1, 0.6)


def test_a_file_is_given_it_and_keeps_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_whole_bundle(tmp_path)
    draw_folder(tmp_path / "paintings", 24)
    assert run(["models", "underpaint", "whole.impasto", "paintings", "-o", "new.impasto", "--levels", "1"]) == 0
    assert capsys.readouterr().out == "new.impasto\n"
    old, new = Bundle.open("whole.impasto"), Bundle.open("new.impasto")
    assert set(new.manifest.members) == {*old.manifest.members, COARSER}
    assert all(new.read(name) == old.read(name) for name in old.manifest.members)
    painter = new.manifest.graphs["painter"]
    assert (painter.under, painter.ground) == (1, 0.5) and old.manifest.graphs["painter"].under == 0
    picture = Picture(drawn_photo(96, 80))
    before, after = (StyleModel.load(f"{name}.impasto", threads=1) for name in ("whole", "new"))
    name = next(iter(after.styles))
    assert np.abs(after.paint(picture, name).rgb - before.paint(picture, name).rgb).max() > 1e-3
    assert recover_coarser(old) == {}
    again = ["models", "underpaint", "whole.impasto", "paintings", "-o"]
    for options, why in (
        (["new.impasto"], "new.impasto exists already"),
        (["b.impasto", "--levels", "5"], "5 paintings cannot lie under: choose 1 to 4."),
        (["b.impasto", "--ground", "1.5"], "The share 1.5 cannot show through: choose 0 to 1."),
        (["b.impasto", "-n", "5"], "5 paintings are too few to tell a code at half the size: give 20."),
        (["b.png"], "A model file must end in .impasto: b.png does not, so rename it."),
    ):
        assert run([*again, *options]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert not Path("b.impasto").exists()


def test_a_painter_that_is_not_told_colours_is_refused(style_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not told a photo's colours: nothing can lie under it"):
        add_underpaintings(style_bundle, draw_folder(tmp_path / "paintings", 3), tmp_path / "new.impasto")
    with pytest.raises(TrainingError, match="cannot lie under"):
        add_underpaintings(style_bundle, tmp_path, tmp_path / "new.impasto", levels=0)
