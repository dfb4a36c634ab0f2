"""A page on which the same pictures from several folders lie side by side, and one over the other under a slider."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from impasto.apps.html import check_page, document, escape, figure, wipe, write_page
from impasto.errors import ImpastoError, PictureError, PictureExists
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.files import READABLE_SUFFIXES
from impasto.runtime.picture import Picture

LONG_SIDE = 1024
"""Pixels that pictures are shown with at most, unless told."""

EMBEDDED = 24_000_000
"""Bytes of pictures up to which they stand in the page itself; more lie in a folder beside it."""

MOST_PICTURES = 10_000
_QUALITY = 88
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One name: its files, one for each column, None where there is none."""

    name: str
    files: tuple[Path | None, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as the page shows it: its file among the parts of the page, and both sizes (width, height)."""

    part: str
    size: tuple[int, int]
    own: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of it.

    Attributes:
        rows, pictures: how many are shown.
        folder: where the pictures lie; None where they are in the page.
        remarks: sentences for a person.
    """

    rows: int
    pictures: int
    folder: Path | None
    remarks: tuple[str, ...]


def compare(
    places: Sequence[str | Path],
    page: str | Path,
    *,
    long_side: int = LONG_SIDE,
    overwrite: bool = False,
    progress: OnProgress = silent,
) -> Compared:
    """Write the page.

    Args:
        places: folders, of which names that two of them have are shown (suffixes may differ); or pictures.
        page: an ``.html`` file. Many pictures go into the folder ``<page>_files`` beside it.
        long_side: pixels of the longer side beyond which pictures are made smaller.
        overwrite: replace the page, and what it wrote into that folder before.
        progress: told of each picture.

    Raises:
        PictureExists: the page or its folder is there.
        PictureError: nothing to compare, or the page cannot be written.
    """
    check_page(page, overwrite=overwrite)
    target = Path(page)
    files = target.with_name(f"{target.stem}_files")
    if os.path.lexists(files) and (not overwrite or not files.is_dir()):
        raise PictureExists(f"{files} exists already, where pictures may have to go: choose another name for the page.")
    rows, remarks = rows_of([Path(place) for place in places])
    labels = labels_of([Path(place) for place in places])
    if len(rows) * len(labels) > MOST_PICTURES:
        raise PictureError(f"{len(rows):,} names in {len(labels)} folders are too many for a page: compare fewer.")
    for row in rows:
        if any(path is not None and path.samefile(target) for path in row.files if target.exists()):
            raise PictureError(f"{target} is one of the pictures, and it would be lost: choose another page.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.stem[:40]}.", dir=target.parent) as parts:
            shown = _parts(rows, Path(parts), long_side, remarks, progress)
            heavy = sum(path.stat().st_size for path in Path(parts).iterdir()) > EMBEDDED
            # What needs the folder comes after it.
            if heavy:
                _place(Path(parts), files)
            text = _page(rows, labels, shown, Path(parts), files.name if heavy else None)
            write_page(target, text, overwrite=overwrite)
    except OSError as error:
        raise PictureError(f"{target} cannot be written ({error.strerror or error}): choose another place.") from error
    count = sum(one is not None for row in shown for one in row)
    return Compared(len(rows), count, files if heavy else None, tuple(remarks))


def rows_of(places: Sequence[Path]) -> tuple[list[Row], list[str]]:
    """The names that are compared, and sentences about those that are not.

    Raises:
        PictureError: fewer than two places, folders and files mixed, or no name that two folders have.
    """
    if len(places) < 2:
        raise PictureError("One place alone cannot be compared: give two or more folders, or two or more pictures.")
    folders = [place.is_dir() for place in places]
    if not any(folders):
        return [Row(" · ".join(place.name for place in places), tuple(places))], []
    if not all(folders):
        odd = places[folders.index(False)]
        raise PictureError(f"{odd} is no folder, and the others are: compare folders, or pictures.")
    found = [_names(place) for place in places]
    names = sorted({name for one in found for name in one})
    rows = [Row(name, tuple(one.get(name) for one in found)) for name in names]
    alone = [row.name for row in rows if sum(path is not None for path in row.files) < 2]
    rows = [row for row in rows if sum(path is not None for path in row.files) >= 2]
    if not rows:
        where = " and ".join(str(place) for place in places)
        raise PictureError(f"{where} have no picture of the same name: give folders that hold the same pictures.")
    more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
    remarks = [f"In one folder only, and left out: {', '.join(alone[:_NAMED])}{more}."] if alone else []
    return rows, remarks


def labels_of(places: Sequence[Path]) -> list[str]:
    """A short name for each place, none twice."""
    places = [place if place.name else place.absolute() for place in places]
    for count in range(1, 1 + max(len(place.parts) for place in places)):
        labels = [Path(*place.parts[-count:]).as_posix() for place in places]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label} ({number})" for number, label in enumerate(labels, 1)]


