"""``impasto styles``: the list and the contact sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import STYLES, drawn_photo, make_style_bundle
from impasto.apps.cli import run
from impasto.apps.cli.sheet import PAPER, Tile, contact_sheet
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel

Styles = Callable[..., int]


@pytest.fixture
def styles(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Styles:
    """Run ``impasto styles`` with the tiny model, in a folder that holds photo.jpg (96x64)."""
    monkeypatch.chdir(tmp_path)
    Picture.from_array(drawn_photo(96, 64)).save("photo.jpg")
    return lambda *arguments: run(["styles", *arguments, "--model", str(style_bundle)])


def test_the_list_is_in_columns(styles: Styles, capsys: pytest.CaptureFixture[str]) -> None:
    assert styles() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STYLES)
    for line, style in zip(lines, STYLES, strict=True):
        assert line.split("  ")[0] == style.name
        assert line.endswith(f"  {style.year}")
        assert {line.index(style.title), line.index(style.artist)} == {
            lines[0].index(STYLES[0].title),
            lines[0].index(STYLES[0].artist),
        }


def test_the_list_as_json(styles: Styles, capsys: pytest.CaptureFixture[str]) -> None:
    assert styles("--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [style.to_fields() for style in STYLES]


def test_the_sheet_shows_the_photo_in_every_style(
    styles: Styles, style_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--thumb", "128", "--strength", "0.5", "--keep-colors", "--threads", "1", "--engine", "onnxruntime"]
    assert styles("--sheet", "sheet.png", "photo.jpg", *options) == 0
    assert capsys.readouterr() == ("sheet.png\n", "")
    painter, small = StyleModel.load(style_bundle), Picture.open("photo.jpg").resized(256)
    tiles = [Tile(small.to_pil(), "The photo", "photo.jpg", "")]
    for style in STYLES:
        painted = painter.paint(small, style.name, strength=0.5, keep_colors=True)
        tiles.append(Tile(painted.to_pil(), style.title, f"{style.artist}, {style.year}", style.name))
    expected = np.asarray(contact_sheet(tiles, thumb=128)).astype(int)
    sheet = np.asarray(Image.open(io.BytesIO(Path("sheet.png").read_bytes()))).astype(int)
    assert sheet.shape == expected.shape
    assert np.abs(sheet - expected).max() <= 2, "threads may change the last bit"


def test_the_sheet_as_json(styles: Styles, capsys: pytest.CaptureFixture[str]) -> None:
    assert styles("--sheet", "out/sheet.webp", "photo.jpg", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line.pop("seconds") > 0
    assert line == {"input": "photo.jpg", "output": "out/sheet.webp", "styles": [style.name for style in STYLES]}


def test_the_sheet_is_not_lost(styles: Styles, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sheet.png").write_bytes(b"precious")
    assert styles("--sheet", "sheet.png", "photo.jpg") == 2
    assert Path("sheet.png").read_bytes() == b"precious"
    assert "exists already" in capsys.readouterr().err
    assert styles("--sheet", "sheet.png", "photo.jpg", "--overwrite") == 0
    assert Path("sheet.png").stat().st_size > 1000
    assert styles("--sheet", "photo.jpg", "photo.jpg", "--overwrite") == 2
    assert "is the photo itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["photo.jpg"], "add --sheet OUT.png"),
        (["--sheet", "sheet.png"], "impasto styles --sheet sheet.png photo.jpg"),
        (["--sheet", "sheet.gif", "photo.jpg"], "cannot be written as .gif"),
        (["--sheet", "sheet.png", "fhoto.jpg"], "did you mean photo.jpg?"),
        (["--sheet", "sheet.png", "photo.jpg", "--max-pixels", "10"], "photo.jpg"),
        (["--sheet", "sheet.png", "photo.jpg", "--thumb", "8"], "--thumb"),
        (["--sheet", "sheet.png", "photo.jpg", "--engine", "onnx"], "did you mean 'onnxruntime'"),
    ],
)
def test_wrong_usage_is_one_sentence(
    styles: Styles, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert styles(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("impasto: ")
    assert err.count("\n") == 1
    assert not Path("sheet.png").exists()


def test_a_model_without_named_styles(styles: Styles, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bare = make_style_bundle(tmp_path / "bare.impasto", styles=())
    assert run(["styles", "--model", str(bare)]) == 0
    assert capsys.readouterr().out == ""
    assert run(["styles", "--sheet", "sheet.png", "photo.jpg", "--model", str(bare)]) == 2
    assert "has no named styles" in capsys.readouterr().err


def flat(color: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, color)


@pytest.mark.parametrize("count", [1, 2, 5, 22])
@pytest.mark.parametrize("size", [(60, 40), (40, 60), (200, 10)])
def test_every_tile_is_whole_and_apart(count: int, size: tuple[int, int]) -> None:
    colors = [(200, 10 + 9 * index, 3) for index in range(count)]
    page = np.asarray(contact_sheet([Tile(flat(color, size), "T", "a", "n") for color in colors], thumb=100))
    for color in colors:
        rows, columns = np.nonzero((page == color).all(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width, "a full rectangle, covered by nothing"
        assert max(height, width) == 100
    border = np.concatenate([page[:5].reshape(-1, 3), page[-5:].reshape(-1, 3), page[:, :5].reshape(-1, 3)])
    assert (border == PAPER).all()


def test_titles_stay_in_their_column() -> None:
    long = "A title that is very much longer than any picture is wide, and then some"
    wide = contact_sheet([Tile(flat((0, 0, 9)), long, long, long), Tile(flat((0, 0, 9)), "", "", "")], thumb=256)
    page = np.asarray(wide)
    # Everything that is not paper, right of the first picture's column and left of the second's.
    gutter = page[:, 32 + 256 : 2 * 32 + 256]
    assert (gutter == PAPER).all()
    below = page[32 + 171 :, 32 : 32 + 256]
    assert (below != PAPER).any(), "and yet they are there"


def test_letters_that_the_font_lacks_are_spelt_otherwise() -> None:
    def page(title: str) -> bytes:
        return contact_sheet([Tile(flat((9, 9, 9)), title, "", "")]).tobytes()

    assert page("Dürer — Café") == page("Durer - Cafe")
    assert page("北斎") == page("??")
    assert page("Durer") != page("Dyrer")


def test_transparency_shows_the_paper() -> None:
    page = np.asarray(contact_sheet([Tile(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "", "", "")], thumb=64))
    assert (page == PAPER).all()
