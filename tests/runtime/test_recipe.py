"""Recipes: into every format and out again, beside what the photo carried; damaged and hostile ones."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import CODES, drawn_photo
from impasto.errors import ImpastoError, PictureError, UnknownName
from impasto.runtime.masks import open_mask
from impasto.runtime.mural import paint_file
from impasto.runtime.picture import Picture, PictureInfo
from impasto.runtime.pixels.deep import png_chunk
from impasto.runtime.pixels.encode import losses
from impasto.runtime.pixels.packet import LONGEST, NAMESPACE, recipe_in, with_recipe, without_recipe
from impasto.runtime.recipe import (
    LONGEST_TEXT,
    Ingredient,
    Recipe,
    carrying,
    drawn_with,
    parse_recipe,
    read_recipe,
    recipe_of,
    recipe_text,
)
from impasto.runtime.recipe_masks import packed, unpacked
from impasto.runtime.style import StyleModel

SHA = "0123456789abcdef" * 4
FORMATS = [".jpg", ".png", ".webp", ".avif", ".tif"]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<r:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="Caf\xc3\xa9"/></r:RDF></x:xmpmeta>\n  \n'
)
CODE = CODES[1]


def recipe(**changes: Any) -> Recipe:
    styles = (Ingredient(style='a "b" <&>.jpg', weight=2.0, sha256=SHA, code=CODE), Ingredient(style="the-scream"))
    settings = {"strength": 0.3, "keep_colors": False, "size": None, "more": ["</x>", {"&amp;": 1e-9}]}
    return replace(Recipe(model="tiny", model_sha256=SHA, styles=styles, settings=settings), **changes)


def photo(**about: Any) -> Picture:
    return Picture(drawn_photo(24, 16), None, PictureInfo(**about))


def same(one: Recipe, other: Recipe) -> bool:
    return one.to_fields() == other.to_fields()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("xmp", [None, XMP])
def test_a_recipe_travels_in_every_format(format: str, depth: int, xmp: bytes | None) -> None:
    picture = carrying(photo(xmp=xmp, depth=depth), recipe().to_text())
    data = picture.to_bytes(format)
    assert same(read_recipe(data), recipe())
    assert without_recipe(Picture.open(data).info.xmp) == xmp, "the photo's own packet, byte for byte"
    stripped = picture.to_bytes(format, strip=True)
    assert same(read_recipe(stripped), recipe())
    assert without_recipe(Picture.open(stripped).info.xmp) is None
    assert np.array_equal(Picture.open(data).rgb, Picture.open(photo(depth=depth).to_bytes(format)).rgb)


def test_the_packet_is_xml_that_others_can_read() -> None:
    from xml.etree import ElementTree

    for xmp in (None, XMP):
        packet = with_recipe(xmp, recipe().to_text())
        root = ElementTree.fromstring(packet.partition(b"?>")[2].rpartition(b"<?")[0] if xmp is None else packet)
        (found,) = root.iter(f"{{{NAMESPACE}}}recipe")
        assert json.loads(found.text or "") == recipe().to_fields()


def test_a_new_recipe_takes_the_place_of_the_old_one() -> None:
    once = with_recipe(XMP, "first")
    assert recipe_in(once) == "first" and recipe_in(with_recipe(once, "second")) == "second"
    assert with_recipe(once, "second").count(b"second") == 1 and b"first" not in with_recipe(once, "second")
    assert recipe_in(with_recipe(None, "only")) == "only" and without_recipe(with_recipe(None, "only")) is None
    # As an attribute, which editors make of it, and outside our description.
    attribute = XMP.replace(b"dc:title", b'impasto:recipe="{&quot;a&quot;:1}" dc:title')
    assert recipe_in(attribute) == '{"a":1}' and recipe_in(with_recipe(attribute, "new")) == "new"
    moved = XMP.replace(b"</r:RDF>", b"<impasto:recipe>x</impasto:recipe></r:RDF>")
    assert recipe_in(moved) == "x" and without_recipe(moved) == XMP


def test_a_packet_of_another_kind_stays_and_the_recipe_follows() -> None:
    odd = "<x:xmpmeta/>".encode("utf-16")
    packet = with_recipe(odd, "mine")
    assert packet.startswith(odd) and recipe_in(packet) == "mine"


def test_no_recipe_takes_out_that_of_the_photo() -> None:
    painted = Picture.open(carrying(photo(xmp=XMP), recipe().to_text()).to_bytes(".png"))
    assert same(read_recipe(painted.to_bytes(".png")), recipe()), "a picture that is only saved keeps it"
    assert recipe_text(carrying(painted, "").to_bytes(".png"))[0] is None
    assert Picture.open(carrying(painted, "").to_bytes(".jpg")).info.xmp == XMP
    assert carrying(painted, None) is painted


def test_beside_much_metadata_a_jpeg_has_it_in_its_comment() -> None:
    much = XMP.replace(b"Caf", b"Caf" + b"e" * 64_500)
    assert len(much) < 65_000 < len(with_recipe(much, recipe().to_text()))
    picture = carrying(photo(xmp=much), recipe().to_text())
    data = picture.to_bytes(".jpg")
    assert same(read_recipe(data), recipe()) and Picture.open(data).info.xmp == much
    assert losses("JPEG", None, picture.info) == ()
    assert "recipe is too long" in losses("JPEG", None, replace(picture.info, recipe="x" * 65_000))[0]


def test_one_code_stands_for_styles_without_number(tmp_path: Path) -> None:
    (tmp_path / "art.jpg").write_bytes(b"art")
    few = recipe_of(
        "tiny", SHA, [(str(tmp_path / "art.jpg"), 1.0, CODE), ("starry-night", 2.0, CODES[0])], {},
        named={"starry-night"}, blended=CODES[2],
    )  # fmt: skip
    assert [one.style for one in few.styles] == ["art.jpg", "starry-night"], "no folders"
    assert few.styles[0].sha256 is not None and few.styles[1].sha256 is None and few.styles[1].code is None
    many = recipe_of("tiny", SHA, [(f"{'x' * 200}.jpg", 1.0, CODE)] * 300, {}, named=set(), blended=CODES[2])
    (one,) = many.styles
    assert one.code is not None and np.array_equal(one.code, CODES[2]) and len(many.to_text()) < LONGEST_TEXT
    with pytest.raises(ImpastoError, match="--no-recipe"):
        recipe(settings={"a": "x" * LONGEST_TEXT}).to_text()
    with pytest.raises(ImpastoError, match="--no-recipe"):
        recipe(settings={"a": float("nan")}).to_text()


def noise(side: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side))
    return (levels.astype(np.uint8) / np.float32(255)).astype(np.float32)


def test_masks_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32).repeat(3, 0)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    Image.fromarray(np.uint8(levels > 99) * 255).save(tmp_path / "hard.png")
    cut = Image.fromarray(levels).convert("RGBA")
    cut.putalpha(Image.fromarray(levels))
    cut.save(tmp_path / "cut.webp", lossless=True)
    for name in ("levels.png", "hard.png", "cut.webp"):
        plane = open_mask(tmp_path / name)
        held = packed(plane)
        assert held is not None and np.array_equal(unpacked(held), plane), name
    fine = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    assert 0 < np.abs(unpacked(packed(fine) or b"") - fine).max() <= 1 / 510 + 1e-6
    assert packed(noise(200)) is None, "too long"
    monkeypatch.setattr("impasto.runtime.recipe_masks.LARGEST_SIDE", 20)
    with pytest.raises(PictureError):
        unpacked(held)  # a few bytes could fill the memory


def test_as_many_masks_are_held_as_there_is_room_for() -> None:
    planes = {digit * 64: noise(side, side) for digit, side in (("a", 130), ("b", 60), ("c", 90), ("d", 10))}
    masks = {name: packed(plane) for name, plane in planes.items()} | {"e" * 64: None}
    full = recipe().with_masks(masks)
    assert list(full.masks) == ["d" * 64, "b" * 64, "c" * 64], "the smallest first"
    back = parse_recipe(full.to_text())
    assert back.masks == full.masks and np.array_equal(unpacked(back.masks["c" * 64]), planes["c" * 64])
    assert len(full.to_text()) <= LONGEST_TEXT
    many = recipe(styles=[Ingredient(style="x" * 250, code=CODE)] * 100)
    held = many.with_masks(masks)
    assert list(held.masks) == ["d" * 64, "b" * 64] and len(held.to_text()) <= LONGEST_TEXT, "styles go before masks"
    assert recipe().with_masks({}).masks == {} and "masks" not in recipe().to_fields()
    with_one = recipe_of(
        "tiny", SHA, [("x", 1.0, CODE)], {}, named={"x"}, blended=CODE, masks={"d" * 64: masks["d" * 64]}
    )
    assert list(with_one.masks) == ["d" * 64]


def test_its_code_is_the_blend(style_bundle: Path) -> None:
    model = StyleModel.load(style_bundle, threads=1)
    told = parse_recipe(recipe().to_text())
    assert np.array_equal(told.code(model), model.code([(CODE, 2.0), ("the-scream", 1.0)]))
    # A name is never a file, whatever it says.
    for name in ("the-screem", str(style_bundle), "/etc/passwd", "photo.png"):
        with pytest.raises(UnknownName, match="no style called"):
            recipe(styles=(Ingredient(style=name),)).code(model)


def test_what_is_painted_over_tells_of_no_other_painting(style_bundle: Path, tmp_path: Path) -> None:
    once = Picture.open(carrying(photo(xmp=XMP), recipe().to_text()).to_bytes(".png"))
    model = StyleModel.load(style_bundle, threads=1)
    over = model.paint(once, CODE)
    assert recipe_text(over.to_bytes(".png"))[0] is None and Picture.open(over.to_bytes(".png")).info.xmp == XMP
    once.save(tmp_path / "once.png")
    paint_file(model, tmp_path / "once.png", tmp_path / "over.png", CODE)
    assert recipe_text(tmp_path / "over.png")[0] is None
    bare = photo(xmp=XMP)
    assert model.paint(bare, CODE).info == bare.info


def test_painted_in_strips(style_bundle: Path, tmp_path: Path) -> None:
    carrying(photo(xmp=XMP), recipe(model="older").to_text()).save(tmp_path / "in.png")
    model = StyleModel.load(style_bundle, threads=1)
    for format in FORMATS:
        target = tmp_path / f"out{format}"
        paint_file(model, tmp_path / "in.png", target, CODE, recipe=recipe().to_text())
        assert same(read_recipe(target), recipe())
        assert without_recipe(Picture.open(target).info.xmp) == XMP
    paint_file(model, tmp_path / "in.png", tmp_path / "none.png", CODE, recipe="")
    with pytest.raises(PictureError, match=r"'none\.png' carries no recipe"):
        read_recipe(tmp_path / "none.png")


def hostile(**changes: Any) -> str:
    return json.dumps({**recipe().to_fields(), **changes})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no json", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"format": NaN}', "is no JSON"),
        ("[]", "should be an object"),
        ("{}", "format: should be a number"),
        (hostile(format=2), "has the format 2, and this impasto knows 1: install a newer impasto."),
        (hostile(format=True), "format: should be a number"),
        (hostile(extra=1), "'extra': is no field"),
        (json.dumps({"format": 1}), "is missing"),
        (hostile(model=7), "model: should be a short text"),
        (hostile(model="x" * 301), "model: should be a short text"),
        (hostile(model="\x1b[2Jx"), "model: should be printable"),
        (hostile(model_sha256="xyz"), "model_sha256: should be 64"),
        (hostile(styles={}), "styles: should be a list"),
        (hostile(styles=[]), "styles: should be 1 to 1000"),
        (hostile(styles=[3]), "styles.0: should be an object"),
        (hostile(styles=[{"style": "a", "weight": 0}]), "styles.0.weight: should be a number above 0"),
        (hostile(styles=[{"style": "a", "weight": "1"}]), "styles.0.weight: should be a number above 0"),
        (hostile(styles=[{"style": "a", "weight": 1, "code": "?"}]), "styles.0.code: is no base64"),
        (hostile(styles=[{"style": "a", "weight": 1, "code": "AAA="}]), "styles.0.code: should be float32"),
        (hostile(styles=[{"style": "a", "weight": 1, "code": "AADAfw=="}]), "styles.0.code: should be finite"),
        (hostile(styles=[{"style": "a", "weight": 1, "code": 5}]), "styles.0.code: should be a text"),
        (hostile(styles=[{"style": "a", "weight": 1, "path": 5}]), "styles.0.'path': is no field"),
        (hostile(settings=[]), "settings: should be a plain table"),
        (hostile(settings={"a": [[[[[[[[[1]]]]]]]]]}), "settings: should be a plain table"),
        (hostile(settings={"a": 10**400}).replace("1" + "0" * 400, "1e999"), "settings: should be plain numbers"),
        (hostile(settings={"size": 10**400}), "settings: should be plain numbers"),
        (hostile(settings={"a": ["x" * 301]}), "settings: should be short texts"),
        (hostile(settings={"x" * 301: 1}), "settings: should be short texts"),
        (hostile(**{"\x1b[2J": 1}), "is no field"),
        (hostile(masks=[]), "masks: should be a table of texts"),
        (hostile(masks={SHA: 5}), "masks: should be a table of texts"),
        (hostile(masks={"\x1b[2J": "AAAA"}), "masks: should be named by 64"),
        (hostile(masks={SHA: "?"}), "masks: is no base64"),
        (hostile(masks={SHA: "\u00e9"}), "masks: is no base64"),
        (hostile(masks={SHA: "AAAA"}), "masks: should be small WebP or PNG"),
        (hostile(masks={SHA: base64.b64encode(b"RIFF0000WEBP" + bytes(30_000)).decode()}), "should be small WebP"),
    ],
)
def test_damaged_and_hostile_recipes(text: str, sentence: str) -> None:
    picture = carrying(photo(), text)
    with pytest.raises(PictureError) as told:
        read_recipe(picture.to_bytes(".tif"))
    assert str(told.value).startswith("The recipe in The data ") and sentence in str(told.value)
    assert str(told.value).isprintable() and str(told.value).count(". ") == 0 and str(told.value).endswith(".")


def test_a_huge_recipe_is_not_read() -> None:
    with pytest.raises(PictureError, match=f"longer than {LONGEST} bytes"):
        read_recipe(carrying(photo(), "x" * (LONGEST + 1)).to_bytes(".tif"))
    # Many openings and no end must not take long: this would take minutes where each is searched to the end.
    assert recipe_in(b"<impasto:recipe>" * 50_000) is None
    assert recipe_in(b"impasto:recipe='" * 50_001) is not None
    with pytest.raises(PictureError, match="damaged"):
        read_recipe(carrying(photo(), "x").to_bytes(".tif").replace(b">x<", b">\xff<"))


def test_what_is_no_painted_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="carries no recipe"):
        read_recipe(photo().to_bytes(".jpg"))
    with pytest.raises(PictureError, match="is empty"):
        read_recipe(b"")
    with pytest.raises(PictureError, match="no file"):
        read_recipe(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"bad" * 50)
    with pytest.raises(PictureError, match="damaged"):
        read_recipe(tmp_path / "bad.png")


def test_a_recipe_behind_the_pixels_of_a_png() -> None:
    data = carrying(photo(), recipe().to_text()).to_bytes(".png")
    chunk = data.index(b"iTXt") - 4
    length = 12 + int.from_bytes(data[chunk : chunk + 4], "big")
    end = data.index(b"IEND") - 4
    moved = data[:chunk] + data[chunk + length : end] + data[chunk : chunk + length] + data[end:]
    assert same(read_recipe(moved), recipe())
    packet = Picture.open(data).info.xmp
    assert packet is not None
    # Compressed, as other programs may write it; behind pixels that are never decoded, so that they may be missing.
    packed = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(packet))
    assert same(read_recipe(data[:chunk] + png_chunk(b"IDAT", b"no pixels") + packed), recipe())
    with pytest.raises(PictureError, match="carries no recipe"):
        read_recipe(data[:chunk] + png_chunk(b"IDAT", b"") + b"\xff\xff\xff\xffiTXtXML:com.adobe.xmp\0")
    with pytest.raises(PictureError, match="damaged"):
        read_recipe(data[:chunk] + png_chunk(b"IDAT", b"") + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0bad"))


def test_what_a_generator_drew_tells_of_itself() -> None:
    from impasto.runtime.frames import origin

    told = {"model": "mnist", "seed": 7}
    picture = Picture(drawn_photo(8, 8), None, origin(told))
    assert drawn_with(picture.to_bytes(".png")) == told and drawn_with(picture.to_bytes(".jpg")) == told
    assert drawn_with(photo().to_bytes(".jpg")) is None
    exif = Image.Exif()
    exif[0x010E] = "[1]"
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "JPEG", exif=exif.tobytes())
    assert drawn_with(out.getvalue()) is None
