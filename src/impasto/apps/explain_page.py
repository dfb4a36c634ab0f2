"""The page that tells what a style did to a photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from impasto.apps.explain_pictures import by_use, heat_maps, mosaic, numbered, pair_places, pairs
from impasto.apps.html import document, embedded, escape, figure, table, wipe
from impasto.runtime.picture import Picture
from impasto.training.explanation import STRENGTHS, Explanation, Source, Strokes, Variant

_STYLE = """
.first{display:grid;gap:1.4rem;grid-template-columns:minmax(0,3fr) minmax(0,1.15fr);align-items:start;margin-top:1.4rem}
.strip{display:grid;gap:.7rem;grid-template-columns:repeat(6,minmax(7.5rem,1fr));overflow-x:auto;padding:.3rem}
.strip figure:last-child{border-left:1px solid var(--line);padding-left:.7rem}
.bar{display:block;height:.35rem;margin-top:.3rem;border-radius:2px;background:var(--shade)}
.bar i{display:block;height:100%;border-radius:2px;background:var(--accent)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px}.pair img{width:100%;border-radius:0}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;vertical-align:-.05em}
figure img{width:100%}
.short li{max-width:46rem;margin:.35rem 0}
@media (max-width:40rem){.first{grid-template-columns:1fr}}
"""


class Told(NamedTuple):
    """What the page says of where it comes from: names of the photo, style and model, and the command."""

    photo: str
    style: str
    model: str
    command: str


def style_page(found: Explanation, told: Told) -> str:
    """A whole page of HTML, which needs nothing beside it."""
    sections = [("short", "In short", _short(found)), ("layers", "Through which layers it came", _layers(found))]
    sections.append(("painter", "Where the painter uses it", _painter(found)))
    if found.left:
        sections.append(("left", "Where the style is still missing", _left(found)))
    if found.strokes is not None and found.painting is not None:
        sections.append(("strokes", "What the strokes resemble", _strokes(found, found.painting, found.strokes)))
    sections.append(("figures", "All figures", _figures(found)))
    links = "".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in sections)
    parts = "".join(f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>' for key, title, body in sections)
    title = f"What {told.style} did to {told.photo}"
    body = f"""<header><h1>{escape(title)}</h1>
