"""The gan task: what its two updates are, chance, classes, exact resume, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.training.augment import WINDOW
from impasto.training.checkpoint import load_checkpoint
from impasto.training.doctor import Finding
from impasto.training.journal import Journal
from impasto.training.loop import run
from impasto.training.losses.adversarial import LOSSES
from impasto.training.recipe_gan import GanRecipe
from impasto.training.tasks import TASKS, looking
from impasto.training.tasks.gan import GanTask, to_unit
from impasto.training.tasks.looking import Looking, one_hot, to_pixels
from training.duel import duel_recipe
from training.support import draw_folder

NET = {"height": 16, "width": 16, "latent": 8, "max_width": 8, "critic_max_width": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures: eight of class a, eight of class b, four of none."""
    folder = tmp_path_factory.mktemp("gan") / "pictures"
    draw_folder(folder / "a", 8, size=(16, 16))
    draw_folder(folder / "b", 8, size=(20, 18), seed=50)
    draw_folder(folder, 4, size=(16, 16), seed=90)
    return folder


def recipe_of(folder: Path, **changes: Any) -> GanRecipe:
    changes["net"] = NET | changes.get("net", {})
    plain = {"measure_every": 0, "loss": {"r1": 0.5, "every": 2}, "data": {"folder": str(folder)}}
    return duel_recipe(**(plain | changes))


def task_of(folder: Path, **changes: Any) -> GanTask:
    return GanTask(recipe_of(folder, **changes), cache=folder.parent / "cache")


def state(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "checkpoint.safetensors").tensors


def test_it_is_in_the_table() -> None:
    assert TASKS["gan"] is GanTask


# Batches and chance -------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_its_number(folder: Path) -> None:
    one, other = task_of(folder, net={"classes": 2}), task_of(folder, net={"classes": 2})
    other.batch(0)
    a, b = one.batch(7), other.batch(7)
    assert torch.equal(a.pictures, b.pictures) and torch.equal(a.labels, b.labels)
    assert (a.pictures.shape, a.pictures.dtype, a.labels.dtype) == ((4, 3, 16, 16), torch.uint8, torch.int64)
    labels = torch.cat([one.batch(i).labels for i in range(5)])
    assert sorted(labels.tolist()) == [-1] * 4 + [0] * 8 + [1] * 8, "five batches of four are all twenty, once"


def test_pictures_are_mirrored_half_of_the_time_or_never(folder: Path) -> None:
    def mirrored(task: GanTask) -> list[bool]:
        found = []
        for index in range(20):
            batch = task.batch(index).pictures.permute(0, 2, 3, 1).numpy()
            for i, pixels in enumerate(batch):
                plain = task.pictures.array(task._order[index * 4 + i])
                assert np.array_equal(pixels, plain) or np.array_equal(pixels, plain[:, ::-1])
                found.append(not np.array_equal(pixels, plain))
        return found

    assert 20 < sum(mirrored(task_of(folder))) < 60
    never = task_of(folder, data={"folder": str(folder), "flip": False})
    assert not any(mirrored(never))
    assert "mirror" not in never._kinds and "mirror" in task_of(folder)._kinds


def test_an_update_depends_on_seed_and_number_alone(folder: Path) -> None:
    task = task_of(folder, augment={"strength": 0.5})
    batch, again = task.batch(3), task.batch(3)
    before = task.state()
    first = [float(task.loss(turn, batch, 0)[0].detach()) for turn in ("discriminator", "generator")]
    task.loss("discriminator", task.batch(4), 0)
    torch.rand(5)
    task.load_state(before)
    second = [float(task.loss(turn, again, 0)[0].detach()) for turn in ("discriminator", "generator")]
    assert first == second
    assert float(task.loss("discriminator", task.batch(4), 0)[0].detach()) != first[0]


# The two updates ----------------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """A discriminator whose logit is the mean brightness, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, picture: Tensor, labels: Tensor | None = None) -> Tensor:
        return picture.mean((1, 2, 3)) * self.weight


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_the_losses_are_those_of_the_table(folder: Path, kind: str) -> None:
    task = task_of(folder, loss={"kind": kind, "r1": 0.0, "slope": 10.0 if kind == "wasserstein" else 0.0}, mixing=0.0)
    task.modules["discriminator"] = Mean()
    batch = task.batch(0)
    chance = task._chance(0, 0)
    fake = task.draw(4, None, chance).detach()
    real = to_unit(batch.pictures, task.device)
    on_real, on_fake = (2 * x.mean((1, 2, 3)) for x in (real, fake))
    total, figures = task.loss("discriminator", batch, 0)
    expected = LOSSES[kind].discriminator(on_real, on_fake)
    if kind == "wasserstein":  # the slope of a mean is the same everywhere: weight / sqrt(pixels)
        expected = expected + 10 * (2 / (3 * 16 * 16) ** 0.5 - 1) ** 2
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    relative = kind in ("relativistic", "wasserstein")
    signs = (on_real - on_fake if relative else on_real).sign().mean()
    assert float(figures["real_sign"]) == float(signs)
    chance = task._chance(0, 1)
    on_fake = 2 * task.draw(4, None, chance).mean((1, 2, 3))
    torch.testing.assert_close(task.loss("generator", batch, 0)[0], LOSSES[kind].generator(on_real, on_fake))


