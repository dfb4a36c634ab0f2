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


IMPATIENT = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # off in children of what a shell runs in the background
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from training.support import ToyTask, tiny_recipe
from impasto.training.journal import Journal
from impasto.training.loop import run
folder = Path(sys.argv[2])

class Impatient(ToyTask):
    def loss(self, turn, batch, step):
        if step == 1:
            for _ in range(int(sys.argv[3])):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)  # a handler runs before this ends
            print("on", end=" ", flush=True)
        return super().loss(turn, batch, step)

for _ in range(10):
    try:
        run(Impatient(tiny_recipe(folder)), Journal(folder / "run"))
        print("finished")
    except KeyboardInterrupt:
        print("left", threading.active_count(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_a_second_ctrl_c_leaves_in_order_and_saves_nothing(tmp_path: Path) -> None:
    """Ten times: a KeyboardInterrupt raised by the signal itself, anywhere within torch, once crashed the process."""
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", IMPATIENT, str(TESTS), str(tmp_path), "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "on left 1 True\n" * 10, "the step goes on to a safe point; threads and handlers are put back"
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_third_ctrl_c_is_the_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPATIENT, str(TESTS), str(tmp_path), "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from training.support import ToyTask, tiny_recipe
from impasto.training import checkpoint, loop
from impasto.training.journal import Journal
loop.LOG_EVERY = 1
folder, saves, real = Path(sys.argv[2]), [], checkpoint.save_file

def save_file(tensors, part, metadata):
    real(tensors, part, metadata)
    saves.append(part)
    if len(saves) == 3:
        part.write_bytes(part.read_bytes()[:100])
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = save_file
loop.run(ToyTask(tiny_recipe(folder, steps=20, save_every=5, sample_every=6)), Journal(folder / "run"))
"""


def test_a_killed_process_loses_at_most_one_interval(tmp_path: Path) -> None:
    """Killed at the worst moment: in the middle of writing the third checkpoint, at step 15."""
    command = [sys.executable, "-W", "error", "-c", KILLED, str(TESTS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    journal = Journal(tmp_path / "run")
    assert load_checkpoint(journal.checkpoint).step == 10
    assert list(journal.folder.glob(".*.part")), "it was killed while it wrote"
    assert len((journal.folder / "stats.jsonl").read_text("utf-8").splitlines()) == 15
    recipe = tiny_recipe(tmp_path, steps=20, save_every=5, sample_every=6)
    task = ToyTask(recipe)
    assert run(task, journal, resume=True).finished
    assert not list(journal.folder.glob(".*.part"))
    assert task.sampled == [12, 18, 20], "also the grid that came after the checkpoint is made anew"
    run(ToyTask(recipe), Journal(tmp_path / "whole"))
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
