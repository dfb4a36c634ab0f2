"""``impasto models underpaint``: let a style model paint over smaller paintings of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from impasto.apps.cli.painter import Overwrite
from impasto.apps.cli.terminal import progress_bar, put, put_json


def underpaint(
    model: Annotated[str, typer.Argument(help="A style model: one of 'impasto models list', or a file.")],
    paintings: Annotated[str, typer.Argument(help="A folder of paintings, a few hundred or more.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="The new model file, NAME.impasto.")],
    levels: Annotated[
        int | None, typer.Option("--levels", help="How many paintings lie under, each of half the size.")
    ] = None,
    ground: Annotated[float | None, typer.Option("--ground", help="How much of them shows through, 0 to 1.")] = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Look at no more paintings than this.")
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the path.")] = False,
) -> None:
    """Let a style model paint from coarse to fine: a picture lies over smaller paintings of itself.

    It looks at a folder of paintings and learns what a style is at half the size. Writes a new file, which has all that
    the old one has.
    """
    from impasto.training.underpaintings import GROUND, LEVELS, MOST_PAINTINGS, add_underpaintings

    at_most = MOST_PAINTINGS if count is None else count
    with progress_bar(at_most, quiet=json) as report:
        add_underpaintings(
            model,
            paintings,
            output,
            levels=LEVELS if levels is None else levels,
            ground=GROUND if ground is None else ground,
            count=at_most,
            overwrite=overwrite,
            progress=report,
        )
    if json:
        put_json({"output": output, "bytes": Path(output).stat().st_size})
    else:
        put(output)
