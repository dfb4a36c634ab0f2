"""``--style NAME|PICTURE|CODE.npy[:WEIGHT]``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.apps.cli.blend import LONGEST_LABEL, Wanted, label_of, parse_style, weight_of
from impasto.errors import ImpastoError


@pytest.mark.parametrize(
    ("text", "style", "weight"),
    [
        ("starry-night", "starry-night", None),
        ("starry-night:0.3", "starry-night", 0.3),
        ("starry-night:2", "starry-night", 2.0),
        ("starry-night:1e-2", "starry-night", 0.01),
        ("C:\\arts\\sea.jpg", "C:\\arts\\sea.jpg", None),
        ("C:\\arts\\sea.jpg:0.5", "C:\\arts\\sea.jpg", 0.5),
        ("C:/arts/sea.npy:3", "C:/arts/sea.npy", 3.0),
        ("12:30 sea.jpg", "12:30 sea.jpg", None),
        ("12:30 sea.jpg:.5", "12:30 sea.jpg", 0.5),
        ("a:b:c:7", "a:b:c", 7.0),
        ("night:", "night:", None),
        (":5", ":5", None),
        ("night:heavy", "night:heavy", None),
    ],
)
def test_only_a_number_at_the_end_is_a_weight(text: str, style: str, weight: float | None) -> None:
    assert parse_style(text) == Wanted(style, weight)


def test_an_existing_file_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film:2").write_bytes(b"x")
    assert parse_style("film:2") == Wanted("film:2", None)
    assert parse_style("film:2:0.5") == Wanted("film:2", 0.5)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-0.0"])
def test_weights_that_cannot_be(weight: str) -> None:
    with pytest.raises(ImpastoError, match=r"must be a number above 0: write night:0\.5"):
        parse_style(f"night:{weight}")


def test_an_empty_style_is_refused() -> None:
    with pytest.raises(ImpastoError, match="is empty"):
        parse_style(" ")


@given(st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True), st.floats(1e-6, 1e6))
def test_any_weight_comes_back(name: str, weight: float) -> None:
    assert parse_style(f"{name}:{weight!r}") == Wanted(name, weight)


@pytest.mark.parametrize(
    ("styles", "label"),
    [
        (["starry-night"], "starry-night"),
        (["starry-night:0.2", "great-wave:0.8"], "starry-night+great-wave"),
        (["arts/my sea.jpg"], "my sea"),
        (["C:\\arts\\sea.v2.jpg:3"], "sea.v2"),
        (["codes/own.npy"], "own"),
        (["arts/.jpg"], ".jpg"),
        (["x" * 200], "x" * LONGEST_LABEL),
    ],
)
def test_outputs_are_named_after_the_style(styles: list[str], label: str) -> None:
    assert label_of([parse_style(text) for text in styles]) == label


def test_a_missing_weight_is_one() -> None:
    assert [weight_of(parse_style(text)) for text in ("a", "a:3")] == [1.0, 3.0]
