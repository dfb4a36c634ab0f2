from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from impasto.errors import TrainingError
from impasto.training import checkpoint
from impasto.training.checkpoint import (
    load_checkpoint,
    module_tensors,
    optimizer_tensors,
    restore_modules,
    restore_optimizer,
    save_checkpoint,
)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return net.to(memory_format=torch.channels_last)


def stepped(net: nn.Module, steps: int = 3) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        picture = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        net(picture).square().mean().backward()
        optimizer.step()
    return optimizer


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net = network()
    optimizer = stepped(net)
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, module_tensors({"net": net}, "model") | optimizer_tensors(optimizer, "optim"), 3, "abc")
    found = load_checkpoint(path)
    assert (found.step, found.recipe_hash) == (3, "abc")
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"

    other = network(seed=1)
    restore_modules({"net": other}, found, "model")
    for (name, ours), theirs in zip(net.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    weight = other.get_parameter("0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last), "the memory format is the network's own"

    again = torch.optim.AdamW(other.parameters(), lr=0.1)
    restore_optimizer(again, found.part("optim"))
    before, after = optimizer.state_dict()["state"], again.state_dict()["state"]
    assert before.keys() == after.keys() and len(before) == 4
    for number in before:
        assert before[number].keys() == after[number].keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key in before[number]:
            assert torch.equal(before[number][key], after[number][key]), (number, key)


def test_parts_are_cut_at_the_dot() -> None:
    one = torch.ones(1)
    found = checkpoint.Checkpoint({"model.a.x": one, "model.ab.x": one * 2, "models.a.x": one * 3}, 0, "")
    assert found.part("model.a") == {"x": one}
    assert set(found.part("model")) == {"a.x", "ab.x"}
    assert found.part("ema") == {}


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "no metadata", "odd metadata", "odd step", "folder"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.safetensors"
    meta = {"odd metadata": "[]", "odd step": '{"step": "x", "recipe": ""}'}.get(damage, '{"step": 1, "recipe": "a"}')
    save_file({"x": torch.randn(100)}, path, None if damage == "no metadata" else {"impasto": meta})
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage in ("cut", "empty", "noise"):
        path.write_bytes({"cut": whole[:-100], "empty": b"", "noise": os.urandom(500)}[damage])
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(f"{path} is not a whole checkpoint (") and said.endswith("): take an older one.")
    assert "\n" not in said


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^There is no checkpoint at .*: name a run folder that has one\.$"):
        load_checkpoint(tmp_path / "nosuch")


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_another_networks_checkpoint_is_one_sentence(tmp_path: Path, change: str) -> None:
    tensors = module_tensors({"net": network()}, "model")
    if change == "shape":
        tensors["model.net.0.weight"] = torch.zeros(5, 3, 3, 3)
    elif change == "missing":
        del tensors["model.net.0.bias"]
    else:
        tensors["model.net.9.bias"] = torch.zeros(1)
    save_checkpoint(tmp_path / "state", tensors, 1, "a")
    with pytest.raises(TrainingError, match=r"does not fit the network's net: use .*\.$") as caught:
        restore_modules({"net": network()}, load_checkpoint(tmp_path / "state"), "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("failure", ["disk full", "library", "rename", "folder gone"])
def test_when_it_cannot_be_written_the_last_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    path = tmp_path / "state"
    if failure == "folder gone":
        path = tmp_path / "gone" / "state"
    else:
        save_checkpoint(path, {"x": torch.ones(2)}, 1, "a")

    def full(tensors: object, part: Path, metadata: object = None) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device") if failure == "disk full" else SafetensorError("I/O error")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    if failure in ("disk full", "library"):
        monkeypatch.setattr(checkpoint, "save_file", full)
    elif failure == "rename":
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(TrainingError, match=r"could not be written \(.*\): make room and resume") as caught:
        save_checkpoint(path, {"x": torch.zeros(2)}, 2, "a")
    assert "\n" not in str(caught.value)
    if failure != "folder gone":
        assert [file.name for file in tmp_path.iterdir()] == ["state"], "half a file is taken away"
        assert load_checkpoint(path).step == 1
        assert torch.equal(load_checkpoint(path).tensors["x"], torch.ones(2))


def test_nothing_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_checkpoint(path, {"x": torch.ones(2)}, 7, "a")
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["impasto"]) == {"step": 7, "recipe": "a"}
    assert raw[-8:] == torch.ones(2).numpy().tobytes()


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    save_checkpoint(tmp_path / "state", {"a": whole, "b": whole, "c": whole.T}, 1, "a")
    found = load_checkpoint(tmp_path / "state").tensors
    assert torch.equal(found["b"], whole) and torch.equal(found["c"], whole.T)
