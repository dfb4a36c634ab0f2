from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import drawn_photo
from impasto.errors import TrainingError, UnknownName
from impasto.training.augment import DEFAULT, KINDS, LIMIT, WINDOW, AdaptiveStrength, augment


def photos(count: int = 4, channels: int = 3, height: int = 16, width: int = 24) -> Tensor:
    """Drawn pictures [N,C,H,W] in -1..1."""
    drawn = np.stack([drawn_photo(width, height, seed=i) for i in range(count)])
    x = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() * 2 - 1
    if channels == 1:
        return x.mean(1, keepdim=True)
    if channels == 4:
        ramp = torch.linspace(-1, 1, width).expand(count, 1, height, width)
        return torch.cat((x, ramp), 1)
    return x


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Pictures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_strength_zero_is_the_picture_itself(channels: int) -> None:
    x = photos(channels=channels)
    assert augment(x, 0.0, chance()) is x
    assert augment(x, 1.0, chance(), kinds=()) is x


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (28, 20), (5, 7)])
def test_shape_type_and_range_hold_for_any_picture(channels: int, size: tuple[int, int]) -> None:
    x = photos(8, channels, *size)
    y = augment(x, 1.0, chance(), kinds=KINDS)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert torch.isfinite(y).all() and float(y.abs().max()) < 6
    assert not torch.equal(y, x)
    half = augment(x.bfloat16(), 1.0, chance(), kinds=KINDS)
    assert half.dtype == torch.bfloat16 and half.shape == x.shape


def test_a_picture_that_nothing_happens_to_is_left_exactly_as_it_is() -> None:
    x = photos(64)
    y = augment(x, 0.15, chance(), kinds=KINDS)
    same = torch.tensor([torch.equal(a, b) for a, b in zip(x, y, strict=True)])
    expected = 0.85 ** len(KINDS)  # 0.27; a mirror or turn that is chosen may still change nothing
    assert expected - 0.15 < same.float().mean() < expected + 0.25
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(x, 0.15, chance(), kinds=KINDS), y), "precision is not lost under autocast"


def test_the_same_generator_gives_the_same_and_each_call_takes_as_much_from_it() -> None:
    x = photos()
    assert torch.equal(augment(x, 0.7, chance(3)), augment(x, 0.7, chance(3)))
    assert not torch.equal(augment(x, 0.7, chance(3)), augment(x, 0.7, chance(4)))
    left = []
    for strength, kinds in ((0.0, KINDS), (0.3, ("cutout",)), (1.0, KINDS), (0.5, ())):
        generator = chance(5)
        augment(x, strength, generator, kinds=kinds)
        left.append(float(torch.rand((), generator=generator)))
    assert len(set(left)) == 1
    before = torch.get_rng_state()
    augment(x, 1.0, chance())
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is not touched"


def test_strength_is_the_probability_of_a_change() -> None:
    x = photos(1).expand(400, -1, -1, -1)
    for strength in (0.2, 0.7):
        changed = (augment(x, strength, chance(), kinds=("brightness",)) != x).flatten(1).any(1)
        assert abs(float(changed.float().mean()) - strength) < 0.07


# Each kind ----------------------------------------------------------------------------------------------------------


def test_mirroring_is_exact_and_happens_to_half() -> None:
    x = photos(1).expand(200, -1, -1, -1)
    y = augment(x, 1.0, chance(), kinds=("mirror",))
    mirrored = torch.tensor([torch.equal(a, x[0].flip(2)) for a in y])
    assert all(torch.equal(a, x[0]) for a in y[~mirrored])
    assert 0.35 < mirrored.float().mean() < 0.65


def test_turns_are_the_three_quarters_of_a_square_and_the_half_of_an_oblong() -> None:
    square, oblong = photos(1, 3, 16, 16).expand(60, -1, -1, -1), photos(1).expand(60, -1, -1, -1)
    turned = {k: torch.rot90(square[0], k, (1, 2)) for k in range(4)}
    found = [
        next(k for k in range(4) if torch.equal(y, turned[k])) for y in augment(square, 1.0, chance(), kinds=("turn",))
    ]
    assert set(found) == {1, 2, 3}
    kinds = {
        "same" if torch.equal(y, oblong[0]) else "half" if torch.equal(y, oblong[0].flip(1, 2)) else "other"
        for y in augment(oblong, 1.0, chance(), kinds=("turn",))
    }
    assert kinds == {"same", "half"}


