"""``--cluster`` of ``impasto stylize``, and ``impasto cluster train``. They need the extra ``[scale]``."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from impasto.apps.cli.options import TYPER_OPTIONS
from impasto.apps.cli.plan import refuse_there
from impasto.apps.cli.several import tell_all
from impasto.apps.cli.terminal import DEBUG, put, put_json, say
from impasto.errors import PictureExists

if TYPE_CHECKING:
    from impasto.apps.cli.control import Painted
    from impasto.apps.cli.errands import Scatter
    from impasto.apps.cli.one import Settings
    from impasto.apps.cli.report import Ledger
    from impasto.apps.cluster_worker import Errand
    from impasto.runtime.style import StyleModel

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Paint on a Ray cluster: auto, HOST:6379, ray://HOST:10001, or local for one on this machine. IN and -o "
        "may then be addresses, such as s3://bucket/photos; --jobs is the number of workers, --threads the CPUs and "
        "--max-memory the memory of each.",
    ),
]


class _Told(NamedTuple):
    """An errand, as messages call it."""

    source: str
    target: str


def paint_scattered(
    plan: Scatter,
    painter: StyleModel,
    code: Painted,
    settings: Settings,
    loading: Mapping[str, Any],
    *,
    cluster: str,
    resume: bool | None,
    overwrite: bool,
    workers: int | None,
    json: bool,
) -> int:
    """Paint on a cluster what is not finished, and report it.

    Args:
        plan: what is to be painted.
        painter: the model; its file is given to the workers.
        code: float32 [D], or regions.
        loading: the options of ``StyleModel.load``, for the workers.
        cluster: the address.
        resume: skip what is finished; None: unless ``overwrite``.
        overwrite: replace what exists and is not finished.
        workers: as many as this; None: as many as the cluster has CPUs for.

    Returns:
        How many failed.

    Raises:
        PictureExists: something is there that this command has not painted.
        ImpastoError: the cluster, a worker or the report cannot be used.
    """
    from impasto.apps.cli.control import as_json
    from impasto.apps.cli.folder import depends_on
    from impasto.apps.cluster import connected, paint

    report = plan.report(depends_on(painter, loading["engine"], code, settings))
    threads = loading["threads"] or 1
    with connected(cluster) as cpus, _own_stdout():
        errands, finished = _settle(plan, report if (not overwrite if resume is None else resume) else None, overwrite)
        if finished:
            say(f"{len(finished)} of {len(plan.errands)} pictures had been painted before.")
            for errand in finished if json else []:
                put_json({"input": errand.input, "output": errand.output, "resumed": True})
        kit = {
            "load": {**{key: value for key, value in loading.items() if key != "name_or_path"}, "threads": threads},
            "code": as_json(code, settings),
            "settings": asdict(settings),
            "folder": str(Path.cwd()),
            "debug": DEBUG.get(),
        }
        # All are begun now, not each in its turn: what the workers are at is known only when it is done.
        for errand in errands:
            report.begin_name(errand.name, errand.input, errand.stamp)
        report.flush()
        speed = Throughput()
        count = workers or max(1, cpus // threads)
        results = paint(errands, painter.bundle.path.read_bytes(), kit, workers=count)
        try:
            with closing(results):
                failed = tell_all(len(plan.errands), _noted(results, report, speed), json=json, done=len(finished))
        finally:
            report.flush()
        if errands:
            speed.tell(json)
    return failed


def _settle(plan: Scatter, report: Ledger | None, overwrite: bool) -> tuple[list[Errand], list[Errand]]:
    """What is to be painted, and what is finished; PictureExists where somebody's picture would be lost."""
    from impasto.apps.cli.report import State
    from impasto.apps.cluster import check_all

    there = [errand for errand in plan.errands if errand.name in plan.there]
    if report is None:
        if not overwrite:
            refuse_there([errand.output for errand in there])
        return [replace(errand, overwrite=overwrite) for errand in plan.errands], []
    states: dict[str, State] = {}
    claimed = []
    for errand in plan.errands:
        claim = report.claim(errand.name, errand.input)
        if isinstance(claim, State):
            states[errand.name] = claim
        elif errand.name not in plan.there:
            states[errand.name] = State.NEW
        else:
            claimed.append((errand, claim))
    for (errand, _), state in zip(claimed, check_all(claimed), strict=True):
        states[errand.name] = state
    if not overwrite:
        refuse_there([errand.output for errand in there if states[errand.name] is State.NEW])
        changed = next((one for one in plan.errands if states[one.name] is State.CHANGED), None)
        if changed is not None:
            raise PictureExists(
                f"{changed.output} was changed after it had been painted: move it away, or add --resume --overwrite."
            )
    orders = []
    for errand in plan.errands:
        stale = states[errand.name] is State.STALE
        if states[errand.name] is not State.FINISHED:
            orders.append(replace(errand, begun=stale, overwrite=overwrite or stale))
    return orders, [errand for errand in plan.errands if states[errand.name] is State.FINISHED]