def test_slopes_are_penalised_lazily_and_the_more(folder: Path) -> None:
    task = task_of(folder, loss={"r1": 3.0, "r2": 1.0, "every": 4})
    task.modules["discriminator"] = Mean()
    batch = task.batch(0)
    with_it, figures = task.loss("discriminator", batch, 8)
    without, plain = task.loss("discriminator", batch, 9)
    slope = 4 / (3 * 16 * 16)  # |dD/dx|^2 = weight^2 / pixels
    assert float(figures["r1"].detach()) == pytest.approx(1.5 * slope, rel=1e-4)
    assert float(figures["r2"].detach()) == pytest.approx(0.5 * slope, rel=1e-4)
    assert float((with_it - without).detach()) == pytest.approx(4 * 2 * slope, rel=1e-2)
    assert "r1" not in plain


def test_labels_reach_both_networks_and_unknown_ones_are_zeros(folder: Path) -> None:
    task = task_of(folder, net={"classes": 2})
    seen: list[Tensor] = []
    for name in ("generator", "discriminator"):
        module = task.modules[name]
        part = module.latent if name == "generator" else module.head
        part.embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))  # type: ignore[union-attr]
    batch = next(b for b in map(task.batch, range(9)) if (b.labels < 0).any())
    task.loss("discriminator", batch, 1)
    wanted = one_hot(batch.labels, 2, task.device)
    assert wanted is not None and len(seen) >= 3
    assert all(torch.equal(rows.float(), wanted) for rows in seen)
    assert wanted.sum(1).tolist() == (batch.labels >= 0).float().tolist()


def test_some_pictures_have_two_styles(folder: Path) -> None:
    task = task_of(folder, mixing=1.0)
    seen: list[Tensor] = []
    task.modules["generator"].synthesis = lambda w: seen.append(w) or torch.zeros(len(w), 3, 16, 16)  # type: ignore[assignment, func-returns-value]
    task.draw(8, None, task._chance(0, 0))
    w = seen[0]
    assert w.shape == (8, task.generator.layers, task.generator.w_size)
    changes = (w[:, 1:] != w[:, :-1]).any(2).sum(1)
    assert changes.tolist() == [1] * 8, "one cut each"
    plain = task_of(folder, mixing=0.0)
    plain.modules["generator"].synthesis = lambda w: seen.append(w) or torch.zeros(len(w), 3, 16, 16)  # type: ignore[assignment, func-returns-value]
    plain.draw(8, None, plain._chance(0, 0))
    assert seen[1].ndim == 2


