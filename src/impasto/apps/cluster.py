"""Work on a Ray cluster: painting many pictures (Ray Data) and training over several machines (Ray Train).

Every machine of the cluster needs the same impasto, with the extra ``[scale]`` (and ``[train]`` for training).

A picture is ordered by a row of Ray Data; its workers are actors, each with an engine of its own, which Ray starts
again when they are lost, giving them their task once more. A tally beside them knows what was begun and what is done,
so that such a task goes on where it was lost, and a picture that takes its worker along every time is given up.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

from impasto.apps.cli.report import State
from impasto.apps.cluster_worker import Errand, Painter, Tally, check, check_batch, train_one_of
from impasto.errors import EngineError, ImpastoError, TrainingError
from impasto.runtime.engine import usable_cores

LOCAL = "local"
"""The address of a cluster that is started on this machine, and ended with the command."""

MOST_TOGETHER = 16
"""Pictures of one task at most: with more, Ray has less to do, and more is waited for at the end."""


@contextmanager
def connected(address: str, *, tell_workers: bool = False) -> Iterator[int]:
    """Connect to a Ray cluster, or start one on this machine; leave it, or end it, at the end.

    Where this process is connected to Ray already, that is what is used, and nothing is ended.

    Args:
        address: as for ``ray.init``: ``auto``, ``HOST:6379`` or ``ray://HOST:10001``; ``local`` starts one here.
        tell_workers: let Ray pass on to stderr what workers print.

    Yields:
        The CPUs of the cluster.

    Raises:
        ImpastoError: Ray is not installed.
        EngineError: there is no such cluster.
    """
    # impasto calls nobody, and what Ray has to say about its own start is for its log files.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImpastoError(f"A cluster needs {error.name or 'ray'}: pip install 'impasto[scale]'.") from error
    mine = not ray.is_initialized()
    if mine:
        here: dict[str, Any] = {"num_cpus": usable_cores(), "include_dashboard": False} if address == LOCAL else {}
        at_term = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=tell_workers, **here)
        except Exception as error:  # Ray raises half a dozen classes here
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise EngineError(
                f"There is no Ray cluster at {address} ({reason}): start one with 'ray start --head', or use "
                f"--cluster {LOCAL}."
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_term)  # Ray has put its own in place.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Ray warns of its own old settings when it makes its own defaults.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.")
            ray.data.DataContext.get_current().enable_progress_bars = False
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        if mine:
            ray.shutdown()


FEW = 32
"""Outputs up to which the command checks them by itself: Ray takes longer to begin."""


def check_all(errands: Sequence[tuple[Errand, Mapping[str, Any]]]) -> list[State]:
    """``check`` outputs, many of them all over the cluster: each is read whole once."""
    if len(errands) <= FEW:
        return [check(errand, claim) for errand, claim in errands]
    orders = [
        {"number": number, "errand": asdict(errand), "claim": dict(claim)}
        for number, (errand, claim) in enumerate(errands)
    ]
    states: dict[int, State] = {}
    with _faults():
        for row in _rows(orders, 1).map_batches(check_batch, batch_format="numpy").iter_rows():
            number, name = json.loads(row["state"])
            states[number] = State[name]
    return [states[number] for number in range(len(errands))]


def paint(
    errands: Sequence[Errand],
    model: bytes,
    kit: Mapping[str, Any],
    *,
    workers: int,
) -> Generator[tuple[Errand, dict[str, Any]], None, None]:
    """Paint pictures on the cluster that ``connected`` has reached, in no certain order.

    Args:
        errands: what to paint.
        model: the model file.
        kit: ``load``: options of StyleModel.load but for the model, ``threads`` a number; ``code``: as
            ``control.as_json`` gives it; ``settings``: of ``Settings``; ``folder``: what paths in them are relative
            to; ``debug``: whether errors come with tracebacks.
        workers: actors, with ``threads`` CPUs each.

    Yields:
        Each errand with the line of ``--json`` and ``sha256``, ``worker`` and ``busy`` (seconds), or with ``error``
        and perhaps ``trace`` and ``lost``.

    Raises:
        EngineError: a worker cannot paint at all, or the cluster is lost.
    """
    import ray
    from ray.data import ActorPoolStrategy
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not errands:
        return
    workers = min(workers, len(errands))
    orders = [{"number": number, **asdict(errand)} for number, errand in enumerate(errands)]
    waiting = set(range(len(errands)))
    with _faults():
        # Where the command runs: while that is there, so is the tally.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        tally = ray.remote(num_cpus=0, scheduling_strategy=here)(Tally).remote()
        shipped = ray.put(model)
        lines = _rows(orders, workers).map_batches(
            Painter,
            fn_constructor_kwargs={"kit": dict(kit), "model": shipped, "tally": tally},
            compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=kit["load"]["threads"],
            batch_format="numpy",
        )
        try:
            # Ray Data holds workers back while nobody takes what they hand over.
            for row in lines.iter_rows():
                line = json.loads(row["line"])
                if "fatal" in line:
                    raise EngineError(line["fatal"])
                number = line.pop("number")
                tally.forget.remote(number)
                if number in waiting:  # Ray gives some work twice rather than not at all.
                    waiting.remove(number)
                    yield errands[number], line
        finally:
            with suppress(Exception):  # It may be gone already, with the cluster.
                ray.kill(tally)
    for number in sorted(waiting):
        yield errands[number], {"error": "No worker handed it over: give the same command again.", "lost": True}


def _rows(orders: Sequence[Mapping[str, Any]], workers: int) -> Any:
    """A dataset of orders, few enough in a task that all workers have something to do to the end."""
    import ray.data

    together = max(1, min(MOST_TOGETHER, len(orders) // (8 * workers)))
    rows = [{"order": json.dumps(order)} for order in orders]
    return ray.data.from_items(rows, override_num_blocks=ceil(len(rows) / together))


@contextmanager
def _faults() -> Iterator[None]:
    """Say in a sentence that Ray gave up; what stopped it stands in its log files."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, ConnectionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            f"The cluster stopped working ({type(error).__name__}: {reason}): give the same command again to go on."
        ) from error


