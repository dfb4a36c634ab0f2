from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.training.nets.layers import (
    ACTIVATIONS,
    GAINS,
    Act,
    Activation,
    Conv,
    DownConv,
    Linear,
    Normalisation,
    Pool,
    UpConv,
    halve,
    make_norm,
    resize,
)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spread(x: Tensor) -> float:
    return float(x.detach().std())


def article_sum(x: list[list[float]], kernel: list[list[float]]) -> Tensor:
    """y(i,j) = sum over p, q of x(i+p, j+q) k(p,q), one picture of one channel, where the kernel lies inside."""
    height, width, side = len(x), len(x[0]), len(kernel)
    y = torch.zeros(height - side + 1, width - side + 1, dtype=torch.float64)
    for i, j in itertools.product(range(y.shape[0]), range(y.shape[1])):
        for p, q in itertools.product(range(side), range(side)):
            y[i, j] += x[i + p][j + q] * kernel[p][q]
    return y


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (5, 1), (4, 2)])
def test_convolution_is_the_articles_sum(side: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = Conv(2, 3, side, stride=stride)
    nn.init.normal_(conv.get_parameter("bias"))
    kernel, bias, x = conv.weight.tolist(), conv.get_parameter("bias").tolist(), seeded(2, 2, 6, 8)
    edge = (side - 1) // 2
    outside = F.pad(x, (edge,) * 4)
    y = conv(x).detach()
    assert y.shape == (2, 3, 6 // stride, 8 // stride)
    for n, o in itertools.product(range(2), range(3)):
        wanted = sum(article_sum(outside[n, c].tolist(), kernel[o][c]) for c in range(2)) + bias[o]
        torch.testing.assert_close(y[n, o].double(), wanted[::stride, ::stride], atol=1e-5, rtol=1e-5)


def test_groups_see_their_own_channels_only() -> None:
    conv, x = Conv(4, 4, groups=2), seeded(1, 4, 5, 5)
    changed = x.clone()
    changed[:, :2] += 1
    difference = (conv(x) - conv(changed)).abs().amax((0, 2, 3))
    assert (difference[:2] > 0).all() and (difference[2:] == 0).all()


@pytest.mark.parametrize("mode", ["max", "average"])
def test_pooling_is_its_definition(mode: str) -> None:
    x = seeded(2, 3, 4, 6)
    y = Pool(mode)(x)
    assert y.shape == (2, 3, 2, 3)
    for n, c, i, j in itertools.product(range(2), range(3), range(2), range(3)):
        four = [float(x[n, c, 2 * i + a, 2 * j + b]) for a in (0, 1) for b in (0, 1)]
        assert float(y[n, c, i, j]) == pytest.approx(max(four) if mode == "max" else sum(four) / 4, abs=1e-6)


def test_halving_is_average_pooling() -> None:
    """The quick way and the slow one, in both layouts; two gradients deep."""
    x = seeded(2, 16, 8, 4)
    torch.testing.assert_close(halve(x), F.avg_pool2d(x, 2))
    torch.testing.assert_close(halve(x.contiguous(memory_format=torch.channels_last)), F.avg_pool2d(x, 2))
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    for z, pool in ((a, halve), (b, lambda z: F.avg_pool2d(z, 2))):
        (slope,) = torch.autograd.grad(pool(z**2).square().sum(), z, create_graph=True)
        slope.square().sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_a_stride_is_no_pooling() -> None:
    with pytest.raises(ValueError, match="no pooling"):
        Pool("stride")


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resizing_is_its_definition(mode: str) -> None:
    """An output pixel lies a quarter of an input pixel off its nearest one."""
    row = torch.tensor([1.0, 5.0, 3.0])
    wanted = [1, 1, 5, 5, 3, 3] if mode == "nearest" else [1, 2, 4, 4.5, 3.5, 3]
    y = resize(row[None, None, None].expand(1, 1, 2, 3), mode)
    assert y.shape == (1, 1, 4, 6)
    torch.testing.assert_close(y[0, 0], torch.tensor([float(v) for v in wanted]).expand(4, 6))
    y = resize(row[None, None, :, None].expand(1, 1, 3, 2), mode)
    torch.testing.assert_close(y[0, 0, :, 0], torch.tensor([float(v) for v in wanted]))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resize_convolution(mode: str) -> None:
    up, x = UpConv(2, 3, mode), seeded(1, 2, 3, 4)
    torch.testing.assert_close(up(x), F.conv2d(resize(x, mode), up.conv.weight, up.conv.bias, padding=1))


def test_transposed_convolution_spreads_every_pixel() -> None:
    torch.manual_seed(0)
    up, x = UpConv(2, 3, "transposed"), seeded(1, 2, 3, 2)
    wanted = torch.zeros(3, 6 + 2, 4 + 2)  # one pixel of padding is cut off
    for c, i, j in itertools.product(range(2), range(3), range(2)):
        wanted[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += x[0, c, i, j] * up.weight[c].detach()
    torch.testing.assert_close(up(x)[0], wanted[:, 1:-1, 1:-1])


@pytest.mark.parametrize("mode", ["stride", "max", "average"])
def test_halving_convolution(mode: str) -> None:
    down, x = DownConv(2, 3, mode), seeded(1, 2, 8, 6)
    weight, bias = down.conv.weight, down.conv.bias
    if mode == "stride":
        wanted = F.conv2d(x, weight, bias, stride=2, padding=1)
    else:
        full = F.conv2d(x, weight, bias, padding=1)
        wanted = F.max_pool2d(full, 2) if mode == "max" else F.avg_pool2d(full, 2)
    assert wanted.shape == (1, 3, 4, 3)
    torch.testing.assert_close(down(x), wanted)


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "none": lambda x: x,
}


@pytest.mark.parametrize("name", get_args(Activation))
def test_activations(name: Activation) -> None:
    assert set(FORMULAS) == set(ACTIVATIONS) == set(GAINS)
    points = [-2.0, -0.5, 0.25, 3.0]
    assert Act(name)(torch.tensor(points)).tolist() == pytest.approx([FORMULAS[name](x) for x in points], abs=1e-6)


@pytest.mark.parametrize("name", get_args(Activation))
def test_gains_keep_the_mean_square(name: Activation) -> None:
    x = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    mean_square = torch.trapezoid(ACTIVATIONS[name](x).square() * density, x)
    assert float(mean_square) * GAINS[name] ** 2 == pytest.approx(1, rel=0.01)


def test_initial_weights_keep_the_size() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, 16, 16)
    assert spread(Conv(64, 64)(x)[:, :, 1:-1, 1:-1]) == pytest.approx(1, rel=0.1)
    assert spread(Conv(64, 64, groups=4, gain=2.0)(x)[:, :, 1:-1, 1:-1]) == pytest.approx(2, rel=0.1)
    assert spread(UpConv(64, 64, "transposed")(x)[:, :, 1:-1, 1:-1]) == pytest.approx(1, rel=0.1)
    assert spread(Linear(64, 256)(x[:, :, 0, 0])) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("equal", [False, True])
def test_equal_rates(equal: bool) -> None:
    """Weights of deviation 1 are scaled when used: nothing changes but how far a step of the optimiser goes."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 12, 12)
    for layer, at in ((Conv(64, 64, gain=2.0, equal=equal), x), (Linear(64, 64, gain=2.0, equal=equal), x[:, :, 0, 0])):
        assert spread(layer.weight) == pytest.approx(1 if equal else 2 * layer.weight[0].numel() ** -0.5, rel=0.1)
        before = layer(at)
        assert spread(before) == pytest.approx(2, rel=0.2)
        with torch.no_grad():
            layer.weight.mul_(1.1)
        torch.testing.assert_close(layer(at), before * 1.1, atol=1e-4, rtol=1e-4)


def test_linear() -> None:
    layer, x = Linear(3, 2, start=1.5), seeded(4, 3)
    rows, weight = x.tolist(), layer.weight.tolist()
    wanted = [[sum(a * b for a, b in zip(row, w, strict=True)) + 1.5 for w in weight] for row in rows]
    torch.testing.assert_close(layer(x), torch.tensor(wanted))
    assert Linear(3, 2, bias=False).bias is None


@pytest.mark.parametrize(
    ("name", "over"),
    [("batch", (0, 2, 3)), ("instance", (2, 3)), ("group", None), ("pixel", None), ("none", None), ("spectral", None)],
)
def test_normalisations_are_their_formulas(name: Normalisation, over: tuple[int, ...] | None) -> None:
    x = seeded(3, 16, 4, 4) * 3 + 2
    y = make_norm(name, 16)(x)
    if name == "group":  # 8 groups of 2 channels
        parts = x.reshape(3, 8, 2, 4, 4)
        mean, var = parts.mean((2, 3, 4), keepdim=True), parts.var((2, 3, 4), keepdim=True, correction=0)
        wanted = ((parts - mean) / (var + 1e-5).sqrt()).reshape(x.shape)
    elif name == "pixel":
        wanted = x / x.square().mean(1, keepdim=True).sqrt()
    elif over:
        wanted = (x - x.mean(over, keepdim=True)) / (x.var(over, keepdim=True, correction=0) + 1e-5).sqrt()
    else:
        wanted = x
    torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-4)


def test_groups_divide_the_channels() -> None:
    assert make_norm("group", 12).num_groups == 4
    assert make_norm("group", 7).num_groups == 1


def test_unknown_normalisation() -> None:
    with pytest.raises(ValueError, match="'layer'"):
        make_norm("layer", 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: Conv(5, 7, spectral=True), lambda: Linear(30, 9, spectral=True)])
def test_spectral_kernels_have_norm_one(make: object) -> None:
    torch.manual_seed(0)
    layer = make()  # type: ignore[operator]
    effective = layer.spectral(layer.weight).flatten(1)
    assert float(torch.linalg.svdvals(effective)[0].detach()) == pytest.approx(1, abs=0.03)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight) * 5)  # the estimate follows while training
        for _ in range(30):
            layer.spectral(layer.weight)
    assert float(torch.linalg.svdvals(layer.spectral(layer.weight).flatten(1))[0].detach()) == pytest.approx(
        1, abs=0.01
    )


def test_spectral_norm_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    layer, x = UpConv(4, 4, "transposed", spectral=True), seeded(1, 4, 3, 3)
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight))
    before = layer.spectral.u.clone()
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)
    assert torch.equal(layer.spectral.u, before)
    layer.train()(x)
    assert not torch.equal(layer.spectral.u, before)


def test_spectral_norm_is_seen_by_the_gradient() -> None:
    """A kernel of norm 1 does not grow: moving the weight along itself changes nothing."""
    layer = Linear(6, 4, spectral=True)
    for _ in range(50):
        layer.spectral(layer.weight)
    layer(seeded(5, 6)).square().sum().backward()
    along = (layer.weight.grad * layer.weight).sum() / (layer.weight.grad.norm() * layer.weight.norm())
    assert abs(float(along.detach())) < 1e-3
