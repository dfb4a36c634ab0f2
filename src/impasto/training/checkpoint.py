"""Everything that moves in a run, in one safetensors file. Never pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from impasto.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was read: tensors by dotted name, and the step they stand for."""

    tensors: dict[str, Tensor]
    step: int
    recipe_hash: str

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below ``prefix.``, without it."""
        start = prefix + "."
        return {key[len(start) :]: value for key, value in self.tensors.items() if key.startswith(start)}


def module_tensors(modules: Mapping[str, nn.Module], prefix: str) -> dict[str, Tensor]:
    """Parameters and persistent buffers as ``prefix.module.name``."""
    return {f"{prefix}.{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}


def optimizer_tensors(optimizer: Optimizer, prefix: str) -> dict[str, Tensor]:
    """The moments of every parameter as ``prefix.<number>.<moment>``; learning rates are a function of the step."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{number}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for number, moments in state.items()
        for key, value in moments.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave (prefix removed)."""
    table: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        table.setdefault(int(number), {})[key] = value
    state = optimizer.state_dict()
    state["state"] = table
    optimizer.load_state_dict(state)


def restore_modules(modules: Mapping[str, nn.Module], found: Checkpoint, prefix: str) -> None:
    """Put back what ``module_tensors`` gave.

    Raises:
        TrainingError: the checkpoint is of another network.
    """
    for name, module in modules.items():
        try:
            module.load_state_dict(found.part(f"{prefix}.{name}"))
        except RuntimeError as error:  # torch lists every key over many lines
            raise TrainingError(
                f"The checkpoint does not fit the network's {name}: use the recipe and impasto that it was made with."
            ) from error


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], step: int, recipe_hash: str) -> None:
    """Write atomically, on the disk before it takes the old one's place: a reader sees one of them, whole.

    Raises:
        TrainingError: it cannot be written; the old one is as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # clone().contiguous(): memory formats are not kept by the file, and no two tensors may share memory.
        table = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
        }
        save_file(table, part, metadata={"impasto": json.dumps({"step": step, "recipe": recipe_hash})})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"The checkpoint {path} could not be written ({error}): make room and resume, the one before is kept."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: missing, damaged, or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["impasto"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return Checkpoint(tensors, int(meta["step"]), str(meta["recipe"]))
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint at {path}: name a run folder that has one.") from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(f"{path} is not a whole checkpoint ({reason}): take an older one.") from error
