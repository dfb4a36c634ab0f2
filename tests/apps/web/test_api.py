"""Painting over HTTP: the same picture, the same sentences as the library and the command line."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from drawing import encoded, sample
from helpers import drawn_photo
from impasto import __version__
from impasto.apps.web.shelf import Shelf
from impasto.runtime.archive import format_table
from impasto.runtime.dream import dream
from impasto.runtime.masks import Mask
from impasto.runtime.picture import Picture
from impasto.runtime.recipe import parse_recipe, recipe_text


def png(picture: Picture) -> bytes:
    return picture.to_bytes("png")


PHOTO = Picture.open(png(Picture.from_array(drawn_photo(40, 30))))
PAINTING = Picture.open(png(Picture.from_array(drawn_photo(36, 36, seed=4))))


def post(client: TestClient, photo: bytes | None = None, address: str = "/v1/stylize", **fields: Any) -> Any:
    """A form; values that are bytes (or lists of them) are files."""
    parts: list[tuple[str, Any]] = [("photo", ("a", png(PHOTO) if photo is None else photo))]
    data: dict[str, Any] = {}
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            parts += [(name, ("b", one)) for one in values]
        else:
            data[name] = values
    return client.post(address, files=parts, data=data)


def pixels(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def same(answer: Any, painted: Picture) -> None:
    """The picture that the library paints, at 8 bits."""
    np.testing.assert_array_equal(pixels(answer), np.asarray(painted.to_pil()))


def test_a_form_is_painted_as_the_library_paints(client: TestClient, shelf: Shelf) -> None:
    answer = post(client, style="starry-night", strength="0.5")
    same(answer, shelf.painter().paint(PHOTO, "starry-night", strength=0.5))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["impasto-size"] == "40x30"
    assert json.loads(answer.headers["impasto-notes"]) == []
    times = {entry.split(";")[0] for entry in answer.headers["server-timing"].split(", ")}
    assert times == {"wait", "read", "style", "paint", "write"}


def test_the_picture_itself_as_the_body(client: TestClient, shelf: Shelf) -> None:
    for kind in ("image/png", "application/octet-stream"):
        answer = client.post(
            "/v1/stylize",
            content=png(PHOTO),
            headers={"content-type": kind},
            params={"style": ["starry-night", "great-wave"], "weight": ["1", "3"], "size": "24"},
        )
        mixed = [("starry-night", 1), ("great-wave", 3)]
        same(answer, shelf.painter().paint(PHOTO.resized(24), mixed))


def test_a_form_goes_before_the_query(client: TestClient, shelf: Shelf) -> None:
    answer = post(client, address="/v1/stylize?strength=0&style=great-wave&size=20", style="starry-night", strength="1")
    same(answer, shelf.painter().paint(PHOTO.resized(20), "starry-night"))


def test_paintings_codes_and_dreams_are_blended_in_their_order(client: TestClient, shelf: Shelf) -> None:
    model = shelf.painter()
    code = np.linspace(0.1, 0.6, model.code_size, dtype=np.float32)
    boundary = "limit"
    parts = [
        ("style", None, b"dream:7"),
        ("style_file", "x.png", png(PAINTING)),
        ("weight", None, b"1"),
        ("style", None, b"the-scream"),
        ("style_file", "y.npy", format_table(code)),
        ("photo", "p.png", png(PHOTO)),
        *(("weight", None, weight) for weight in (b"2", b"3", b"4.5")),
    ]
    body = b""
    for name, filename, data in parts:
        file = f'; filename="{filename}"' if filename else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    for _ in range(2):  # the second time, the painting's code is remembered
        answer = client.post("/v1/stylize", content=body, headers=kind)
        blend = [(dream(model, 7)[0], 1), (PAINTING, 2), ("the-scream", 3), (code, 4.5)]
        painted = model.paint(PHOTO, blend)
        assert np.abs(pixels(answer).astype(int) - np.asarray(painted.to_pil())).max() <= 1


def test_colours_masks_and_strokes(client: TestClient, shelf: Shelf) -> None:
    model = shelf.painter()
    half = np.zeros((30, 40), np.float32)
    half[:, 20:] = 1.0
    mask = Picture.from_array(half)
    same(
        post(client, style="starry-night", keep_colors="luminance"),
        model.paint(PHOTO, "starry-night", keep_colors=True),
    )
    same(
        post(client, style="starry-night", keep_colors="histogram"),
        model.paint(PHOTO, "starry-night", keep_colors="histogram"),
    )
    masked = post(client, style="starry-night", mask=png(mask), feather="0")
    same(masked, model.paint(PHOTO, "starry-night", mask=Mask(paint=half, feather=0.0)))
    np.testing.assert_array_equal(pixels(masked)[:, :20], np.asarray(PHOTO.to_pil())[:, :20])
    same(
        post(client, style="starry-night", protect=png(mask), feather="2px"),
        model.paint(PHOTO, "starry-night", mask=Mask(protect=half, feather="2px")),
    )
    stroked = model.paint(PHOTO, "starry-night", stroke="3px", detail=0.5)
    same(post(client, style="starry-night", stroke="3px", detail="0.5"), stroked)


def test_a_palette_is_that_of_the_painting(client: TestClient, shelf: Shelf) -> None:
    model = shelf.painter()
    same(post(client, style_file=png(PAINTING), palette="3"), model.paint(PHOTO, PAINTING, palette=3))
    same(post(client, style="starry-night", palette="4"), model.paint(PHOTO, "starry-night", palette=4))


def test_the_recipe_is_in_the_picture_unless_refused(client: TestClient, shelf: Shelf) -> None:
    model = shelf.painter()
    files = {"style_file": png(PAINTING), "mask": png(PHOTO)}
    answer = post(client, style="great-wave", weight=["2", "1"], strength="0.75", size="32", palette="3", **files)
    text, _ = recipe_text(answer.content)
    assert text is not None
    recipe = parse_recipe(text)
    assert (recipe.model, recipe.model_sha256) == (model.bundle.manifest.name, model.bundle.sha256)
    assert [(one.style, one.weight) for one in recipe.styles] == [("great-wave", 2), ("style 2", 1)]
    np.testing.assert_allclose(recipe.code(model), model.mix([("great-wave", 2), (PAINTING, 1)]), atol=1e-6)
    assert recipe.settings["strength"] == 0.75 and recipe.settings["size"] == 32
    assert len(recipe.settings["palette"]) == 3 and recipe.settings["mask"]["paint"]["file"] == "mask"
    assert list(recipe.masks) == [recipe.settings["mask"]["paint"]["sha256"]], "it may never have been a file"
    assert recipe_text(post(client, style="great-wave", recipe="false").content)[0] is None


@pytest.mark.parametrize(
    ("accept", "format", "expected"),
    [
        (None, None, "image/jpeg"),
        ("*/*", None, "image/jpeg"),
        ("image/webp", None, "image/webp"),
        ("image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", None, "image/png"),
        ("image/png;q=0.4, image/webp;q=0.6, text/html", None, "image/webp"),
        ("image/jpeg;q=0, image/*", None, "image/png"),
        ("image/webp", "tif", "image/tiff"),
        (None, "jpeg", "image/jpeg"),
    ],
)
def test_the_format_is_what_was_asked_for(
    client: TestClient, accept: str | None, format: str | None, expected: str
) -> None:
    headers = {"content-type": "image/jpeg"} | ({"accept": accept} if accept else {})
    params = {"style": "starry-night"} | ({"format": format} if format else {})
    answer = client.post("/v1/stylize", content=sample("JPEG"), headers=headers, params=params)
    assert answer.headers["content-type"] == expected
    assert Image.MIME[Image.open(io.BytesIO(answer.content)).format or ""] == expected


def test_metadata_stays_or_the_loss_is_said(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    clear = Image.fromarray(
        np.dstack([np.full((16, 16, 3), 90, np.uint8), np.arange(256, dtype=np.uint8).reshape(16, 16)])
    )
    photo = encoded(clear, "PNG", exif=exif, dpi=(300, 300))
    kept = Image.open(io.BytesIO(post(client, photo, style="starry-night").content))
    assert kept.getexif()[0x010F] == "A camera" and kept.mode == "RGBA"
    stripped = post(client, photo, style="starry-night", strip="true", recipe="false", format="webp", quality="30")
    assert 0x010F not in Image.open(io.BytesIO(stripped.content)).getexif()
    flat = post(client, photo, style="starry-night", format="jpg")
    assert json.loads(flat.headers["impasto-notes"]) == ["JPEG has no transparency: the picture was laid on white."]


def test_thumbnails_are_lines(client: TestClient, shelf: Shelf) -> None:
    answer = post(client, address="/v1/thumbnails", size="20", strength="0.5")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["style"] for line in lines] == list(shelf.painter().styles)
    first = Image.open(io.BytesIO(base64.b64decode(lines[0]["picture"])))
    assert first.size == (lines[0]["width"], lines[0]["height"]) == (20, 15)
    some = post(client, address="/v1/thumbnails", style=["the-scream"], dream=["3", "4"])
    names = [json.loads(line)["style"] for line in some.text.splitlines()]
    assert names == ["the-scream", "dream:3", "dream:4"]


def test_a_landscape_in_a_style(client: TestClient) -> None:
    first, again, other = (client.get(f"/v1/dream?seed={seed}&size=32&format=png") for seed in (1, 1, 2))
    assert first.content == again.content != other.content
    assert pixels(first).shape == (24, 32, 3)
    thumbnail = client.get("/v1/styles/the-scream/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg" and "max-age" in thumbnail.headers["cache-control"]
    assert client.get("/v1/styles/the-screem/thumbnail").status_code == 404


def test_what_there_is(client: TestClient, shelf: Shelf) -> None:
    health = client.get("/v1/health").json()
    assert health == {"status": "ok", "version": __version__, "working": 0, "waiting": 0}
    models = client.get("/v1/models").json()
    assert models["default"] == {"style": "tiny", "generator": "tiny-drawer"}
    tiny, drawer = models["models"]
    assert tiny["styles"] == 3 and tiny["can_dream"] and tiny["precisions"] == ["fp32", "auto"]
    assert tiny["parameters"] > 80 and tiny["sha256"] == shelf.painter().bundle.sha256
    assert drawer["classes"] == ["cat", "dog"] and (drawer["width"], drawer["height"]) == (12, 8)
    styles = client.get("/v1/styles?model=tiny").json()
    row = styles["styles"][0]
    assert (row["name"], row["artist"], row["year"]) == ("starry-night", "Vincent van Gogh", "1889")
    code = np.frombuffer(base64.b64decode(row["code"]), "<f4")
    np.testing.assert_array_equal(code, shelf.painter().code("starry-night"))
    assert client.get(row["thumbnail"]).status_code == 200


def test_a_large_picture_is_painted_alone(client: TestClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.apps.web.painting.SMALL", 40 * 30 - 1)
    made: list[str] = []
    own = shelf.own_painter
    monkeypatch.setattr(shelf, "own_painter", lambda *given, **named: made.append("own") or own(*given, **named))
    same(post(client, style="starry-night"), shelf.painter().paint(PHOTO, "starry-night"))
    assert made == ["own"]
    post(client, png(PHOTO.resized(20)), style="starry-night")
    assert made == ["own"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 422, "The style is missing"),
        ({"style": "starry-nigth"}, 404, "did you mean 'starry-night'?"),
        ({"style": "../x.npy"}, 422, "a name of /v1/styles, or dream:SEED"),
        ({"style": "/etc/passwd"}, 422, "a name of /v1/styles"),
        ({"style": "starry-night", "model": "tinny"}, 404, "did you mean 'tiny'?"),
        ({"style": "starry-night", "model": "tiny-drawer"}, 404, "style model here"),
        ({"style": "starry-night", "model": "/etc/passwd"}, 404, "style model here"),
        ({"style": "starry-night", "strenght": "1"}, 422, "did you mean 'strength'"),
        ({"style": "starry-night", "strength": "1.01"}, 422, "a number from 0 to 1"),
        ({"style": "starry-night", "strength": "nan"}, 422, "a number from 0 to 1"),
        ({"style": "starry-night", "strength": ["1", "1"]}, 422, "given twice"),
        ({"style": "starry-night", "size": "0"}, 422, "a whole number from 1"),
        ({"style": "starry-night", "size": "1e3"}, 422, "a whole number"),
        ({"style": "starry-night", "format": "gif"}, 422, "jpg, "),
        ({"style": "starry-night", "quality": "101"}, 422, "from 1 to 100"),
        ({"style": "starry-night", "precision": "int8"}, 422, "no painter in int8"),
        ({"style": "starry-night", "strip": "maybe"}, 422, "true or false"),
        ({"style": "starry-night", "keep_colors": "all"}, 422, "luminance or histogram"),
        ({"style": "starry-night", "keep_colors": "luminance", "palette": "3"}, 422, "choose one of them"),
        ({"style": "starry-night", "palette": "1"}, 422, "from 2 to 32"),
        ({"style": "starry-night", "stroke": "atuo"}, 422, "did you mean 'auto'?"),
        ({"style": "starry-night", "stroke": "30px"}, 422, "too coarse"),
        ({"style": "starry-night", "detail": "2"}, 422, "from 0 to 1"),
        ({"style": "starry-night", "feather": "12px"}, 422, "send a mask"),
        ({"style": "starry-night", "mask": b"x"}, 415, "The mask is not a picture"),
        ({"style": "starry-night", "weight": ["1", "2"]}, 422, "2 weights do not go with 1 styles"),
        ({"style": ["starry-night", "great-wave"], "weight": ["0", "0"]}, 422, "All weights are 0"),
        ({"style_file": b""}, 415, "is empty"),
        ({"style_file": b"%PDF-1.4 and more"}, 415, "a PDF document"),
        ({"style_file": b"\x93NUMPY\x01\x00 cut short"}, 422, "not a plain npy table"),
        ({"style_file": format_table(np.zeros((2, 8), np.float32))}, 422, "is a vector"),
        ({"style_file": format_table(np.zeros(5, np.float32))}, 422, "takes float32 [8]"),
        ({"style_file": sample("PNG")[:-40]}, 422, "cut short"),
        ({"style": "dream:99999999999999999"}, 422, "dream:SEED"),
        ({"style": "x" * 300}, 422, "shorter than"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    client: TestClient, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = post(client, **fields)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), problem
    assert words in problem["detail"] and "\n" not in problem["detail"]
    assert problem["status"] == status and problem["title"] and problem["type"] == "about:blank"


def test_one_style_alone_needs_no_name(client: TestClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shelf.painter()
    one = {"the-scream": replace(model.styles["the-scream"])}
    expected = model.paint(PHOTO, model.code("the-scream"))
    code = model.code("the-scream")
    monkeypatch.setitem(model.__dict__, "styles", one)
    monkeypatch.setitem(model.__dict__, "_table", code[None])
    same(post(client), expected)
