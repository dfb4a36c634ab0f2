"""The one training loop: turns, precision, averaging, decay, checkpoints, stopping. It knows no loss and no network."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.engine import usable_cores
from impasto.training import distributed
from impasto.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    module_tensors,
    optimizer_tensors,
    restore_modules,
    restore_optimizer,
    save_checkpoint,
)
from impasto.training.data import Prefetch
from impasto.training.journal import Journal
from impasto.training.recipe import OptimTable, recipe_hash
from impasto.training.stopping import Wish, stop_signals
from impasto.training.task import Task, Turn, first_checkpoint

__all__ = ["Outcome", "Task", "Turn", "pick_device", "rate", "run", "set_threads", "usable_cores"]

LOG_EVERY = 25
"""Steps between lines of stats.jsonl."""

PATIENCE = 20
"""Steps in a row with a loss or gradient that is not a number before the run stops."""

RETREAT = 8
"""Steps in a row of that kind after which the networks go back to their average, and all momentum is forgotten."""

RETREATS = 5
"""Times that a run goes back before it stops."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    figures: dict[str, float]


def hushed(_: str) -> None:
    """The default listener: sentences are only written to the run folder."""


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
    task: Task,
    journal: Journal,
    *,
    resume: bool = False,
    stop_at: int | None = None,
    progress: OnProgress = silent,
    tell: Callable[[str], None] = hushed,
) -> Outcome:
    """Train until the recipe's last step, ``stop_at``, or an interrupt; the state is saved in each case.

    Exact: a run that is saved and resumed gives, bit for bit on a CPU with the same number of threads, what an
    undisturbed one gives. Of several processes (``distributed.joined``) the first one writes and reports.

    Args:
        task: what to train.
        journal: the run folder.
        resume: go on from the folder's checkpoint.
        stop_at: stop after this step (for runs in parts).
        progress: told after every step; figures come every ``LOG_EVERY`` steps.
        tell: given each sentence of the task, or of the loop, for a person.

    Raises:
        TrainingError: the folder does not fit or cannot be written, the recipe changed, or the loss stays
            not-a-number.
        KeyboardInterrupt: Ctrl-C came twice; the newest checkpoint is that of its last interval.
    """
    job = _Job(task, journal, resume, tell)
    last = task.recipe.steps if stop_at is None else min(stop_at, task.recipe.steps)
    report = _Reporter(job, journal, last, progress)
    with stop_signals() as wish, Prefetch(job.batches, job.step) as stream:
        for batches in stream:
            if job.step >= last or distributed.any_of(wish.stop, task.device):
                break
            job.train(batches, wish)
            report.after_step()
            if job.step % task.recipe.save_every == 0 and job.step < last:
                job.save()
    wish.safe_point()
    job.save()
    return Outcome(job.step, job.step >= task.recipe.steps, report.figures)


class _Player:
    """A turn with its optimiser and the parameters that it moves."""

    def __init__(self, turn: Turn, task: Task) -> None:
        optim, modules = task.recipe.optim, task.modules
        self.turn, self.clip = turn, optim.clip
        self.parameters = [p for name in turn.networks for p in modules[name].parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(modules[name].parameters()), "pace": optim.rates.get(name, 1.0)}
                for name in turn.networks
            ],
            lr=optim.lr,
            betas=optim.betas,
            weight_decay=optim.weight_decay,
        )

    def set_rate(self, lr: float) -> None:
        for options in self.optimizer.param_groups:
            options["lr"] = lr * options["pace"]