<p class="lead">Painted by the model {escape(told.model)} at {found.photo.size[0]}×{found.photo.size[1]} pixels, in
full and in parts.</p>{"".join(f'<p class="small">{escape(remark)}</p>' for remark in found.remarks)}
<nav aria-label="On this page"><ul>{links}</ul></nav></header>
{_first(found, told)}{parts}
<footer><p class="small">Made by impasto. To make it again: <code>{escape(told.command)}</code></p></footer>"""
    return document(title, body, description=f"{title}, layer by layer.", style=_STYLE)


def _first(found: Explanation, told: Told) -> str:
    over = (embedded(found.photo), f"The photo {told.photo}")
    under = (embedded(found.painted.picture), f"{told.photo} painted in the manner of {told.style}")
    beside = "" if found.painting is None else _figure(found.painting, f"The painting {told.style}", "The painting")
    shown = wipe(under, over, found.photo.size, "How much of the photo is shown, from the left")
    words = '<p class="small">The photo, and the photo painted: move the line between them.</p>'
    return f'<div class="first"><div>{shown}{words}</div>{beside}</div>'


def _short(found: Explanation) -> str:
    strongest = max(found.sources, key=lambda one: one.sweep[-1].figures["change"])
    dearest = min(found.sources, key=lambda one: one.without.figures["change"])
    lines = [
        f"Of the parts of the style, {_source(strongest.key)[0].lower()} alone: {_percent(strongest.sweep[-1])} of "
        "what the full style changes, more than any other part.",
    ]
    if dearest.key != strongest.key:
        lines.append(
            f"Most is missing without {_source(dearest.key)[0].lower()}: all the rest together changes "
            f"{_percent(dearest.without)}."
        )
    place = max((one for one in found.places if one.key != "colors"), key=lambda one: one.only.figures["change"])
    lines.append(
        f"Of the painter's own layers, the one called “{_place(place.key)}” acts most on the style: used only there it "
        f"changes {_percent(place.only)}."
    )
    if found.left:
        gap = found.painted.figures["style_gap"]
        worst = max(found.left, key=lambda one: one.after)
        nearer = f"{1 - gap:.0%} nearer to" if gap < 1 else f"no nearer ({gap:.0%} of the distance is left) to"
        lines.append(
            f"The photo painted in full is {nearer} the painting's style than the photo was, by the features of "
            f"{found.network}; most is missing at {worst.layer}, where half of what adds to the loss lies "
            f"in {worst.half_lies_in:.0%} of the picture."
        )
    if found.strokes is not None:
        lines.append(
            f"Half of all places in the painted photo have their best match in {found.strokes.half_lies_in:.0%} of the "
            f"painting; {1 - found.strokes.used:.0%} of the painting is the best match of none."
        )
    return '<ul class="short">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _layers(found: Explanation) -> str:
    known = found.painting is not None
    how = (
        "The style encoder looks at the painting with a small network and keeps, of each of its layers, only the mean "
        "and deviation of every channel; the colours are kept beside them. It made these numbers for the photo too. In "
        "each row one of these parts is moved from the photo's own to the painting's while all others stay the "
        "photo's; the last picture of a row has all the others from the painting, and this one from the photo."
        if known
        else "Only the code of this style is known, so two parts can be told apart: what it says of strokes, and of "
        "colours. In each row one of them is moved from the photo's own to the style's while the other stays."
    )
    change = (
        "The bar is the change: how far the picture is from the photo painted in its own manner, the full style being "
        "100%. The shares need not add up to 100%, because the parts act on one another. No pixels of the photo are "
        "mixed in, as stylize --strength does besides."
    )
    rows = [_row(found, source) for source in found.sources]
    together = [
        _strip_figure(one, f"All parts together at {share:.0%}", f"{share:.0%}")
        for one, share in zip(found.together, STRENGTHS, strict=True)
    ]
    own = _strip_figure(found.own, "The photo painted in its own manner", "0%")
    rows.append(
        "<h3>All together</h3><p class='small'>The whole code moved from the photo's to the style's.</p>"
        f'<div class="strip">{own}{"".join(together)}</div>'
    )
    return f"<p>{escape(how)}</p><p>{escape(change)}</p>{''.join(rows)}"


def _row(found: Explanation, source: Source) -> str:
    title, about = _source(source.key)
    cells = [_strip_figure(found.own, "The photo painted in its own manner", "0%")]
    for one, share in zip(source.sweep, STRENGTHS, strict=True):
        cells.append(_strip_figure(one, f"Only {title.lower()}, at {share:.0%}", f"{share:.0%}"))
    cells.append(_strip_figure(source.without, f"Everything but {title.lower()}", "all but this"))
    return f'<h3>{escape(title)}</h3><p class="small">{escape(about)}</p><div class="strip">{"".join(cells)}</div>'


def _painter(found: Explanation) -> str:
    how = (
        "The painter is an encoder and decoder whose every convolution is steered by the code: it scales the channels "
        "that go in, and sets gain and bias of those that come out. Here the style steers one place only; everywhere "
        "else the painter works as it does for the photo's own code. Below each picture: the change by this place "
        "alone, and the change that is left without it."
    )
    cells = []
    for place in found.places:
        name = _place(place.key)
        words = f"<b>{escape(name)}</b>: alone {_percent(place.only)}, without it {_percent(place.without)}"
        cells.append(_figure(place.only.picture, f"The style only here: {name}", words, place.only))
    return f'<p>{escape(how)}</p><div class="grid">{"".join(cells)}</div>'


def _left(found: Explanation) -> str:
    how = (
        "The style loss compares Gram matrices: how strongly each pair of feature channels answers together, on "
        "average over the picture. With G that of the painted photo, A that of the painting and D = G − A, a place "
        "with the features f adds (f·Df − ⟨D, A⟩) / (‖G‖‖A‖), and the mean over all places is exactly the loss "
        f"‖D‖² / (‖G‖‖A‖). Features: {found.network}; averaged over 8 by 8 pixels to be drawn."
    )
    key = (
        '<p><span class="key" style="background:#ed5c12"></span> adds to the loss: something the painting has is '
        'missing here, or there is too much of it.<br><span class="key" style="background:#1f6bed"></span> makes up '
        "for other places.</p>"
    )
    cells = []
    for layer, picture, scale in heat_maps(found.painted.picture, found.left):
        name = "All layers" if layer is None else layer
        words = f"<b>{escape(name)}</b>: full colour at ±{scale:.2g}"
        cells.append(_figure(picture, f"Heat map of the style loss that is left, {name}", words))
    rows = [
        [one.layer, f"{one.before:.3f}", f"{one.after:.3f}", f"{share:.0%}", f"{one.half_lies_in:.0%}"]
        for one in found.left
        for share in [one.after / max(one.before, 1e-9)]
    ]
    head = ["Layer", "Photo", "Painted", "Left", "Half of it lies in"]
    figures = table(head, rows, "Style loss (relative Gram distance to the painting) before and after")
    return f'<p>{escape(how)}</p>{key}<div class="grid" style="--least:20rem">{"".join(cells)}</div><br>{figures}'


def _strokes(found: Explanation, painting: Picture, strokes: Strokes) -> str:
    painted = found.painted.picture
    how = (
        "For each small patch of the painted photo, the most similar patch of the painting: normalised "
        f"cross-correlation of 3×3 features of {strokes.layer}. The painter copies nothing: it knows the painting by "
        "its code only, so this is resemblance, not origin. The mean similarity is "
        f"{strokes.similarity:.2f}; that of the photo before it was painted, {strokes.similarity_before:.2f}."
    )
    cells = [
        _figure(
            by_use(painting, strokes), "The painting, lit where it is used", "The painting: lit where its likes are"
        ),
        _figure(numbered(painted, pair_places(strokes)), "The painted photo with numbered places", "The painted photo"),
        _figure(
            mosaic(painted, painting, strokes),
            "The painted photo put together of pieces of the painting",
            "Put together of the painting's pieces that are most like it",
        ),
    ]
    small = []
    for number, (ours, theirs, similarity) in enumerate(pairs(painted, painting, strokes), 1):
        sides = (
            figure(embedded(ours), f"Place {number} of the painted photo", ours.size, zoom=False),
            figure(
                embedded(theirs), f"The place of the painting that is most like place {number}", theirs.size, zoom=False
            ),
        )
        small.append(
            f'<figure><div class="pair">{"".join(sides)}</div>'
            f"<figcaption><b>{number}</b>: painted, painting; similarity {similarity:.2f}</figcaption></figure>"
        )
    return (
        f'<p>{escape(how)}</p><div class="grid" style="--least:20rem">{"".join(cells)}</div>'
        f'<h3>Pairs</h3><div class="grid" style="--least:11rem">{"".join(small)}</div>'
    )


def _figures(found: Explanation) -> str:
    named = list(found.painted.figures)
    rows = [["Photo in its own manner", *_cells(found.own, named)], ["Full style", *_cells(found.painted, named)]]
    for source in found.sources:
        title = _source(source.key)[0]
        rows.append([f"Only {title.lower()}", *_cells(source.sweep[-1], named)])
        rows.append([f"All but {title.lower()}", *_cells(source.without, named)])
    for place in found.places:
        rows.append([f"Only at: {_place(place.key).lower()}", *_cells(place.only, named)])
        rows.append([f"All but at: {_place(place.key).lower()}", *_cells(place.without, named)])
    words = {"change": "Change", "style_gap": "Style gap", "content_distance": "Content distance"}
    head = ["Painted with", *(words.get(name, name.replace("style_gap_", "")) for name in named)]
    size = f"{found.photo.size[0]}×{found.photo.size[1]}"
    means = (
        f"{found.network} at {size}; style gap: 0 = the painting's style, 1 = the photo's" if found.network else size
    )
    return table(head, rows, f"Every picture above at full strength ({means})")


def _cells(variant: Variant, names: Sequence[str]) -> list[str]:
    return [f"{variant.figures[name]:.3f}" for name in names]


def _figure(picture: Picture, alt: str, caption_html: str, variant: Variant | None = None) -> str:
    bar = "" if variant is None else _bar(variant)
    return figure(embedded(picture), alt, picture.size, caption_html + bar)


def _strip_figure(variant: Variant, alt: str, words: str) -> str:
    return _figure(variant.picture, f"{alt}: change {_percent(variant)}", f"<b>{escape(words)}</b>", variant)


def _bar(variant: Variant) -> str:
    change = variant.figures["change"]
    return f' <span class="bar"><i style="width:{min(change, 1):.0%}"></i></span>'


def _percent(variant: Variant) -> str:
    return f"{variant.figures['change']:.0%}"


def _source(key: str) -> tuple[str, str]:
    """Title of a part, and a sentence about it."""
    if key == "colors":
        return "The colours", "Mean of red, green and blue, and how they spread together."
    if key == "strokes":
        return "The strokes", "All that the code says beside the colours."
    stride = int(key.removeprefix("stats"))
    return (
        f"The layer at 1/{stride}",
        f"Statistics of features {stride} pixels apart, the painting being seen with a short side of 512 pixels.",
    )


def _place(key: str) -> str:
    if key.startswith("block"):
        return f"Block {key.removeprefix('block')}, at 1/8"
    return {
        "in": "Into the painter, to 1/8",
        "up4": "Up to 1/4",
        "at4": "At 1/4, where the photo joins in",
        "up2": "Up to 1/2",
        "up1": "Up to the whole size",
        "colors": "The final colours",
    }[key]
