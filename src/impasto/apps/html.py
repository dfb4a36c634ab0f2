"""Pages that need nothing but themselves: one file, no request, dark and light, for a keyboard, on a phone.

What makes a page puts its parts together with the functions below and hands the whole to :func:`document`. Every text
is escaped by the function that takes it; what is called ``body`` or ``*_html`` is HTML already.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from impasto.errors import ImpastoError, PictureError, PictureExists
from impasto.runtime.files import write_atomic
from impasto.runtime.picture import Picture

SUFFIXES = (".html", ".htm")

# Ink on paper, as on the sheets of pictures (cli/sheet.py), and the same by lamplight.
_STYLE = """
:root{color-scheme:light dark;--paper:#faf9f6;--card:#fff;--ink:#22201e;--grey:#6b665f;--line:#e2ded6;--accent:#964628;
--good:#2f6f4f;--shade:#f1eee7}
@media (prefers-color-scheme:dark){:root{--paper:#191817;--card:#232120;--ink:#ece8e1;--grey:#a49d93;--line:#3a3734;
--accent:#e59a73;--good:#86c5a4;--shade:#2a2826}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:76rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:clamp(1.6rem,4vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.35rem;letter-spacing:-.01em;margin:3.2rem 0 .5rem;padding-top:1.4rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .4rem}
p{max-width:46rem;margin:.4rem 0 .9rem}
a{color:var(--accent)}
.lead{font-size:1.1rem;color:var(--grey)}
.small,figcaption{font-size:.86rem;color:var(--grey)}
figure{margin:0;min-width:0}
figcaption{margin-top:.35rem;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-weight:600}
img{display:block;max-width:100%;height:auto;border-radius:4px;background:var(--shade)}
.grid{display:grid;gap:1.1rem;grid-template-columns:repeat(auto-fill,minmax(min(var(--least,14rem),100%),1fr))}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.6rem .8rem;color:var(--grey);font-size:.86rem}
th,td{padding:.45rem .8rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
thead th{border-top:0;color:var(--grey);font-weight:600;font-size:.86rem}
tbody th{font-weight:500}
details{margin:1rem 0}summary{cursor:pointer;color:var(--accent)}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;margin:1rem 0 0;list-style:none;font-size:.92rem}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:4px}
button.zoom{all:unset;display:block;width:100%;cursor:zoom-in}
button.zoom:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:4px}
dialog{border:0;padding:0;background:none;max-width:96vw;max-height:96vh;color:#fff}
dialog::backdrop{background:rgb(0 0 0/.86)}
dialog img{max-width:96vw;max-height:86vh;width:auto;min-width:min(60vw,40rem);object-fit:contain}
dialog p{margin:.5rem 0 0;max-width:none;text-align:center}
.wipe{position:relative;display:grid;margin:0;--at:50%}
.wipe>*{grid-area:1/1;width:100%;margin:0}
.wipe .over{clip-path:inset(0 calc(100% - var(--at)) 0 0)}
.wipe::after{content:"";position:absolute;inset:0 auto 0 var(--at);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 4px #000;pointer-events:none}
.wipe input{appearance:none;height:100%;background:none;opacity:0;cursor:ew-resize;z-index:1}
.wipe:focus-within{outline:3px solid var(--accent);outline-offset:3px;border-radius:4px}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--line)}
@media (max-width:40rem){main{padding:1.25rem .9rem 3rem}th,td{padding:.4rem .55rem}}
@media print{button.zoom{cursor:auto}.wipe input{display:none}}
"""

# A picture opens in a dialog, arrows go to the next; a wipe follows its range input.
_SCRIPT = """
const box=document.querySelector('dialog'),all=[...document.querySelectorAll('button.zoom')];let at=0;
function show(i){at=(i+all.length)%all.length;const from=all[at].querySelector('img'),to=box.querySelector('img');
to.src=from.src;to.alt=from.alt;box.querySelector('p').textContent=from.alt;if(!box.open)box.showModal()}
all.forEach((one,i)=>one.addEventListener('click',()=>show(i)));
if(box){box.addEventListener('click',()=>box.close());box.addEventListener('keydown',event=>{
const step={ArrowRight:1,ArrowLeft:-1}[event.key];if(step){event.preventDefault();show(at+step)}})}
document.querySelectorAll('.wipe input').forEach(input=>{const move=()=>
input.parentElement.style.setProperty('--at',input.value+'%');input.addEventListener('input',move);move()});
"""


def escape(text: object) -> str:
    """Any text as HTML shows it, in an attribute too. Halves of letters, as odd file names have, become '?'."""
    return html.escape(str(text).encode("utf-8", "replace").decode(), quote=True)


def embedded(picture: Picture, *, quality: int = 85) -> str:
    """A ``data:`` address of a picture: JPEG, or PNG where it has transparency; nothing of the file's metadata."""
    kind = "jpeg" if picture.alpha is None else "png"
    data = picture.to_bytes(kind, strip=True, quality=quality if kind == "jpeg" else None)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def image(source: str, alt: str, size: tuple[int, int]) -> str:
    """An ``<img>``. ``source``: an address, such as :func:`embedded` gives; ``size``: width and height in pixels."""
    width, height = size
    return f'<img src="{escape(source)}" alt="{escape(alt)}" width="{width}" height="{height}" loading="lazy">'