class _Job:
    """The state of a run, and how one step changes it."""

    def __init__(self, task: Task, journal: Journal, resume: bool, tell: Callable[[str], None]) -> None:
        recipe, modules = task.recipe, task.modules
        self.task, self.journal, self.tell, self.digest = task, journal, tell, recipe_hash(recipe)
        self.team = distributed.team()
        journal.check(resume=resume)
        found = load_checkpoint(journal.checkpoint) if resume else None
        if found is not None and found.recipe_hash != self.digest:
            raise TrainingError(
                f"The recipe is not the one that {journal.folder} was started with: undo the change, "
                "or start anew with another --run folder."
            )
        for name in recipe.optim.rates:
            if name not in modules:
                raise UnknownName("network in optim.rates", name, modules)
        turns: tuple[Turn, ...] = getattr(task, "turns", ()) or (Turn("all", tuple(modules)),)
        self.players = [_Player(turn, task) for turn in turns]
        self.autocast = torch.autocast(task.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
        if recipe.start and found is None:
            first, fresh = first_checkpoint(task), getattr(task, "fresh", ())
            there = {name: m for name, m in modules.items() if name not in fresh or first.part(f"ema.{name}")}
            restore_modules(there, first, "ema")
            if hasattr(task, "begin"):
                task.begin(there)
        distributed.copy_first(t for m in modules.values() for t in (*m.parameters(), *m.buffers()))
        self.average = {name: copy.deepcopy(module).requires_grad_(False).eval() for name, module in modules.items()}
        self.step = self.bad = self.retreats = 0
        self.best = math.inf
        self.figures: dict[str, Tensor] = {}
        if found is not None:
            self._restore(found)
        if self.team.leads:
            if found is not None:
                journal.rewind(self.step)
            journal.start(recipe, resume=resume)  # only now: a refused one must not change what the folder says
            for name, value in getattr(task, "notes", {}).items():
                journal.note(name, value)

    # State ----------------------------------------------------------------------------------------------------------

    def _prefix(self, player: _Player) -> str:
        return "optim" if len(self.players) == 1 else f"optim.{player.turn.name}"

    def _restore(self, found: Checkpoint) -> None:
        restore_modules(self.task.modules, found, "model")
        restore_modules(self.average, found, "ema")
        for player in self.players:
            restore_optimizer(player.optimizer, found.part(self._prefix(player)))
        counts = found.part("loop")
        self.bad, self.retreats = int(counts.get("bad", 0)), int(counts.get("retreats", 0))
        self.best = float(counts.get("best", math.inf))
        if hasattr(self.task, "load_state"):
            self.task.load_state(found.part("task"))
        self.step = found.step

    def save(self) -> None:
        if not self.team.leads:
            return
        tensors = module_tensors(self.task.modules, "model") | module_tensors(self.average, "ema")
        for player in self.players:
            tensors |= optimizer_tensors(player.optimizer, self._prefix(player))
        if hasattr(self.task, "state"):
            tensors |= {f"task.{name}": value for name, value in self.task.state().items()}
        for name, value in (("bad", self.bad), ("retreats", self.retreats)):
            if value:
                tensors[f"loop.{name}"] = torch.tensor(value)
        if self.best < math.inf:
            tensors["loop.best"] = torch.tensor(self.best, dtype=torch.float64)
        save_checkpoint(self.journal.checkpoint, tensors, self.step, self.digest)

    def keep_best(self, value: float) -> None:
        """Keep the averaged networks as the best so far, if they are."""
        if value < self.best:
            self.best = value
            save_checkpoint(self.journal.best, module_tensors(self.average, "ema"), self.step, self.digest)

    # A step ---------------------------------------------------------------------------------------------------------

    def batches(self, step: int) -> list[Any]:
        """This process's share of a step: the batches are dealt out to the processes in turn."""
        parts = self.task.recipe.parts
        return [self.task.batch((step * parts + part) * self.team.size + self.team.rank) for part in range(parts)]

    def train(self, batches: list[Any], wish: Wish) -> None:
        """One step: every turn that is due."""
        recipe, good = self.task.recipe, True
        for player in self.players:
            if (self.step + 1) % player.turn.every:
                continue
            player.set_rate(rate(recipe.optim, self.step, recipe.steps))
            good = self._take(player, batches, wish)
            if not good:
                break
        if good:
            _follow(self.average, self.task.modules, min(recipe.optim.ema, (1 + self.step) / (10 + self.step)))
            if hasattr(self.task, "finish"):
                self.task.finish(self.step)
            self.bad = 0
        else:
            self._give_way()
        self.step += 1

    def _take(self, player: _Player, batches: list[Any], wish: Wish) -> bool:
        """Take a turn; False, and no update, where the loss or a gradient is not a number."""
        for other in self.players if len(self.players) > 1 else ():
            for parameter in other.parameters:
                parameter.requires_grad_(other is player)
        player.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.task.device)
        sums: dict[str, Tensor] = {}
        for batch in batches:
            wish.safe_point()
            with self.autocast:
                loss, parts = self.task.loss(player.turn.name, batch, self.step)
            loss = loss / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
            for key, value in parts.items():
                value = value.detach().float() / len(batches)
                sums[key] = sums[key] + value if key in sums else value
        wish.safe_point()
        distributed.average([p.grad for p in player.parameters if p.grad is not None] + [total, *sums.values()])
        norm = torch.nn.utils.clip_grad_norm_(player.parameters, player.clip)
        tail = "" if len(self.players) == 1 else f"_{player.turn.name}"
        self.figures |= {f"loss{tail}": total, f"grad{tail}": norm} | sums
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            return False
        player.optimizer.step()
        if self.team.size > 1:  # statistics of each process's own batches
            distributed.copy_first(b for name in player.turn.networks for b in self.task.modules[name].buffers())
        return True

    def _give_way(self) -> None:
        """What a step that is not a number leads to: patience, then going back, then the end."""
        self.bad += 1
        if self.bad >= PATIENCE or (self.bad == RETREAT and self.retreats >= RETREATS):
            kept = f"the last good state is in {self.journal.checkpoint}"
            again = f" after going back {self.retreats} times" if self.retreats else ""
            raise TrainingError(
                f"The loss is not a number for {self.bad} steps in a row at step {self.step}{again}: lower optim.lr "
                f"or use precision=fp32; {kept if self.journal.checkpoint.exists() else 'nothing was saved yet'}."
            )
        if self.bad == RETREAT:
            self._retreat()

    def _retreat(self) -> None:
        average = module_tensors(self.average, "ema")
        if all(bool(value.isfinite().all()) for value in average.values()):
            source = "their average"
        elif self.journal.checkpoint.exists():
            restore_modules(self.average, load_checkpoint(self.journal.checkpoint), "ema")
            source = "the average of the last checkpoint"
        else:
            return
        for name, module in self.task.modules.items():
            module.load_state_dict(self.average[name].state_dict())
        for player in self.players:
            player.optimizer.state.clear()
        self.retreats += 1
        self.say(
            f"The loss was not a number for {self.bad} steps in a row, so the networks went back to {source} and go on "
            "from there: if it comes again, lower optim.lr or use precision=fp32."
        )

    def say(self, sentence: str) -> None:
        """Tell a person, and write it down."""
        if self.team.leads:
            self.journal.remark(self.step, sentence)
            self.tell(sentence)


