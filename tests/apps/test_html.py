"""Pages: what is escaped, what is forbidden, what a reader without eyes or mouse gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.apps.html import check_page, document, embedded, escape, figure, table, wipe, write_page
from impasto.errors import ImpastoError, PictureExists
from impasto.runtime.picture import Picture
from pages import Reader

NASTY = "<img src=x onerror=alert(1)> & \"quotes\" 'too' \udcff.png"


def test_names_of_files_cannot_become_html() -> None:
    body = figure("data:,", NASTY, (3, 2), escape(NASTY)) + table([NASTY], [[NASTY]], NASTY)
    body += wipe(("data:,", NASTY), ("data:,", NASTY), (3, 2), NASTY)
    read = Reader(document(NASTY, body, description=NASTY))
    assert [attrs for attrs in read.all("img") if "onerror" in attrs] == []
    assert {attrs["alt"] for attrs in read.all("img")} == {NASTY.replace("\udcff", "?"), ""}
    document(NASTY, body).encode("utf-8")


def test_a_page_may_load_nothing() -> None:
    read = Reader(document("t", "b"))
    policy = next(attrs["content"] for attrs in read.all("meta") if attrs.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    assert read.all("html")[0]["lang"] == "en"


def test_pictures_are_embedded_without_their_metadata() -> None:
    opaque = Picture.from_array(drawn_photo(9, 7))
    assert embedded(opaque).startswith("data:image/jpeg;base64,")
    clear = Picture.from_array(np.dstack((drawn_photo(9, 7), np.full((7, 9), 0.5, np.float32))))
    assert embedded(clear).startswith("data:image/png;base64,")


def test_the_handle_has_a_name_and_the_picture_a_button() -> None:
    read = Reader(wipe(("data:,", "a"), ("data:,", "b"), (3, 2), "How much") + figure("data:,", "a", (3, 2)))
    assert read.all("input")[0]["aria-label"] == "How much"
    assert len(read.all("button")) == 1


def test_a_page_is_refused_before_the_work(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page(page, "<p>ä")
    assert page.read_bytes() == "<p>ä".encode()
    with pytest.raises(PictureExists, match="exists already"):
        check_page(page, overwrite=False)
    check_page(page, overwrite=True)
    with pytest.raises(ImpastoError, match=r"must end in \.html"):
        check_page(tmp_path / "page.png", overwrite=True)
    with pytest.raises(ImpastoError, match="is a folder"):
        check_page(tmp_path, overwrite=True)
