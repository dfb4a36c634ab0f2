"""Variational style codes: what is drawn, what it costs, what is exported."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from impasto.errors import TrainingError
from impasto.runtime.engine import Engine
from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.export import load_run, to_onnx
from impasto.training.journal import Journal
from impasto.training.nets import NETS
from impasto.training.nets.style import COLORS, SEEN, UNSURE, Painter, StyleDoubt, StyleEncoder
from impasto.training.tasks.style import StyleTask
from training.support import tiny_recipe, tiny_spec

ON: dict[str, Any] = {"net": {"variational": True}, "loss": {"kl": 0.25}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured before a run, and the grid to look at, are of no matter here."""
    monkeypatch.setattr(StyleTask, "_calibrate", lambda self: None)
    monkeypatch.setattr(StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))


def task_of(pictures: Path, keep: Path, **changes: Any) -> StyleTask:
    return StyleTask(tiny_recipe(pictures, **(ON | changes)), keep=keep)


def codes_of(task: StyleTask, index: int = 0) -> Tensor:
    """The codes that the painter is given for a batch."""
    given: list[Tensor] = []
    painter = task.modules["painter"]
    assert isinstance(painter, Painter)
    before = painter.raw

    def listen(photo: Tensor, stats: Tensor, code: Tensor, grain: Tensor) -> Tensor:
        given.append(code)
        return before(photo, stats, code, grain)

    painter.raw = listen  # type: ignore[method-assign]
    task.loss("all", task.batch(index), index)
    painter.raw = before  # type: ignore[method-assign]
    return given[0]


def test_strokes_are_drawn_and_colours_are_not(pictures: Path, tmp_path: Path) -> None:
    task = task_of(pictures, tmp_path)
    batch, encoder = task.batch(0), task.modules["encoder"]
    with torch.no_grad():
        mean = encoder(batch.styles.float() / 255)
    given = codes_of(task).detach()
    count = len(batch.photos)
    torch.testing.assert_close(given[:count, -COLORS:], mean[:, -COLORS:], rtol=0, atol=1e-6)
    away = (given[:count, :-COLORS] - mean[:, :-COLORS]) / math.exp(UNSURE / 2)
    assert 0.4 < float(away.square().mean().sqrt()) < 1.8, "2 x 8 draws of deviation 1"
    selves = batch.selves.float() / 255
    with torch.no_grad():
        torch.testing.assert_close(given[count:, :-COLORS], encoder(selves)[:, :-COLORS], rtol=0, atol=1e-5)


def test_chance_is_a_function_of_seed_and_batch(pictures: Path, tmp_path: Path) -> None:
    task = task_of(pictures, tmp_path)
    with torch.no_grad():
        first, again, later = codes_of(task), codes_of(task), codes_of(task, 1)
    assert torch.equal(first, again)
    assert not torch.equal(first - later, torch.zeros_like(first))
    other = StyleTask(tiny_recipe(pictures, **ON, seed=4), keep=tmp_path)
    other.modules["encoder"].load_state_dict(task.modules["encoder"].state_dict())
    same = task.batch(0)
    with torch.no_grad():
        ours, theirs = (t._paint(same, 0, own=False) for t in (task, other))
    assert torch.equal(ours.codes, theirs.codes) and not torch.equal(ours.used, theirs.used)


def test_the_divergence_by_hand(pictures: Path, tmp_path: Path) -> None:
    """Two numbers of a code, mean 1 and variance e^2, the rest as N(0,1): (1 + e^2 - 1 - 2) / 2 each."""
    task = task_of(pictures, tmp_path)
    encoder, doubt = task.modules["encoder"], task.modules["doubt"]
    assert isinstance(encoder, StyleEncoder) and isinstance(doubt, StyleDoubt)
    mean = torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0, 0])
    with torch.no_grad():
        encoder.head[2].weight.zero_()
        encoder.head[2].bias.copy_(mean)
        doubt.guess.bias.copy_(2 * mean)
    _, figures = task.loss("all", task.batch(0), 0)
    assert figures["kl"].item() == pytest.approx(2 / 8 * (math.e**2 - 2) / 2, rel=1e-5)
    free = task_of(pictures, tmp_path, loss={"kl": 0.0})
    total, without = free.loss("all", free.batch(0), 0)
    assert "kl" not in without and total.isfinite()


