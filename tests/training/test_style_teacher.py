"""Codes from the statistics that the style loss compares: what they say, who is given them, who learns them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from impasto.errors import TrainingError
from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.losses import perceptual
from impasto.training.nets import NETS
from impasto.training.nets.style import COLORS, Painter, StyleEncoder
from impasto.training.nets.style_teacher import FURTHEST, StyleTeacher, translate
from impasto.training.recipe import recipe_hash
from impasto.training.tasks.style import StyleTask
from training.support import tiny_recipe, tiny_spec

WIDTHS = (3, 5)
ON: dict[str, Any] = {
    "loss": {"teach": 5.0, "hint": 0.0},
    "stages": ({"share": 1.0, "crop": 64, "batch": 4, "given": 1.0},),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))


def task_of(pictures: Path, keep: Path, **changes: Any) -> StyleTask:
    return StyleTask(tiny_recipe(pictures, **(ON | changes)), keep=keep)


def grams(count: int, seed: int = 0) -> list[Tensor]:
    """Gram vectors of made-up features whose channels differ in strength from picture to picture."""
    random = torch.Generator().manual_seed(seed)
    parts = []
    for width in WIDTHS:
        strength = torch.exp(torch.randn(count, width, 1, 1, generator=random))
        parts.append(perceptual.gram_vector(torch.rand(count, width, 6, 6, generator=random) * strength))
    return parts


def test_row_sums_are_those_of_the_matrix() -> None:
    features = torch.rand(2, 5, 4, 4)
    expected = perceptual.gram(features).sum(2)
    torch.testing.assert_close(perceptual.row_sums(perceptual.gram_vector(features)), expected)


def test_codes_are_uncorrelated_and_of_unit_size_with_the_strongest_first() -> None:
    teacher, seen = StyleTeacher(WIDTHS, 6), grams(200)
    teacher.calibrate(teacher.statistics(seen))
    codes = teacher(seen)
    assert codes.shape == (200, 6) and float(codes.abs().max()) < FURTHEST
    covariance = codes.T @ codes / 200
    assert abs(float(covariance.diagonal().mean()) - 1) < 1e-3
    assert float((covariance - torch.diag(covariance.diagonal())).abs().max()) < 1e-3
    assert covariance.diagonal().tolist() == sorted(covariance.diagonal().tolist(), reverse=True)
    torch.testing.assert_close(teacher([part[3:5] for part in seen]), codes[3:5])


def test_fewer_paintings_than_numbers() -> None:
    teacher, seen = StyleTeacher(WIDTHS, 12), grams(5)
    teacher.calibrate(teacher.statistics(seen))
    codes = teacher(seen)
    assert bool(codes.isfinite().all()) and float(codes[:, 4:].abs().max()) == 0 < float(codes[:, :4].abs().min())


def test_a_strange_painting_stays_within_bounds() -> None:
    teacher, seen = StyleTeacher(WIDTHS, 6), grams(50)
    teacher.calibrate(teacher.statistics(seen))
    assert float(teacher([1e12 * part for part in seen]).abs().max()) == FURTHEST


def test_translated_networks_understand_each_other() -> None:
    """Where one code is a linear map of the other nothing changes: the same picture comes out."""
    spec = tiny_spec()
    torch.manual_seed(0)
    networks = NETS["anystyle"](spec)
    painter, encoder = networks["painter"], networks["encoder"]
    assert isinstance(painter, Painter) and isinstance(encoder, StyleEncoder)
    styles = torch.rand(40, 3, 32, 32)
    with torch.no_grad():
        encoder.calibrate([styles])
        seen = encoder.look(styles)
        codes = encoder.describe(styles, seen)
        turn = 2 * torch.linalg.qr(torch.randn(spec.code, spec.code)).Q
        taught = codes[:, :-COLORS] @ turn + 0.3
        photo, stats, noise = torch.rand(2, 3, 64, 64), codes[:2, -COLORS:], torch.randn(2, 4, 8, 8)
        before = painter(photo, stats, codes[:2], noise)
        wrong = painter(photo, stats, torch.cat((taught[:2], codes[:2, -COLORS:]), 1), noise)
        translate(painter, encoder, seen, codes[:, :-COLORS], taught)
        after = painter(photo, stats, torch.cat((taught[:2], codes[:2, -COLORS:]), 1), noise)
        said = encoder(styles)[:, :-COLORS]
    assert float((after - before).abs().max()) < 0.25 * float((wrong - before).abs().max())
    assert float((said - taught).square().mean()) < 0.1 * float(taught.var())


def test_the_painter_is_given_the_teachers_codes_in_their_share(pictures: Path, tmp_path: Path) -> None:
    seen: dict[float, list[Tensor]] = {}
    for share in (0.0, 0.5, 1.0):
        stages = ({"share": 1.0, "crop": 64, "batch": 8, "given": share},)
        task = task_of(pictures, tmp_path, stages=stages)
        batch = task.batch(0)
        targets = task._gram_targets(batch.entries, task._float(batch.styles))
        assert task.teacher is not None
        taught = task.teacher(targets)
        done = task._paint(batch, 0, own=False, taught=taught)
        same = (done.used[:, :-COLORS] == taught).all(1)
        assert bool((same | (done.used[:, :-COLORS] == done.codes[:, :-COLORS]).all(1)).all())
        assert torch.equal(done.used[:, -COLORS:], done.codes[:, -COLORS:])
        seen[share] = [same]
    counts = {share: int(same.sum()) for share, (same,) in seen.items()}
    assert counts[0.0] == 0 and 0 < counts[0.5] < 8 and counts[1.0] == 8


def test_the_encoder_learns_what_the_teacher_says(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    changes: dict[str, Any] = {"steps": 60, "optim": {"lr": 3e-3, "warmup": 2}}
    loop.run(task_of(pictures, tmp_path, **changes), Journal(tmp_path / "run"))
    rows = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    told = [row["teach"] for row in rows if "teach" in row]
    assert sum(told[-5:]) < 0.7 * sum(told[:5])


def test_a_run_goes_on_from_one_without_a_teacher(pictures: Path, tmp_path: Path) -> None:
    plain = {"loss": {"hint": 0.0}, "stages": ({"share": 1.0, "crop": 64, "batch": 4},), "steps": 2}
    loop.run(StyleTask(tiny_recipe(pictures, **plain), keep=tmp_path), Journal(tmp_path / "first"))
    task = task_of(pictures, tmp_path, start=str(tmp_path / "first"), steps=2)
    loop.run(task, Journal(tmp_path / "second"))
    first, second = (load_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("first", "second"))
    assert torch.equal(second.tensors["ema.encoder.whiten.deviation"], torch.ones(8))
    assert float(second.tensors["ema.teacher.basis"].abs().max()) > 0
    # Only the map of codes was changed by hand, and two steps move the rest a little; fresh networks would be 1.4 away.
    for name in ("ema.painter.look.weight", "ema.encoder.conv1.weight"):
        change = (first.tensors[name] - second.tensors[name]).norm() / first.tensors[name].norm()
        assert float(change) < 0.3, name


def test_a_taught_run_goes_on_to_the_bit(pictures: Path, tmp_path: Path) -> None:
    stages = ({"share": 1.0, "crop": 64, "batch": 2, "given": 0.5, "teach": 2.0},)
    loop.run(task_of(pictures, tmp_path, stages=stages), Journal(tmp_path / "whole"))
    loop.run(task_of(pictures, tmp_path, stages=stages), Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(pictures, tmp_path, stages=stages), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (load_checkpoint(tmp_path / n / "checkpoint.safetensors").tensors for n in ("whole", "halves"))
    assert all(torch.equal(whole[key], halves[key]) for key in whole) and whole.keys() == halves.keys()


@pytest.mark.parametrize("key", ["given", "teach"])
def test_stages_that_ask_for_a_teacher_that_is_not_there(pictures: Path, key: str) -> None:
    with pytest.raises(TrainingError, match=r"set loss\.teach"):
        tiny_recipe(pictures, stages=({"share": 1.0, "crop": 64, "batch": 2, key: 0.5},))


def test_recipes_without_a_teacher_keep_their_runs(pictures: Path) -> None:
    plain = tiny_recipe(pictures)
    assert not {"teach", "given"} & {*plain.identity()["loss"], *plain.identity()["stages"][0]}
    assert recipe_hash(plain) != recipe_hash(tiny_recipe(pictures, **ON))