def _names(folder: Path) -> dict[str, Path]:
    """Every picture below a folder, by its place without its suffix."""
    found: dict[str, Path] = {}
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for name in sorted(names):
            path = Path(place) / name
            if name[0] == "." or path.suffix.lower() not in READABLE_SUFFIXES:
                continue
            key = path.relative_to(folder).with_suffix("").as_posix()
            other = found.setdefault(key, path)
            if other is not path:
                raise PictureError(f"{other} and {path.name} have one name: keep one of them.")
    return found


def _parts(
    rows: Sequence[Row], folder: Path, long_side: int, remarks: list[str], progress: OnProgress
) -> list[list[Shown | None]]:
    """The pictures as they are shown, in files of a folder."""
    total = sum(path is not None for row in rows for path in row.files)
    done = 0
    shown: list[list[Shown | None]] = []
    for number, row in enumerate(rows):
        cells: list[Shown | None] = []
        for column, path in enumerate(row.files):
            cell = None
            if path is not None:
                done += 1
                progress(Progress(done, total, "pictures", path.name))
                try:
                    cell = _shown(path, folder, f"{number:04}-{column}", long_side)
                except ImpastoError as error:
                    # One damaged picture must not cost the page of all the others.
                    if len(rows) == 1:
                        raise
                    remarks.append(f"{path}: {error}")
            cells.append(cell)
        shown.append(cells)
    if not any(cell is not None for cells in shown for cell in cells):
        raise PictureError(f"None of the pictures can be read: {remarks[-1]}")
    return shown


def _shown(path: Path, folder: Path, name: str, long_side: int) -> Shown:
    picture = Picture.open(path)
    own = picture.size
    if max(own) > long_side:
        picture = picture.resized(long_side)
    part = f"{name}.{'jpg' if picture.alpha is None else 'png'}"
    picture.save(folder / part, strip=True, quality=_QUALITY if picture.alpha is None else None)
    return Shown(part, picture.size, own)


def _place(parts: Path, folder: Path) -> None:
    """Move the parts into the page's folder; what else lies there stays."""
    folder.mkdir(exist_ok=True)
    for path in sorted(parts.iterdir()):
        path.replace(folder / path.name)


