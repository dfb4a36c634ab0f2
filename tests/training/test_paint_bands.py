"""The bands of a picture against a painting's: what is told apart, and the slope."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from impasto.training.paint_bands import BandDistance  # noqa: E402 (needs torch)

Tensor = torch.Tensor
SIDE = 256


def grain(share: float, seed: int) -> Tensor:
    """Grey with noise of a deviation of 0.1 in all, that lies in this share of the pixels: float64 [1,3,H,W]."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, SIDE, SIDE, generator=random, dtype=torch.float64)
    noise *= torch.rand(1, 1, SIDE, SIDE, generator=random, dtype=torch.float64) < share
    return 0.5 + 0.1 * noise / noise.std()


def test_a_few_glaring_pixels_are_not_the_grain_of_a_painting_though_their_covariance_is() -> None:
    distance = BandDistance([(grain(1.0, 0), None)], [None], [1.0])
    alike, glaring = distance(grain(1.0, 1)), distance(grain(0.02, 1))
    assert alike < 1e-3 and glaring > 20 * alike


def test_fainter_detail_another_colour_and_other_hues_are_seen() -> None:
    distance = BandDistance([(grain(1.0, 0), None)], [None], [1.0])
    alike = grain(1.0, 1)
    grey = alike.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for other in (0.5 + 0.5 * (alike - 0.5), alike + torch.tensor([0.2, 0.0, 0.0]).view(1, 3, 1, 1), grey):
        assert distance(other) > 20 * distance(alike)


def test_the_gradient_is_the_slope() -> None:
    distance = BandDistance([(grain(1.0, 0)[..., :16, :24], None)], [None], [1.0])
    assert torch.autograd.gradcheck(distance, (grain(0.5, 1)[..., :16, :16].requires_grad_(),))
