"""The losses that are functions of sums: their gradients, what they are nothing of, and what they agree with."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from impasto.training.losses.moments import (  # noqa: E402 (needs torch)
    lost_correlation,
    matrix_root,
    relative_gram,
    relative_wasserstein,
    root_trace,
    squared_variation,
)
from impasto.training.losses.perceptual import channel_normalised, gram_loss  # noqa: E402

Tensor = torch.Tensor


def features(seed: int, positions: int = 40, channels: int = 5) -> Tensor:
    """float64 [C,P]"""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(channels, positions, generator=random, dtype=torch.float64).relu()


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(1), rows @ rows.T / rows.shape[1]


def covariance(rows: Tensor) -> Tensor:
    mean, second = moments(rows)
    return second - mean.outer(mean)


def test_the_gradient_of_each_loss_is_its_slope() -> None:
    style, photo = features(1), features(2)
    mean, second = moments(style)
    root = matrix_root(covariance(style))
    spread, centre = torch.std_mean(photo, dim=1, correction=0)
    y = (photo - centre[:, None]) / spread[:, None]

    def by_gram(x: Tensor) -> Tensor:
        return relative_gram(moments(x)[1], second)

    def by_wasserstein(x: Tensor) -> Tensor:
        return relative_wasserstein(*moments(x), mean, root)

    def by_layout(x: Tensor) -> Tensor:
        return lost_correlation(x.mean(1), x.square().mean(1), (x * y).mean(1), spread)

    for loss in (by_gram, by_wasserstein, by_layout):
        assert torch.autograd.gradcheck(loss, (features(3).requires_grad_(),))
    picture = torch.rand(1, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.autograd.gradcheck(squared_variation, (picture.requires_grad_(),))


def test_the_slope_of_a_root_stays_finite_where_there_are_fewer_positions_than_channels() -> None:
    rows = features(0, positions=2, channels=6).requires_grad_()
    (slope,) = torch.autograd.grad(root_trace(covariance(rows)), rows)
    assert torch.isfinite(slope).all() and slope.abs().sum() > 0


def test_where_the_search_for_eigenvalues_gives_up_it_is_made_again_with_more_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It did in float32 on the 128 channels of a picture of 64 pixels, with variances from 0 to 2e8.
    search, asked = torch.linalg.eigh, []

    def gives_up(matrix: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(matrix.dtype)
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return search(matrix)

    rows = features(0, positions=2, channels=6).float()
    matrix = covariance(rows)
    expected = root_trace(matrix), matrix_root(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    kept = matrix.clone()
    found = root_trace(matrix), matrix_root(matrix)
    assert asked == [torch.float32, torch.float64] * 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
        assert one.dtype == torch.float32
    assert torch.equal(matrix, kept)


def test_the_same_statistics_cost_nothing() -> None:
    style = features(1)
    mean, second = moments(style)
    shuffled = style[:, torch.randperm(style.shape[1], generator=torch.Generator().manual_seed(0))]
    assert relative_gram(moments(shuffled)[1], second) < 1e-12
    assert relative_wasserstein(*moments(shuffled), mean, matrix_root(covariance(style))).abs() < 1e-9
    assert relative_gram(moments(features(7))[1], second) > 1e-3


def test_a_gaussian_moved_and_widened_is_as_far_as_the_formula_says() -> None:
    # Of independent channels: |m - m'|^2 + sum (s - s')^2, over |m'|^2 + sum s'^2.
    mean, spread = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64)
    moved, wide = mean + torch.tensor([0.5, -1.0]), spread * torch.tensor([2.0, 0.5])
    second = torch.diag(wide**2) + moved.outer(moved)
    found = relative_wasserstein(moved, second, mean, torch.diag(spread))
    assert found.item() == pytest.approx((0.25 + 1 + 1 + 2.25) / (1 + 4 + 1 + 9))


def test_gram_matrices_agree_with_the_loss_that_networks_are_trained_with() -> None:
    a, b = features(1), features(2)
    ours = relative_gram(moments(a)[1], moments(b)[1])
    assert ours.item() == pytest.approx(gram_loss(a[None, :, :, None], b[None, :, :, None]).item(), rel=1e-5)


def test_lost_correlation_is_half_the_distance_of_normalised_features() -> None:
    x, photo = features(1), features(2)
    spread, centre = torch.std_mean(photo, dim=1, correction=0)
    y = (photo - centre[:, None]) / spread[:, None]
    found = lost_correlation(x.mean(1), x.square().mean(1), (x * y).mean(1), spread, slack=0)
    apart = channel_normalised(x[None, :, :, None]) - channel_normalised(photo[None, :, :, None])
    assert found.item() == pytest.approx(apart.square().mean().item() / 2, rel=1e-3)


def test_contrast_and_brightness_are_no_layout_and_dead_channels_do_not_count() -> None:
    photo = features(2)
    spread, centre = torch.std_mean(photo, dim=1, correction=0)
    y = (photo - centre[:, None]) / spread[:, None]
    x = 3 * photo + 1
    spread[0] = 0  # as if the photo had left it dead
    x[0] = features(9)[0]
    found = lost_correlation(x.mean(1), x.square().mean(1), (x * y).mean(1), spread)
    assert abs(found.item()) < 1e-3