def figure(source: str, alt: str, size: tuple[int, int], caption_html: str = "", *, zoom: bool = True) -> str:
    """A picture with words below it, which opens large when it is pressed."""
    shown = image(source, alt, size)
    if zoom:
        shown = f'<button class="zoom" aria-haspopup="dialog">{shown}</button>'
    words = f"<figcaption>{caption_html}</figcaption>" if caption_html else ""
    return f"<figure>{shown}{words}</figure>"


def wipe(under: tuple[str, str], over: tuple[str, str], size: tuple[int, int], label: str) -> str:
    """Two pictures of one size over each other, with a handle between them that mouse, finger and arrow keys move.

    Args:
        under, over: address and alt text of each; ``over`` is seen to the left of the handle.
        size: width and height in pixels.
        label: what the handle is called to somebody who does not see it.
    """
    first = image(*under, size)
    second = image(*over, size).replace("<img ", '<img class="over" ', 1)
    handle = f'<input type="range" min="0" max="100" value="50" aria-label="{escape(label)}">'
    return f'<div class="wipe">{first}{second}{handle}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of texts, with the first column naming the rows; it scrolls by itself where the screen is narrow."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def document(
    title: str, body: str, *, description: str = "", style: str = "", script: str = "", images: str = "data:"
) -> str:
    """A whole page.

    Args:
        title: of the window.
        body: HTML of ``<main>``.
        description: a sentence about the page.
        style, script: more CSS and JavaScript, beside what :func:`figure`, :func:`wipe` and :func:`table` need.
        images: where pictures may come from, in the words of a content security policy. The policy forbids all else,
            so that a page which asked for something from elsewhere would not get it.
    """
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    about = f'<meta name="description" content="{escape(description)}">\n' if description else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
{about}<style>{_STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
<dialog aria-label="A picture at its full size"><img src="data:," alt=""><p></p></dialog>
<script>{_SCRIPT}{script}</script>
</body>
</html>
"""


def check_page(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse a page's file early, before any costly work.

    Raises:
        PictureExists: something is there and ``overwrite`` is False.
        ImpastoError: it is a folder, or its name does not end as a page's does.
    """
    target = Path(path)
    name = str(target)
    if target.is_dir():
        raise PictureError(f"{name} is a folder: name a page in it, such as page.html.")
    if not name.lower().endswith(SUFFIXES):
        raise ImpastoError(f"The page {name!r} must end in {' or '.join(SUFFIXES)}: give it such a name.")
    if not overwrite and os.path.lexists(target):
        raise PictureExists(f"{name} exists already: choose another name or allow overwriting.")


def write_page(path: str | os.PathLike[str], page: str, *, overwrite: bool = False) -> None:
    """Write a page, all of it or nothing.

    Raises:
        PictureExists, PictureError: as :func:`impasto.runtime.files.write_atomic`.
    """
    write_atomic(path, page.encode("utf-8"), overwrite=overwrite)
