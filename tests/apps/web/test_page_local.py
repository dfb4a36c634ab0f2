"""The site that `impasto web build` writes, in Chromium: it paints what Python paints, and asks nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import Visit, browser, needs_chromium, needs_npm, static
from helpers import drawn_photo
from impasto.apps.web.site import build_site
from impasto.runtime.dream import dream
from impasto.runtime.generator import Generator
from impasto.runtime.masks import Mask
from impasto.runtime.picture import Picture
from impasto.runtime.recipe import read_recipe
from impasto.runtime.recipe_masks import unpacked
from impasto.runtime.style import StyleModel

pytestmark = [pytest.mark.slow, needs_chromium, needs_npm]

PHOTO = Picture.from_array(np.round(drawn_photo(150, 100) * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def site(models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below a path of its own, with the runtime that npm fetches; the tiny painter, and the one that people use."""
    root = tmp_path_factory.mktemp("host")
    out, _ = build_site(root / "some" / "path", style=models[0], generators=[models[1], "mnist"])
    build_site(root / "real", style="anystyle", runtime=out / "ort")
    return root


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[str]:
    with static(site) as address:
        yield address


@pytest.fixture
def visit(chromium: Any, host: str) -> Iterator[Visit]:
    visit = Visit(chromium, f"{host}some/path/", viewport={"width": 1100, "height": 800})
    yield visit
    foreign = [url for url in visit.requests if not url.startswith((f"{host}some/path/", "blob:", "data:"))]
    visit.page.close()
    assert not foreign
    assert not visit.errors


# Runs the painter of the site by itself: what it is given, to the RGBA that it gives.
PAINT = """async ([pixels, size, settings, mask, seen]) => {
  const { Painter } = await import(new URL('painter/local.js', location.href));
  const canvasOf = (data, [width, height]) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    canvas.getContext('2d').putImageData(new ImageData(Uint8ClampedArray.from(data), width, height), 0, 0);
    return canvas;
  };
  const fileOf = (canvas) => new Promise((done) => canvas.toBlob(done));
  const { Photo } = await import(new URL('js/photo.js', location.href));
  const painter = window.painter ??= await new Painter().open();
  const photo = await Photo.of(await fileOf(canvasOf(pixels, size)), 'photo.png');
  for (const style of settings.styles) if (style.file) style.file = await fileOf(canvasOf(seen.data, seen.size));
  const made = await painter.preview(photo, Math.max(...size), { ...settings, mask: mask && canvasOf(mask, size) });
  const out = canvasOf(pixels, size);
  out.getContext('2d').drawImage(made, 0, 0);
  return Array.from(out.getContext('2d').getImageData(0, 0, ...size).data);
}"""


def rgba(picture: Picture) -> list[int]:
    return np.asarray(picture.to_pil().convert("RGBA")).ravel().tolist()


def painted(page: Any, photo: Picture, mask: Any = None, seen: Picture | None = None, **settings: Any) -> Any:
    """RGB [h,w,3] that the browser paints, 0..255."""
    wanted = {"weights": [1], "strength": 1, "stroke": 1 / 64, "detail": 0, "colors": "off", **settings}
    grey = None if mask is None else rgba(Picture.from_array(np.repeat(mask[..., None], 3, 2)))
    other = None if seen is None else {"data": rgba(seen), "size": list(seen.size)}
    found = page.evaluate(PAINT, [rgba(photo), list(photo.size), wanted, grey, other])
    return np.array(found, np.uint8).reshape(photo.size[1], photo.size[0], 4)[..., :3]


def off(found: Any, wanted: Picture) -> float:
    """Mean distance, in 255ths."""
    return float(np.abs(found.astype(int) - np.asarray(wanted.to_pil()).astype(int)).mean())


def test_the_browser_paints_what_python_paints(visit: Visit, models: list[str]) -> None:
    model, page = StyleModel.load(models[0]), visit.page
    one, both = [{"id": "starry-night"}], [{"id": "starry-night"}, {"id": "the-scream"}]
    mask = np.zeros((100, 150), np.uint8)
    mask[20:70, 30:90] = 255
    painting = Picture.from_array(np.round(drawn_photo(90, 120, seed=3) * 255).astype(np.uint8))
    mixed = {"starry-night": 0.25, "the-scream": 0.75}
    large, fine = 1 / 16, 1 / 96  # the picture is painted at 128 pixels, and at 600 (its finest)
    cases = [
        ({"styles": one}, {"code": "starry-night"}),
        ({"styles": both, "weights": [0.25, 0.75]}, {"code": mixed}),
        ({"styles": one, "strength": 0.4}, {"code": "starry-night", "strength": 0.4}),
        ({"styles": one, "colors": "luminance"}, {"code": "starry-night", "keep_colors": "luminance"}),
        ({"styles": one, "stroke": large}, {"code": "starry-night", "stroke": large}),
        ({"styles": one, "stroke": fine}, {"code": "starry-night", "stroke": fine}),
        ({"styles": one, "stroke": large, "detail": 0.7}, {"code": "starry-night", "stroke": large, "detail": 0.7}),
        ({"styles": one, "mask": mask}, {"code": "starry-night", "mask": Mask(paint=mask)}),
        ({"styles": [{"id": "dream:5", "dream": 5}]}, {"code": dream(model, 5)[0]}),
        ({"styles": [{"id": "file:1", "file": True}], "seen": painting}, {"code": painting}),
    ]
    for asked, told in cases:
        wanted = model.paint(PHOTO, **{"stroke": 1 / 64, **told})
        assert off(painted(page, PHOTO, **asked), wanted) <= 0.5, told
    assert off(painted(page, PHOTO, styles=one), model.paint(PHOTO, "great-wave", stroke=1 / 64)) > 5


