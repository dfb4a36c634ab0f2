"""The one training loop: precision, averaging, decay, checkpoints, stopping. It knows no loss and no network."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.engine import usable_cores
from impasto.training.checkpoint import (
    load_checkpoint,
    module_tensors,
    optimizer_tensors,
    restore_modules,
    restore_optimizer,
    save_checkpoint,
)
from impasto.training.data import Pixels, Prefetch
from impasto.training.journal import Journal
from impasto.training.recipe import OptimTable, StyleRecipe, recipe_hash

B = TypeVar("B")

LOG_EVERY = 25
"""Steps between lines of stats.jsonl."""

PATIENCE = 20
"""Steps in a row with a loss or gradient that is not a number before the run stops."""


class Task(Protocol[B]):
    """What the loop asks of a task."""

    @property
    def recipe(self) -> StyleRecipe: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def modules(self) -> dict[str, nn.Module]: ...
    def batch(self, step: int) -> B: ...
    def loss(self, turn: str, batch: B, step: int) -> tuple[Tensor, dict[str, Tensor]]: ...
    def sample(self, modules: Mapping[str, nn.Module]) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    figures: dict[str, float]


def pick_device(name: str | None = None) -> torch.device:
    """The device called ``name``; where None, a CUDA one if there is, else the CPU.

    Raises:
        TrainingError: there is no such device on this machine.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # some devices can be named, and hold tensors, but give nothing back
    except Exception as error:
        raise TrainingError(f"The device {name!r} cannot be used here: choose cpu, or leave --device out.") from error
    return device


def set_threads(count: int | None = None) -> None:
    """CPU threads for torch; None = all usable cores. Denormal numbers are flushed: they are slow and worth nothing."""
    torch.set_num_threads(count or usable_cores())
    torch.set_flush_denormal(True)


def rate(optim: OptimTable, step: int, steps: int) -> float:
    """Learning rate at 0-based ``step``: linear warm-up, then the decay of the recipe."""
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    done = (step - optim.warmup) / max(1, steps - optim.warmup)
    if optim.decay == "constant":
        return optim.lr
    if optim.decay == "step":  # three falls, at 1/2, 3/4 and 7/8 of the run
        falls = sum(done >= edge for edge in (0.5, 0.75, 0.875))
        return optim.lr * float(optim.final ** (falls / 3))
    return optim.lr * (optim.final + (1 - optim.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def run(
    task: Task[Any],
    journal: Journal,
    *,
    resume: bool = False,
    stop_at: int | None = None,
    progress: OnProgress = silent,
) -> Outcome:
    """Train until the recipe's last step, ``stop_at``, or an interrupt; the state is saved in each case.

    Exact: a run that is saved and resumed gives, bit for bit on a CPU with the same number of threads, what an
    undisturbed one gives.

    Args:
        task: what to train.
        journal: the run folder.
        resume: go on from the folder's checkpoint.
        stop_at: stop after this step (for runs in parts).
        progress: told after every step; figures come every ``LOG_EVERY`` steps.

    Raises:
        TrainingError: the folder does not fit or cannot be written, the recipe changed, or the loss stays
            not-a-number.
    """
    recipe, digest = task.recipe, recipe_hash(task.recipe)
    journal.check(resume=resume)
    found = load_checkpoint(journal.checkpoint) if resume else None
    if found is not None and found.recipe_hash != digest:
        raise TrainingError(
            f"The recipe is not the one that {journal.folder} was started with: undo the change, "
            "or start anew with another --run folder."
        )
    modules = task.modules
    parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    for name in recipe.optim.rates:
        if name not in modules:
            raise UnknownName("network in optim.rates", name, modules)
    optimizer = torch.optim.AdamW(
        [{"params": list(m.parameters()), "pace": recipe.optim.rates.get(n, 1.0)} for n, m in modules.items()],
        lr=recipe.optim.lr,
        betas=recipe.optim.betas,
        weight_decay=recipe.optim.weight_decay,
    )
    if recipe.start and found is None:
        restore_modules(modules, load_checkpoint(Journal(recipe.start).checkpoint), "ema")
    average = {name: copy.deepcopy(module).requires_grad_(False).eval() for name, module in modules.items()}
    step = 0
    if found is not None:
        restore_modules(modules, found, "model")
        restore_modules(average, found, "ema")
        restore_optimizer(optimizer, found.part("optim"))
        step = found.step
        journal.rewind(step)
    journal.start(recipe, resume=resume)  # only now: a refused one must not change what the folder says

    def save() -> None:
        tensors = module_tensors(modules, "model") | module_tensors(average, "ema")
        save_checkpoint(journal.checkpoint, tensors | optimizer_tensors(optimizer, "optim"), step, digest)

    last = recipe.steps if stop_at is None else min(stop_at, recipe.steps)
    started, begun, seen, bad = time.monotonic(), step, recipe.images_seen(step), 0
    figures: dict[str, float] = {}
    autocast = recipe.precision == "bf16"

    with _stop_signal() as stopped, Prefetch(task.batch, step) as batches:
        for batch in batches:
            if step >= last or stopped():
                break
            for options in optimizer.param_groups:
                options["lr"] = rate(recipe.optim, step, recipe.steps) * options["pace"]
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(task.device.type, torch.bfloat16, enabled=autocast):
                loss, parts = task.loss("all", batch, step)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.optim.clip)
            if torch.isfinite(loss) and torch.isfinite(norm):
                optimizer.step()
                _follow(average, modules, min(recipe.optim.ema, (1 + step) / (10 + step)))
                bad = 0
            else:
                bad += 1
                if bad >= PATIENCE:
                    kept = f"the last good state is in {journal.checkpoint}"
                    raise TrainingError(
                        f"The loss is not a number for {bad} steps in a row at step {step}: lower optim.lr or use "
                        f"precision=fp32; {kept if journal.checkpoint.exists() else 'nothing was saved yet'}."
                    )
            step += 1
            done, told = recipe.images_seen(step), dict[str, float]()
            if step % LOG_EVERY == 0 or step == last:
                figures = {"loss": float(loss.detach()), "grad": float(norm)} | {
                    k: float(v.detach()) for k, v in parts.items()
                }
                speed = (done - seen) / max(1e-9, time.monotonic() - started)
                journal.log(
                    {"step": step, "images": done, "lr": rate(recipe.optim, step - 1, recipe.steps)}
                    | {k: round(v, 6) for k, v in figures.items()}
                    | {"images_per_second": round(speed, 2)}
                )
                told = figures | {"img/s": speed}
            progress(Progress(step - begun, last - begun, "steps", recipe.name, told))
            if step % recipe.sample_every == 0 or step == recipe.steps:
                with torch.autocast(task.device.type, torch.bfloat16, enabled=autocast):
                    journal.sample(step, task.sample(average))
            if step % recipe.save_every == 0 and step < last:
                save()
    save()
    return Outcome(step, step >= recipe.steps, figures)


@torch.no_grad()
def _follow(average: Mapping[str, nn.Module], modules: Mapping[str, nn.Module], decay: float) -> None:
    """Exponential moving average of parameters (Polyak averaging as in Karras et al. 2018); buffers are copied."""
    ours: list[Tensor] = [p for m in average.values() for p in m.parameters()]
    theirs: list[Tensor] = [p for m in modules.values() for p in m.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for name, module in average.items():
        for mine, new in zip(module.buffers(), modules[name].buffers(), strict=True):
            mine.copy_(new)


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a stop after the step at hand; a second Ctrl-C interrupts at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: nobody can interrupt us but the caller
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
