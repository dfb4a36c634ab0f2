"""``impasto compare``: the page as a browser would read it."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.apps import compare_page
from impasto.apps.cli import run
from impasto.apps.compare_page import compare, labels_of
from impasto.runtime.picture import Picture

HOSTILE = ['"><script>alert(1)<', "a'b&amp;c onerror=x", "#50%?ü", "</title>"]


class Page(HTMLParser):
    """Tags with their attributes, and all text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "input", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


def put(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.from_array(drawn_photo(*size, seed=seed)).save(path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(("ours", "theirs", "third")):
        put(Path(folder) / "boat.png", seed)
        put(Path(folder) / "deep" / ("mill.jpg" if seed else "mill.webp"), seed + 5)
    put(Path("ours") / "alone.png")
    Path("theirs/deep/mill.jpg").unlink()
    return tmp_path


def sheet(page: Page) -> dict[str, Image.Image]:
    """The pictures of the sheet by their alt text; each of them is read."""
    found = {}
    for img in page.all("img"):
        source = img["src"]
        if source == "data:,":
            continue
        head, comma, data = source.partition(",")
        if comma:
            assert head in ("data:image/jpeg;base64", "data:image/png;base64")
            file = io.BytesIO(base64.b64decode(data, validate=True))
        else:
            assert not source.startswith(("/", "http", ".")) and ":" not in source
            file = io.BytesIO(Path(unquote(source)).read_bytes())
        with Image.open(file) as image:
            image.load()
            assert image.size == (int(img["width"]), int(img["height"]))
            found[img["alt"]] = image
    return found


def test_the_page_holds_all_pictures_and_asks_for_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "ours", "theirs", "third", "-o", "page.html", "--size", "32"]) == 0
    out, err = capsys.readouterr()
    assert out == "page.html\n" and "left out: alone." in err
    page = Page(Path("page.html"))
    pictures = sheet(page)
    assert set(pictures) == {
        "boat, ours", "boat, theirs", "boat, third", "deep/mill, ours", "deep/mill, third",
    }  # fmt: skip
    assert pictures["boat, ours"].size == (32, 27) and "not there" in page.words
    original = np.asarray(Picture.open("theirs/boat.png").resized(32).to_pil(), np.float32)
    assert np.abs(np.asarray(pictures["boat, theirs"], np.float32) - original).mean() < 6
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'") and "img-src data:;" in policy
    assert not page.all("link") and not any("src" in script for script in page.all("script"))
    assert "http" not in Path("page.html").read_text().replace("http-equiv", "")
    assert not Path("page_files").exists() and not list(Path().glob(".page*"))


def test_it_can_be_used_by_keyboard_and_ear(place: Path) -> None:
    assert run(["compare", "ours", "theirs", "-o", "page.html"]) == 0
    page = Page(Path("page.html"))
    (handle,) = page.all("input")
    assert handle["type"] == "range" and handle["aria-label"]
    assert [one["name"] for one in page.all("select")] == ["row", "over", "under"]
    assert page.open == [] and len(page.all("label")) == 3, "each choice stands in its label"
    steps = [one for one in page.all("button") if "data-step" in one]
    assert [one["aria-label"] for one in steps] == ["Previous picture", "Next picture"]
    chosen = [one["value"] for one in page.all("option") if "selected" in one]
    assert chosen == ["0", "1"], "the slider begins with two that differ"
    assert all("alt" in img for img in page.all("img")) and page.all("html")[0]["lang"] == "en"
    assert "prefers-color-scheme:dark" in Path("page.html").read_text()
    figures = [one for one in page.all("figure") if "data-row" in one]
    assert [(one["data-row"], one["data-column"]) for one in figures] == [("0", "0"), ("0", "1")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")
def test_hostile_names(place: Path) -> None:
    for index, name in enumerate(HOSTILE):
        safe = name.replace("/", "∕")
        put(Path('a"><b>') / f"{safe}.png", index)
        put(Path("b&'<i>") / f"{safe}.png", index + 9)
    odd = os.fsdecode(b"half\xff")
    for folder in ('a"><b>', "b&'<i>"):
        put(Path(folder) / "plain.png")
        (Path(folder) / "plain.png").rename(Path(folder) / f"{odd}.png")
    assert run(["compare", 'a"><b>', "b&'<i>", "-o", "page.html"]) == 0
    page = Page(Path("page.html"))
    assert len(sheet(page)) == 2 * (len(HOSTILE) + 1)
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "section", "div", "button",
        "label", "span", "select", "option", "img", "input", "figure", "figcaption", "b", "footer", "dialog", "script",
    }  # fmt: skip
    assert len(page.all("script")) == 1 and not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any('"><script>alert(1)<' in words for words in page.words)