def test_the_strength_follows_the_verdicts(folder: Path) -> None:
    task = task_of(folder, batch=WINDOW // 2)
    task._judged = [torch.ones(WINDOW // 2), torch.ones(WINDOW // 2)]
    task.finish(0)
    assert task.strength.value > 0
    still = task_of(folder, augment={"adaptive": False, "strength": 0.25})
    still._judged = [torch.ones(WINDOW)]
    still.finish(0)
    assert still.strength.value == 0.25


# Whole runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("fp32", {"augment": {"strength": 0.5, "target": 0.999}, "net": {"classes": 2}, "critic": 2, "accumulate": 2}),
        ("bf16", {"loss": {"kind": "relativistic", "r1": 0.5, "r2": 0.5, "every": 2}}),
        ("fp32", {"net": {"kind": "dcgan"}}),
    ],
)
def test_four_steps_are_two_and_two_bit_for_bit(
    folder: Path, tmp_path: Path, precision: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.training.augment.WINDOW", 8)  # so that the strength moves in these few steps
    made = lambda: task_of(folder, precision=precision, watch_every=2, sample_every=2, **changes)  # noqa: E731
    run(made(), Journal(tmp_path / "whole"))
    run(made(), Journal(tmp_path / "halves"), stop_at=2)
    torch.rand(3)
    run(made(), Journal(tmp_path / "halves"), resume=True)
    whole, halves = state(tmp_path / "whole"), state(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert [key for key in whole if not torch.equal(whole[key], halves[key])] == []
    if "augment" in changes:
        assert float(whole["task.strength"][0]) != 0.5, "the strength has moved"
    for name in ("samples/0000004.png", "timeline.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halves" / name).read_bytes()


def test_it_learns_the_mean_colour(folder: Path, tmp_path: Path) -> None:
    """Pictures of one colour: after some steps what is drawn is much nearer to it than at the start."""
    plain = tmp_path / "plain"
    plain.mkdir()
    for i in range(16):
        Image.new("RGB", (16, 16), (200 + i % 3, 60, 40)).save(plain / f"{i}.png")
    task = GanTask(
        recipe_of(plain, steps=80, batch=8, optim={"lr": 5e-3, "betas": (0.0, 0.9), "ema": 0.9}), cache=tmp_path
    )

    def off(modules: dict[str, nn.Module]) -> float:
        drawn = task._looking.draw(modules["generator"].eval(), 16, np.zeros(16, np.int64)).astype(float)
        return float(np.abs(drawn.mean((0, 1, 2)) - [201, 60, 40]).mean())

    before = off(task.modules)
    run(task, Journal(tmp_path / "run"))
    assert off(task.modules) < 0.5 * before


# Looking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "shape"), [(1, (128, 256)), (3, (128, 256, 3)), (4, (128, 256, 4))])
def test_grids_are_always_the_same_latents(folder: Path, channels: int, shape: tuple[int, ...]) -> None:
    task = task_of(folder, net={"channels": channels})
    modules = {name: module.eval() for name, module in task.modules.items()}
    grid = task.sample(modules)
    assert (grid.shape, grid.dtype) == (shape, np.uint8)
    assert np.array_equal(grid, task.sample(modules))
    assert not np.array_equal(grid[:16], grid[16:32])
    assert (task.row, shape[0] % task.row) == (16, 0)


def test_rows_of_a_grid_are_classes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(folder, net={"classes": 2})
    asked: list[Any] = []
    monkeypatch.setattr(
        Looking, "draw", lambda self, g, count, labels: asked.append(labels) or np.zeros((count, 16, 16, 3), np.uint8)
    )
    task.sample(task.modules)
    assert asked[0].reshape(8, 16).tolist() == [[row % 2] * 16 for row in range(8)]


def test_a_finding_is_said_once_until_it_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(folder)
    findings = [["nan"], ["nan", "collapse"], [], ["nan"]]
    seen: list[Any] = []

    class Fake:
        def __init__(self, pictures: Any, *, mirrored: bool) -> None:
            assert mirrored

        def look(self, samples: Any, figures: Any) -> list[Finding]:
            seen.append((samples.shape, dict(figures)))
            return [Finding(name, f"It is {name}.", "flag") for name in findings.pop(0)]

    monkeypatch.setattr(looking, "Doctor", Fake)
    monkeypatch.setattr(looking, "DOCTOR", 4)
    said = [task.watch(step, task.modules, {"real_sign": 1.0}) for step in (1, 2, 3, 4)]
    assert said == [["It is nan."], ["It is collapse."], [], ["It is nan."]]
    assert seen[0] == ((4, 16, 16, 3), {"real_sign": 1.0})


def test_figures_that_the_doctor_wants_are_there(folder: Path) -> None:
    figures = task_of(folder).loss("discriminator", task_of(folder).batch(0), 0)[1]
    assert {"real_sign", "fake_sign", "real", "fake", "strength"} <= figures.keys()


def test_it_is_measured_every_so_many_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the feature network: the mean colours."""

    class Colours:
        name, size, digest = "efflite0", 3, "0"

        def __call__(self, pictures: Any) -> Any:
            return pictures.reshape(len(pictures), -1, 3).mean(1).astype(np.float32)

        def stream(self, batches: Any) -> Any:
            return np.concatenate([self(batch) for batch in batches])

    monkeypatch.setattr(looking, "load_features", lambda device: Colours())
    monkeypatch.setattr(looking, "DOCTOR", 4)
    task = task_of(folder, steps=10, watch_every=2, measure_every=16, measure_count=50)
    assert task.best == "fd_efflite0_50"
    measured = []
    for step in (2, 4, 6, 8, 10):
        figures: dict[str, float] = {}
        task.watch(step, {"generator": task.modules["generator"].eval()}, figures)
        measured.append(task.best in figures)
    assert measured == [False, True, False, True, True], "at 16 and 32 images, and at the end"


def test_without_the_measuring_weights_it_says_so_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(device: Any) -> Any:
        raise TrainingError("Measuring needs weights.")

    monkeypatch.setattr(looking, "load_features", missing)
    monkeypatch.setattr(looking, "DOCTOR", 4)
    task = task_of(folder, steps=4, watch_every=2, measure_every=1)
    modules = {"generator": task.modules["generator"].eval()}
    assert task.watch(2, modules, {}) == ["Nothing is measured while training. Measuring needs weights."]
    assert task.watch(4, modules, {}) == []


def test_pixels_there_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit(pixels, torch.device("cpu"))
    assert (float(unit.min()), float(unit.max())) == (-1, 1)
    assert np.array_equal(to_pixels(unit)[0, :, :, 0], pixels[0, 0].numpy())
    assert to_pixels(torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)).flatten().tolist() == [0, 255]


# Data that does not fit ---------------------------------------------------------------------------------------------


def test_classes_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"has 2 classes and the recipe's net\.classes says 5: set it to"):
        task_of(folder, net={"classes": 5})
    assert task_of(folder).pictures.classes == (), "without classes in the net folders are only folders"
    assert task_of(folder, net={"classes": 2}).notes == {"classes": ("a", "b")}


def test_remarks(folder: Path) -> None:
    assert task_of(folder).remarks()[-1] == "They are shown half of them mirrored (data.flip)."
    assert "20 pictures, 16x16 RGB." in task_of(folder).remarks()
