from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from impasto.runtime.pixels.color import COLOR_FLOOR
from impasto.training.nets import NETS
from impasto.training.nets.blocks import SlowLinear, color_stats, invert_symmetric, unpack_symmetric
from impasto.training.nets.style import COLORS, GRAIN, GRAIN_LEVEL, REACH, Painter, StyleEncoder, StyleHint, StyleSpec
from training.support import tiny_spec


def painter(norm: str = "demod", **changes: Any) -> Painter:
    """With every parameter drawn anew, so that nothing is hidden behind an initial zero."""
    torch.manual_seed(1)
    net = Painter(tiny_spec(norm=norm, **changes)).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, SlowLinear):
            module.weight.normal_(std=0.2 / module.rate)
            module.bias.normal_(std=0.2 / module.rate)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.get_parameter("bias"), std=0.3)
    return net


def smooth(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    cells = torch.rand(n, 3, max(2, height // 8), max(2, width // 8), generator=random)
    noise = 0.05 * torch.randn(n, 3, height, width, generator=random)
    return (nn.functional.interpolate(cells, (height, width), mode="bicubic") + noise).clamp(0, 1)


def codes(n: int, seed: int = 0, size: int = 8) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mean = 0.3 + 0.4 * torch.rand(n, 3, generator=random)
    spread = torch.tensor([0.2, 0.05, 0.0, 0.2, 0.05, 0.2]) * (0.5 + torch.rand(n, 1, generator=random))
    return torch.cat((torch.randn(n, size, generator=random), mean, spread), 1)


def grain(photo: Tensor, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    n, _, height, width = photo.shape
    return torch.randn(n, GRAIN, height // 8, width // 8, generator=random)


@pytest.mark.parametrize("norm", ["demod", "instance"])
@pytest.mark.parametrize("size", [(16, 16), (64, 24), (40, 128)])
def test_painter_keeps_the_size(norm: str, size: tuple[int, int]) -> None:
    net, photo = painter(norm), smooth(2, *size)
    painted = net(photo, color_stats(photo), codes(2), grain(photo))
    assert painted.shape == photo.shape and painted.dtype == torch.float32
    assert float(painted.min()) >= 0 and float(painted.max()) <= 1
    torch.testing.assert_close(painted, net.raw(photo, color_stats(photo), codes(2), grain(photo)).clamp(0, 1))


@pytest.mark.parametrize("blocks", [1, 3])
def test_receptive_field_is_a_true_and_tight_bound(blocks: int) -> None:
    """One changed pixel must not be felt beyond the bound, and is felt close to it."""
    net = painter(blocks=blocks)
    reach = net.spec.receptive_field
    assert reach is not None
    side = -(-(2 * reach + 40) // 8) * 8
    photo = smooth(1, side, side)
    stats, code = color_stats(photo), codes(1)
    noise = grain(photo)
    before = net.raw(photo, stats, code, noise)
    farthest = 0
    for offset in range(0, 8, 3):  # where in the 8 x 8 cell the pixel lies matters
        y = x = side // 2 // 8 * 8 + offset
        changed = photo.clone()
        changed[0, :, y, x] = 1 - changed[0, :, y, x]
        rows, columns = (net.raw(changed, stats, code, noise) - before).abs().amax((0, 1)).gt(0).nonzero(as_tuple=True)
        felt = max(int((rows - y).abs().max()), int((columns - x).abs().max()))
        assert felt <= reach
        farthest = max(farthest, felt)
    assert farthest > 0.75 * reach, "the bound is not absurdly loose"


def test_instance_norm_feels_everything() -> None:
    net = painter("instance")
    assert net.spec.receptive_field is None
    photo = smooth(1, 160, 160)
    changed = photo.clone()
    changed[0, :, 0, 0] = 1 - changed[0, :, 0, 0]
    stats, code = color_stats(photo), codes(1)
    moved = (net.raw(changed, stats, code, grain(photo)) - net.raw(photo, stats, code, grain(photo))).abs()
    assert float(moved[..., -8:, -8:].max()) > 0


def test_a_tile_is_painted_as_the_same_pixels_of_the_whole() -> None:
    net = painter()
    reach = net.spec.receptive_field
    assert reach is not None
    margin = -(-reach // 8) * 8
    photo, code = smooth(1, 2 * margin + 64, 2 * margin + 96), codes(1)
    stats = color_stats(photo)
    noise = grain(photo)
    whole = net(photo, stats, code, noise)
    top, left, height, width = 16, 24, 32, 40
    same = noise[..., top // 8 : (top + 2 * margin + height) // 8, left // 8 : (left + 2 * margin + width) // 8]
    tile = photo[..., top : top + 2 * margin + height, left : left + 2 * margin + width]
    inner = net(tile, stats, code, same)[..., margin : margin + height, margin : margin + width]
    expected = whole[..., top + margin : top + margin + height, left + margin : left + margin + width]
    torch.testing.assert_close(inner, expected, rtol=0, atol=1e-6)
    # With statistics of its own the tile would differ, so the test does see them.
    other = net(tile, color_stats(tile), code, same)[..., margin : margin + height, margin : margin + width]
    assert float((other - expected).abs().max()) > 1e-3
    elsewhere = net(tile, stats, code, grain(tile, seed=1))[..., margin : margin + height, margin : margin + width]
    assert float((elsewhere - expected).abs().max()) > 1e-3, "the noise is seen"
    # And so would one that is not aligned to the 8 x 8 cells.
    crooked = photo[..., top + 4 : top + 4 + 2 * margin + height, left : left + 2 * margin + width]
    off = net(crooked, stats, code, same)[..., margin - 4 : margin - 4 + height, margin : margin + width]
    assert float((off - expected).abs().max()) > 1e-3


class Copy(nn.Module):
    """In place of the last layer: paints the photo as the network sees it."""

    def __init__(self, photo: Tensor) -> None:
        super().__init__()
        stats = color_stats(photo).double()
        white = unpack_symmetric(invert_symmetric(stats[:, 3:])) @ (photo.double().flatten(2) - stats[:, :3, None])
        self.white = white.reshape(photo.shape).float()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return torch.atanh(self.white / REACH)


def test_a_copy_is_colour_transfer() -> None:
    net, photo, code = painter(shine=0.0), smooth(3, 64, 72), codes(3)
    net.up1 = Copy(photo)  # type: ignore[assignment]
    painted = net.raw(photo, color_stats(photo), code, grain(photo))
    pixels = painted.double().flatten(2)
    torch.testing.assert_close(pixels.mean(2).float(), code[:, -9:-6], rtol=0, atol=1e-5)
    rows, columns = torch.triu_indices(3, 3)
    for row, own in enumerate(code[:, -6:].double()):
        spread = torch.empty(3, 3, dtype=torch.float64)
        spread[rows, columns] = spread[columns, rows] = own
        # What the floor adds to the photo's covariance is missing in the result.
        torch.testing.assert_close(pixels[row].cov(correction=0), spread @ spread, rtol=0.05, atol=1e-4)


def test_a_copy_with_the_photos_own_colours_is_the_photo() -> None:
    net, photo = painter(shine=0.0), smooth(2, 64, 64)
    net.up1 = Copy(photo)  # type: ignore[assignment]
    stats = color_stats(photo)
    code = torch.cat((torch.randn(2, 8), stats), 1)
    torch.testing.assert_close(net(photo, stats, code, grain(photo)), photo, rtol=0, atol=1e-4)


def test_the_share_of_the_photo_that_shines_through() -> None:
    photo = smooth(2, 64, 64)
    stats = color_stats(photo)
    code = torch.cat((torch.randn(2, 8), stats), 1)
    for shine in (0.0, 0.3, 1.0):
        net = painter(shine=shine)
        net.up1.affine.weight.zero_()
        net.up1.affine.bias.zero_()
        net.up1.affine.bias[:3] = -1 / net.up1.affine.rate  # the gain is 1 + this: no paint
        mean = stats[:, :3, None, None]
        expected = mean + shine * (photo - mean)
        torch.testing.assert_close(net(photo, stats, code, grain(photo)), expected, rtol=0, atol=1e-4)


def test_grain_is_noise_on_the_photo_that_the_network_sees() -> None:
    """A cell of it stands for 4x4 pixels, all three channels alike."""
    net, photo = painter(shine=0.0), 0.5 + 0.05 * smooth(1, 64, 64)
    stats, code, noise = color_stats(photo), codes(1), grain(photo)
    cells = nn.functional.pixel_shuffle(noise, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    white = GRAIN_LEVEL * cells.expand(-1, 3, -1, -1).flatten(2)
    noisy = photo + (unpack_symmetric(stats[:, 3:]) @ white).reshape(photo.shape)
    expected = net.raw(noisy, stats, code, torch.zeros_like(noise))
    torch.testing.assert_close(net.raw(photo, stats, code, noise), expected, rtol=1e-4, atol=1e-4)
    assert float((net.raw(photo, stats, code, torch.zeros_like(noise)) - expected).abs().max()) > 5e-4


def test_a_flat_photo_is_not_blown_up() -> None:
    net = painter()
    photo = 0.5 + 1e-3 * torch.randn(1, 3, 64, 64)
    stats = color_stats(photo)
    assert float(photo.std()) < COLOR_FLOOR / 10
    still = net.raw(photo.mean((2, 3), keepdim=True).expand_as(photo), stats, codes(1), grain(photo))
    assert float((net.raw(photo, stats, codes(1), grain(photo)) - still).abs().max()) < 0.1


def test_the_style_decides() -> None:
    net, photo = painter(), smooth(1, 64, 64)
    stats, first = color_stats(photo), codes(1)
    second = first.clone()
    second[:, :-COLORS] = codes(1, seed=9)[:, :-COLORS]
    moved = (net.raw(photo, stats, first, grain(photo)) - net.raw(photo, stats, second, grain(photo))).abs().mean()
    assert float(moved) > 0.01, "strokes depend on the learnt part alone too"


@pytest.mark.parametrize("norm", ["demod", "instance"])
def test_batches_are_rows_of_their_own(norm: str) -> None:
    net, photo, code = painter(norm), smooth(4, 64, 64), codes(4)
    stats = color_stats(photo)
    noise = grain(photo)
    together = net(photo, stats, code, noise)
    rows = [slice(n, n + 1) for n in range(4)]
    apart = torch.cat([net(photo[n], stats[n], code[n], noise[n]) for n in rows])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["demod", "instance"])
def test_gradients_reach_every_parameter(norm: str) -> None:
    torch.manual_seed(0)
    modules = NETS["anystyle"](tiny_spec(norm=norm))
    assert list(modules) == ["encoder", "painter"]
    photo, style = smooth(2, 64, 64), smooth(2, 64, 64, seed=5)
    net = modules["painter"]
    assert isinstance(net, Painter)
    painted = net.raw(photo, color_stats(photo), modules["encoder"](style), grain(photo))
    (painted - smooth(2, 64, 64, seed=6)).square().mean().backward()
    for part, module in modules.items():
        for name, value in module.named_parameters():
            assert value.grad is not None and value.grad.isfinite().all(), f"{part}.{name}"
            assert float(value.grad.abs().sum()) > 0, f"{part}.{name}"


def encoder() -> StyleEncoder:
    torch.manual_seed(2)
    return StyleEncoder(tiny_spec()).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (160, 48)])
def test_a_code_ends_with_the_paintings_colours(size: tuple[int, int]) -> None:
    style = smooth(3, *size)
    code = encoder()(style)
    assert code.shape == (3, tiny_spec().code_size) == (3, 17)
    torch.testing.assert_close(code[:, -COLORS:], color_stats(style), rtol=0, atol=0)


def test_calibration_makes_codes_differ() -> None:
    """Over the paintings that it was measured on every learnt number has mean 0 and deviation 1."""
    net = encoder()
    styles = torch.cat([smooth(1, 64, 64, seed=k) * (0.3 + 0.05 * k) for k in range(12)])
    before = net(styles)[:, :-COLORS]
    net.calibrate([styles[:5], styles[5:]])
    learnt = net(styles)[:, :-COLORS]
    torch.testing.assert_close(learnt.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(learnt.std(0), torch.ones(8), rtol=0, atol=1e-3)
    assert float(before.std(0).mean()) < 0.5, "without it they are nearly parallel"
    again = StyleEncoder(tiny_spec()).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(styles), net(styles)), "what was measured is kept with the weights"


def test_the_hint_is_low_where_a_code_tells_the_energies() -> None:
    torch.manual_seed(0)
    hint = StyleHint(tiny_spec(), 20)
    energies = torch.rand(64, 20).exp() * torch.logspace(-3, 0, 20)
    hint.norm.calibrate(hint.scale(energies))
    target = hint.norm(hint.scale(energies))
    torch.testing.assert_close(target.mean(0), torch.zeros(20), rtol=0, atol=1e-4)
    with torch.no_grad():
        hint.guess.weight.zero_()
        hint.guess.bias.zero_()
        assert float(hint(codes(64), energies)) == pytest.approx(1, abs=0.05), "knowing nothing costs the variance"
        hint.guess.weight[:17] = torch.eye(17)
        telling = torch.zeros(64, 17)
        telling[:] = target[:, :17]
        rest = float(target[:, 17:].square().mean()) * 3 / 20
        assert float(hint(telling, energies)) == pytest.approx(rest, abs=0.01)
    assert float(hint.scale(torch.zeros(1, 20)).isfinite().all())


def test_codes_do_not_depend_on_their_neighbours() -> None:
    net, styles = encoder(), smooth(4, 64, 64)
    together = net(styles)
    torch.testing.assert_close(torch.cat([net(styles[n : n + 1]) for n in range(4)]), together, rtol=0, atol=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(net(styles[order]), together[order], rtol=0, atol=1e-5)
    assert float((together[0] - together[1]).abs().max()) > 0.01, "different paintings differ"


def test_a_code_is_about_strokes_not_places() -> None:
    """Statistics do not see where things are: whole cells moved around a torus change the code little."""
    net, style = encoder(), smooth(1, 128, 128)
    moved = net(style.roll((32, 48), (2, 3)))
    other = net(smooth(1, 128, 128, seed=3))
    code = net(style)
    assert float((moved - code).norm()) < 0.5 * float((other - code).norm())


def test_spec() -> None:
    assert StyleSpec().code_size == 137
    assert StyleSpec(blocks=4).receptive_field == 8 * (2 * 4 + 2) + 12 + 10
    for wrong in ({"fine": 4}, {"blocks": 0}, {"norm": "batch"}, {"eyes": (8, 8)}, {"eyes": (8, 8, 0)}, {"fin": 8}):
        with pytest.raises(ValidationError):
            StyleSpec.model_validate(wrong)


def test_the_default_network_is_small_enough() -> None:
    """The whole model file must stay below 8 MB in float32."""
    count = sum(p.numel() for module in NETS["anystyle"](StyleSpec()).values() for p in module.parameters())
    assert 4 * count < 7e6
