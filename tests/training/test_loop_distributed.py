"""Two processes that train one model, over gloo on this machine's own loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from impasto.errors import TrainingError
from impasto.training import distributed
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.loop import run
from impasto.training.tasks.gan import GanTask
from training.duel import Duel, duel_recipe
from training.support import draw_folder

TESTS = Path(__file__).parents[1]
NET = {"height": 16, "width": 16, "latent": 8, "max_width": 8, "critic_max_width": 8}

CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from impasto.training import distributed, loop
from impasto.training.journal import Journal
from impasto.training.tasks.gan import GanTask
from training.duel import Duel, duel_recipe
from training.test_loop_distributed import gan_recipe
folder = Path(sys.argv[2])

class Stopped(Duel):
    def finish(self, step):
        super().finish(step)
        if step == 2 and distributed.team().rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

class Sick(Duel):
    def loss(self, turn, batch, step):
        total, figures = super().loss(turn, batch, step)
        return total * (float("nan") if (step, batch[0]) == (1, 3) else 1), figures

with distributed.joined(torch.device("cpu")) as device:
    team = distributed.team()
    told = []
    loop.run(Duel(duel_recipe(watch_every=2)), Journal(folder / "duel"), tell=told.append)
    stopped = loop.run(Stopped(duel_recipe(steps=50)), Journal(folder / "stopped"))
    loop.run(Sick(duel_recipe(steps=2)), Journal(folder / "sick"))
    torch.manual_seed(team.rank)  # what is drawn at random must not come from here
    loop.run(GanTask(gan_recipe(folder)), Journal(folder / "gan"))
print([team.rank, team.size, len(told), stopped.step, distributed.team().size])
"""


def gan_recipe(folder: Path, accumulate: int = 1) -> object:
    return duel_recipe(
        steps=3,
        net=NET,
        data={"folder": str(folder / "pictures")},
        loss={"r1": 1.0, "every": 2},
        augment={"strength": 0.5},
        accumulate=accumulate,
        measure_every=0,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes made their runs; what they printed is in ``said.json``."""
    folder = tmp_path_factory.mktemp("team")
    draw_folder(folder / "pictures", 16, size=(16, 16))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    surroundings = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    surroundings |= {"IMPASTO_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", CHILD, str(TESTS), str(folder)]
    team = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings | {"RANK": str(rank)}
        )
        for rank in range(2)
    ]
    try:
        ended = [child.communicate(timeout=300) for child in team]
    finally:
        for child in team:
            child.kill()
    assert [child.returncode for child in team] == [0, 0], ended
    (folder / "said.json").write_text(json.dumps([json.loads(out) for out, _ in ended]))
    return folder


def state(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "checkpoint.safetensors").tensors


def test_two_processes_are_one_with_two_batches(folder: Path, tmp_path: Path) -> None:
    run(Duel(duel_recipe(accumulate=2, watch_every=2)), Journal(tmp_path / "duel"))
    ours, theirs = state(folder / "duel"), state(tmp_path / "duel")
    assert ours.keys() == theirs.keys()
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-7)
    rows = [json.loads(line) for line in (folder / "duel" / "stats.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [16, 32], "pictures of both are counted"


def test_the_gan_task_too_with_its_adaptive_strength(folder: Path, tmp_path: Path) -> None:
    recipe = gan_recipe(folder, accumulate=2)
    run(GanTask(recipe, cache=tmp_path), Journal(tmp_path / "gan"))  # type: ignore[arg-type]
    ours, theirs = state(folder / "gan"), state(tmp_path / "gan")
    assert torch.equal(ours["task.strength"], theirs["task.strength"]), "both saw the verdicts on both batches"
    for key in theirs:
        # The running spread is a buffer, that of the first process's own batches; nothing learns from it.
        if not key.endswith("typical"):
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


def test_only_the_first_one_reports_and_both_stop_at_once(folder: Path) -> None:
    said = json.loads((folder / "said.json").read_text())
    assert said == [[0, 2, 2, 3, 1], [1, 2, 0, 3, 1]]
    assert load_checkpoint(folder / "stopped/checkpoint.safetensors").step == 3, "asked of the second one alone"


def test_a_number_that_is_none_in_one_process_is_none_in_all(folder: Path) -> None:
    tensors = state(folder / "sick")
    assert all(value.isfinite().all() for value in tensors.values())
    assert int(tensors["loop.bad"]) == 1, "both skipped the second step"


def test_alone_everything_is_as_it_was() -> None:
    tensor = torch.ones(3)
    distributed.average([tensor])
    distributed.copy_first([tensor])
    assert torch.equal(tensor, torch.ones(3)) and distributed.gathered(tensor) is tensor
    assert distributed.any_of(True, tensor.device) and not distributed.any_of(False, tensor.device)
    assert distributed.team() == distributed.Team(0, 1) and distributed.team().leads
    with distributed.joined(torch.device("cpu")) as device, distributed.first_process_first():
        assert device == torch.device("cpu")


def test_processes_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(TrainingError, match=r"cannot be reached \(.*\): start all of them with torchrun\.$"),
        distributed.joined(torch.device("cpu")),
    ):
        pass
