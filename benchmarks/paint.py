"""Painting by optimisation: against the fast painter in quality, and against a published method in speed.

    python benchmarks/paint.py quality PHOTOS PAINTINGS OUT --styles 6 --eval STYLE_EVAL [--pairs N]
    python benchmarks/paint.py speed PHOTO PAINTING --size 512

``quality`` paints photos (centred squares of 512 pixels) with the fast painter into OUT/fast and with ``impasto paint``
into OUT/paint, has both folders scored, and prints a table with the targets. Pictures that are there already are kept,
so that the command can be repeated.

``speed`` paints one photo with our steps and with those of style-transfer-pytorch: Adam (rate 0.02, betas 0.9 and 0.99,
averaged with a decay of 0.99) in float32 with channels first. Both minimise one objective (Wasserstein distance at
relu1_1 to relu5_1, content at relu4_2) from one start on the same features at the same size. Its matrix roots are taken
in the way ours are, which favours it. The loss of both is judged by the same network in float32, outside the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from impasto import ImpastoError, Picture, StyleModel
from impasto.training.descent import Adam, Descent, Lbfgs
from impasto.training.losses.moments import relative_gram
from impasto.training.nets.features import Vgg, load_vgg
from impasto.training.paint import Brush, load_features, paint
from impasto.training.paint_objective import Manner, Objective
from impasto.training.paint_spec import PaintSpec
from impasto.training.paint_tensors import planes
from sheet import contact_sheet, photo_square
from style_quality import SIDE, UsageError, _count, evaluate, impasto_painter, name_of, pairs, pictures, say

FAST, SLOW = "fast", "paint"
TARGETS = {"vgg": 0.35, "eff": 0.7}
"""The largest style gap, as a share of the fast painter's, by the yardstick's network."""

RIVAL_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
RIVAL_CONTENT = ("relu4_2",)
YARDSTICK_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
WORTH = 1.5
"""Times faster to equal loss that is asked for."""


def quality(options: argparse.Namespace) -> None:
    """Paint, score, print.

    Raises:
        UsageError, ImpastoError: see the messages.
    """
    photos, paintings = pictures(options.photos), pictures(options.paintings)
    if options.styles:
        count = min(options.styles, len(paintings))
        paintings = [paintings[i * len(paintings) // count] for i in range(count)]
    chosen = pairs(photos, paintings, options.pairs)
    spec = PaintSpec(size=SIDE, **_given(options))
    net = load_features(spec, torch.device("cpu"))
    fast = impasto_painter("anystyle", strength=1.0, threads=options.threads, engine="onnxruntime")
    seconds = []
    for done, (photo, painting) in enumerate(chosen, 1):
        square, name = photo_square(photo, SIDE), name_of(photo, painting)
        for folder in (FAST, SLOW):
            (options.out / folder).mkdir(parents=True, exist_ok=True)
        if not (options.out / FAST / name).exists():
            fast(square, painting).save(options.out / FAST / name)
        if not (options.out / SLOW / name).exists():
            began = time.perf_counter()
            made = paint(Picture.from_pil(square), [Brush(Picture.open(painting))], spec, net=net)
            seconds.append(time.perf_counter() - began)
            made.picture.save(options.out / SLOW / name)
        say(f"\r{done}/{len(chosen)} pairs", end="")
    say("")
    sheet = contact_sheet(photos, paintings, [options.out / FAST, options.out / SLOW], cell=192, name=name_of)
    sheet.save(options.out / "sheet.jpg", quality=92)
    if options.eval is None:
        return
    scores = {
        folder: evaluate(options.eval, options.photos, options.paintings, options.out / folder)
        for folder in (FAST, SLOW)
    }
    (options.out / "results.json").write_text(json.dumps({"scores": scores, "seconds": seconds}, indent=1) + "\n")
    print(table(scores))
    if seconds:
        print(f"\nseconds a painting, {SIDE} px: {statistics.median(seconds):.1f} (median of {len(seconds)})")


def table(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: the figures of both painters, ours as a share of the other's, and whether that is enough."""
    lines = ["| network | figure | fast | paint | paint / fast | target |", "|---|---|---|---|---|---|"]
    for net, most in TARGETS.items():
        for figure, limit in (("style_gap", most), ("content_lost", 1.0)):
            before, after = scores[FAST][net][figure], scores[SLOW][net][figure]
            share = after / before
            verdict = "met" if share <= limit else "missed"
            lines.append(f"| {net} | {figure} | {before:.3f} | {after:.3f} | {share:.2f} | {limit:g}, {verdict} |")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to minimise the objective."""

    name: str
    half: bool
    last: bool
    """Whether channels come last in memory."""
    descent: Callable[[], Descent]


OURS = Contestant("ours: L-BFGS, bf16 where quick, channels last", True, True, Lbfgs)
THEIRS = Contestant("theirs: Adam, averaged, fp32, channels first", False, False, lambda: Adam(0.02, 0.99))


def speed(options: argparse.Namespace) -> None:
    """Time both, print.

    Raises:
        UsageError, ImpastoError: see the messages.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    photo = Picture.from_pil(photo_square(options.photo, options.size))
    style = Picture.open(options.painting)
    style = style.resized(round(max(style.size) * options.size / min(style.size)))
    spec = PaintSpec(
        style_loss="wasserstein",
        style_layers=RIVAL_LAYERS,
        content_layers=RIVAL_CONTENT,
        even=0.0,
        bands=0.0,
        size=options.size,
    )
    judge = objective(Contestant("judge", False, False, Lbfgs), spec, photo, style)
    # Ours may take more steps, which are shorter: what counts is when it has the loss that theirs ends with.
    theirs = list(race(THEIRS, spec, photo, style, judge, options.steps))
    ours = list(race(OURS, spec, photo, style, judge, options.steps * 3 // 2))
    for name, row in ((THEIRS.name, theirs), (OURS.name, ours)):
        print(f"{name}: {row[-1].seconds / row[-1].steps:.3f} s a step at {options.size} px, loss {row[-1].loss:.4f}")
    goal = theirs[-1]
    there = next((mark for mark in ours if mark.loss <= goal.loss), None)
    print(f"theirs has loss {goal.loss:.4f} after {goal.steps} steps, {goal.seconds:.1f} s")
    if there is None:
        print(f"ours does not reach it in {ours[-1].steps} steps, {ours[-1].seconds:.1f} s: missed")
    else:
        gain = goal.seconds / there.seconds
        verdict = "met" if gain >= WORTH else "missed"
        print(f"ours has it after {there.steps} steps, {there.seconds:.1f} s: {gain:.2f} times faster ({verdict})")
    if not options.no_score:
        print(score_time(photo, style, options.size))


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a run stands."""

    steps: int
    seconds: float
    loss: float


def race(
    one: Contestant, spec: PaintSpec, photo: Picture, style: Picture, judge: Objective, steps: int
) -> Iterator[Mark]:
    """So many steps from the photo on; a mark after every tenth of them, or every step where there are fewer."""
    loss, picture, descent = objective(one, spec, photo, style), planes(photo.rgb, torch.device("cpu")), one.descent()
    loss(picture)  # the first pass prepares the convolutions
    seconds = 0.0
    for step in range(1, steps + 1):
        began = time.perf_counter()
        score = loss(picture)
        picture = descent.step(picture, score.loss, score.slope)
        seconds += time.perf_counter() - began
        if step % max(1, steps // 50) == 0 or step == steps:
            best = descent.best()
            yield Mark(step, seconds, judge(picture if best is None else best).loss)


def objective(one: Contestant, spec: PaintSpec, photo: Picture, style: Picture) -> Objective:
    """The objective on features computed as a contestant computes them."""
    device = torch.device("cpu")
    net = load_features(replace(spec, precision="auto" if one.half else "fp32"), device)
    if not one.last:
        net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def laid(picture: Picture) -> torch.Tensor:
        plane = planes(picture.rgb, device)
        return plane if one.last else plane.contiguous()

    return Objective(net, spec, laid(photo), [Manner(laid(style))])


def score_time(photo: Picture, style: Picture, size: int) -> str:
    """How long ``impasto paint``, from the photo on, takes to a style gap as small as the fast painter's."""
    net = load_vgg("vgg16", YARDSTICK_LAYERS)
    target = second_moments(net, style)
    own = distance(net, photo, target)
    goal = distance(net, StyleModel.load().paint(photo, style), target) / own
    spent, began, found = 0.0, time.perf_counter(), None

    def look(picture: Picture) -> None:
        nonlocal spent, began, found
        spent += time.perf_counter() - began
        if found is None and distance(net, picture.resized(size), target) / own <= goal:
            found = spent
        began = time.perf_counter()

    paint(photo, [Brush(style)], PaintSpec(size=size, start="photo"), preview=look, every=5, stop=lambda: bool(found))
    reached = "is not reached" if found is None else f"is reached after {found:.1f} s"
    return f"the fast painter's style gap ({goal:.3f}, VGG-16) {reached}, from the photo on at {size} px"


def second_moments(net: Vgg, picture: Picture) -> list[torch.Tensor]:
    """E[F F^T] at each of the network's layers."""
    with torch.no_grad():
        rows = [f.flatten(2)[0] for f in net(planes(picture.rgb, torch.device("cpu"))).values()]
        return [row @ row.T / row.shape[1] for row in rows]


def distance(net: Vgg, picture: Picture, target: Sequence[torch.Tensor]) -> float:
    """Mean relative Gram distance, as in the yardstick."""
    found = second_moments(net, picture)
    return statistics.fmean(float(relative_gram(a, b)) for a, b in zip(found, target, strict=True))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    named = {name: getattr(options, name) for name in ("steps", "content", "start", "even", "bands")}
    return {name: value for name, value in named.items() if value is not None}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Painting by optimisation: quality and speed.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("quality", help="against the fast painter")
    one.add_argument("photos", type=Path)
    one.add_argument("paintings", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--eval", type=Path, help="the yardstick, style_eval.py")
    one.add_argument("--styles", type=_count, help="only so many of the paintings, spread over their names")
    one.add_argument("--pairs", type=_count, help="only so many pairs, spread over photos and paintings")
    one.add_argument("--steps", type=_count, help="as impasto paint; its default unless given")
    one.add_argument("--content", type=float, help="the same")
    one.add_argument("--start", help="the same")
    one.add_argument("--even", type=float, help="the same")
    one.add_argument("--bands", type=float, help="the same")
    two = verbs.add_parser("speed", help="against a published method")
    two.add_argument("photo", type=Path)
    two.add_argument("painting", type=Path)
    two.add_argument("--size", type=_count, default=SIDE, help="side in pixels (%(default)s)")
    two.add_argument(
        "--steps", type=_count, default=100, help="of theirs (%(default)s); ours may take half as many more"
    )
    two.add_argument("--no-score", action="store_true", help="leave out the time to the fast painter's style gap")
    for verb in (one, two):
        verb.add_argument("--threads", type=_count, help="CPU threads; all cores by default")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 with one sentence on stderr."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    try:
        (quality if options.verb == "quality" else speed)(options)
    except (UsageError, ImpastoError) as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
