"""Other ways to look at a picture while it is painted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.runtime.picture import Picture

torch = pytest.importorskip("torch")

from impasto.training import paint as paint_module  # noqa: E402 (needs torch)
from impasto.training.paint import Brush, paint  # noqa: E402
from impasto.training.paint_spec import OTHER_VIEWS  # noqa: E402
from impasto.training.paint_views import OTHERS, PLAIN, View, order_of  # noqa: E402
from training.optimised import SPEC, tiny_vgg  # noqa: E402

PICTURE = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("view", [PLAIN, *OTHERS])
def test_a_gradient_comes_back_to_the_pixels_it_is_of(view: View) -> None:
    picture = PICTURE.clone().requires_grad_()
    seen = view.of(picture)
    pull = torch.rand(seen.shape, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad((seen * pull).sum(), picture)
    assert torch.equal(view.undone(pull), slope)


@pytest.mark.parametrize("view", [PLAIN, *OTHERS])
def test_a_map_lies_over_the_picture_as_before_and_keeps_its_values(view: View) -> None:
    marked = PICTURE[:, :1].clone()
    light = view.of(marked.expand(1, 3, 5, 7))
    light = 1 - light if view.negative else light
    assert torch.equal(view.of(marked).expand_as(light), light)


def test_views_are_different_ones_and_as_many_as_can_be_asked_for() -> None:
    assert len(OTHERS) == OTHER_VIEWS
    for one, other in itertools.combinations([PLAIN, *OTHERS], 2):
        first, second = one.of(PICTURE), other.of(PICTURE)
        assert first.shape != second.shape or not torch.allclose(first, second)


@pytest.mark.parametrize("others", range(OTHER_VIEWS + 1))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 63, 70])
def test_all_steps_are_taken_and_the_last_sees_the_picture_as_it_is(others: int, steps: int) -> None:
    order = order_of(others, steps)
    assert sum(count for _, count in order) == steps and min(count for _, count in order) > 0
    assert order[-1][0] == PLAIN and [view for view, _ in order[:-1]] == list(OTHERS[: len(order) - 1])
    if steps > 2 * OTHER_VIEWS:
        assert len(order) == others + 1


def test_masks_and_transparency_lie_where_they_did_under_every_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each objective is given photo, masks and alpha as its view shows them."""
    where, alpha = np.zeros((48, 64), np.float32), np.ones((48, 64), np.float32)
    where[:10, :20], alpha[30:, 50:] = 1, 0
    photo = replace(Picture(drawn_photo(64, 48, seed=1)), alpha=alpha)
    plain, seen = paint_module.Objective, []

    def watched(net: object, spec: object, laid: torch.Tensor, manners: object, **options: object) -> object:
        seen.append((laid, [one.where for one in manners], options["counted"], [one.opaque for one in manners]))  # type: ignore[attr-defined]
        return plain(net, spec, laid, manners, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(paint_module, "Objective", watched)
    brushes = [Brush(replace(Picture(drawn_photo(64, 48, seed=s)), alpha=alpha), where=where) for s in (5, 6)]
    done = paint(photo, brushes, replace(SPEC, coarsest=64, views=OTHER_VIEWS, steps=12), net=tiny_vgg())
    assert done.steps == done.planned == 12 and len(seen) == OTHER_VIEWS + 1
    for view, (laid, wheres, counted, opaques) in zip((*OTHERS, PLAIN), seen, strict=True):
        assert wheres[0] is wheres[1]  # one map for styles that share a mask
        assert torch.equal(laid, view.of(seen[-1][0]))
        assert torch.equal(wheres[0], view.of(seen[-1][1][0])) and torch.equal(counted, view.of(seen[-1][2]))
        assert torch.equal(opaques[0], view.of(seen[-1][3][0]))


def test_each_view_begins_where_the_last_one_stopped_and_the_loss_goes_down_under_it() -> None:
    losses: list[float] = []
    spec = replace(SPEC, coarsest=64, views=2, steps=24, last=1.0)
    photo, style = Picture(drawn_photo(64, 48, seed=1)), Picture(drawn_photo(60, 52, seed=5))
    first = paint(photo, [Brush(style)], spec, net=tiny_vgg(), progress=lambda now: losses.append(now.numbers["loss"]))
    for part in (losses[:8], losses[8:16], losses[16:]):
        assert min(part[1:]) < part[0]
    assert first.loss == min(losses[16:])
    again = paint(photo, [Brush(style)], spec, net=tiny_vgg())
    assert np.array_equal(first.picture.rgb, again.picture.rgb)
    alone = paint(photo, [Brush(style)], replace(spec, views=0), net=tiny_vgg())
    assert not np.array_equal(first.picture.rgb, alone.picture.rgb)