def test_the_painter_that_people_use_paints_the_same_there(chromium: Any, host: str) -> None:
    visit = Visit(chromium, f"{host}real/")
    model, photo = StyleModel.load(), Picture.from_array(np.round(drawn_photo(120, 88) * 255).astype(np.uint8))
    one, stroke = [{"id": "starry-night"}], 1 / 15
    for strength in (1, 0.5):
        wanted = model.paint(photo, "starry-night", stroke=stroke, strength=strength)
        assert off(painted(visit.page, photo, styles=one, stroke=stroke, strength=strength), wanted) <= 2
    wanted = model.paint(photo, dream(model, 3)[0], stroke=stroke)
    assert off(painted(visit.page, photo, styles=[{"id": "dream:3", "dream": 3}], stroke=stroke), wanted) <= 2
    visit.page.close()
    assert not visit.errors


DRAW = """async (settings) => {
  const { Painter } = await import(new URL('painter/local.js', location.href));
  const painter = window.painter ??= await new Painter().open(), found = [];
  for await (const { bitmap, class: name } of painter.draw(settings)) {
    const data = bitmap.getContext('2d').getImageData(0, 0, bitmap.width, bitmap.height).data;
    found.push([name, bitmap.height, bitmap.width, Array.from(data)]);
  }
  return found;
}"""


def test_a_seed_gives_the_same_picture_in_the_browser(visit: Visit, models: list[str]) -> None:
    def drawn(**settings: Any) -> list[tuple[str, Any]]:
        found = visit.page.evaluate(DRAW, {"truncation": 1, **settings})
        return [(name, np.array(data, np.uint8).reshape(h, w, 4)[..., :3]) for name, h, w, data in found]

    for name in (models[1], "mnist"):
        model = Generator.load(name)
        for index, (_, found) in enumerate(drawn(model=model.name, seed=2**31 + 5, count=3)):
            assert off(found, model.sample(2**31 + 5 + index)[0]) <= 1
        chosen = model.classes[1]
        ((told, found),) = drawn(model=model.name, seed=4, **{"class": chosen}, truncation=0.6)
        assert told == chosen
        assert off(found, model.sample(4, classes=chosen, truncation=0.6)[0]) <= 1
        ((_, found),) = drawn(model=model.name, seed=4, to=9, at=0.25)
        assert off(found, list(model.walk([4, 9], frames=5))[1]) <= 1


def test_a_person_paints_there_from_photo_to_download(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    PHOTO.save(tmp_path / "harbour.png")
    page.set_input_files("#photo-file", tmp_path / "harbour.png")
    page.wait_for_selector("#after[data-side]")
    page.wait_for_selector("#strip [data-style=the-scream] canvas:not(.waits)")
    assert page.get_attribute("#colors", "max") == "1"
    visit.set("strength", 50)
    visit.set("detail", 30)
    visit.again(lambda: page.click("#dream"))
    with page.expect_download() as waited:
        page.click("#download")
    waited.value.save_as(tmp_path / "painted.jpg")
    assert Picture.open(tmp_path / "painted.jpg").size == (150, 100)
    recipe = read_recipe(tmp_path / "painted.jpg")
    assert recipe.styles[0].style.startswith("Dream ")
    assert recipe.styles[0].code is not None
    assert (recipe.settings["strength"], recipe.settings["detail"]) == (0.5, 0.3)
    page.select_option("#format", "png")
    with page.expect_download() as waited:
        page.click("#download")
    waited.value.save_as(tmp_path / "painted.png")
    assert read_recipe(tmp_path / "painted.png").styles[0].style == recipe.styles[0].style
    page.click("#masking")
    visit.again(lambda: page.press("#mask", "Space"))
    for format in ("png", "jpg"):
        page.select_option("#format", format)
        with page.expect_download() as waited:
            page.click("#download")
        waited.value.save_as(tmp_path / f"part.{format}")
        part = read_recipe(tmp_path / f"part.{format}")
        place = unpacked(part.masks[part.settings["mask"]["paint"]["sha256"]])
        assert max(place.shape) == 512 and place[170, 256] == 1 and place[0, 0] == 0, "brushed in the middle"
    page.click("#tab-invent")
    page.wait_for_selector("#grid button:nth-child(12)")
    page.wait_for_selector("#dreams .card:nth-child(2) canvas:not(.waits)")


def test_a_file_that_is_missing_from_the_site_is_said(chromium: Any, site: Path) -> None:
    import shutil

    broken = site / "broken"
    shutil.copytree(site / "some" / "path", broken)
    next((broken / "models").glob("*/painter.onnx")).unlink()
    with static(site) as address:
        visit = Visit(chromium, f"{address}broken/")
        visit.page.click("#sample")
        visit.page.wait_for_selector("#toast:has-text('painter.onnx is missing from this site')")
        visit.page.close()
