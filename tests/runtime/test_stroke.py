"""What a size of strokes means."""

from __future__ import annotations

from typing import Any

import pytest

from impasto.errors import ImpastoError, UnknownName
from impasto.runtime.stroke import AUTO, OWN, parse_detail, parse_stroke, working_size


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (0.01, (0.01, "share")),
        ("0.01", (0.01, "share")),
        (".5 %", (0.005, "share")),
        ("1%", (0.01, "share")),
        ("24px", (24.0, "px")),
        (" 24 PX ", (24.0, "px")),
        ("auto", (AUTO, "share")),
        (1 / 8, (1 / 8, "share")),
        ("2px", (2.0, "px")),
    ],
)
def test_ways_to_say_it(given: float | str, meant: tuple[float, str]) -> None:
    assert parse_stroke(given) == (pytest.approx(meant[0]), meant[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("24 cm", "'24 cm' is no size of strokes: write a share"),
        ("", "is no size of strokes"),
        ("-1px", "is no size of strokes"),
        ("1e-2", "is no size of strokes"),
        ("0", "Strokes of 0 cannot be painted: write a share"),
        (0, "Strokes of 0 cannot be painted"),
        (-0.1, "Strokes of -0.1 cannot be painted"),
        (float("nan"), "Strokes of nan cannot be painted"),
        (float("inf"), "Strokes of inf cannot be painted"),
        ("1.5px", "too fine to be seen: give at least 2px"),
        (0.2, "too coarse: a share of the picture's long side is at most 0.125."),
        ("13%", "too coarse"),
        (24, r"too coarse: .* at most 0.125 \(for pixels write 24px\)"),
    ],
)
def test_what_is_no_size(given: Any, said: str) -> None:
    with pytest.raises(ImpastoError, match=said):
        parse_stroke(given)


def test_a_word_that_is_nearly_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'auto'"):
        parse_stroke("autp")


def test_the_working_size() -> None:
    assert working_size(None, (301, 203)) == (301, 203)
    assert working_size(f"{OWN}px", (301, 203)) == (301, 203)  # the painter's own
    assert working_size("16px", (301, 203)) == (150, 101)
    assert working_size("4px", (301, 203)) == (602, 406)
    assert working_size("auto", (3840, 2160)) == working_size(1 / 64, (3840, 2160)) == (512, 288)
    # A share means one working size for all sizes of one picture.
    assert {working_size(0.02, (width, width * 3 // 4)) for width in (512, 1200, 4000, 12000)} == {(400, 300)}


def test_strokes_too_fine_to_be_seen_are_held_where_they_could_be() -> None:
    assert working_size(0.002, (100, 50)) == working_size("2px", (100, 50)) == (400, 200)


def test_pixels_too_coarse_for_a_picture() -> None:
    assert working_size("100px", (800, 600)) == (64, 48)
    with pytest.raises(ImpastoError, match=r"too coarse for a picture of 790x600: give at most 98\.75px, or a share"):
        working_size("100px", (790, 600))


def test_more_pixels_than_can_be_painted() -> None:
    with pytest.raises(ImpastoError, match="painted at 48000x33600, which is more than 200,000,000 pixels"):
        working_size("2px", (12000, 8400))
    assert working_size("8px", (30000, 20000)) == (30000, 20000)  # as large as the picture is allowed to be


@pytest.mark.parametrize("detail", [-0.1, 1.01, float("nan")])
def test_details_out_of_range(detail: float) -> None:
    with pytest.raises(ImpastoError, match=r"The detail .* choose a number from 0 to 1"):
        parse_detail(detail)
