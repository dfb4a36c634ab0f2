"""Training together, without Ray: two processes that have met already, each in a thread, as Ray Train runs them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'impasto[train]'")

from together import assert_as_one, write_recipes

CHILD = """
import json, sys, threading
import torch.distributed as dist
from impasto.apps.cluster_worker import train_one_of
from impasto.errors import TrainingError
dist.init_process_group("gloo")
said = []

def work():
    order = {"folder": sys.argv[1], "threads": 1, "environment": {"IMPASTO_CACHE": sys.argv[1] + "/cache"}}
    for words in json.loads(sys.argv[2]):
        dist.barrier()  # the second one has nothing to save, and would go on before the first one has
        try:
            said.append(train_one_of({**order, "arguments": words}))
        except TrainingError as error:
            said.append(str(error))

thread = threading.Thread(target=work)
thread.start()
thread.join()
assert dist.is_initialized(), "it is for Ray Train to part them"
dist.destroy_process_group()
print(json.dumps(said))
"""


@pytest.mark.slow
def test_two_that_have_met_learn_as_one(tmp_path: Path) -> None:
    write_recipes(tmp_path)
    start = ["1.toml", "--run", "ours"]
    orders = [
        [*start, "--set", "optim.rl=1"],
        [*start, "--nosuch"],
        [*start, "--stop-at", "2"],
        [*start, "--resume", "--json"],
    ]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    around = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    team = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(orders)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=around | {"RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        ended = [child.communicate(timeout=500) for child in team]
    finally:
        for child in team:
            child.kill()
    assert [child.returncode for child in team] == [0, 0], ended
    first, second = (json.loads(out) for out, _ in ended)
    assert first[0].startswith("There is no recipe key called 'optim.rl'") and second[0] == first[0]
    assert "--nosuch" in first[1] and second[1] == first[1]
    assert first[2] == "ours\n" and json.loads(first[3])["step"] == 4
    assert second[2:] == ["", ""], "only the first one has anything to say"
    assert_as_one(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    from impasto.apps.cluster_worker import train_one_of
    from impasto.errors import TrainingError

    order = {"folder": str(tmp_path / "nosuch"), "threads": 1, "environment": {}, "arguments": []}
    with pytest.raises(TrainingError, match=r"nosuch is not there on .*: start the training in a folder that all"):
        train_one_of(order)
