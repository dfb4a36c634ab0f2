"""Stopping a run from outside: signals, and runs that are not in the main thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.loop import run
from training.support import ToyTask, tiny_recipe

TESTS = Path(__file__).parents[1]


def state(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "checkpoint.safetensors").tensors


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from training.support import ToyTask, tiny_recipe
from impasto.training.journal import Journal
from impasto.training.loop import run
folder = Path(sys.argv[2])

class Slow(ToyTask):
    def loss(self, turn, batch, step):
        (folder / "started").touch()
        time.sleep(0.05)
        return super().loss(turn, batch, step)

print(run(Slow(tiny_recipe(folder, steps=200)), Journal(folder / "run")).step)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on_exactly(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-W", "error", "-c", CHILD, str(TESTS), str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if (tmp_path / "started").exists() or child.poll() is not None:
                break
            time.sleep(0.1)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, err) == (0, "")
    stopped = int(out)
    assert 1 <= stopped < 200
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == stopped
    recipe = tiny_recipe(tmp_path, steps=200)
    run(ToyTask(recipe), Journal(tmp_path / "run"), resume=True, stop_at=stopped + 3)
    run(ToyTask(recipe), Journal(tmp_path / "whole"), stop_at=stopped + 3)
    ours, theirs = state(tmp_path / "run"), state(tmp_path / "whole")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(ToyTask(tiny_recipe(tmp_path)), Journal(tmp_path / "run"))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_it_runs_outside_the_main_thread(tmp_path: Path) -> None:
    found: list[object] = []
    task, journal = ToyTask(tiny_recipe(tmp_path)), Journal(tmp_path / "run")
    thread = threading.Thread(target=lambda: found.append(run(task, journal)))
    thread.start()
    thread.join()
    assert isinstance(found[0], loop.Outcome) and found[0].finished
