"""Where contestants meet: workers that take turns, whole commands, and the machine they run on.

Only the standard library is imported here. A light parent keeps out of the way, and out of what the system says about
its children's memory.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worker import Spec

WORKER = Path(__file__).with_name("worker.py")
NAP = 0.03
"""Seconds between turns, so that threads of the last contestant that still spin have gone to sleep."""


class ContestantError(Exception):
    """A contestant cannot do its job; says why."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of several turns."""

    median: float
    least: float
    turns: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Timing:
        return cls(statistics.median(milliseconds), min(milliseconds), len(milliseconds))


class Worker:
    """A contestant in its own process, which has done its job once when this is made.

    Attributes:
        peak_mb: the most memory that the process held up to then, in MB.

    Raises:
        ContestantError: it cannot do the job.
    """

    def __init__(self, spec: Spec, environment: Mapping[str, str]) -> None:
        self._name = spec.contestant
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(asdict(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(environment),
        )
        try:
            self.peak_mb = self._answer("peak_mb")
        except BaseException:
            self.close()
            raise

    def turn(self) -> float:
        """Do the job once more: milliseconds."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says what happened
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self._answer("ms")

    def close(self) -> None:
        """End the process."""
        # communicate() closes the input, which ends the worker's loop.
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _answer(self, key: str) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(f"{self._name} stopped with code {self._process.wait()} (too little memory?).")
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantError(f"{self._name} failed: {answer['error']}")
        return float(answer[key])


def compete(
    specs: Sequence[Spec], rounds: int, environment: Mapping[str, str]
) -> tuple[dict[str, Timing], dict[str, float], dict[str, str]]:
    """Let contestants take turns: a round is one turn of each, so a drift of the machine hits all alike.

    Args:
        specs: one for each contestant.
        rounds: measured ones; one more goes before to warm up.
        environment: of the workers.

    Returns:
        By contestant: its timing; the peak memory of its process after the first painting, in MB; and why it is out.
    """
    workers: dict[str, Worker] = {}
    peaks: dict[str, float] = {}
    out: dict[str, str] = {}
    turns: dict[str, list[float]] = {}
    try:
        for spec in specs:
            try:
                workers[spec.contestant] = worker = Worker(spec, environment)
            except ContestantError as error:
                out[spec.contestant] = str(error)
            else:
                peaks[spec.contestant], turns[spec.contestant] = worker.peak_mb, []
        for number in range(rounds + 1):
            order = [name for name in workers if name not in out]
            # Nobody always comes after the same neighbour.
            order = order[number % max(1, len(order)) :] + order[: number % max(1, len(order))]
            for name in order:
                time.sleep(NAP)
                try:
                    milliseconds = workers[name].turn()
                except ContestantError as error:
                    out[name] = str(error)
                else:
                    turns[name] += [milliseconds] * (number > 0)
    finally:
        for worker in workers.values():
            worker.close()
    timings = {name: Timing.of(values) for name, values in turns.items() if values and name not in out}
    return timings, peaks, out


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float | None]:
    """Run a whole process: its milliseconds, and its peak memory in MB where the system tells.

    Raises:
        ContestantError: it ended with another code than 0.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(environment)
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
        peak = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss / 1e6 * (1 if sys.platform == "darwin" else 1024)
        else:
            process.wait()
    milliseconds = 1000 * (time.perf_counter() - start)
    if process.returncode:
        raise ContestantError(said.splitlines()[-1] if said else f"{command[0]} ended with {process.returncode}.")
    return milliseconds, peak


def race(
    commands: Mapping[str, Sequence[str]], rounds: int, environment: Mapping[str, str]
) -> tuple[dict[str, Timing], dict[str, float], dict[str, str]]:
    """As :func:`compete`, with whole processes; the memory is the most of all runs."""
    turns: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, float] = {}
    out: dict[str, str] = {}
    for number in range(rounds + 1):
        for name, command in commands.items():
            if name in out:
                continue
            try:
                milliseconds, peak = run_command(command, environment)
            except ContestantError as error:
                out[name] = f"{name} failed: {error}"
                continue
            if number:
                turns[name].append(milliseconds)
            if peak is not None:
                peaks[name] = max(peak, peaks.get(name, peak))
    return {name: Timing.of(values) for name, values in turns.items() if values and name not in out}, peaks, out


def hold_to(cores: int) -> None:
    """Keep this process and its children to so many cores, where the system allows it.

    The rival's command has no option for threads: it takes what it sees.
    """
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if cores < len(usable):
            os.sched_setaffinity(0, usable[:cores])


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, versions, and how busy the machine was."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name")).split(":", 1)[1].strip()
    versions = {"python": platform.python_version()}
    for name in ("impasto", "numpy", "pillow", "onnxruntime", "openvino", "torch"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "load": load, "versions": versions}
