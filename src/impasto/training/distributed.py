"""Several processes that train one model, as ``torchrun`` or Ray Train starts them. Alone, all of this does nothing.

Every process holds all networks and learns from its own batches; gradients are averaged before each update, so all
processes hold the same weights at all times. The first process (rank 0) alone writes and reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from impasto.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Team:
    """Where this process stands among those of the run."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0


def team() -> Team:
    """The processes of this run; one, unless ``joined`` is in force."""
    if dist.is_available() and dist.is_initialized():
        return Team(dist.get_rank(), dist.get_world_size())
    return Team()


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Meet the processes that ``torchrun`` started beside this one, over nccl (CUDA) or gloo; part at the end.

    Where Ray Train started them, they have met.

    Args:
        device: what was asked for; of several CUDA devices each process takes its own.

    Yields:
        The device of this process.

    Raises:
        TrainingError: the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    if dist.is_available() and dist.is_initialized():
        # Ray Train has brought them together already, chosen each one's card, and will part them.
        yield torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except Exception as error:  # torch raises half a dozen classes here
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"The other processes of the run cannot be reached ({reason}): start all of them with torchrun."
        ) from error
    try:
        yield device
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes its mean over the processes, in one exchange."""
    _exchange(list(tensors), mean=True)


@torch.no_grad()
def copy_first(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes that of the first process."""
    _exchange(list(tensors), mean=False)


def _exchange(tensors: list[Tensor], *, mean: bool) -> None:
    size = team().size
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors if size > 1 else ():
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        if mean:
            dist.all_reduce(flat)
            flat /= size
        else:
            dist.broadcast(flat, 0)
        for tensor, new in zip(group, torch.split(flat, [t.numel() for t in group]), strict=True):
            tensor.copy_(new.view(tensor.shape))


@torch.no_grad()
def gathered(tensor: Tensor) -> Tensor:
    """The tensors [n, ...] of all processes after each other, by rank; all must have the same shape."""
    size = team().size
    if size == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(size)]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is set in some process: all get the same answer."""
    if team().size == 1:
        return flag
    sign = torch.tensor(float(flag), device=device)
    dist.all_reduce(sign, dist.ReduceOp.MAX)
    return bool(sign)


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process does the block alone (it fills caches on the disk), the others after it.

    Should it fail there, the others go on and meet the same failure.
    """
    if not team().leads:
        dist.barrier()
    try:
        yield
    finally:
        if team().leads and team().size > 1:
            dist.barrier()
