"""``impasto explain style``: the page, the figures, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.training import explain as explaining
from pages import Reader
from training.support import LAYERS, write_vgg
from training.whole import make_whole_bundle

Capture = pytest.CaptureFixture[str]
HOSTILE = "a <b> & 'c'.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a photo, and a painting whose name is HTML."""
    place = tmp_path_factory.mktemp("explained")
    make_whole_bundle(place)
    write_vgg(place / "vgg.safetensors")
    for name, seed, size in (("photo.png", 1, (96, 72)), (HOSTILE, 2, (80, 64))):
        Image.fromarray((drawn_photo(*size, seed=seed) * 255).astype(np.uint8)).save(place / name)
    return place


@pytest.fixture(autouse=True)
def _small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random features of few layers, and paintings seen small."""
    monkeypatch.setenv("IMPASTO_VGG16", str(folder / "vgg.safetensors"))
    monkeypatch.chdir(folder)
    defaults = explaining.explain_style.__kwdefaults__ or {}
    monkeypatch.setattr(explaining.explain_style, "__kwdefaults__", defaults | {"scale": 64, "layers": LAYERS})


def explain(*more: str) -> int:
    return run(["explain", "style", "photo.png", "--model", "whole.impasto", "--threads", "1", *more])


def test_a_page_and_its_figures(folder: Path, capsys: Capture) -> None:
    arguments = ["--style", HOSTILE, "-o", "page.html", "--size", "64", "--network", "vgg16", "--json"]
    assert explain(*arguments, "--max-pixels", "10000") == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["input"], fields["style"], fields["output"]) == ("photo.png", HOSTILE, "page.html")
    assert fields["size"] == [64, 48] and fields["painted"]["change"] == pytest.approx(1)
    page = (folder / "page.html").read_text(encoding="utf-8")
    read = Reader(page)
    pictures = read.all("img")
    # 4 parts and all together, the heat maps of 3 layers and of all, the painter's 7 places, pairs and the rest.
    assert len(pictures) > 4 * 6 + 5 + 7 + 4 + 3
    assert all(picture["alt"] for picture in pictures if picture["src"] != "data:,")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) and "url(" not in page
    assert read.all("b") == [] or "a <b>" not in page
    links = {attrs["href"] for attrs in read.all("a")}
    assert links == {f"#{attrs['id']}" for attrs in read.all("section")} and len(links) == 6
    assert all(f"relu{name}" in page for name in ("1_2", "2_2", "3_1"))
    assert explain(*arguments) == 2
    assert "page.html exists already" in capsys.readouterr().err


def test_a_named_style_has_a_shorter_page(folder: Path, capsys: Capture) -> None:
    (folder / "old.html").write_text("old")
    assert explain("--style", "great-wave", "-o", "old.html", "--size", "64", "--overwrite") == 0
    out, err = capsys.readouterr()
    assert out == "old.html\n" and "give the painting as a picture file" in err
    read = Reader((folder / "old.html").read_text(encoding="utf-8"))
    assert {attrs["id"] for attrs in read.all("section")} == {"short", "layers", "painter", "figures"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", HOSTILE, "-o", "page.png"], r"'page\.png' must end in \.html"),
        (["--style", "great-wav", "-o", "new.html"], "no style called 'great-wav': did you mean 'great-wave'"),
        (["--style", "none.jpg", "-o", "new.html"], r"none\.jpg"),
        (["-o", "new.html"], "Missing option '--style'"),
        (["--style", HOSTILE, "-o", "new.html", "--max-pixels", "99"], "99"),
        (["--style", HOSTILE, "-o", "new.html", "--network", "vgg61"], "no feature network called 'vgg61'"),
        (["--style", HOSTILE], "Missing option"),
    ],
)
def test_what_is_refused_leaves_nothing(arguments: list[str], words: str, folder: Path, capsys: Capture) -> None:
    assert explain(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.search(words, err) and err.count("\n") == 1
    assert not (folder / "new.html").exists() and not (folder / "page.png").exists()


def test_a_page_never_takes_the_place_of_the_painting(folder: Path, capsys: Capture) -> None:
    painting = folder / "painting.html"  # a picture is told by its bytes, not by its name
    painting.write_bytes((folder / HOSTILE).read_bytes())
    assert explain("--style", "painting.html", "-o", "painting.html", "--overwrite") == 2
    assert "it would be lost" in capsys.readouterr().err
    assert painting.read_bytes() == (folder / HOSTILE).read_bytes()