def test_gradients_of_what_is_drawn(pictures: Path, tmp_path: Path) -> None:
    """d z / d mean = 1 and d z / d logvar = noise exp(logvar / 2) / 2; and they reach the encoder and the doubt."""
    task = task_of(pictures, tmp_path)
    done = task._paint(task.batch(0), 0, own=False)
    assert done.logvar is not None
    drawn, numbers = done.used[:, :-COLORS], done.logvar.shape[1]
    noise = (drawn - done.codes[:, :-COLORS]).detach() / math.exp(UNSURE / 2)
    slope_mean, slope_logvar = torch.autograd.grad(drawn.sum(), [done.codes, done.logvar], retain_graph=True)
    torch.testing.assert_close(slope_mean[:, :numbers], torch.ones_like(noise))
    torch.testing.assert_close(slope_logvar, noise * math.exp(UNSURE / 2) / 2, rtol=1e-3, atol=1e-5)
    total, _ = task.loss("all", task.batch(0), 0)
    total.backward()  # type: ignore[no-untyped-call]
    for name, value in task.modules["doubt"].named_parameters():
        assert value.grad is not None and float(value.grad.abs().sum()) > 0, name


def test_without_it_nothing_else_is_built() -> None:
    plain, drawing = (NETS["anystyle"](tiny_spec(variational=on)) for on in (False, True))
    assert set(plain) == {"encoder", "painter"} and set(drawing) == {"encoder", "painter", "doubt"}
    assert plain["encoder"].state_dict().keys() == drawing["encoder"].state_dict().keys()
    assert drawing["doubt"](torch.randn(3, SEEN)).shape == (3, 8)


def test_half_way_and_resumed_is_the_same_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    loop.run(task_of(pictures, tmp_path / "k"), Journal(tmp_path / "whole"))
    loop.run(task_of(pictures, tmp_path / "k"), Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(pictures, tmp_path / "k"), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (load_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "halves"))
    assert any("doubt" in key for key in whole.tensors) and whole.tensors.keys() == halves.tensors.keys()
    for key, value in whole.tensors.items():
        assert torch.equal(value, halves.tensors[key]), key


def test_a_run_may_start_from_codes_that_were_not_drawn_and_gives_the_mean(pictures: Path, tmp_path: Path) -> None:
    plain = StyleTask(tiny_recipe(pictures, steps=1), keep=tmp_path / "k")
    loop.run(plain, Journal(tmp_path / "plain"))
    task = task_of(pictures, tmp_path / "k", steps=1, start=str(tmp_path / "plain"))
    loop.run(task, Journal(tmp_path / "run"))
    first, run = (load_checkpoint(tmp_path / name / "checkpoint.safetensors").tensors for name in ("plain", "run"))
    assert float((first["ema.painter.look.weight"] - run["ema.painter.look.weight"]).abs().max()) < 0.05
    _, modules, _ = load_run(tmp_path / "run")
    with torch.no_grad():
        modules["doubt"].guess.bias.fill_(5.0)  # as unsure as can be: nothing of it is in the file
        graph = to_onnx(modules["encoder"], {"style": torch.rand(1, 3, 64, 96)}, {"style": 16}, "code")
        style = torch.rand(1, 3, 80, 64)
        given = Engine(graph, threads=1).run({"style": style.numpy()})["code"]
        np.testing.assert_allclose(given, modules["encoder"](style).numpy(), atol=1e-4)


def test_a_start_that_lacks_more_is_refused(pictures: Path, tmp_path: Path) -> None:
    plain = StyleTask(tiny_recipe(pictures, steps=1, loss={"hint": 0.0}), keep=tmp_path / "k")
    loop.run(plain, Journal(tmp_path / "plain"))
    with pytest.raises(TrainingError, match="does not fit the network's hint"):
        loop.run(task_of(pictures, tmp_path / "k", start=str(tmp_path / "plain")), Journal(tmp_path / "run"))