class _Reporter:
    """Figures, sample grids and looks at oneself, when they are due. Only the first process has anything to report."""

    def __init__(self, job: _Job, journal: Journal, last: int, progress: OnProgress) -> None:
        self.job, self.journal, self.last, self.progress = job, journal, last, progress
        self.figures: dict[str, float] = {}
        self._begun, self._seen = job.step, job.task.recipe.images_seen(job.step)
        self._started = time.monotonic()  # moved on by what is not training, so that the speed is that of training

    def after_step(self) -> None:
        """Call this after every step."""
        job, recipe, step = self.job, self.job.task.recipe, self.job.step
        if not job.team.leads:
            return
        told: dict[str, float] = {}
        watched = recipe.watch_steps > 0 and (step % recipe.watch_steps == 0 or step == recipe.steps)
        if watched or step % LOG_EVERY == 0 or step == self.last:
            self.figures = {key: float(value) for key, value in job.figures.items()}
            said = self._watch() if watched else []
            done = recipe.images_seen(step)
            speed = (done - self._seen) * job.team.size / max(1e-9, time.monotonic() - self._started)
            self.journal.log(
                {"step": step, "images": done * job.team.size, "lr": rate(recipe.optim, step - 1, recipe.steps)}
                | {key: round(value, 6) for key, value in self.figures.items()}
                | {"images_per_second": round(speed, 2)}
            )
            for sentence in said:
                job.say(sentence)
            told = self.figures | {"img/s": speed}
        self.progress(Progress(step - self._begun, self.last - self._begun, "steps", recipe.name, told))
        if step % recipe.sample_every == 0 or step == recipe.steps:
            before = time.monotonic()
            with job.autocast:
                self.journal.sample(step, job.task.sample(job.average))
            if row := getattr(job.task, "row", 0):
                self.journal.timeline(row)
            self._started += time.monotonic() - before

    def _watch(self) -> list[str]:
        job = self.job
        if not hasattr(job.task, "watch"):
            return []
        before = time.monotonic()
        said: list[str] = job.task.watch(job.step, job.average, self.figures)
        self._started += time.monotonic() - before
        best = getattr(job.task, "best", "")
        if best and best in self.figures:
            job.keep_best(self.figures[best])
        return said


@torch.no_grad()
def _follow(average: Mapping[str, nn.Module], modules: Mapping[str, nn.Module], decay: float) -> None:
    """Exponential moving average of parameters (Polyak averaging as in Karras et al. 2018); buffers are copied."""
    ours: list[Tensor] = [p for m in average.values() for p in m.parameters()]
    theirs: list[Tensor] = [p for m in modules.values() for p in m.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for name, module in average.items():
        for mine, new in zip(module.buffers(), modules[name].buffers(), strict=True):
            mine.copy_(new)