def test_shifts_move_whole_pixels_and_fill_with_the_mirror_image() -> None:
    x = photos(1, 3, 16, 24).expand(100, -1, -1, -1)
    ys = augment(x, 1.0, chance(), kinds=("shift",))
    seen = set()
    for y in ys:
        for down in range(-2, 3):
            for right in range(-3, 4):
                # Mirrored around the edge, the edge itself doubled.
                padded = torch.cat((x[0].flip(2)[:, :, -3:], x[0], x[0].flip(2)[:, :, :3]), 2)
                padded = torch.cat((padded.flip(1)[:, -2:], padded, padded.flip(1)[:, :2]), 1)
                if torch.equal(y, padded[:, 2 - down : 18 - down, 3 - right : 27 - right]):
                    seen.add((down, right))
                    break
            else:
                continue
            break
        else:
            raise AssertionError("a shift that is none of the allowed ones")
    assert {d for d, _ in seen} == set(range(-2, 3)) and {r for _, r in seen} == set(range(-3, 4))


def test_scaling_keeps_the_centre_and_even_grounds() -> None:
    size = 33
    y, x = torch.meshgrid(torch.arange(size) - 16.0, torch.arange(size) - 16.0, indexing="ij")
    disc = torch.where(x**2 + y**2 <= 64, 1.0, -1.0).expand(300, 1, size, size)
    out = augment(disc, 1.0, chance(), kinds=("scale",))
    area = ((out + 1) / 2).sum((1, 2, 3))
    scale = (area / ((disc[0] + 1) / 2).sum()).sqrt()
    logs = scale.log2()
    assert abs(float(logs.mean())) < 0.05 and 0.15 < float(logs.std()) < 0.25
    middle = ((out + 1) / 2 * x).sum((1, 2, 3)) / area
    assert float(middle.abs().max()) < 0.05
    even = torch.full((20, 1, size, size), 0.3)
    torch.testing.assert_close(augment(even, 1.0, chance(), kinds=("scale", "shift")), even)


def test_colour_changes_are_those_of_the_definition() -> None:
    x = photos(1).expand(200, -1, -1, -1)
    change = augment(x, 1.0, chance(), kinds=("brightness",)) - x
    values = change[:, 0, 0, 0]
    torch.testing.assert_close(change, values[:, None, None, None].expand_as(change), atol=1e-5, rtol=0)
    assert -0.5 <= float(values.min()) < -0.4 and 0.4 < float(values.max()) <= 0.5

    y = augment(x, 1.0, chance(), kinds=("saturation",))
    torch.testing.assert_close(y.mean(1), x.mean(1), atol=1e-5, rtol=0)
    share = (y - y.mean(1, keepdim=True)).flatten(1).norm(dim=1) / (x - x.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    assert 0 <= float(share.min()) < 0.1 and 1.9 < float(share.max()) <= 2.0001

    y = augment(x, 1.0, chance(), kinds=("contrast",))
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5, rtol=0)
    share = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= float(share.min()) < 0.55 and 1.45 < float(share.max()) <= 1.5001


def test_alpha_is_never_recoloured_and_grey_stays_grey() -> None:
    x = photos(50, 4)
    colour = ("brightness", "saturation", "contrast")
    y = augment(x, 1.0, chance(), kinds=colour)
    assert torch.equal(y[:, 3], x[:, 3]) and not torch.equal(y[:, :3], x[:, :3])
    torch.testing.assert_close(y[:, :3], augment(x[:, :3], 1.0, chance(), kinds=colour))
    grey = photos(3, 1).expand(-1, 3, -1, -1)
    y = augment(grey, 1.0, chance(), kinds=KINDS)
    torch.testing.assert_close(y[:, 0], y[:, 2], atol=1e-5, rtol=0)


def test_cutout_is_a_hole_of_half_the_sides() -> None:
    x = photos(100, 4, 16, 16).clamp(min=0.01)  # no 0 of its own
    y = augment(x, 1.0, chance(), kinds=("cutout",))
    hole = (y[:, :3] == 0).all(1)  # [N,H,W]
    assert torch.equal(hole, y[:, 3] == -1)
    assert torch.equal(y[:, 0][~hole], x[:, 0][~hole])
    for one in hole:
        rows, columns = one.any(1), one.any(0)
        assert torch.equal(one, rows[:, None] & columns[None]), "one rectangle"
        assert 4 <= int(rows.sum()) <= 8 and 4 <= int(columns.sum()) <= 8
    assert int(hole.sum((1, 2)).max()) == 64
    assert hole.any(0).all(), "it may be anywhere"


# Gradients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_gradient_is_right(channels: int) -> None:
    """With the same draws augmentation is affine, so a difference of any length is the derivative."""
    x, other = photos(6, channels).requires_grad_(), photos(6, channels).flip(0)
    weight = torch.randn(x.shape, generator=chance(9))
    y = augment(x, 0.8, chance(1), kinds=KINDS)
    (slope,) = torch.autograd.grad((y * weight).sum(), x)
    with torch.no_grad():
        change = augment(other, 0.8, chance(1), kinds=KINDS) - y
    expected = (change * weight).sum((1, 2, 3))
    torch.testing.assert_close((slope * (other - x.detach())).sum((1, 2, 3)), expected, atol=1e-2, rtol=1e-4)
    assert float(expected.abs().min()) > 0.05


