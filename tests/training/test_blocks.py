from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.runtime.pixels.color import color_stats as measured
from impasto.training.nets.blocks import (
    FixedNorm,
    ModulatedConv,
    ModulatedResidual,
    ModulatedUp,
    PatchConv,
    SlowLinear,
    channel_stats,
    color_stats,
    invert_symmetric,
    symmetric_root,
    transform_colors,
    unpack_symmetric,
)

STYLE = 6


def excited(module: nn.Module) -> nn.Module:
    """With modulation strong enough to be seen, as after training."""
    for part in module.modules():
        if isinstance(part, SlowLinear):
            nn.init.normal_(part.weight, std=0.4 / part.rate)
            nn.init.normal_(part.bias, std=0.4 / part.rate)
    return module


def inputs(channels: int, batch: int = 2, size: tuple[int, int] = (10, 12)) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, channels, *size), torch.randn(batch, STYLE)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("stride", [1, 2])
def test_modulation_is_that_of_stylegan2(stride: int) -> None:
    """Equations 1 to 3 of Karras et al. 2020 by the letter: scale the kernel, divide by its norm, convolve."""
    conv = excited(ModulatedConv(5, 7, STYLE, stride=stride, gain=0.6))
    assert isinstance(conv, ModulatedConv)
    x, style = inputs(5)
    scale = 1 + conv.scale(style)
    gain, bias = conv.affine(style).chunk(2, dim=1)
    expected = []
    for n in range(2):
        kernel = conv.weight * scale[n][None, :, None, None]
        kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt()
        y = F.conv2d(F.pad(x[n : n + 1], (1, 1, 1, 1), mode="replicate"), kernel, stride=stride)
        expected.append(y * (0.6 * (1 + gain[n]))[None, :, None, None] + bias[n][None, :, None, None])
    found = conv(x, style)
    assert found.shape == (2, 7, 10 // stride, 12 // stride)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_demodulation_keeps_the_size_of_unit_noise() -> None:
    conv = ModulatedConv(32, 32, STYLE)
    with torch.no_grad():
        conv.weight.mul_(50)
        conv.affine.weight.zero_()
        y = conv(torch.randn(1, 32, 64, 64), 3 * torch.randn(1, STYLE))
    assert float(y[..., 1:-1, 1:-1].std()) == pytest.approx(1, rel=0.05)


def test_instance_norm_variant() -> None:
    conv = excited(ModulatedConv(5, 7, STYLE, norm="instance"))
    assert isinstance(conv, ModulatedConv)
    x, style = inputs(5)
    gain, bias = conv.affine(style).chunk(2, dim=1)
    scaled = F.pad(x * (1 + conv.scale(style))[:, :, None, None], (1, 1, 1, 1), mode="replicate")
    y = F.conv2d(scaled, conv.weight)
    y = (y - y.mean((2, 3), keepdim=True)) / (y.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(
        conv(x, style), y * (1 + gain)[:, :, None, None] + bias[:, :, None, None], rtol=1e-4, atol=1e-5
    )


def test_without_norm_the_size_follows_the_weights() -> None:
    conv = excited(ModulatedConv(5, 7, STYLE, norm="none", gain=0.2))
    assert isinstance(conv, ModulatedConv)
    x, style = inputs(5)
    with torch.no_grad():
        conv.affine.bias[7:] = 0  # the bias per output
        conv.affine.weight[7:] = 0
        once = conv(x, style)
        conv.weight.mul_(3)
        torch.testing.assert_close(conv(x, style), 3 * once, rtol=1e-5, atol=1e-5)
        demod = ModulatedConv(5, 7, STYLE)
        demod.load_state_dict(conv.state_dict())
        before = demod(x, style)
        demod.weight.mul_(3)
        torch.testing.assert_close(demod(x, style), before, rtol=1e-4, atol=1e-5)


def test_folded_upsampling_is_interpolation_then_convolution() -> None:
    up = ModulatedUp(5, 7, STYLE)
    x = torch.randn(2, 5, 9, 11)
    with torch.no_grad():
        folded, twin = up._convolve(x), up.unfolded(x)
    assert folded.shape == twin.shape == (2, 7, 18, 22)
    torch.testing.assert_close(folded[..., 2:-2, 2:-2], twin[..., 2:-2, 2:-2], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(folded, twin, atol=1e-3), "at the border they differ, as documented"


def test_folded_upsampling_by_hand() -> None:
    """A kernel that copies: what remains is linear interpolation, 3/4 of the nearer and 1/4 of the farther."""
    up = ModulatedUp(1, 1, STYLE, norm="none")
    with torch.no_grad():
        up.weight.zero_()
        up.weight[0, 0, 1, 1] = 1
    ramp = torch.tensor([0.0, 4.0, 8.0, 4.0, 0.0]).expand(1, 1, 5, 5)
    with torch.no_grad():
        rows = up._convolve(ramp)[0, 0, 4]
    assert rows.tolist() == pytest.approx([0, 1, 3, 5, 7, 7, 5, 3, 1, 0])


@pytest.mark.parametrize("norm", ["demod", "none"])
def test_a_constant_stays_a_constant(norm: str) -> None:
    """No checkerboard: all four phases of the output get the same sum of taps."""
    up = excited(ModulatedUp(5, 7, STYLE, norm=norm))  # type: ignore[arg-type]
    y = up(torch.randn(2, 5, 1, 1).expand(2, 5, 8, 8), torch.randn(2, STYLE)).detach()[..., 2:-2, 2:-2]
    spread = y.flatten(2).max(2).values - y.flatten(2).min(2).values
    assert float(spread.max()) < 1e-5 * float(y.abs().max())
    assert float(y.flatten(2).mean(2).std()) > 0.05, "and it is not the same constant everywhere"


@pytest.mark.parametrize("make", [lambda: ModulatedConv(5, 7, STYLE), lambda: ModulatedUp(5, 7, STYLE)])
def test_freezing_changes_no_number_and_thawing_lets_it_learn(make: Callable[[], ModulatedConv]) -> None:
    conv = make()
    x, style = inputs(5)
    before = conv(x, style)
    conv.freeze()
    torch.testing.assert_close(conv(x, style), before, rtol=1e-6, atol=1e-6)
    before = conv(x, style)
    with torch.no_grad():
        conv.weight.mul_(-2)
    assert torch.equal(conv(x, style), before), "held as constants"
    conv.thaw()
    assert not torch.allclose(conv(x, style), before)
    conv(x, style).sum().backward()
    assert conv.weight.grad is not None
    assert set(conv.state_dict()) == {"weight", "scale.weight", "scale.bias", "affine.weight", "affine.bias"}


@pytest.mark.parametrize("norm", ["demod", "instance", "none"])
@pytest.mark.parametrize("kind", ["conv", "up", "residual"])
def test_gradients_reach_every_parameter(norm: str, kind: str) -> None:
    made: dict[str, Callable[[], nn.Module]] = {
        "conv": lambda: ModulatedConv(5, 5, STYLE, norm=norm),  # type: ignore[arg-type]
        "up": lambda: ModulatedUp(5, 5, STYLE, norm=norm),  # type: ignore[arg-type]
        "residual": lambda: ModulatedResidual(5, STYLE, norm),  # type: ignore[arg-type]
    }
    module = made[kind]()
    x, style = inputs(5)
    x.requires_grad_()
    (module(x, style) * torch.randn(1, 5, 1, 1)).square().sum().backward()
    for name, value in [("x", x), *module.named_parameters()]:
        assert value.grad is not None and float(value.grad.abs().sum()) > 0, name
        assert value.grad.isfinite().all(), name


@torch.no_grad()
def test_residual_adds_a_small_change() -> None:
    block = ModulatedResidual(8, STYLE)
    x, style = inputs(8)
    expected = x + block.second(block.first(x, style).relu(), style)
    assert torch.equal(block(x, style), expected)
    assert 0.1 < float((block(x, style) - x).std() / x.std()) < 0.5


def test_pictures_of_a_batch_do_not_meet() -> None:
    for module in (ModulatedConv(5, 7, STYLE), ModulatedUp(5, 7, STYLE), ModulatedConv(5, 7, STYLE, norm="instance")):
        x, style = inputs(5, batch=4)
        together = module(x, style)
        apart = torch.cat([module(x[n : n + 1], style[n : n + 1]) for n in range(4)])
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_bfloat16_stays_close() -> None:
    conv = ModulatedUp(16, 8, STYLE)
    x, style = inputs(16)
    exact = conv(x, style)
    with torch.autocast("cpu", torch.bfloat16):
        rough = conv(x, style)
    assert rough.dtype == torch.bfloat16
    assert float((rough.float() - exact).abs().max()) < 0.05 * float(exact.abs().max())


@torch.no_grad()
def test_patches_folded_for_an_export_are_the_same_convolution() -> None:
    conv = PatchConv(7)
    x = torch.randn(2, 3, 24, 32)
    before = conv(x)
    assert before.shape == (2, 7, 6, 8)
    patches = F.pixel_unshuffle(F.pad(x, (4, 4, 4, 4), mode="replicate"), 4)
    assert torch.equal(before, F.conv2d(patches, conv.weight, conv.bias))
    conv.freeze()
    torch.testing.assert_close(conv(x), before, rtol=1e-5, atol=1e-5)
    conv.weight.zero_()
    torch.testing.assert_close(conv(x), before, rtol=1e-5, atol=1e-5)
    conv.thaw()
    assert float((conv(x) - conv.get_parameter("bias")[:, None, None]).abs().max()) == 0
    assert set(conv.state_dict()) == {"weight", "bias"}


def test_slow_linear_moves_a_tenth_as_far() -> None:
    slow, plain = SlowLinear(50, 40, std=0.3), nn.Linear(50, 40)
    assert float((slow(torch.eye(50)) - slow(torch.zeros(1, 50))).std().detach()) == pytest.approx(0.3, rel=0.1)
    assert float(slow(torch.zeros(1, 50)).abs().max().detach()) == 0
    x, moved = torch.randn(8, 50), []
    for layer in (slow, plain):
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
        before = layer(x).detach()
        layer(x).sum().backward()
        optimizer.step()
        moved.append(float((layer(x).detach() - before).abs().mean()))
    assert moved[0] == pytest.approx(moved[1] / 10, rel=0.01)


def test_fixed_norm() -> None:
    norm = FixedNorm(4)
    x = torch.randn(100, 4) * torch.tensor([1.0, 50.0, 0.01, 0.0]) + torch.tensor([0.0, 7.0, -3.0, 2.0])
    assert torch.equal(norm(x), x), "nothing before it is measured"
    found = norm.calibrate(x)
    assert torch.equal(norm(x), found)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[:, :2].std(0), torch.ones(2), rtol=0, atol=1e-3)
    assert float(found[:, 3].abs().max()) < 1e-3, "what never moves is not blown up"
    other = FixedNorm(4)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other.train()(x * 9), norm.eval()(x * 9)), "constant from then on, in training too"
    torch.testing.assert_close(norm(x * 9), (x.double() * 9 - norm.mean) / norm.deviation, check_dtype=False)


def test_channel_stats_against_numpy() -> None:
    x = torch.randn(3, 4, 5, 6) * torch.tensor([0.0, 1.0, 5.0, 0.01])[None, :, None, None] + 3
    found = channel_stats(x.to(torch.float64))
    assert found.dtype == torch.float32 and found.shape == (3, 8)
    values = x.double().numpy()
    np.testing.assert_allclose(found[:, :4], values.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 4:], np.sqrt(values.var((2, 3)) + 1e-6), rtol=1e-3)