def test_many_pictures_lie_in_a_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_page, "EMBEDDED", 1000)
    name = "a #1%.html" if sys.platform != "win32" else "a.html"
    assert run(["compare", "ours", "theirs", "-o", f"pages/{name}"]) == 0
    folder = Path("pages") / f"{Path(name).stem}_files"
    assert sorted(path.name for path in folder.iterdir()) == ["0000-0.jpg", "0000-1.jpg"]
    monkeypatch.chdir("pages")
    page = Page(Path(name))
    assert len(sheet(page)) == 2
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "img-src data: 'self' file:;" in policy
    monkeypatch.chdir(place)
    (folder / "mine.txt").write_text("mine")
    assert run(["compare", "ours", "theirs", "-o", f"pages/{name}"]) == 2
    Path("pages", name).unlink()
    assert run(["compare", "ours", "theirs", "-o", f"pages/{name}"]) == 2, "its folder is in the way"
    assert run(["compare", "ours", "third", "-o", f"pages/{name}", "--overwrite"]) == 0
    assert (folder / "mine.txt").read_text() == "mine" and len(list(folder.iterdir())) == 5


def test_pictures_and_transparency(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clear = np.dstack([drawn_photo(20, 20), np.full((20, 20), 0.5, np.float32)])
    Picture.from_array(clear).save("clear.png")
    assert run(["compare", "clear.png", "ours/boat.png", "theirs/boat.png", "-o", "p.htm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": "p.htm", "rows": 1, "pictures": 3, "folder": None}
    pictures = sheet(Page(Path("p.htm")))
    assert [image.mode for image in pictures.values()] == ["RGBA", "RGB", "RGB"]
    assert [alt.rpartition(", ")[2] for alt in pictures] == ["clear.png", "ours/boat.png", "theirs/boat.png"]


def test_labels_are_as_short_as_they_can_be() -> None:
    assert labels_of([Path("/a/out"), Path("/b/rival")]) == ["out", "rival"]
    assert labels_of([Path("/x/a/out"), Path("/x/b/out")]) == ["a/out", "b/out"]
    assert labels_of([Path("x/out"), Path("x/out")]) == ["x/out (1)", "x/out (2)"]
    assert "" not in labels_of([Path(), Path("/x")])


def test_a_damaged_picture_is_said_and_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(Path("theirs/deep/mill.png"))
    Path("theirs/boat.png").write_bytes(b"\x89PNG\r\n\x1a\nbad")
    assert run(["compare", "ours", "theirs", "-o", "page.html"]) == 0
    assert "boat.png: " in capsys.readouterr().err
    assert set(sheet(Page(Path("page.html")))) == {"boat, ours", "deep/mill, ours", "deep/mill, theirs"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ours", "-o", "p.html"], "One place alone"),
        (["ours", "ours/boat.png", "-o", "p.html"], "is no folder, and the others are"),
        (["ours", "nowhere", "-o", "p.html"], "nowhere is no folder"),
        (["ours/boat.png", "ours/goat.png", "-o", "p.html"], "did you mean boat.png?"),
        (["ours", "empty", "-o", "p.html"], "no picture of the same name"),
        (["ours", "theirs", "-o", "p.png"], "must end in .html"),
        (["ours", "theirs", "-o", "there.html"], "exists already"),
        (["ours", "theirs", "-o", "ours"], "is a folder"),
        (["ours", "twice", "-o", "p.html"], "have one name"),
    ],
)
def test_wrong_usage(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    Path("empty").mkdir()
    Path("there.html").write_text("mine")
    put(Path("twice/a.png"))
    put(Path("twice/a.jpg"))
    before = sorted(path.name for path in place.iterdir())
    assert run(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and sentence in err
    assert sorted(path.name for path in place.iterdir()) == before and Path("there.html").read_text() == "mine"


def test_too_many_for_a_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_page, "MOST_PICTURES", 1)
    with pytest.raises(compare_page.PictureError, match="too many for a page"):
        compare(["ours", "theirs"], "p.html")
