"""The objective: tiles against the whole, masks and alpha, and its slope."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from impasto.training.paint_objective import Manner, Objective, reach_of, stride_of  # noqa: E402 (needs torch)
from impasto.training.paint_spec import PaintSpec  # noqa: E402
from training.optimised import SPEC, tiny_vgg  # noqa: E402

Tensor = torch.Tensor


def picture(seed: int, height: int = 40, width: int = 48, channels: int = 3) -> Tensor:
    """Soft blobs, float64 [1,C,H,W]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 7, 9, generator=random, dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def objective(spec: PaintSpec = SPEC, **options: object) -> Objective:
    manners = [Manner(picture(2, 36, 52), 2.0), Manner(picture(3, 44, 44), 1.0)]
    return Objective(tiny_vgg().double(), spec, picture(1), manners, **options)  # type: ignore[arg-type]


def test_strides_and_reach_are_those_of_the_network() -> None:
    net = tiny_vgg().double()
    assert [stride_of(layer) for layer in ("relu1_2", "relu2_1", "relu4_3")] == [1, 2, 8]
    reach = reach_of(net.order)
    assert reach % stride_of(net.order[-1]) == 0
    spot = picture(1, 96, 96).requires_grad_()
    top = net(spot)[net.order[-1]]
    middle = top.shape[2] // 2
    (slope,) = torch.autograd.grad(top[..., middle, middle].sum(), spot)
    seen = slope.abs().sum((0, 1, 3)).nonzero().flatten()
    at = middle * stride_of(net.order[-1])
    assert seen.min() >= at - reach and seen.max() < at + stride_of(net.order[-1]) + reach


@pytest.mark.parametrize("kind", ["gram", "wasserstein", "both"])
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_give_the_gradient_of_the_whole(kind: str, masked: bool) -> None:
    spec = replace(SPEC, style_loss=kind)
    where = picture(8, channels=1) if masked else None
    manners = [Manner(picture(2, 36, 52), 2.0, where), Manner(picture(3, 44, 44), 1.0, None, picture(5, 44, 44, 1))]
    counted = picture(9, channels=1) if masked else None

    def made(tile: int | None) -> Objective:
        return Objective(tiny_vgg().double(), spec, picture(1), manners, counted=counted, tile=tile)

    at = picture(4)
    whole, tiled = made(None)(at), made(17)(at)
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-10)
    assert tiled.parts == pytest.approx(whole.parts, rel=1e-10)
    assert (tiled.slope - whole.slope).abs().max() < 1e-9 * whole.slope.abs().max()


def test_the_slope_is_that_of_the_loss() -> None:
    judge, at = objective(), picture(4)
    score = judge(at)
    way = score.slope / score.slope.norm()
    step = 1e-5
    measured = (judge(at + step * way).loss - judge(at - step * way).loss) / (2 * step)
    assert measured == pytest.approx(float((score.slope * way).sum()), rel=1e-4)


def test_the_photo_has_lost_nothing_and_the_style_has_all_of_itself() -> None:
    style = picture(2)
    judge = Objective(tiny_vgg().double(), SPEC, picture(1), [Manner(style)])
    assert judge(picture(1)).parts["content"] == pytest.approx(0, abs=1e-3)
    assert judge(style).parts["style"] == pytest.approx(0, abs=1e-6)
    assert judge(picture(1)).parts["style"] > 0.01 and judge(style).parts["content"] > 0.1


def test_even_layout_asks_flat_ground_to_stay_flat() -> None:
    half = picture(1)
    half[..., :24] = 0.5
    strewn = half + 0.03 * torch.sin(torch.arange(48, dtype=torch.float64) * 2.1) * (torch.arange(48) < 20)

    def lost(even: float, at: Tensor) -> float:
        spec = replace(SPEC, even=even)
        return Objective(tiny_vgg().double(), spec, half, [Manner(picture(2))])(at).parts["content"]

    assert lost(1.0, strewn) > 2 * lost(0.0, strewn)
    assert lost(1.0, half) < 1e-3


def test_weights_are_shares() -> None:
    def style(*weights: float) -> float:
        manners = [Manner(picture(seed), weight) for seed, weight in zip((2, 3), weights, strict=True)]
        return Objective(tiny_vgg().double(), SPEC, picture(1), manners)(picture(4)).parts["style"]

    assert style(2, 6) == pytest.approx(style(1, 3))
    assert style(1, 1e-12) != pytest.approx(style(1e-12, 1), rel=1e-3)
    assert style(1, 1) == pytest.approx((style(1, 1e-12) + style(1e-12, 1)) / 2)


def test_what_lies_outside_a_mask_and_far_from_it_has_no_slope() -> None:
    net = tiny_vgg().double()
    reach = reach_of(net.order)
    width = 4 * reach
    left = torch.zeros(1, 1, 40, width, dtype=torch.float64)
    left[..., : width // 4] = 1
    spec = replace(SPEC, content=0.0, smooth=0.0)
    slope = Objective(net, spec, picture(1, 40, width), [Manner(picture(2), 1.0, left)])(picture(4, 40, width)).slope
    assert slope[..., : width // 4].abs().max() > 0
    assert slope[..., width // 4 + reach :].abs().max() == 0


def test_what_lies_under_transparency_counts_neither_in_photo_nor_painting() -> None:
    half = torch.ones(1, 1, 40, 48, dtype=torch.float64)
    half[..., 24:] = 0
    other = picture(2).clone()
    other[..., 40:] = 0.5  # far from the edge, whose features see across it
    net = tiny_vgg().double()
    scores = [
        Objective(net, SPEC, picture(1), [Manner(one, opaque=half)])(picture(4)).loss for one in (picture(2), other)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


def test_somebody_may_leave_between_two_tiles() -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise KeyboardInterrupt

    limit = 10**9
    judge = objective(tile=17, check=check)
    limit, calls = 3, 0
    with pytest.raises(KeyboardInterrupt):
        judge(picture(4))
    assert calls == 4


def test_bands_are_those_of_the_painting_where_it_counts() -> None:
    spec = replace(SPEC, content=0.0, style=1e-9, smooth=0.0, bands=2.0)
    style = picture(2, 40, 48)

    def judge(**options: object) -> Objective:
        return Objective(tiny_vgg().double(), spec, picture(1), [Manner(style, **options)])  # type: ignore[arg-type]

    whole = judge()
    assert whole(style).parts["bands"] == pytest.approx(0, abs=1e-9)
    far = whole(picture(4))
    assert far.parts["bands"] > 0.02 and far.loss == pytest.approx(2 * far.parts["bands"], rel=1e-6)
    way = far.slope / far.slope.norm()
    measured = (whole(picture(4) + 1e-5 * way).loss - whole(picture(4) - 1e-5 * way).loss) / 2e-5
    assert measured == pytest.approx(float((far.slope * way).sum()), rel=1e-3)
    left = torch.zeros(1, 1, 40, 48, dtype=torch.float64)
    left[..., :24] = 1
    mixed = torch.cat((style[..., :24], picture(4)[..., 24:]), 3)
    # The filters look over the border by as much as half of this picture.
    assert judge(where=left, opaque=left)(mixed).parts["bands"] < 0.4 * whole(mixed).parts["bands"]
