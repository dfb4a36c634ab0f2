"""The page, driven in Chromium against `impasto serve`: every control, and what it asks the server for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import Visit, browser, field, needs_chromium, serving
from helpers import drawn_photo
from impasto.runtime.picture import Picture
from impasto.runtime.recipe import read_recipe

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def address(models: list[str]) -> Iterator[str]:
    with serving(models) as url:
        yield url


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "harbour.jpg"
    Picture.from_array(drawn_photo(500, 380)).save(path)
    return path


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Visit]:
    """The page as it opens. Nothing may go wrong on it, and nothing be asked of another host."""
    visit = Visit(chromium, address, viewport={"width": 1280, "height": 860})
    yield visit
    foreign = [url for url in visit.requests if not url.startswith((address, "blob:", "data:"))]
    visit.page.close()
    assert not foreign
    assert not visit.errors


@pytest.fixture
def studio(visit: Visit, photo: Path) -> Visit:
    """The page with a photo in it, painted."""
    visit.page.set_input_files("#photo-file", photo)
    visit.painted()
    return visit


def test_it_opens_empty_and_shows_what_it_does(visit: Visit) -> None:
    page = visit.page
    assert page.is_visible("#pick")
    assert not page.is_visible("#studio")
    page.wait_for_selector("#gallery .card:nth-child(3) canvas:not(.waits)")
    page.click("#gallery .card:nth-child(2)")
    visit.painted()
    assert page.inner_text("#caption") == "The Great Wave off Kanagawa"
    assert field(visit.forms[0], "style") == ["great-wave"]


def test_sliders_ask_for_what_they_show_and_the_picture_follows(studio: Visit) -> None:
    page = studio.page
    page.wait_for_selector("#strip [data-style=the-scream] canvas:not(.waits)")
    studio.painted(1024)
    before = studio.pixels("before")
    assert np.abs(studio.pixels() - before).mean() > 5
    studio.set("strength", 40)
    assert field(studio.forms[-1], "strength") == ["0.4"]
    assert page.inner_text("#strength-now") == "40 %"
    studio.set("strength", 0)
    assert np.abs(studio.pixels() - before).mean() < 4
    studio.set("strength", 100)
    studio.set("stroke", 0)
    assert float(field(studio.forms[-1], "stroke")[0]) == 1 / 128
    studio.set("colors", 1)
    assert field(studio.forms[-1], "keep_colors") == ["histogram"]
    studio.set("colors", 2)
    assert field(studio.forms[-1], "keep_colors") == ["luminance"]
    studio.set("detail", 70)
    assert field(studio.forms[-1], "detail") == ["0.7"]
    # Keys move them too.
    page.focus("#strength")
    studio.again(lambda: page.keyboard.press("ArrowLeft"))
    assert field(studio.forms[-1], "strength") == ["0.99"]


def test_the_newest_setting_wins_and_one_request_runs_at_a_time(studio: Visit) -> None:
    from playwright.sync_api import Error

    page = studio.page

    def slowly(route: Any) -> None:
        with suppress(Error):  # nobody waits for it any more
            answer = route.fetch()
            page.wait_for_timeout(150)
            route.fulfill(response=answer)

    studio.painted(1024)
    page.evaluate("window.most = 0")
    page.route("**/v1/stylize", slowly)
    sent = len(studio.forms)
    page.evaluate(
        """() => { const slider = document.getElementById('strength');
        for (let value = 90; value > 0; value -= 10) {
          slider.value = value;
          slider.dispatchEvent(new Event('input', { bubbles: true }));
        } }"""
    )
    wanted = page.get_attribute("#after", "data-asked")
    page.wait_for_selector(f'#after[data-side="1024"][data-shown="{wanted}"]')
    page.unroute("**/v1/stylize")
    asked = [field(form, "strength")[0] for form in studio.forms[sent:]]
    assert page.evaluate("window.most") == 1
    assert asked[-1] == "0.1"
    assert len(asked) <= 3  # the first, the last, and the last once more, finer


def test_styles_are_blended_on_the_pad_by_mouse_and_keys(studio: Visit) -> None:
    page = studio.page
    page.click("#blend")
    assert page.is_hidden("#field")
    studio.again(lambda: page.click("#strip [data-style=the-scream]"))
    assert field(studio.forms[-1], "style") == ["starry-night", "the-scream"]
    assert field(studio.forms[-1], "weight") == ["0.5000", "0.5000"]
    page.focus("#knob")
    studio.again(lambda: page.keyboard.press("ArrowLeft"))
    first, second = map(float, field(studio.forms[-1], "weight"))
    assert first > second > 0
    told = page.get_attribute("#knob", "aria-valuetext")
    assert told == f"The Starry Night {round(100 * first)} %, The Scream {round(100 * second)} %"
    box = page.locator("#field").bounding_box()
    studio.again(lambda: page.mouse.click(box["x"] + 0.88 * box["width"], box["y"] + box["height"] / 2))
    assert field(studio.forms[-1], "style") == ["the-scream"]  # at its corner a style is alone
    page.click("#strip [data-style=great-wave]")
    page.wait_for_selector("#field .anchor >> nth=2")
    page.keyboard.press("Home")
    studio.again(lambda: page.click("#blend"))
    assert field(studio.forms[-1], "style") == ["starry-night"]


def test_only_what_is_brushed_is_painted(studio: Visit) -> None:
    page = studio.page
    studio.set("strength", 100)
    whole = studio.pixels()
    page.click("#masking")
    box = page.locator("#mask").bounding_box()
    page.locator("#brush-size").fill("20")

    def brush() -> None:
        page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()

    studio.again(brush)
    assert field(studio.forms[-1], "mask") == ["(file)"]
    part = studio.pixels()
    height, width = part.shape[:2]
    inside, outside = np.s_[height // 2 - 5 : height // 2 + 5, 20:60], np.s_[:, width * 3 // 4 :]

    def far(place: Any, one: Any, other: Any) -> float:
        return float(np.abs(one[place] - other[place]).mean())

    assert far(inside, part, whole) < 3 < 10 < far(outside, part, whole)
    studio.again(lambda: page.click("#invert"))
    turned = studio.pixels()
    assert page.get_attribute("#invert", "aria-pressed") == "true"
    assert far(outside, turned, whole) < 3 < 10 < far(inside, turned, whole)
    studio.again(lambda: page.click("#invert"))
    # The eraser takes it away again, by keys.
    page.click("#erase")
    page.focus("#mask")
    studio.again(lambda: page.keyboard.press("Space"))
    assert far(np.s_[height // 2 - 5 : height // 2 + 5, 50:70], studio.pixels(), whole) > 10
    studio.again(lambda: page.click("#clear"))
    assert field(studio.forms[-1], "mask") == []
    page.click("#masking")
    assert page.is_hidden("#brushes")
    assert page.is_hidden("#mask")


def test_before_and_after_are_compared_with_keys(studio: Visit) -> None:
    page = studio.page
    page.focus("#compare")
    page.keyboard.press("End")
    assert page.evaluate("getComputedStyle(document.getElementById('after')).clipPath") == "inset(0px 0px 0px 100%)"
    page.keyboard.press("Home")
    assert page.evaluate("getComputedStyle(document.getElementById('after')).clipPath") in (
        "inset(0px 0px 0px 0%)",
        "inset(0px)",
    )


def test_the_download_is_the_whole_picture_with_its_recipe(studio: Visit, tmp_path: Path) -> None:
    page = studio.page
    page.select_option("#format", "png")
    with page.expect_download() as waited:
        page.click("#download")
    waited.value.save_as(tmp_path / waited.value.suggested_filename)
    assert waited.value.suggested_filename == "harbour-starry-night.png"
    painted = tmp_path / "harbour-starry-night.png"
    assert Picture.open(painted).size == (500, 380)
    recipe = read_recipe(painted)
    assert [one.style for one in recipe.styles] == ["starry-night"]
    assert recipe.settings["strength"] == 1
    page.uncheck("#recipe")
    with page.expect_download() as waited:
        page.click("#download")
    waited.value.save_as(tmp_path / "plain.png")
    assert b"impasto:recipe" in painted.read_bytes()
    assert b"impasto:recipe" not in (tmp_path / "plain.png").read_bytes()


def test_a_painting_of_ones_own_and_a_dreamt_one_become_styles(studio: Visit, tmp_path: Path) -> None:
    page = studio.page
    Picture.from_array(drawn_photo(60, 60, seed=5)).save(tmp_path / "mine.png")
    studio.again(lambda: page.set_input_files("#style-file", tmp_path / "mine.png"))
    assert field(studio.forms[-1], "style_file") == ["(file)"]
    assert field(studio.forms[-1], "style") == []
    assert page.inner_text("#caption") == "mine"
    studio.again(lambda: page.click("#dream"))
    assert re.fullmatch(r"dream:\d+", field(studio.forms[-1], "style")[0])
    page.wait_for_selector("#strip [data-style^='dream:'] canvas:not(.waits)")


DROP = """([target, base64, name]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)), held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: 'image/png' }));
  const node = target === 'paste' ? window : document.querySelector(target);
  if (target === 'paste') node.dispatchEvent(new ClipboardEvent('paste', { clipboardData: held }));
  else for (const kind of ['dragover', 'drop'])
    node.dispatchEvent(new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true }));
}"""


def test_photos_are_dropped_and_pasted_and_paintings_dropped_on_the_strip(visit: Visit) -> None:
    import base64

    page = visit.page

    def sent(seed: int) -> str:
        held = io.BytesIO()
        Picture.from_array(drawn_photo(70, 50, seed=seed)).to_pil().save(held, "PNG")
        return base64.b64encode(held.getvalue()).decode()

    page.evaluate(DROP, ["#drop", sent(1), "dropped.png"])
    visit.painted()
    assert page.is_hidden("#veil")
    assert page.inner_text("#size") == "70 × 50"
    visit.again(lambda: page.evaluate(DROP, ["paste", sent(2), "pasted.png"]))
    visit.again(lambda: page.evaluate(DROP, ["#strip", sent(3), "painting.png"]))
    assert page.inner_text("#caption") == "painting"


def test_pictures_are_invented_walked_between_kept_and_painted(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.click("#tab-invent")
    page.wait_for_selector("#grid button:nth-child(12)[aria-label]")
    page.wait_for_selector("#drawn-caption:has-text('(seed 1)')")
    assert page.get_attribute("#grid button:nth-child(1)", "data-end") == "A"

    def told(change: Any, caption: str) -> None:
        change()
        page.wait_for_selector(f"#drawn-caption:text-matches('{caption}')")

    told(lambda: page.select_option("#class", "dog"), "^dog .seed 1.$")
    told(lambda: page.locator("#at").fill("50"), "^50 % of the way from dog .seed 1. to dog .seed 2.$")
    assert any("to=2&at=0.5" in url for url in visit.requests)
    told(lambda: page.click("#grid button:nth-child(6)"), "^dog .seed 6.$")
    page.locator("#truncation").fill("50")
    page.wait_for_selector("#truncation-now:has-text('50 %')")
    told(lambda: page.locator("#seed").fill("40") or page.keyboard.press("Enter"), "dog .seed 45.")
    assert any("truncation=0.5" in url and "seed=40" in url for url in visit.requests)
    page.click("#dice")
    page.wait_for_timeout(500)
    with page.expect_download() as waited:
        page.click("#keep")
    waited.value.save_as(tmp_path / "drawn.png")
    assert Picture.open(tmp_path / "drawn.png").size == (12, 8)
    page.wait_for_selector("#dreams .card:nth-child(6) canvas:not(.waits)")
    page.click("#use")
    visit.painted()
    assert page.get_attribute("#tab-paint", "aria-selected") == "true"
    page.click("#tab-invent")
    first = page.get_attribute("#dreams .card:nth-child(1)", "data-style")
    page.click("#redream")
    page.wait_for_selector(f"#dreams:not(:has([data-style='{first}']))")
    wanted = page.get_attribute("#dreams .card:nth-child(2)", "data-style")
    visit.again(lambda: page.click("#dreams .card:nth-child(2)"))
    assert field(visit.forms[-1], "style") == [wanted]


def test_what_goes_wrong_is_said_in_one_sentence(studio: Visit, tmp_path: Path) -> None:
    page = studio.page
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page.set_input_files("#photo-file", tmp_path / "broken.jpg")
    page.wait_for_selector("#toast:has-text('broken.jpg is not a picture that this browser can read')")
    problem = {"type": "about:blank", "title": "Too many", "status": 422, "detail": "The strokes broke: use others."}
    page.route("**/v1/stylize", lambda route: route.fulfill(status=422, json=problem))
    page.locator("#strength").fill("50")
    page.wait_for_selector("#toast:has-text('The strokes broke: use others.')")
    page.unroute("**/v1/stylize")
    page.route("**/v1/stylize", lambda route: route.abort())
    page.locator("#strength").fill("60")
    page.wait_for_selector("#toast:has-text('does not answer')")
    page.unroute("**/v1/stylize")
    studio.set("strength", 70)  # and goes on afterwards
    studio.errors[:] = [error for error in studio.errors if "Failed to load resource" not in error]


def test_all_of_it_is_reached_by_keys_and_named(studio: Visit) -> None:
    page = studio.page
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, [role=slider], canvas')].filter((node) => {
            if (node.ariaHidden === 'true' || node.className === 'anchor') return false;
            const label = node.labels?.[0]?.textContent ?? '';
            return !(node.ariaLabel || node.textContent.trim() || label.trim());
        }).map((node) => node.outerHTML)"""
    )
    assert not nameless
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.style || ''"))
    wanted = ["tab-paint", "compare", "new", "blend", "strength", "stroke", "colors", "detail", "masking", "size"]
    wanted += ["format", "recipe", "download"]
    assert [one for one in reached if one in wanted][: len(wanted)] == wanted
    # The strip is one stop; arrows go along it.
    page.focus("#own")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.style") == "the-scream"
    studio.again(lambda: page.keyboard.press("Enter"))
    assert page.get_attribute("#strip [data-style=the-scream]", "aria-pressed") == "true"


CONTRAST = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255) + 0.05;
  const bad = [];
  for (const node of document.querySelectorAll('button, label, p, h2, small, output, .where, .name, select, .brand')) {
    if (!node.offsetParent || !node.textContent.trim() || node.disabled) continue;
    let ground = node;
    while (ground && (rgba(getComputedStyle(ground).backgroundColor)[3] ?? 1) < 1) ground = ground.parentElement;
    const one = light(rgba(getComputedStyle(node).color));
    const other = light(rgba(getComputedStyle(ground ?? document.body).backgroundColor));
    const ratio = Math.max(one, other) / Math.min(one, other);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)} ${ratio}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(
    chromium: Any, address: str, photo: Path, scheme: str
) -> None:
    visit = Visit(chromium, address, viewport={"width": 360, "height": 720}, color_scheme=scheme, has_touch=True)
    page = visit.page
    for begin in (lambda: None, lambda: page.set_input_files("#photo-file", photo), lambda: page.click("#tab-invent")):
        begin()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate(CONTRAST) == []
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select')].filter((node) => node.offsetParent)
        .filter((node) => node.getBoundingClientRect().height < 36).map((node) => node.textContent)"""
    )
    assert not small
    page.close()
    assert not visit.errors
