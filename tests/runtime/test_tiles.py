"""How a picture is cut: every pixel once, and only where it is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto.errors import ImpastoError
from impasto.runtime.engine import ruled
from impasto.runtime.tiles import Area, least_pixels, plan_tiles


def test_an_area_in_bands() -> None:
    area = Area(3, 10, 20, 40)
    assert (area.height, area.width) == (17, 30)
    bands = list(area.bands(150))
    assert [(band.top, band.bottom) for band in bands] == [(3, 8), (8, 13), (13, 18), (18, 20)]
    assert {(band.left, band.right) for band in bands} == {(10, 40)}
    assert len(list(area.bands(1))) == 17, "never less than a row"


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from([0, 1, 7, 40, 102]),
    st.sampled_from([1, 4, 8]),
    st.integers(0, 300_000),
)
def test_every_pixel_is_kept_once_and_away_from_edges_within(
    height: int, width: int, reach: int, multiple: int, more: int
) -> None:
    rule = {"reach": reach, "minimum": 16, "multiple": multiple}
    pixels = least_pixels(height, width, **rule) + more
    plan = plan_tiles(height, width, **rule, pixels=pixels)
    assert plan.height * plan.width <= pixels
    assert plan.height % multiple == plan.width % multiple == 0
    kept = np.zeros((height, width), np.uint8)
    tall, wide = ruled(height, 16, multiple), ruled(width, 16, multiple)
    tiles = list(plan)
    assert len(tiles) == len(plan)
    for window, keep in tiles:
        kept[keep.top : keep.bottom, keep.left : keep.right] += 1
        assert keep.height > 0 < keep.width
        for start, end, first, last, side, padded, length in (
            (window.top, window.bottom, keep.top, keep.bottom, height, tall, plan.height),
            (window.left, window.right, keep.left, keep.right, width, wide, plan.width),
        ):
            assert start % multiple == 0 and 0 <= start <= first < last <= end <= side
            assert start == 0 or first - start >= reach, "an edge that the picture has not"
            assert start + length == padded or start + length - last >= reach
            assert end == min(start + length, side), "all see the same shape, padding counted"
            assert start + length <= padded
            assert length == padded or end - start > length - (end - start), "there is enough to mirror"
    assert (kept == 1).all()
    assert plan.work >= 1.0


def test_a_picture_that_fits_is_one_window() -> None:
    plan = plan_tiles(37, 50, reach=102, minimum=16, multiple=8, pixels=40 * 56)
    assert list(plan) == [(Area(0, 0, 37, 50), Area(0, 0, 37, 50))]
    assert (plan.height, plan.width, len(plan)) == (40, 56, 1)


def test_more_memory_is_never_more_work() -> None:
    work = [
        plan_tiles(8400, 12000, reach=102, minimum=16, multiple=8, pixels=pixels).work
        for pixels in (100_000, 300_000, 1_000_000, 3_000_000, 6_000_000, 12_000_000, 30_000_000, 101_000_000)
    ]
    assert work == sorted(work, reverse=True) and work[0] > 2
    assert work[4] < 1.16, "a hundred megapixels within a gigabyte"
    assert work[-1] == pytest.approx(1.0)


def test_fresh_memory_makes_windows_smaller() -> None:
    rule = {"reach": 102, "minimum": 16, "multiple": 8, "pixels": 8_300_000}
    plans = [plan_tiles(2160, 3840, **rule, fresh=fresh) for fresh in (0.0, 0.1, 0.5, 1.0, 5.0)]
    sizes = [plan.height * plan.width for plan in plans]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 2160 * 3840 > sizes[2] > sizes[4]
    for fresh, best in zip((0.1, 0.5, 1.0, 5.0), plans[1:], strict=True):
        assert all(best.cost(fresh) <= other.cost(fresh) for other in plans)
        assert best.cost(fresh) == pytest.approx(best.work * 2160 * 3840 + fresh * best.height * best.width)
    whole = plan_tiles(2160, 3840, **rule, fresh=0.5, held=2160 * 3840)
    assert len(whole) == 1 and whole.cost(0.5, 2160 * 3840) == 2160 * 3840, "what is held costs nothing"


def test_a_window_too_small_is_refused() -> None:
    least = least_pixels(5000, 400, reach=102, minimum=16, multiple=8)
    assert least == 312 * 312
    assert plan_tiles(5000, 400, reach=102, minimum=16, multiple=8, pixels=least).work < 10
    with pytest.raises(ImpastoError, match=r"97,343 pixels is too small .* needs 97,344: allow more memory"):
        plan_tiles(5000, 400, reach=102, minimum=16, multiple=8, pixels=least - 1)
    assert least_pixels(20, 400, reach=102, minimum=16, multiple=8) == 24 * 312, "a narrow picture is no wider"
