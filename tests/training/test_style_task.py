from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.errors import TrainingError, UnknownName
from impasto.training import distributed, loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.losses.perceptual import gram_vector
from impasto.training.nets.blocks import color_stats
from impasto.training.nets.features import cache_folder
from impasto.training.nets.style import StyleEncoder
from impasto.training.recipe import StyleLossTable
from impasto.training.tasks import TASKS
from impasto.training.tasks import style as style_module
from impasto.training.tasks.style import StyleBatch, StyleStats, StyleTask
from training.support import LAYERS, draw_folder, tiny_recipe, write_vgg

CPU = torch.device("cpu")


def task_of(pictures: Path, keep: Path, **changes: Any) -> StyleTask:
    return StyleTask(tiny_recipe(pictures, **changes), keep=keep)


def assert_same_batch(a: StyleBatch, b: StyleBatch) -> None:
    assert a.entries == b.entries
    for field in ("photos", "styles", "selves"):
        assert torch.equal(getattr(a, field), getattr(b, field)), field


def figures(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only data matters, networks need not be measured."""
    monkeypatch.setattr(StyleTask, "_calibrate", lambda self: None)


# Batches ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("uncalibrated")
def test_a_batch_is_a_function_of_the_step_alone(pictures: Path, tmp_path: Path) -> None:
    first, second = (task_of(pictures, tmp_path / name) for name in "ab")
    forwards = [first.batch(step) for step in range(4)]
    backwards = [second.batch(step) for step in reversed(range(4))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert_same_batch(a, b)
    assert not torch.equal(forwards[0].photos, forwards[1].photos)
    other = task_of(pictures, tmp_path / "a", seed=4).batch(0)
    assert not torch.equal(forwards[0].photos, other.photos)


@pytest.mark.usefixtures("uncalibrated")
def test_shapes_follow_the_stage(pictures: Path, tmp_path: Path) -> None:
    stages = ({"share": 0.5, "crop": 64, "batch": 4}, {"share": 0.5, "crop": 72, "batch": 2})
    task = task_of(pictures, tmp_path, stages=stages, data={"style_size": 80})
    early, late = task.batch(1), task.batch(2)
    assert early.photos.shape == (4, 3, 64, 64) and late.photos.shape == (2, 3, 72, 72)
    assert early.styles.shape == (4, 3, 80, 80) and early.selves.shape == (2, 3, 80, 80)
    assert late.selves.shape == (1, 3, 80, 80), "one in identity_every, at least one"
    assert {t.dtype for t in (early.photos, early.styles, early.selves)} == {torch.uint8}
    assert early.photos.is_contiguous(memory_format=torch.channels_last)
    without = task_of(pictures, tmp_path, loss={"identity": 0}, data={"style_size": 80}).batch(0)
    assert without.selves.shape == (0, 3, 80, 80)


@pytest.mark.usefixtures("uncalibrated")
def test_several_processes_share_out_all_pictures_and_keep_the_stages(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ({"share": 0.5, "crop": 64, "batch": 2}, {"share": 0.5, "crop": 72, "batch": 1})
    task = task_of(pictures, tmp_path, stages=stages)
    alone = [entry for step in range(4) for entry in task.batch(step).entries]
    monkeypatch.setattr(distributed, "team", lambda: distributed.Team(1, 2))
    batches = [task.batch(index) for index in range(8)]  # four steps of two processes
    assert [tuple(batch.photos.shape[::3]) for batch in batches] == 4 * [(2, 64)] + 4 * [(1, 72)]
    together = [entry for batch in batches for entry in batch.entries]
    assert together == [task._style_order[k] for k in range(12)] and together[:6] == alone


@pytest.mark.usefixtures("uncalibrated")
def test_every_picture_has_its_turn(tmp_path: Path) -> None:
    """Plain crops (no zoom, so exact pixels) of 5 photos and 4 paintings, all of them used once a round."""
    draw_folder(tmp_path / "photos", 5, size=(70, 68))
    draw_folder(tmp_path / "paintings", 4, seed=50)
    task = task_of(tmp_path, tmp_path / "keep", steps=20, data={"photo_zoom": 1.0})
    entries = [entry for step in range(10) for entry in task.batch(step).entries]
    assert all(sorted(entries[i : i + 4]) == [0, 1, 2, 3] for i in range(0, 20, 4))
    seen, mirrored = [], set()
    for step in range(5):
        for photo in task.batch(step).photos.permute(0, 2, 3, 1).numpy():
            for index in range(5):
                whole = task.photos.pixels(index)
                windows = np.lib.stride_tricks.sliding_window_view(whole, (64, 64, 3))[:, :, 0]
                for flip in (1, -1):
                    if (windows == photo[:, ::flip]).all((2, 3, 4)).any():
                        seen.append(index)
                        mirrored.add(flip)
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert mirrored == {1, -1}


@pytest.mark.usefixtures("uncalibrated")
def test_weights_and_variants_of_paintings(pictures: Path, tmp_path: Path) -> None:
    task = task_of(pictures, tmp_path, data={"weights": {"000.png": 3.0}, "variants": 2})
    # 4 paintings x 2 crops, the first painting three times as often: 12 a round.
    entries = [task._style_order[k] for k in range(12)]
    assert sorted(entries) == [0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 7]
    assert not np.array_equal(task._style_crop(0), task._style_crop(4)), "another part of the same painting"
    assert np.array_equal(task._style_crop(4), task._style_crop(4))
    with pytest.raises(TrainingError, match="pattern 'nosuch' fits no file"):
        task_of(pictures, tmp_path, data={"weights": {"nosuch": 3.0}})


def test_folders_and_layers_that_do_not_exist(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There is no folder"):
        task_of(tmp_path, tmp_path)
    with pytest.raises(UnknownName, match="no layer of vgg16 called 'relu3_9'"):
        task_of(pictures, tmp_path, loss={"style_layers": ("relu3_9",)})
    assert TASKS["style"] is StyleTask


@pytest.mark.usefixtures("uncalibrated")
def test_remarks(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 2)
    draw_folder(tmp_path / "paintings", 3)
    for i in range(7):
        (tmp_path / "photos" / f"bad{i}.png").write_bytes(b"")
    lines = task_of(tmp_path, tmp_path / "keep").remarks()
    assert lines[0] == "2 photos and 3 paintings."
    assert lines[1] == "bad0.png is left out: it cannot be read (UnidentifiedImageError)."
    assert lines[6] == f"2 more of {tmp_path / 'photos'} are left out."
    assert len(lines) == 7


# Kept statistics ------------------------------------------------------------------------------------------------------


def test_statistics_come_back_in_half_precision(tmp_path: Path) -> None:
    stats = StyleStats(tmp_path, "key", 5, [3, 4], 8)
    assert stats.missing([4, 0]) == [0, 1]
    vectors = [torch.tensor([3.0, 0.0, -4.0]), torch.tensor([1e6, 2e6, 0.0, 1.0])]
    stats.put(4, vectors)
    assert stats.missing([4, 0]) == [1]
    again = StyleStats(tmp_path, "key", 5, [3, 4], 8)
    assert again.missing([4, 0]) == [1], "they are on disk"
    for found, vector in zip(again.get([4, 4], CPU), vectors, strict=True):
        assert found.dtype == torch.float32 and found.shape == (2, len(vector))
        torch.testing.assert_close(found, vector.expand_as(found), rtol=1e-3, atol=1e-3 * float(vector.norm()))
    assert StyleStats(tmp_path, "other", 5, [3, 4], 8).missing([4]) == [0], "another key, other files"


def test_crops_are_made_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def make(entry: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        asked.append(entry)
        return np.full((8, 8, 3), entry, np.uint8)

    stats = StyleStats(tmp_path, "key", 5, [3], 8)
    assert [int(stats.crop(entry, make)[0, 0, 0]) for entry in (3, 1, 3)] == [3, 1, 3]
    assert int(StyleStats(tmp_path, "key", 5, [3], 8).crop(1, make).max()) == 1
    assert asked == [3, 1]


@pytest.mark.parametrize("damage", ["cut", "missing", "noise", "shape"])
def test_damaged_files_are_made_anew(tmp_path: Path, damage: str) -> None:
    StyleStats(tmp_path, "key", 5, [3], 8).put(0, [torch.ones(3)])
    (folder,) = tmp_path.iterdir()
    gram = folder / "gram.npy"
    if damage == "cut":
        gram.write_bytes(gram.read_bytes()[:-4])
    elif damage == "missing":
        gram.unlink()
    elif damage == "noise":
        gram.write_bytes(b"noise")
    stats = StyleStats(tmp_path, "key", 6 if damage == "shape" else 5, [3], 8)
    assert stats.missing([0]) == [0]
    stats.put(0, [torch.ones(3)])
    assert torch.allclose(stats.get([0], CPU)[0], torch.ones(3), rtol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing else is left"


def test_what_is_in_use_survives_being_made_anew(tmp_path: Path) -> None:
    """Another process may be reading the very files: they must not be cut short under it."""
    old = StyleStats(tmp_path, "key", 5, [3], 8)
    old.put(0, [torch.full((3,), 2.0)])
    new = StyleStats(tmp_path, "key", 4, [3], 8)
    new.put(0, [torch.full((3,), 5.0)])
    assert torch.allclose(old.get([0], CPU)[0], torch.full((3,), 2.0), rtol=1e-3)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"cannot be kept in .* make room, or set IMPASTO_CACHE\.$"):
        StyleStats(tmp_path / "file", "key", 5, [3], 8)


@pytest.mark.usefixtures("uncalibrated")
def test_the_key_knows_pictures_network_and_precision(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    task = task_of(folder, tmp_path / "keep")

    def key(**changes: Any) -> str:
        return task_of(folder, tmp_path / "keep", **changes)._stats_key(4)

    before = task._stats_key(4)
    assert key() == before
    assert key(seed=9, optim={"lr": 1.0}, data={"photo_zoom": 1.0}) == before, "of no matter to paintings"
    assert key(precision="bf16") != before
    assert key(data={"seed": 1}) != before
    assert key(data={"style_zoom": (1.0, 1.5)}) != before
    assert key(data={"style_size": 80}) != before
    assert key(loss={"style_layers": LAYERS[:2], "content_layers": LAYERS[2:]}) != before
    assert task._stats_key(8) != before
    monkeypatch.setenv("IMPASTO_VGG16", str(write_vgg(tmp_path / "other.safetensors", seed=5)))
    assert key() != before, "other feature weights"


@pytest.mark.usefixtures("uncalibrated")
def test_other_pictures_of_the_same_names_are_seen(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    before = task_of(folder, tmp_path / "keep").batch(0)
    draw_folder(folder / "paintings", 4, size=(90, 110), seed=99)
    after = task_of(folder, tmp_path / "keep").batch(0)
    assert torch.equal(before.photos, after.photos)
    assert not torch.equal(before.styles, after.styles)


def test_statistics_are_kept_in_the_users_cache(pictures: Path) -> None:
    StyleTask(tiny_recipe(pictures))
    assert len(list((cache_folder() / "style-stats").iterdir())) == 1


# The loss -----------------------------------------------------------------------------------------------------------


def test_targets_are_the_gram_vectors_of_the_crops(pictures: Path, tmp_path: Path) -> None:
    task = task_of(pictures, tmp_path)
    batch = task.batch(0)
    styles = batch.styles.float() / 255
    for _ in ("made", "kept"):
        for layer, found in zip(LAYERS, task._gram_targets(batch.entries, styles), strict=True):
            expected = gram_vector(task.vgg(styles)[layer])
            difference = (found - expected).norm(dim=1) / expected.norm(dim=1)
            assert float(difference.max()) < 1e-3, layer


def test_the_loss_is_the_weighted_sum_of_its_figures(pictures: Path, tmp_path: Path) -> None:
    layers = {f"style_{layer}" for layer in LAYERS}
    others = ("kl", "adversarial")  # these need networks of their own
    names = [name for name, value in StyleLossTable() if isinstance(value, float) and name not in others]
    assert {"content", "style", "variation", "range", "moments", "identity"} <= set(names)
    weights = {name: 0.3 + 0.2 * place for place, name in enumerate(names)}
    for chosen in (weights, {name: 1.5 if name in ("content", "style") else 0.0 for name in names}):
        task = task_of(pictures, tmp_path, loss=chosen)
        with torch.no_grad():
            total, figures = task.loss("all", task.batch(0), 0)
        assert set(figures) == {name for name, weight in chosen.items() if weight} | layers
        expected = sum(chosen[name] * float(value) for name, value in figures.items() if name in chosen)
        assert float(total) == pytest.approx(expected, rel=1e-5)
        assert float(figures["style"]) == pytest.approx(sum(float(figures[name]) for name in layers) / 3, rel=1e-5)


def test_the_losses_see_what_they_are_named_after(pictures: Path, tmp_path: Path) -> None:
    """A painter that gives the photo back has no content loss; one that gives the painting has no style loss."""
    task = task_of(pictures, tmp_path)
    batch = task.batch(0)
    painter = task.modules["painter"]

    def figures(answer: Tensor) -> dict[str, float]:
        painter.raw = lambda *_: torch.cat((answer, answer[:1]))  # type: ignore[assignment]
        with torch.no_grad():
            return {name: float(value) for name, value in task.loss("all", batch, 0)[1].items()}

    photos, styles = batch.photos.float() / 255, batch.styles.float() / 255
    as_photo, as_style = figures(photos), figures(styles)
    assert as_photo["content"] == pytest.approx(0, abs=1e-4) and as_style["content"] > 0.1
    assert as_style["style"] == pytest.approx(0, abs=1e-4) and as_photo["style"] > 1e-3
    assert as_photo["identity"] == pytest.approx(0, abs=1e-6) and as_style["identity"] > 0.01
    assert as_photo["range"] == pytest.approx(0, abs=1e-6)
    assert figures(photos + 2)["range"] == pytest.approx(float((photos + 1).mean()), rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_reach_every_parameter(pictures: Path, tmp_path: Path, precision: str) -> None:
    task = task_of(pictures, tmp_path, precision=precision)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        total, _ = task.loss("all", task.batch(0), 0)
    total.backward()
    for part, module in task.modules.items():
        for name, value in module.named_parameters():
            assert value.grad is not None and value.grad.isfinite().all(), f"{part}.{name}"
            assert float(value.grad.abs().sum()) > 0, f"{part}.{name}"
    assert all(p.grad is None for p in task.vgg.parameters()), "the feature network is frozen"


class SameCodes(StyleEncoder):
    """In place of the encoder: a fresh one, whitened over a few paintings, magnifies what bfloat16 rounds off."""

    def describe(self, style: Tensor, seen: Tensor) -> Tensor:
        learnt = torch.randn(len(style), 8, generator=torch.Generator().manual_seed(0))
        return torch.cat((learnt, color_stats(style)), 1)


def test_bf16_is_close_to_fp32(pictures: Path, tmp_path: Path) -> None:
    totals, statistics = [], []
    for precision in ("fp32", "bf16"):
        task = task_of(pictures, tmp_path, precision=precision)
        assert task.vgg.mean.dtype == torch.float32
        batch, encoder = task.batch(0), task.modules["encoder"]
        assert isinstance(encoder, StyleEncoder)
        task.modules["encoder"] = SameCodes(task.recipe.net)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            totals.append(float(task.loss("all", batch, 0)[0]))
            statistics.append(encoder.statistics(batch.styles.float() / 255))
    assert totals[1] == pytest.approx(totals[0], rel=0.05)
    torch.testing.assert_close(statistics[1], statistics[0], rtol=0.03, atol=5e-3)


# Whole runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_four_steps_are_two_and_two_bit_for_bit(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """With crops that grow in between, and with the kept statistics lost in between."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(style_module.StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))
    stages = ({"share": 0.5, "crop": 64, "batch": 2}, {"share": 0.5, "crop": 72, "batch": 1})
    changes = {"precision": precision, "stages": stages}
    loop.run(task_of(pictures, tmp_path / "k1", **changes), Journal(tmp_path / "whole"))
    loop.run(task_of(pictures, tmp_path / "k2", **changes), Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(pictures, tmp_path / "k3", **changes), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (
        load_checkpoint(tmp_path / name / "checkpoint.safetensors").tensors for name in ("whole", "halves")
    )
    assert whole.keys() == halves.keys()
    for key in whole:
        assert torch.equal(whole[key], halves[key]), key
    rows = [[row | {"images_per_second": 0} for row in figures(tmp_path / name)] for name in ("whole", "halves")]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == [1, 2, 3, 4]


def test_a_tiny_run_really_learns(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    changes: dict[str, Any] = {"steps": 80, "sample_every": 80, "optim": {"lr": 3e-3, "warmup": 2}}
    task = task_of(pictures, tmp_path, **changes)
    before = task_of(pictures, tmp_path, **changes)
    loop.run(task, Journal(tmp_path / "run"))
    batches = [task.batch(step) for step in (100, 101, 102)]  # of a step that it did not train on
    with torch.no_grad():
        first, last = ([t.loss("all", b, 0) for b in batches] for t in (before, task))
    assert sum(float(total) for total, _ in last) < 0.8 * sum(float(total) for total, _ in first)
    assert sum(float(f["style"]) for _, f in last) < 0.6 * sum(float(f["style"]) for _, f in first)
    losses = [row["loss"] for row in figures(tmp_path / "run")]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    with Image.open(tmp_path / "run" / "samples" / "0000080.png") as grid:
        assert grid.size == (6 * 256, 6 * 256)


def test_samples_are_always_the_same_ones(pictures: Path, tmp_path: Path) -> None:
    task = task_of(pictures, tmp_path)
    grid = task.sample(task.modules, count=2, size=64)
    assert grid.shape == (3 * 64, 3 * 64, 3) and grid.dtype == np.uint8
    assert np.array_equal(grid, task_of(pictures, tmp_path).sample(task.modules, count=2, size=64))
    assert (grid[:64, :64] == 255).all()
    photo, painted = grid[64:128, :64], grid[64:128, 64:128]
    assert np.abs(photo.astype(int) - painted).mean() > 1
    assert not np.array_equal(painted, grid[64:128, 128:]), "two styles, two paintings"
