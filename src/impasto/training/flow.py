"""A flow fitted to the latents of a VAE's pictures: it draws what the encoder gives, where a Gaussian cannot.

A VAE that tells pictures apart well gives latents that are nothing like N(0,1): a cluster for every hat and every
colour of fur. Drawn from the prior they are of no picture; a second model of the latents, fitted after training, draws
them as they are (Dai and Wipf 2019, "Diagnosing and enhancing VAE models"). Ours is a flow that goes straight from
noise to latents (Lipman et al. 2023, "Flow matching for generative modeling"; Liu et al. 2023, "Flow straight and
fast"), since that trains in minutes and becomes a graph of its own in the model file.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.training.nets.flow import FlowWay, LatentFlow

if TYPE_CHECKING:
    from impasto.training.recipe_vae import PriorTable
    from impasto.training.tasks.vae import VaeTask

BATCH = 512
LR = 1e-3
WARM_UP = 200
EMA = 0.999
HELD = 0.1
"""Share of the latents that is only judged on, so that what is kept has not learnt them by heart."""

LOOK = 250
"""Steps between looks at those."""

PATIENCE = 8
"""Looks without a better one after which it ends."""


def fit_flow(
    source: VaeTask | str | Path,
    table: PriorTable | None = None,
    *,
    progress: OnProgress = silent,
) -> FlowWay:
    """The flow on the latents of what a VAE was trained on.

    Args:
        source: a task (its present networks are used), or a run folder (the averaged ones of its checkpoint).
        table: how; None = as its recipe says.
        progress: told of steps.

    Returns:
        In evaluation mode, float32: normals [N,Z] -> latents [N,Z].

    Raises:
        TrainingError: the run is not one of a VAE, or its pictures are gone.
    """
    from impasto.training.tasks.vae import VaeTask

    task = source if isinstance(source, VaeTask) else VaeTask.from_run(source)
    table = table or task.recipe.prior
    means, deviations = (torch.from_numpy(part) for part in task.posteriors())
    return learn_flow(
        means,
        deviations,
        steps=table.steps,
        width=table.width,
        blocks=table.blocks,
        strides=table.strides,
        seed=task.recipe.seed,
        progress=progress,
    )


def learn_flow(
    means: Tensor,
    deviations: Tensor,
    *,
    steps: int,
    width: int = 256,
    blocks: int = 3,
    strides: int = 16,
    seed: int = 0,
    progress: OnProgress = silent,
) -> FlowWay:
    """Fit a flow to the Gaussians that an encoder gave for each of many pictures.

    Args:
        means, deviations: [M,Z] of the posteriors, M at least 2, finite; every step draws anew from them.
        steps: at most; it ends sooner when held-out latents are no longer told better.
        width, blocks: of the network.
        strides: of the way that is returned.
        seed: of everything random.
        progress: told of steps.

    Raises:
        TrainingError: too few, or some that are not numbers.
    """
    if means.ndim != 2 or len(means) < 2 or not (means.isfinite().all() and deviations.isfinite().all()):
        raise TrainingError("A flow cannot be fitted: give at least 2 latents [N,Z] that are finite numbers.")
    chance = torch.Generator().manual_seed(seed)
    mean = means.mean(0)
    deviation = (means.var(0, correction=0) + deviations.square().mean(0)).sqrt().clamp_min(1e-6)
    means, deviations = (means - mean) / deviation, deviations / deviation
    order = torch.randperm(len(means), generator=chance)
    apart = max(1, round(HELD * len(order)))
    held, learnt = order[:apart], order[apart:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        velocity = LatentFlow(means.shape[1], width, blocks)
    average = copy.deepcopy(velocity).requires_grad_(False).eval()
    optim = torch.optim.Adam(velocity.parameters(), LR, (0.9, 0.99))
    best, best_at, kept = math.inf, 0, copy.deepcopy(average.state_dict())
    for step in range(steps):
        for group in optim.param_groups:
            group["lr"] = LR * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        rows = learnt[torch.randint(len(learnt), (BATCH,), generator=chance)]
        loss = _loss(velocity, means[rows], deviations[rows], chance)
        optim.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optim.step()
        _follow(average, velocity, min(EMA, (1 + step) / (10 + step)))
        if (step + 1) % LOOK == 0 or step + 1 == steps:
            found = _held_loss(average, means[held], deviations[held], seed)
            progress(Progress(step + 1, steps, "steps", f"flow {found:.4f}"))
            if found < best:
                best, best_at, kept = found, step, copy.deepcopy(average.state_dict())
            elif step - best_at >= PATIENCE * LOOK:
                break
    average.load_state_dict(kept)
    return FlowWay(average, mean, deviation, strides).eval().requires_grad_(False)


def _loss(velocity: LatentFlow, means: Tensor, deviations: Tensor, chance: torch.Generator) -> Tensor:
    """Conditional flow matching along straight lines (Lipman et al. 2023, equation 23, with sigma 0).

    Times are drawn with more weight on the middle, where the way is harder to tell (Esser et al. 2024, section 3.1).
    """
    end = means + deviations * torch.randn(means.shape, generator=chance)
    start = torch.randn(means.shape, generator=chance)
    time = torch.sigmoid(torch.randn(len(means), generator=chance))
    place = start + time[:, None] * (end - start)
    loss: Tensor = (velocity(place, time) - (end - start)).square().mean()
    return loss


@torch.no_grad()
def _held_loss(average: LatentFlow, means: Tensor, deviations: Tensor, seed: int) -> float:
    """The loss on held-out latents, always with the same random numbers; eight draws of each at most."""
    chance = torch.Generator().manual_seed(seed + 1)
    times = max(1, min(8, 16_000 // len(means)))
    return float(_loss(average, means.repeat(times, 1), deviations.repeat(times, 1), chance))


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    for slow, fast in zip(average.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
