from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.training.losses.perceptual import (
    channel_energies,
    channel_normalised,
    content_loss,
    gram,
    gram_loss,
    gram_vector,
    mean_deviation_loss,
    relative_gram_distance,
    sliced_wasserstein_loss,
    total_variation,
    unrest,
)

Array = NDArray[np.float64]


def pair(shape: tuple[int, ...] = (2, 3, 4, 5), seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(shape, generator=random) for _ in range(2))
    return a * 2 + 1, b - 0.5


def directions(channels: int, count: int = 4) -> Tensor:
    drawn = torch.randn(channels, count, generator=torch.Generator().manual_seed(7))
    return drawn / drawn.norm(dim=0)


# The definitions once more, in float64, position by position ---------------------------------------------------------


def naive_normalised(x: Array) -> Array:
    out = np.empty_like(x)
    for n, c in np.ndindex(*x.shape[:2]):
        plane = x[n, c]
        mean = sum(plane.flat) / plane.size
        out[n, c] = (plane - mean) / math.sqrt(sum((v - mean) ** 2 for v in plane.flat) / plane.size)
    return out


def naive_content(a: Array, b: Array) -> float:
    a, b = naive_normalised(a), naive_normalised(b)
    found = []
    for n, y, x in np.ndindex(a.shape[0], *a.shape[2:]):
        u, v = a[n, :, y, x], b[n, :, y, x]
        found.append(1 - sum(u * v) / math.sqrt(sum(u * u) * sum(v * v)))
    return sum(found) / len(found)


def naive_gram(x: Array) -> Array:
    n, c, h, w = x.shape
    out = np.zeros((n, c, c))
    for k, i, j in np.ndindex(n, c, c):
        out[k, i, j] = sum(x[k, i, y, z] * x[k, j, y, z] for y in range(h) for z in range(w)) / (h * w)
    return out


def naive_gram_loss(a: Array, b: Array) -> float:
    found = []
    for g, h in zip(naive_gram(a), naive_gram(b), strict=True):
        found.append(((g - h) ** 2).sum() / math.sqrt((g**2).sum() * (h**2).sum()))
    return sum(found) / len(found)


def naive_mean_deviation(a: Array, b: Array) -> float:
    total = 0.0
    for f, g in zip(a, b, strict=True):
        for statistic in (np.mean, np.std):
            ours = np.array([statistic(plane) for plane in f])
            theirs = np.array([statistic(plane) for plane in g])
            total += ((ours - theirs) ** 2).sum() / (theirs**2).sum() / len(a)
    return total


def naive_sliced(a: Array, b: Array, along: Array) -> float:
    found = []
    for f, g in zip(a, b, strict=True):
        for d in along.T:
            u = np.sort([f[:, y, x] @ d for y, x in np.ndindex(*f.shape[1:])])
            v = np.sort([g[:, y, x] @ d for y, x in np.ndindex(*g.shape[1:])])
            v = v[[min(int((k + 0.5) * len(v) / len(u)), len(v) - 1) for k in range(len(u))]]
            found.append(((u - v) ** 2).mean())
    return sum(found) / len(found)


def naive_variation(x: Array) -> float:
    n, c, h, w = x.shape
    across = [abs(x[k, i, y, z + 1] - x[k, i, y, z]) for k, i, y, z in np.ndindex(n, c, h, w - 1)]
    down = [abs(x[k, i, y + 1, z] - x[k, i, y, z]) for k, i, y, z in np.ndindex(n, c, h - 1, w)]
    return sum(across) / len(across) + sum(down) / len(down)


def sliced(a: Tensor, b: Tensor) -> Tensor:
    return sliced_wasserstein_loss(a, b, directions(a.shape[1]))


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Array, Array], float]]] = {
    "content": (content_loss, naive_content),
    "gram": (gram_loss, naive_gram_loss),
    "mean and deviation": (mean_deviation_loss, naive_mean_deviation),
    "sliced Wasserstein": (sliced, lambda a, b: naive_sliced(a, b, directions(a.shape[1]).double().numpy())),
}
ALL = pytest.mark.parametrize("name", LOSSES)


@ALL
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 6, 3, 2)])
def test_against_the_definition(name: str, shape: tuple[int, ...]) -> None:
    loss, naive = LOSSES[name]
    a, b = pair(shape)
    found = loss(a, b)
    assert found.shape == () and found.dtype == torch.float32
    assert float(found) == pytest.approx(naive(a.double().numpy(), b.double().numpy()), rel=1e-4)
    assert float(found) > 0.1, "the case is not a trivial one"