def test_every_pixel_outside_a_hole_has_a_gradient_and_so_has_its_square() -> None:
    x = photos(6, 4).requires_grad_()
    y = augment(x, 1.0, chance())
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    assert torch.isfinite(slope).all() and (slope.flatten(1).abs().sum(1) > 0).all()
    slope.square().sum().backward()  # as a penalty on the slope does
    assert x.grad is not None and torch.isfinite(x.grad).all() and float(x.grad.abs().sum()) > 0


# Refusals -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_augmented_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"are \[N,1\|3\|4,H,W\], not \[4, 2, 16, 24\]"):
        augment(photos()[:, :2], 0.5, chance())
    with pytest.raises(TrainingError, match=r"not \[3, 16, 24\]"):
        augment(photos()[0], 0.5, chance())
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(TrainingError, match="is no probability"):
            augment(photos(), strength, chance())
    with pytest.raises(UnknownName, match="did you mean 'cutout'"):
        augment(photos(), 0.5, chance(), kinds=("cutouts",))
    assert set(DEFAULT) < set(KINDS)


# Adaptive strength --------------------------------------------------------------------------------------------------


def test_the_strength_follows_the_share_of_pictures_known_by_heart() -> None:
    strength = AdaptiveStrength(0.6, speed=WINDOW * 10)
    known = torch.ones(WINDOW)
    known[: WINDOW // 10] = -1  # r = 0.8
    strength.update(known)
    assert strength.sign == pytest.approx(0.8, abs=0.01) and strength.value == pytest.approx(0.1)
    strength.update(known * 5)
    assert strength.value == pytest.approx(0.2), "only the sign counts"
    known[: WINDOW // 4] = -1  # r = 0.5
    strength.update(known)
    assert strength.sign == pytest.approx(0.5) and strength.value == pytest.approx(0.1)
    for _ in range(5):
        strength.update(-torch.ones(WINDOW))
    assert strength.value == 0.0
    for _ in range(20):
        strength.update(torch.ones(WINDOW))
    assert strength.value == LIMIT


def test_it_settles_where_the_share_meets_the_target() -> None:
    """A discriminator whose r falls from 1 to 0.2 as the strength grows is held at 0.6, strength 0.5."""
    strength = AdaptiveStrength(0.6, speed=WINDOW * 40)
    generator = chance()
    path = []
    for _ in range(200):
        share = (1 + (1 - 0.8 * strength.value)) / 2
        strength.update(torch.where(torch.rand(WINDOW, generator=generator) < share, 1.0, -1.0))
        path.append(strength.value)
    assert abs(float(np.mean(path[50:])) - 0.5) < 0.06 and np.std(path[50:]) < 0.08


def test_small_batches_are_gathered_and_their_size_does_not_matter() -> None:
    logits = torch.randn(4 * WINDOW, generator=chance()) + 0.3
    whole, parts = AdaptiveStrength(0.1), AdaptiveStrength(0.1)
    for part in logits.split(WINDOW):
        whole.update(part)
    for i, part in enumerate(logits.split(16)):
        parts.update(part[:, None])
        assert (parts.value > 0) == (i + 1 >= WINDOW // 16), "nothing moves before the window is full"
    assert parts.value == whole.value > 0 and parts.sign == whole.sign


def test_a_loss_of_differences_is_judged_by_differences() -> None:
    real, fake = torch.full((WINDOW,), -3.0), torch.full((WINDOW,), -5.0)
    by_level, by_difference = AdaptiveStrength(), AdaptiveStrength()
    by_level.update(real)
    by_difference.update(real, fake)
    assert by_level.sign == -1 and by_difference.sign == 1
    assert by_level.value == 0 < by_difference.value


def test_the_state_goes_on_exactly(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    logits = torch.randn(40, 32, generator=chance()) + 0.5
    whole, first, second = AdaptiveStrength(), AdaptiveStrength(), AdaptiveStrength()
    for part in logits:
        whole.update(part)
    for part in logits[:13]:  # in the middle of a window
        first.update(part)
    save_file(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_file(tmp_path / "state.safetensors"))
    for part in logits[13:]:
        second.update(part)
    assert second.value == whole.value and torch.equal(second.state()["strength"], whole.state()["strength"])
    for broken in ({}, {"strength": torch.zeros(2)}):
        with pytest.raises(TrainingError, match="holds no augmentation strength"):
            second.load_state(broken)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"target": 1.5}, {"start": -0.1}, {"speed": 0}, {"limit": 1.2}):
        with pytest.raises(TrainingError, match="An adaptive strength needs"):
            AdaptiveStrength(**wrong)
    assert AdaptiveStrength(start=0.3).value == 0.3
