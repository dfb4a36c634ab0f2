"""What ``impasto paint`` and ``impasto again`` have in common: paintings by optimisation, from order to files."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from impasto.apps.cli.blend import Wanted, weight_of
from impasto.apps.cli.plan import STREAM, Job
from impasto.apps.cli.recipes import NO_RECIPE
from impasto.apps.cli.remasked import Masks
from impasto.apps.cli.terminal import put, put_json, say
from impasto.apps.cli.trainer import Reporter, need
from impasto.errors import ImpastoError, PictureError
from impasto.runtime.masks import FEATHER, Mask
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.paint_spec import EVERY, PaintSpec

if TYPE_CHECKING:
    from impasto.progress import OnProgress, Progress
    from impasto.training.paint import Brush, Painted
    from impasto.training.stopping import Wish

LINES = 25
"""Steps from one line to the next where stderr is no terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is painted, and how: all that a picture depends on beside the photo and the machine.

    Attributes:
        spec: of the optimisation.
        wanted: the paintings, picture files, and their weights.
        looks: ``keep_colors``, ``palette`` and ``detail``, as ``paint_places.finished`` takes them.
        masks: where it is painted, and where each painting has its place.
        quality, strip: as ``Picture.save`` takes them.
    """

    spec: PaintSpec
    wanted: Sequence[Wanted]
    looks: Mapping[str, Any]
    masks: Masks
    quality: int | None
    strip: bool

    def recipe(self, features: str, fast: StyleModel | None) -> str:
        """As the picture carries it.

        Args:
            features: sha256 of the feature network's weights.
            fast: the painter that begins, or None.
        """
        from impasto.runtime.recipe import Ingredient, Recipe

        styles = []
        for one in self.wanted:
            name = "".join(letter if letter.isprintable() else "?" for letter in Path(one.style).name)
            with Path(one.style).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            styles.append(Ingredient(style=name, weight=weight_of(one), sha256=sha256))
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.spec).items()}
        settings.pop("weights")  # a path; the digest says which they are
        settings |= {**self.looks, "quality": self.quality, "strip": self.strip, "mask": self.masks.told}
        settings["fast"] = fast and {"model": fast.bundle.manifest.name, "sha256": fast.bundle.sha256}
        told = Recipe(model=self.spec.network, model_sha256=features, styles=styles, settings=settings, command="paint")
        return told.with_masks(self.masks.packed()).to_text()


def refuse_streams(inputs: Sequence[str], output: str | None) -> None:
    """Refuse what cannot wait for minutes; PictureError."""
    if STREAM in inputs or output == STREAM:
        raise PictureError("impasto paint reads and writes files, for it takes minutes: give a file in place of -.")


def carry_out(
    order: Order,
    jobs: Sequence[Job],
    *,
    begin: Callable[[], StyleModel],
    check: Callable[[str], None] = lambda features: None,
    preview: str | None = None,
    every: int = EVERY,
    max_pixels: int,
    max_memory: int | None,
    device: str | None,
    threads: int | None,
    overwrite: bool,
    recipe: bool,
    json: bool,
) -> None:
    """Paint every photo, write it and tell of it.

    Args:
        begin: loads the fast painter; it is asked for where ``spec.start`` says so.
        check: given the sha256 of the feature network's weights before anything is painted; it may raise.
        preview: a file to show what there is so far in; it must have been checked.
        every: steps from one preview to the next.
        recipe: whether pictures carry one.
        max_pixels, max_memory, device, threads, overwrite, json: as the options.

    Raises:
        ImpastoError: something cannot be read, painted or written.
        typer.Exit: 130, where it was stopped: what there was is written.
    """
    paintings = [_painting(one, max_pixels) for one in order.wanted]
    for job in jobs:
        if job.source is not None and not job.source.is_file():
            Picture.open(job.source, max_pixels=max_pixels)  # says what is wrong before hours of work on the others
    need("torch", "pydantic", "safetensors")
    from impasto.training.loop import pick_device, set_threads
    from impasto.training.paint import Brush, digest_of, load_features
    from impasto.training.stopping import stop_signals

    set_threads(threads)
    where = pick_device(device)
    fast = begin() if order.spec.start == "fast" else None
    brushes = [Brush(picture, weight_of(one)) for picture, one in zip(paintings, order.wanted, strict=True)]
    with Reporter(json) as report, stop_signals() as wish:
        net = load_features(order.spec, where, report)
        features = digest_of(net)
        check(features)
        told = order.recipe(features, fast) if recipe else NO_RECIPE
        for job in jobs:
            began = time.perf_counter()
            photo = Picture.open(job.source, max_pixels=max_pixels)  # type: ignore[arg-type]
            done, picture = _paint_one(
                photo,
                brushes,
                order,
                device=str(where),
                fast=fast,
                net=net,
                max_memory=max_memory,
                progress=_seldom(report),
                preview=None if preview is None else _shower(preview),
                every=every,
                stop=_asked(wish),
            )
            picture = replace(picture, info=replace(picture.info, recipe=told))
            lost = picture.save(job.target, overwrite=overwrite, strip=order.strip, quality=order.quality)  # type: ignore[arg-type]
            _tell(job, order, done, picture, lost, time.perf_counter() - began, json=json)
            if done.stopped:
                say(f"{job.target} is the best after {done.steps} of {done.planned} steps.")
                raise typer.Exit(130)


def _paint_one(photo: Picture, brushes: Sequence[Brush], order: Order, **how: Any) -> tuple[Painted, Picture]:
    """What came of the optimisation, and the picture with its colours and place."""
    from impasto.training.paint import paint as optimise
    from impasto.training.paint import sized
    from impasto.training.paint_places import finished, placed

    photo = sized(photo, order.spec)
    used, cover = placed(photo, brushes, order.masks.own(len(brushes)), _overall(order.masks))
    done = optimise(photo, used, order.spec, **how)
    return done, finished(photo, done.picture, brushes, cover=cover, **order.looks)


def _overall(masks: Masks) -> Mask | None:
    """The mask that holds for all paintings, or None where they have places of their own and nothing else is told."""
    told = masks.told or {"feather": FEATHER}
    asked = any(told.get(name) for name in ("paint", "protect", "foreground")) or told["feather"] != FEATHER
    return masks.overall() if asked else None


def _painting(one: Wanted, max_pixels: int) -> Picture:
    path = Path(one.style)
    if path.suffix.lower() == ".npy" or not (path.suffix or path.exists() or os.sep in one.style):
        raise ImpastoError(
            f"impasto paint needs the painting itself, and {one.style} is no picture: give a picture file, or use "
            "impasto stylize."
        )
    return Picture.open(path, max_pixels=max_pixels)


def _shower(preview: str) -> Callable[[Picture], None]:
    """Writes previews; where that fails, the painting goes on."""
    failed = False

    def show(picture: Picture) -> None:
        nonlocal failed
        if failed:
            return
        try:
            picture.save(preview, overwrite=True)
        except PictureError as error:
            failed = True
            say(f"There are no more previews: {error}")

    return show


def _seldom(report: OnProgress) -> OnProgress:
    """The figures of every step on a terminal, of some elsewhere."""

    def tell(now: Progress) -> None:
        if sys.stderr.isatty() or now.done % LINES == 0 or now.done == now.total:
            report(now)

    return tell


def _asked(wish: Wish) -> Callable[[], bool]:
    def stop() -> bool:
        wish.safe_point()
        return wish.stop

    return stop


def _tell(
    job: Job,
    order: Order,
    done: Painted,
    picture: Picture,
    lost: Sequence[str],
    seconds: float,
    *,
    json: bool,
) -> None:
    notes = [*picture.info.notes, *lost]
    for note in notes:
        say(f"{job.source}: {note}")
    if not json:
        put(str(job.target))
        return
    put_json(
        {
            "input": str(job.source),
            "output": str(job.target),
            "style": [{"style": one.style, "weight": weight_of(one)} for one in order.wanted],
            "strength": order.spec.strength,
            "width": picture.size[0],
            "height": picture.size[1],
            "seconds": round(seconds, 4),
            "steps": done.steps,
            "planned": done.planned,
            "stopped": done.stopped,
            "losses": {"loss": done.loss, **done.parts} if done.steps else None,
            "notes": notes,
        }
    )