def _page(
    rows: Sequence[Row],
    labels: Sequence[str],
    shown: Sequence[Sequence[Shown | None]],
    parts: Path,
    beside: str | None,
) -> str:
    def address(cell: Shown) -> str:
        if beside is not None:
            return quote(os.fsencode(beside)) + "/" + cell.part
        kind = "jpeg" if cell.part.endswith("jpg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode((parts / cell.part).read_bytes()).decode('ascii')}"

    title = " | ".join(labels)
    count = f"{len(rows)} picture{'s' if len(rows) > 1 else ''}, from {len(labels)} places."
    names = "".join(f'<option value="{index}">{escape(row.name)}</option>' for index, row in enumerate(rows))
    sheet = []
    for number, (row, cells) in enumerate(zip(rows, shown, strict=True)):
        shots = []
        for column, (label, cell) in enumerate(zip(labels, cells, strict=True)):
            if cell is None:
                shots.append(f'<figure class="none"><p>not there</p><figcaption>{escape(label)}</figcaption></figure>')
                continue
            words = f"<b>{escape(label)}</b> {cell.own[0]} × {cell.own[1]}"
            alt = f"{row.name}, {label}"
            shots.append(
                figure(address(cell), alt, cell.size, words).replace(
                    "<figure>", f'<figure data-row="{number}" data-column="{column}">', 1
                )
            )
        sheet.append(
            f'<section aria-label="{escape(row.name)}"><h3>{escape(row.name)}</h3>'
            f'<div class="sheet">{"".join(shots)}</div></section>'
        )
    body = f"""<h1>{escape(title)}</h1>
<p class="lead">{escape(count)}</p>
<section id="stage" hidden aria-label="One over the other">
<div class="choice">
<span><button type="button" data-step="-1" aria-label="Previous picture">‹</button>
<button type="button" data-step="1" aria-label="Next picture">›</button></span>
<label>Picture <select name="row">{names}</select></label>
<label>Left <select name="over">{_options(labels, 0)}</select></label>
<label>Right <select name="under">{_options(labels, 1)}</select></label>
</div>
<div class="frame">{wipe(("data:,", ""), ("data:,", ""), (1, 1), "How much of the left picture is seen")}</div>
<p class="small" role="status"></p>
</section>
<h2>Side by side</h2>
{"".join(sheet)}
<footer class="small">Made by impasto compare.</footer>"""
    style = _STYLE.replace("COLUMNS", str(len(labels)))
    about = f"{len(rows)} pictures side by side: {title}"
    images = "data:" if beside is None else "data: 'self' file:"
    return document(title, body, description=about, style=style, script=_SCRIPT, images=images)


def _options(labels: Sequence[str], chosen: int) -> str:
    return "".join(
        f'<option value="{index}"{" selected" if index == chosen else ""}>{escape(label)}</option>'
        for index, label in enumerate(labels)
    )


_STYLE = """
.sheet{display:grid;gap:1.1rem;grid-template-columns:repeat(COLUMNS,minmax(0,1fr))}
.sheet img{width:100%}
.none p{display:grid;place-items:center;min-height:8rem;margin:0;border:1px dashed var(--line);border-radius:4px;
color:var(--grey)}
.choice{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1rem;margin:1.2rem 0 .8rem}
.choice label{display:flex;align-items:center;gap:.4rem;color:var(--grey);min-width:0}
.choice select,.choice button{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);
border-radius:6px;padding:.3rem .55rem;max-width:min(20rem,70vw)}
.choice button{cursor:pointer;min-width:2.4rem}
.frame{display:flex;justify-content:center}
.frame .wipe{width:min(100%,calc(78vh*var(--shape,1.5)))}
.frame .wipe img{object-fit:contain;border-radius:4px}
@media (max-width:40rem){.sheet{grid-template-columns:1fr}}
"""

# The slider shows pictures of the sheet, which are in the page once.
_SCRIPT = """
const stage=document.getElementById('stage'),pick=name=>stage.querySelector(`select[name=${name}]`),
row=pick('row'),say=stage.querySelector('[role=status]'),[under,over]=stage.querySelectorAll('.wipe img');
function place(to,column){const from=document.querySelector(
`figure[data-row="${row.value}"][data-column="${column.value}"] img`);to.src=from?from.src:'data:,';
to.alt=from?from.alt:'not there';return from}
function lay(){const right=place(under,pick('under')),left=place(over,pick('over')),one=left||right;
if(one){const w=+one.getAttribute('width'),h=+one.getAttribute('height');
for(const to of [under,over]){to.setAttribute('width',w);to.setAttribute('height',h)}
stage.querySelector('.frame').style.setProperty('--shape',w/h)}
const word=name=>pick(name).selectedOptions[0].textContent;
say.textContent=`${word('row')}: ${word('over')}${left?'':' (not there)'} on the left, `+
`${word('under')}${right?'':' (not there)'} on the right. Drag, or use the arrow keys.`}
stage.querySelectorAll('select').forEach(one=>one.addEventListener('change',lay));
stage.querySelectorAll('[data-step]').forEach(one=>one.addEventListener('click',()=>{
row.selectedIndex=(row.selectedIndex+ +one.dataset.step+row.length)%row.length;lay()}));
stage.hidden=false;lay();
"""
