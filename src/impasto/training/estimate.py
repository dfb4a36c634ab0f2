"""How long a run will take and how much memory it wants, found by doing a step of it."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass

import torch

from impasto.training.task import Task, Turn


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a step costs.

    Attributes:
        seconds: for one step.
        memory: bytes at the worst moment: of the CUDA device, else of this process; None where nobody can tell.
        parameters: learnt numbers, by network.
    """

    seconds: float
    memory: int | None
    parameters: dict[str, int]

    def sentence(self, task: Task, first: int = 0) -> str:
        """What a person wants to know before the start, from step ``first`` on."""
        recipe = task.recipe
        steps = max(0, recipe.steps - first)
        images = recipe.images_seen(recipe.steps) - recipe.images_seen(first)
        nets = " and ".join(f"{name} {count / 1e6:.2g} M" for name, count in self.parameters.items())
        memory = "" if self.memory is None else f" and {self.memory / 1e9:.1f} GB of memory"
        return (
            f"{steps:,} steps of {self.seconds:.2g} s, {images:,} images: about {_duration(steps * self.seconds)}"
            f"{memory} (parameters: {nets})."
        )


def rehearse(task: Task) -> Estimate:
    """Do two steps of ``task`` without learning anything, the second one timed. Its state is left as it was."""
    modules = task.modules
    before = {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}
    state = task.state() if hasattr(task, "state") else None
    turns: tuple[Turn, ...] = getattr(task, "turns", ()) or (Turn("all", tuple(modules)),)
    learnt = {name: [p for p in module.parameters() if p.requires_grad] for name, module in modules.items()}
    cuda = task.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(task.device)
    started = 0.0
    # The first step is the dearest one (regularisation that comes now and then comes in it), so it tells the memory.
    for step in (0, 1):
        started = time.perf_counter()
        batches = [task.batch(step * task.recipe.parts + part) for part in range(task.recipe.parts)]
        for turn in turns:
            for name, parameters in learnt.items():
                for parameter in parameters:
                    parameter.requires_grad_(name in turn.networks)
            for batch in batches:
                with torch.autocast(task.device.type, torch.bfloat16, enabled=task.recipe.precision == "bf16"):
                    loss, _ = task.loss(turn.name, batch, step)
                loss.backward()  # type: ignore[no-untyped-call]
        if cuda:
            torch.cuda.synchronize(task.device)
    seconds = time.perf_counter() - started
    for name, module in modules.items():
        module.load_state_dict(before[name])
        module.zero_grad(set_to_none=True)
        for parameter in learnt[name]:
            parameter.requires_grad_(True)
    if state is not None:
        task.load_state(state)  # type: ignore[attr-defined]
    sizes = {name: sum(p.numel() for p in parameters) for name, parameters in learnt.items()}
    peak = torch.cuda.max_memory_allocated(task.device) if cuda else _peak()
    # Two moments of the optimiser and the average are still to come.
    return Estimate(seconds, None if peak is None else peak + 12 * sum(sizes.values()), sizes)


def _peak() -> int | None:
    """Bytes that this process held at most so far."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
