"""Bands in torch: the numbers that numpy gives, a gradient, and what the networks do with them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import drawn_photo  # noqa: E402 (needs torch)
from impasto.runtime import laplacian  # noqa: E402
from impasto.runtime import pyramid as plain  # noqa: E402
from impasto.training.nets import NETS, pyramid  # noqa: E402
from impasto.training.nets.blocks import color_stats  # noqa: E402
from impasto.training.nets.style import COLORS  # noqa: E402
from training.support import tiny_spec  # noqa: E402

Tensor = torch.Tensor


def pictures(seed: int, count: int = 2, width: int = 64, height: int = 48) -> Tensor:
    """Drawn photos with some noise, [N,3,H,W]."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, height, width, 3))
    rgb = np.stack([drawn_photo(width, height, seed=seed + k) for k in range(count)])
    return torch.from_numpy(np.clip(0.7 * rgb + 0.1 + noise, 0, 1).astype(np.float32)).permute(0, 3, 1, 2)


def test_it_is_what_numpy_does() -> None:
    x, y = pictures(0), pictures(5)
    for k, (one, other) in enumerate(zip(x.numpy(), y.numpy(), strict=True)):
        for ours, theirs in zip(pyramid.split(x), laplacian.split(one), strict=True):
            np.testing.assert_allclose(ours[k].numpy(), theirs, atol=1e-6)
        np.testing.assert_allclose(pyramid.band_stats(y)[k].numpy(), plain.band_stats(other), atol=1e-5)
        ours = pyramid.match_bands(x, y.mean((2, 3)), pyramid.band_stats(y)).clamp(0, 1)[k]
        theirs = plain.gains_of(one, other.mean((1, 2)), plain.band_stats(other)).pixels(one)
        np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), theirs, atol=1e-4)


def test_the_gradient_goes_through_the_gains() -> None:
    x, y = pictures(1, 1, 16, 16).double(), pictures(6, 1, 16, 16)
    wanted, mean = pyramid.band_stats(y), y.mean((2, 3))
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 30

    def score(step: float) -> Tensor:
        return pyramid.match_bands((x + step * way).float(), mean, wanted).double().square().sum()

    at = x.float().requires_grad_()
    pyramid.match_bands(at, mean, wanted).double().square().sum().backward()
    assert at.grad is not None
    measured = (score(0.01) - score(-0.01)).item() / 0.02
    assert measured == pytest.approx(float((at.grad.double() * way).sum()), rel=0.03)
    # Twice the contrast comes out the same, so there is nothing to gain by it.
    stronger = 0.5 + 0.5 * (x.float() - 0.5)
    same = pyramid.match_bands(stronger, mean, wanted)
    assert (same - pyramid.match_bands(x.float(), mean, wanted)).abs().max() < 0.05


def test_half_precision_is_kept_out() -> None:
    x, y = pictures(2), pictures(7)
    exact = pyramid.match_bands(x, y.mean((2, 3)), pyramid.band_stats(y))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pyramid.match_bands(x, y.mean((2, 3)), pyramid.band_stats(y))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact)


@pytest.mark.parametrize("bands", [False, True])
def test_codes_say_how_bands_vary_and_pictures_are_given_that(bands: bool) -> None:
    spec = tiny_spec(bands=bands)
    modules = NETS["anystyle"](spec)
    style = pictures(3, 2, 64, 64)
    code = modules["encoder"](style)
    assert code.shape == (2, spec.code_size) and spec.code_size == spec.code + COLORS + (plain.NUMBERS if bands else 0)
    raw = 0.3 + 0.2 * pictures(4)
    finished = modules["painter"].finished(raw, code)
    if not bands:
        assert finished is raw
        return
    torch.testing.assert_close(code[:, spec.code : -COLORS], pyramid.band_stats(style))
    expected = pyramid.match_bands(raw, style.mean((2, 3)), pyramid.band_stats(style))
    torch.testing.assert_close(finished, expected, atol=1e-5, rtol=1e-5)


def test_a_painter_without_bands_learns_on_with_them() -> None:
    before, after = (NETS["anystyle"](tiny_spec(bands=bands)) for bands in (False, True))
    for name in ("encoder", "painter"):
        after[name].load_state_dict(before[name].state_dict())
    photo, style = pictures(0), pictures(8, 2, 64, 64)
    told, more = (modules["encoder"](style) for modules in (before, after))
    torch.testing.assert_close(torch.cat((more[:, : -COLORS - plain.NUMBERS], more[:, -COLORS:]), 1), told)
    rest = color_stats(photo), torch.zeros(2, 4, 6, 8)
    same, new = (
        modules["painter"].raw(photo, rest[0], code, rest[1]) for modules, code in ((before, told), (after, more))
    )
    torch.testing.assert_close(new, same)