def test_symmetric_root() -> None:
    basis = torch.linalg.qr(torch.randn(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    values = torch.tensor([[1.0, 1.0, 1.0], [0.25, 0.01, 0.001], [0.75, 0.0009, 0.0009], [1e-3] * 3, [4.0, 2.0, 0.01]])
    matrix = basis @ torch.diag_embed(values.double()) @ basis.mT
    root = symmetric_root(matrix)
    torch.testing.assert_close(root @ root, matrix, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(root, root.mT, rtol=0, atol=1e-9)
    assert float(torch.linalg.eigvalsh(root).min()) > 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_color_stats_are_what_the_runtime_measures(precision: torch.dtype) -> None:
    """In mixed precision too: a photo's colours are not to be rounded."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 20, 30, generator=generator)
    x[1] = x[1, :1]  # grey
    x[2] = 0.5
    x[3] = (x[3] > 0.5).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        found = color_stats(x)
        again = transform_colors(x, found[:, 3:], found[:, :3])
    assert found.dtype == torch.float32 and found.shape == (4, 9)
    for row, picture in zip(found, x.permute(0, 2, 3, 1).numpy(), strict=True):
        np.testing.assert_allclose(row, measured(picture), atol=1e-5)
    expected = torch.einsum("nij,njhw->nihw", unpack_symmetric(found[:, 3:]), x) + found[:, :3, None, None]
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-5)


def test_invert_symmetric() -> None:
    x = color_stats(torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)))[:, 3:]
    product = unpack_symmetric(invert_symmetric(x)) @ unpack_symmetric(x)
    torch.testing.assert_close(product, torch.eye(3).expand(6, 3, 3), rtol=0, atol=1e-4)