def train_together(arguments: Sequence[str], *, workers: int, cpus: int, gpus: bool) -> str:
    """Run ``impasto train`` in several processes that train one model (see ``impasto.training.distributed``).

    Ray Train places them, one after another on a machine with room, and introduces them to each other, as ``torchrun``
    does where there is no cluster.

    Args:
        arguments: what stands after ``impasto train``.
        workers: how many processes.
        cpus: of each; they get as many threads unless the arguments say otherwise.
        gpus: one graphics card for each.

    Returns:
        What the first of them printed.

    Raises:
        TrainingError: the arguments, the recipe or the run cannot be used, or a process was lost.
        EngineError: Ray Train cannot place or start them.
    """
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    folder = Path.cwd()
    order = {
        "arguments": list(arguments),
        "folder": str(folder),
        "threads": cpus,
        "environment": {key: value for key, value in os.environ.items() if key.startswith("IMPASTO_")},
    }
    resources = {"CPU": cpus, **({"GPU": 1} if gpus else {})}
    # Ray Train wants a folder that all machines share, for what it would keep; all that is kept is in the run folder.
    storage, name = folder / ".impasto-ray", secrets.token_hex(8)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    try:
        with _faults():
            result = TorchTrainer(
                train_one_of,
                train_loop_config=order,
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker=resources),
                run_config=RunConfig(name=name, storage_path=str(storage)),
            ).fit()
    except TrainingFailedError as error:
        raise TrainingError(_reason(error)) from error
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)
        with suppress(OSError):
            storage.rmdir()
    if result.return_value is None:  # Ray Train takes Ctrl-C for itself.
        raise KeyboardInterrupt
    return str(result.return_value)


def _reason(error: Any) -> str:
    """What a person needs to know of a training that failed: what the first process that failed had to say."""
    failures = getattr(error, "worker_failures", {})
    for rank in sorted(failures):
        if isinstance(failures[rank], TrainingError):
            return str(failures[rank])
    what = next(iter(failures.values()), getattr(error, "controller_failure", error))
    return (
        f"A process of the training was lost ({type(what).__name__}: {' '.join(str(what).split())[:300]}): go on from "
        "the run folder's checkpoint with --resume."
    )
