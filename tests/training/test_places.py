"""Where the style is missing and what strokes resemble, on feature maps whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from impasto.training.losses.perceptual import gram, gram_vector, relative_gram_distance
from impasto.training.places import apart, half_lies_in, loss_places, resemblance


def features(seed: int, height: int = 9, width: int = 11, channels: int = 5) -> torch.Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_places_share_the_loss_out_exactly() -> None:
    ours, theirs = features(0), features(1, 7, 6)
    shares = loss_places(ours, gram(theirs))
    assert shares.shape == (9, 11)
    loss = relative_gram_distance(gram_vector(ours), gram_vector(theirs))
    assert float(shares.mean()) == pytest.approx(float(loss), rel=1e-4)


def test_a_place_that_has_too_much_stands_out() -> None:
    theirs = torch.full((1, 3, 8, 8), 0.5)
    ours = theirs.clone()
    ours[:, 1, 2, 6] = 5.0
    shares = loss_places(ours, gram(theirs))
    assert int(shares.argmax()) == 2 * 8 + 6


def test_a_place_that_lacks_something_adds_and_one_that_has_it_eases() -> None:
    theirs = torch.zeros(1, 2, 4, 4)
    theirs[:, 0] = 1.0  # the painting answers everywhere
    ours = torch.zeros(1, 2, 4, 4)
    ours[:, 0, 0, 0] = 1.0  # the picture in one place only
    shares = loss_places(ours, gram(theirs))
    assert float(shares[0, 0]) < float(shares[3, 3]) and float(shares[3, 3]) > 0


def by_hand(ours: torch.Tensor, theirs: torch.Tensor, step: int) -> list[tuple[int, int, float]]:
    """Normalised cross-correlation by loops: row, column and value of the best."""
    a, b = (x[0].numpy().astype(np.float64) for x in (ours, theirs))
    found = []
    for top in range(0, a.shape[1] - 2, step):
        for left in range(0, a.shape[2] - 2, step):
            patch = a[:, top : top + 3, left : left + 3]
            scores = {
                (i + 1, j + 1): float(
                    (patch * (other := b[:, i : i + 3, j : j + 3])).sum()
                    / (np.linalg.norm(patch) * np.linalg.norm(other))
                )
                for i in range(b.shape[1] - 2)
                for j in range(b.shape[2] - 2)
            }
            best = max(scores, key=lambda place: scores[place])
            found.append((*best, scores[best]))
    return found


@pytest.mark.parametrize("step", [1, 2])
def test_the_most_similar_patch_is_that_of_the_slow_way(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.training.places._ROWS", 20)  # so that the painting is looked at in parts
    ours, theirs = features(3), features(4, 8, 12)
    found = resemblance(ours, theirs, step=step, margin=0)
    expected = by_hand(ours, theirs, step)
    assert [tuple(place) for place in found.theirs.tolist()] == [place[:2] for place in expected]
    assert found.similarity == pytest.approx([score for *_, score in expected], abs=1e-5)
    assert found.ours[0].tolist() == [1, 1] and found.ours[1].tolist() == [1, 1 + step]


def test_a_picture_resembles_itself_where_it_is() -> None:
    same = features(5)
    found = resemblance(same, same, step=1, margin=0)
    assert np.array_equal(found.ours, found.theirs)
    assert found.similarity.min() > 0.999
    uses = found.uses()
    assert uses[1:-1, 1:-1].min() == 1 and uses.sum() == len(found.ours) == 7 * 9
    cells = found.uses_of_cells()  # of 9 x 11 positions, the last rows and columns being cut short
    assert cells.tolist() == [[9, 12, 6], [12, 16, 8], [0, 0, 0]]


def test_borders_are_left_out_of_both() -> None:
    ours, theirs = features(9, 12, 13), features(10, 14, 11)
    found = resemblance(ours, theirs, margin=2)
    inner = resemblance(ours[:, :, 2:-2, 2:-2], theirs[:, :, 2:-2, 2:-2], margin=0)
    assert np.array_equal(found.ours, inner.ours + 2) and np.array_equal(found.theirs, inner.theirs + 2)
    assert found.theirs_shape == (14, 11) and found.uses().shape == (14, 11)
    assert np.array_equal(found.uses_of_cells(), inner.uses_of_cells())


def test_pairs_keep_apart_in_both_pictures() -> None:
    found = resemblance(features(6, 40, 48), features(7, 32, 40), step=1, margin=0)
    chosen = apart(found, 4)
    assert len(chosen) == 4
    rough = found.texture >= np.median(found.texture)
    assert found.similarity[chosen[0]] == found.similarity[rough].max() and rough[chosen].all()
    for places, least in ((found.ours, 6), (found.theirs, 5)):
        for i in chosen:
            assert all(i == j or np.abs(places[i] - places[j]).max() >= least for j in chosen)


def test_flat_ground_has_no_texture() -> None:
    picture = torch.ones(1, 3, 5, 9)
    picture[..., 6:] = features(8, 5, 3, 3)
    texture = resemblance(picture, picture, step=1, margin=0).texture.reshape(3, 7)
    assert texture[:, :4].max() == 0 and texture[:, 5:].min() > 0


def test_half_of_it() -> None:
    assert half_lies_in(np.array([[8.0, 1, 1, 1], [1, 1, 1, 2]])) == 1 / 8
    assert half_lies_in(np.ones((2, 4))) == 0.5
    assert half_lies_in(np.array([-1.0, 0.0])) == 0.0