@ALL
def test_identical_inputs_cost_nothing(name: str) -> None:
    a, _ = pair()
    assert float(LOSSES[name][0](a, a.clone())) == pytest.approx(0, abs=1e-6)


@ALL
def test_gradient(name: str) -> None:
    """Statistics are taken in float32, so the steps of the check are large; what it compares to has four digits."""
    a, b = pair((2, 3, 3, 4))
    a = a.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name][0](x, b).double(), a, eps=1e-3, atol=1e-3, rtol=1e-2)


def test_gradient_of_total_variation() -> None:
    a = pair()[0].double().requires_grad_()
    assert torch.autograd.gradcheck(total_variation, a)


def test_gradient_of_unrest() -> None:
    a, b = (x.double() for x in pair())
    assert torch.autograd.gradcheck(lambda x: unrest(x, b / 20, window=3), a.requires_grad_())


@ALL
def test_each_picture_counts_alike(name: str) -> None:
    loss = LOSSES[name][0]
    a, b = pair((3, 3, 4, 5))
    apart = [float(loss(a[n : n + 1], b[n : n + 1])) for n in range(3)]
    assert float(loss(a, b)) == pytest.approx(sum(apart) / 3, rel=1e-5)


@ALL
def test_a_dead_channel_does_no_harm(name: str) -> None:
    """After a ReLU whole channels are zero: no loss and no gradient may become infinite."""
    a, b = pair()
    a[:, 1] = 0
    b[:, 2] = 0
    a.requires_grad_()
    loss = LOSSES[name][0](a, b)
    loss.backward()
    assert loss.isfinite() and a.grad is not None and a.grad.isfinite().all()
    silent = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = LOSSES[name][0](silent, torch.zeros(1, 3, 4, 4))
    loss.backward()
    assert loss.isfinite() and silent.grad is not None and silent.grad.isfinite().all()


@pytest.mark.parametrize("name", ["content", "gram", "mean and deviation"])
def test_half_precision_features_are_close(name: str) -> None:
    a, b = pair((2, 8, 16, 16))
    exact = float(LOSSES[name][0](a, b))
    assert float(LOSSES[name][0](a.bfloat16(), b.bfloat16())) == pytest.approx(exact, rel=0.02)


# Cases worked out by hand ------------------------------------------------------------------------------------------


def test_content_ignores_what_style_changes() -> None:
    a, _ = pair()
    recoloured = a * torch.tensor([0.3, 5.0, 1.0])[:, None, None] + torch.tensor([2.0, -1.0, 0.0])[:, None, None]
    assert float(content_loss(recoloured, a)) == pytest.approx(0, abs=1e-4)
    assert float(content_loss(-a, a)) == pytest.approx(2, abs=1e-4), "opposite layouts"
    torch.testing.assert_close(channel_normalised(channel_normalised(a)), channel_normalised(a), rtol=0, atol=1e-4)
    for statistic, value in (
        (channel_normalised(a).mean((2, 3)), 0.0),
        (channel_normalised(a).square().mean((2, 3)), 1.0),
    ):
        torch.testing.assert_close(statistic, torch.full((2, 3), value), rtol=0, atol=1e-4)


def test_gram_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels, two positions
    expected = torch.tensor([[[2.5, 0.5], [0.5, 5.0]]])
    torch.testing.assert_close(gram(features), expected)
    torch.testing.assert_close(gram_vector(features), torch.tensor([[2.5, 0.5 * math.sqrt(2), 5.0]]))


