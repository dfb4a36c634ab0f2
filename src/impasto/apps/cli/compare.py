"""``impasto compare``: the same pictures of several folders on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.apps.cli.terminal import default_of, progress_bar, put, put_json, say
from impasto.apps.compare_page import compare as compare_places


def compare(
    places: Annotated[
        list[str], typer.Argument(metavar="A B ...", help="Folders with pictures of the same names; or pictures.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="PAGE", help="The page to write, ending in .html.")],
    size: Annotated[
        int, typer.Option("--size", min=16, max=8192, help="Show pictures with this long side at most, in pixels.")
    ] = default_of(compare_places, "long_side"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that exists.")] = default_of(
        compare_places, "overwrite"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, not the path.")] = False,
) -> None:
    """Lay pictures of the same names side by side on a page, and one over the other under a slider.

    The page needs no network; many pictures lie in a folder beside it.
    """
    with progress_bar(2, quiet=json) as report:
        made = compare_places(places, output, long_side=size, overwrite=overwrite, progress=report)
    for remark in made.remarks:
        say(remark)
    if json:
        folder = None if made.folder is None else str(made.folder)
        put_json({"output": output, "rows": made.rows, "pictures": made.pictures, "folder": folder})
    else:
        put(output)