def _noted(
    results: Generator[tuple[Errand, dict[str, Any]], None, None], report: Ledger, speed: Throughput
) -> Iterator[tuple[_Told, dict[str, Any]]]:
    """Put each result into the report before it is told."""
    for errand, line in results:
        trace, busy = line.pop("trace", ""), line.pop("busy", 0.0)
        if trace:
            print(trace, end="", file=sys.stderr, flush=True)
        report.end_name(errand.name, line)
        line.pop("sha256", None)
        speed.add(line, busy)
        yield _Told(errand.input, errand.output), line


class Throughput:
    """How fast a cluster paints, from now on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._workers: dict[str, dict[str, float]] = {}

    def add(self, line: Mapping[str, Any], busy: float) -> None:
        """Count a picture, by its line of ``--json`` and the seconds that its worker was at it; not one that failed."""
        if "error" in line:
            return
        worker = self._workers.setdefault(str(line["worker"]), {"pictures": 0, "megapixels": 0.0, "busy": 0.0})
        worker["pictures"] += 1
        worker["megapixels"] += line["width"] * line["height"] / 1e6
        worker["busy"] += busy

    def figures(self) -> dict[str, Any]:
        """Pictures, megapixels, seconds, and both per second; ``workers``: the same of each, with ``busy`` seconds."""
        seconds = time.perf_counter() - self._started
        whole = {key: sum(worker[key] for worker in self._workers.values()) for key in ("pictures", "megapixels")}
        return {
            "pictures": int(whole["pictures"]),
            "megapixels": round(whole["megapixels"], 6),
            "seconds": round(seconds, 3),
            "pictures_per_second": round(whole["pictures"] / seconds, 4),
            "megapixels_per_second": round(whole["megapixels"] / seconds, 4),
            "workers": {
                name: {
                    "pictures": int(worker["pictures"]),
                    "megapixels": round(worker["megapixels"], 6),
                    "busy": round(worker["busy"], 3),
                    "megapixels_per_second": round(worker["megapixels"] / max(worker["busy"], 1e-9), 4),
                }
                for name, worker in sorted(self._workers.items())
            },
        }

    def tell(self, json: bool) -> None:
        """Say it, on stderr; or as the last line of ``--json``."""
        figures = self.figures()
        if json:
            put_json({"throughput": figures})
            return
        many = len(figures["workers"])
        say(
            f"{figures['pictures']} pictures ({figures['megapixels']:.1f} MP) in {figures['seconds']:.1f} s by {many} "
            f"worker{'s' if many != 1 else ''}: {figures['pictures_per_second']:.2f} pictures/s, "
            f"{figures['megapixels_per_second']:.2f} MP/s."
        )
        for name, worker in figures["workers"].items():
            say(
                f"  {name}: {worker['pictures']} pictures, {worker['busy']:.1f} s at work, "
                f"{worker['megapixels_per_second']:.2f} MP/s."
            )


class _Apart(io.TextIOBase):
    """What one thread prints goes to one place, what all others do to another."""

    def __init__(self, data: Any, talk: Any) -> None:
        self._owner, self._data, self._talk = threading.get_ident(), data, talk

    def write(self, text: str) -> int:
        (self._data if threading.get_ident() == self._owner else self._talk).write(text)
        return len(text)

    def flush(self) -> None:
        (self._data if threading.get_ident() == self._owner else self._talk).flush()

    def isatty(self) -> bool:
        return bool(self._data.isatty())


@contextmanager
def _own_stdout() -> Iterator[None]:
    """Ray tells of lost workers on stdout, from a thread of its own; stdout is for data, so that goes to stderr."""
    before = sys.stdout
    sys.stdout = _Apart(before, sys.stderr)
    try:
        yield
    finally:
        sys.stdout = before


app = typer.Typer(help="Work on a Ray cluster: training over several machines.", **TYPER_OPTIONS)


@app.callback()
def _group() -> None:
    """Work on a Ray cluster: training over several machines (painting is 'impasto stylize --cluster')."""


@app.command("train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="ADDRESS", help="auto, HOST:6379, or local for one on this machine.")
    ] = "auto",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that train one model together.")] = 2,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="CPUs of each; without it, those of the cluster, divided.")
    ] = None,
    gpus: Annotated[bool, typer.Option("--gpus", help="One graphics card for each, and nccl between them.")] = False,
) -> None:
    """Run 'impasto train ...' over several machines: what follows is as for 'impasto train'.

    The folder that it is started in must be there on every machine, with the data, the recipe and the run folder.
    """
    from impasto.apps.cli.trainer import need
    from impasto.apps.cluster import connected, train_together

    need("torch", "safetensors")
    with connected(cluster, tell_workers=True) as all_cpus, _own_stdout():
        share = cpus or max(1, all_cpus // workers)
        if share * workers > all_cpus:
            say(f"The cluster has {all_cpus} CPUs now, and {share * workers} are asked for: this waits for more.")
        for line in train_together(context.args, workers=workers, cpus=share, gpus=gpus).splitlines():
            put(line)
