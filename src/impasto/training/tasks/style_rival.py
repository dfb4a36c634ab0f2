"""The adversarial term of the any-style task: a critic learns to tell paintings from painted photos."""

from __future__ import annotations

import torch
from torch import Tensor

from impasto.training.losses.adversarial import LOSSES, Adversarial
from impasto.training.nets.critic import PatchCritic
from impasto.training.recipe_style import StyleRecipe
from impasto.training.task import Turn

CRITIC = "critic"
"""Name of the network, and of its turn."""

PAINTER = "painter"
"""Name of the turn in which all others learn."""


def turns(networks: list[str]) -> tuple[Turn, ...]:
    """A step: the critic's update, then that of all other ``networks`` (Goodfellow et al. 2014, algorithm 1)."""
    return Turn(CRITIC, (CRITIC,)), Turn(PAINTER, tuple(name for name in networks if name != CRITIC))


class Rival:
    """The critic, and what either side of the game wants: min over E, max over D, of E[log D(s)] + E[log(1 - D(E(p)))].

    s are crops of paintings, E(p) painted photos. Each is judged together with a style code: the painting's own, which
    is also the one that the photo was painted with. Codes are given as they are, without gradients: else the encoder
    would learn codes that the critic mistakes, and not the painter to paint.
    """

    def __init__(self, recipe: StyleRecipe, device: torch.device) -> None:
        table = recipe.critic
        critic = PatchCritic(recipe.net, table.widths, conditional=table.conditional)
        self.critic: PatchCritic = critic.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss: Adversarial = LOSSES[table.kind]

    def judge(self, real: Tensor, painted: Tensor, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss and figures: [N,3,s,s] paintings, [N,3,c,c] painted photos, [N,D] codes of both."""
        critic, codes = self.critic.train(), codes.detach()
        on_real, on_painted = critic(real, codes), critic(painted.detach(), codes)
        figures = {"critic_real": on_real.detach().mean(), "critic_painted": on_painted.detach().mean()}
        return self._loss.discriminator(on_real, on_painted), figures

    def please(self, painted: Tensor, codes: Tensor) -> Tensor:
        """What the painter wants to make small: [N,3,c,c] painted photos, [N,D] codes."""
        critic = self.critic.eval()  # it stands still, down to the singular vectors that a training pass moves
        return self._loss.generator(None, critic(painted, codes.detach()))
