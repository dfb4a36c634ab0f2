"""Latents: the streams of seeds, the mixture, and the ways between two latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from impasto.errors import BundleError, ImpastoError
from impasto.runtime.latents import Draw, Mixture, draw_streams, lerp, slerp

# What seed 7 has to give for ever: pictures are drawn again by their seeds.
SEVEN = [1.52196932, -1.14410579, 1.15016162, 0.7756856902451935, 0.22520718999059186]


def test_the_stream_of_a_seed_never_changes() -> None:
    drawn = draw_streams(7, 1, 3)
    assert drawn.normals.dtype == np.float32
    np.testing.assert_allclose(drawn.normals[0], SEVEN[:3], rtol=1e-6)
    np.testing.assert_allclose([drawn.component[0], drawn.label[0]], SEVEN[3:], rtol=1e-12)


def test_picture_k_of_a_seed_is_the_first_of_the_seed_plus_k() -> None:
    many = draw_streams(5, 4, 6)
    for k in range(4):
        one = draw_streams(5 + k, 1, 6)
        assert np.array_equal(many.normals[k], one.normals[0])
        assert (many.component[k], many.label[k]) == (one.component[0], one.label[0])
    assert len(np.unique(many.normals)) == many.normals.size


def test_streams_are_normal_and_uniform() -> None:
    drawn = draw_streams(0, 2000, 8)
    assert abs(float(drawn.normals.mean())) < 0.03 and abs(float(drawn.normals.std()) - 1) < 0.03
    for shares in (drawn.component, drawn.label):
        assert shares.min() >= 0 and shares.max() < 1 and abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(np.corrcoef(drawn.component, drawn.label)[0, 1]) < 0.06
    assert draw_streams(0, 0, 8).normals.shape == (0, 8)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7", None])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(ImpastoError, match=r"seed .* cannot be used"):
        draw_streams(seed, 1, 3)


def test_a_large_seed_works() -> None:
    assert np.isfinite(draw_streams(2**70, 1, 3).normals).all()


def test_a_mixture_is_drawn_as_it_says() -> None:
    roots = np.array([[[0.5, 0], [0.2, 0.1]], [[1, 0], [0, 2]]], np.float32)
    mixture = Mixture(np.float32([0.25, 0.75]), np.float32([[5, 5], [-5, 0]]), roots)
    drawn = draw_streams(0, 4000, 2)
    placed = mixture.place(drawn)
    first = placed[:, 0] > 2
    assert abs(first.mean() - 0.25) < 0.03
    np.testing.assert_allclose(placed[first].mean(0), [5, 5], atol=0.05)
    np.testing.assert_allclose(np.cov(placed[first].T), roots[0] @ roots[0].T, atol=0.03)
    np.testing.assert_allclose(np.cov(placed[~first].T), roots[1] @ roots[1].T, atol=0.25)
    for row in (0, 17):  # whoever draws alone gets the same
        alone = Draw(drawn.normals[row : row + 1], drawn.component[row : row + 1], drawn.label[row : row + 1])
        assert np.array_equal(mixture.place(alone)[0], placed[row])


@pytest.mark.parametrize(
    ("weights", "means", "roots"),
    [
        ([0.5, 0.5], (2, 3), (2, 3, 2)),
        ([0.5, 0.5], (3, 3), (3, 3, 3)),
        ([0.9, 0.9], (2, 3), (2, 3, 3)),
        ([-0.5, 1.5], (2, 3), (2, 3, 3)),
        ([], (0, 3), (0, 3, 3)),
        ([1.0], (3,), (1, 3, 3)),
    ],
)
def test_tables_that_are_no_mixture_are_refused(weights: list[float], means: Any, roots: Any) -> None:
    with pytest.raises(BundleError, match="do not fit together"):
        Mixture(np.float32(weights), np.zeros(means, np.float32), np.zeros(roots, np.float32))


def test_slerp_follows_the_sphere() -> None:
    start, end = np.float32([2, 0, 0]), np.float32([0, 4, 0])
    np.testing.assert_allclose(slerp(start, end, 0.0), start, atol=1e-6)
    np.testing.assert_allclose(slerp(start, end, 1.0), end, atol=1e-6)
    np.testing.assert_allclose(slerp(start, end, 0.5), 3 * np.float32([1, 1, 0]) / np.sqrt(2), atol=1e-6)
    third = slerp(start, end, 1 / 3)
    assert np.degrees(np.arctan2(third[1], third[0])) == pytest.approx(30)
    assert np.linalg.norm(third) == pytest.approx(2 + 2 / 3)


@pytest.mark.parametrize("end", [[2, 0], [-2, 0], [0, 0]])
def test_slerp_goes_straight_where_there_is_no_arc(end: list[float]) -> None:
    start, last = np.float32([1, 0]), np.float32(end)
    np.testing.assert_allclose(slerp(start, last, 0.25), lerp(start, last, 0.25), atol=1e-6)


def test_lerp_takes_one_share_or_one_per_row() -> None:
    start, end = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    np.testing.assert_allclose(lerp(start, end, 0.25), 0.25)
    np.testing.assert_allclose(lerp(start, end, np.array([0.1, 0.9])), [[0.1] * 3, [0.9] * 3], rtol=1e-6)