@pytest.mark.parametrize("channels", [1, 2, 7, 64, 512])
def test_channel_energies_are_the_diagonal(channels: int) -> None:
    a, _ = pair((2, channels, 3, 2))
    found = channel_energies(gram_vector(a))
    assert found.shape == (2, channels)
    torch.testing.assert_close(found, a.square().mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_distances_of_vectors_are_frobenius_distances_of_matrices(channels: int) -> None:
    a, b = pair((2, channels, 5, 4))
    assert gram_vector(a).shape == (2, channels * (channels + 1) // 2)
    torch.testing.assert_close(gram_vector(a).norm(dim=1), torch.linalg.matrix_norm(gram(a)))
    torch.testing.assert_close(
        (gram_vector(a) - gram_vector(b)).norm(dim=1), torch.linalg.matrix_norm(gram(a) - gram(b))
    )


def test_relative_distance_is_free_of_scale() -> None:
    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    assert relative_gram_distance(a, b).tolist() == pytest.approx([2.0, 0.0]), "orthogonal of equal size, and the same"
    torch.testing.assert_close(relative_gram_distance(1000 * a, 1000 * b), relative_gram_distance(a, b))
    assert relative_gram_distance(torch.tensor([[2.0]]), torch.tensor([[1.0]])).tolist() == pytest.approx([0.5])
    assert relative_gram_distance(torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [0.0]


def test_gram_loss_does_not_see_places() -> None:
    a, _ = pair()
    shuffled = a.flatten(2)[..., torch.randperm(20, generator=torch.Generator().manual_seed(0))].view_as(a)
    for loss in (gram_loss, mean_deviation_loss, sliced):
        assert float(loss(shuffled, a)) == pytest.approx(0, abs=1e-6)
    assert float(content_loss(shuffled, a)) > 0.1


def test_mean_and_deviation_by_hand() -> None:
    ours = torch.tensor([[[[0.0, 2.0]]]])  # mean 1, deviation 1
    theirs = torch.tensor([[[[0.0, 4.0]]]])  # mean 2, deviation 2
    assert float(mean_deviation_loss(ours, theirs)) == pytest.approx(0.25 + 0.25)


def test_sliced_wasserstein_by_hand_and_on_other_sizes() -> None:
    ours, theirs = torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[0.0, 5.0]]]])
    assert float(sliced_wasserstein_loss(ours, theirs, torch.ones(1, 1))) == pytest.approx((1 + 4) / 2)
    fewer = torch.tensor([[[[2.0]]]])
    assert float(sliced_wasserstein_loss(ours, fewer, torch.ones(1, 1))) == pytest.approx(1)
    more = torch.tensor([[[[1.0, 1.0, 3.0, 3.0]]]])
    assert float(sliced_wasserstein_loss(ours, more, torch.ones(1, 1))) == pytest.approx(0)
    a, _ = pair((2, 3, 4, 5))
    b, _ = pair((2, 3, 3, 3), seed=1)
    naive = naive_sliced(a.double().numpy(), b.double().numpy(), directions(3).double().numpy())
    assert float(sliced(a, b)) == pytest.approx(naive, rel=1e-4)


def test_it_sees_what_a_gram_matrix_cannot() -> None:
    """Two distributions with the same second moments: two peaks, and a wide middle with rare large values."""
    ours = torch.tensor([1.0, -1.0] * 8).view(1, 1, 4, 4)
    theirs = torch.zeros(16)
    theirs[:2] = torch.tensor([math.sqrt(8), -math.sqrt(8)])
    theirs = theirs.view(1, 1, 4, 4)
    assert float(gram_loss(ours, theirs)) == pytest.approx(0, abs=1e-6)
    assert float(sliced_wasserstein_loss(ours, theirs, torch.ones(1, 1))) > 0.5


def test_total_variation() -> None:
    a, _ = pair()
    assert float(total_variation(a)) == pytest.approx(naive_variation(a.double().numpy()), rel=1e-5)
    assert float(total_variation(torch.full((1, 3, 4, 4), 0.7))) == 0
    stripes = torch.tensor([0.0, 1.0]).repeat(2).expand(1, 1, 4, 4)
    assert float(total_variation(stripes)) == pytest.approx(1)
    assert float(total_variation(stripes.transpose(2, 3))) == pytest.approx(1)


def test_unrest_is_variation_on_flat_ground_and_next_to_nothing_on_texture() -> None:
    torch.manual_seed(0)
    painted, flat, rough = torch.rand(2, 3, 24, 24), torch.full((2, 3, 24, 24), 0.5), torch.rand(2, 3, 24, 24)
    assert float(unrest(painted, flat)) == pytest.approx(float(total_variation(painted)) * 23 / 24, rel=1e-3)
    assert float(unrest(painted, rough)) < 0.02 * float(unrest(painted, flat))
    assert float(unrest(flat, flat)) == 0
    half = torch.cat((flat[..., :12], rough[..., 12:]), 3)
    strewn = torch.cat((painted[..., :12], flat[..., 12:]), 3)  # on the flat half
    kept = torch.cat((flat[..., :12], painted[..., 12:]), 3)  # on the rough one
    assert float(unrest(strewn, half)) > 5 * float(unrest(kept, half))


def test_unrest_teaches_the_photo_nothing() -> None:
    painted, photo = (x.requires_grad_() for x in pair())
    unrest(painted, photo).backward()
    assert painted.grad is not None and photo.grad is None
