"""Adversarial losses: functions of logits, and penalties on a discriminator's slope. Nothing here knows a network.

A logit is the discriminator's answer before any sigmoid: D = sigmoid(logit) is the article's probability that a picture
is real. Logits are [N]; every loss is a scalar to be made small, the mean over the batch, in float32.

``LOSSES`` is the one table: name -> (discriminator loss, generator loss), both called as ``loss(real, fake)``. Only the
generator losses named in ``PAIRED`` look at ``real``: for the others those logits need not be made in that turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Judge = Callable[[Tensor], Tensor]
"""pictures [N,c,H,W] -> logits [N]; labels are bound by the caller."""


def minimax_value(real: Tensor, fake: Tensor) -> Tensor:
    """V(D,G) = E[log D(x)] + E[log(1 - D(G(z)))], which D makes large and G small (Goodfellow et al. 2014, equation 1).

    At most 0; -2 log 2 where D cannot tell. Computed from logits, so that no logarithm of 0 is taken.
    """
    return F.logsigmoid(real.float()).mean() + F.logsigmoid(-fake.float()).mean()


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-V(D,G)."""
    return -minimax_value(real, fake)


def saturating_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]: the part of V(D,G) that G has a hand in. Flat where D is sure, hence its name."""
    return F.logsigmoid(-fake.float()).mean()


def nonsaturating_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """-E[log D(G(z))]: the same fixed point, but steep where D is sure (Goodfellow et al. 2014, section 3)."""
    return -F.logsigmoid(fake.float()).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] on logits (Lim and Ye 2017; Miyato et al. 2018, equation 16)."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def linear_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """-E[D(G(z))] on logits: the generator's side of the hinge and of the Wasserstein loss."""
    return -fake.float().mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)] on logits (Arjovsky et al. 2017). Add ``gradient_penalty``, or it has no lower bound."""
    return fake.float().mean() - real.float().mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[softplus(D(G(z)) - D(x))], each real picture paired with one fake one: both [N].

    The relativistic pairing of Jolicoeur-Martineau 2018 as Huang et al. 2024 (R3GAN, equation 2) use it, together with
    ``r1`` and ``r2``. log 2 where D cannot tell.
    """
    return F.softplus(fake.float() - real.float()).mean()


def relativistic_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """E[softplus(D(x) - D(G(z)))]: the same pairing, seen by the generator.

    Raises:
        ValueError: ``real`` is missing; make the logits of real pictures in the generator's turn too.
    """
    if real is None:
        raise ValueError("the relativistic generator loss needs the logits of real pictures as well")
    return F.softplus(real.float() - fake.float()).mean()


class Adversarial(NamedTuple):
    """A pair of losses, each called as ``loss(real, fake)``."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]


LOSSES: dict[str, Adversarial] = {
    "minimax": Adversarial(minimax_discriminator, saturating_generator),
    "nonsaturating": Adversarial(minimax_discriminator, nonsaturating_generator),
    "hinge": Adversarial(hinge_discriminator, linear_generator),
    "wasserstein": Adversarial(wasserstein_discriminator, linear_generator),
    "relativistic": Adversarial(relativistic_discriminator, relativistic_generator),
}

PAIRED = frozenset({"relativistic"})
"""Names whose generator loss needs the logits of real pictures; the others take None for them."""


def squared_slopes(logits: Tensor, pictures: Tensor) -> Tensor:
    """|dD/dx|^2 of every picture: ``[N], [N,c,H,W] -> float32 [N]``, differentiable once more while gradients are on.

    ``pictures`` must have required a gradient when the logits were made from them. Use it where those logits serve
    for a loss as well; ``r1`` and ``r2`` make their own.
    """
    (slope,) = torch.autograd.grad(logits.sum(), pictures, create_graph=torch.is_grad_enabled())
    return slope.float().square().flatten(1).sum(1)


def _slopes_at(judge: Judge, pictures: Tensor) -> Tensor:
    pictures = pictures.detach().requires_grad_()
    return squared_slopes(judge(pictures), pictures)


def r1(judge: Judge, real: Tensor, gamma: float = 1.0) -> Tensor:
    """gamma/2 E[|dD/dx|^2] at real pictures [N,c,H,W] (Mescheder et al. 2018, equation 9). Scalar.

    Done every k-th step only ("lazily"), multiply it by k.
    """
    return gamma / 2 * _slopes_at(judge, real).mean()


def r2(judge: Judge, fake: Tensor, gamma: float = 1.0) -> Tensor:
    """gamma/2 E[|dD/dx|^2] at generated pictures (Mescheder et al. 2018, equation 10). G gets no gradient of it."""
    return gamma / 2 * _slopes_at(judge, fake).mean()


def gradient_penalty(judge: Judge, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """E[(|dD/dx| - 1)^2] at x = share real + (1 - share) fake (Gulrajani et al. 2017, equation 3). Scalar.

    Args:
        judge: the discriminator.
        real, fake: [N,c,H,W], in -1..1.
        share: [N], uniform in 0..1, drawn by the caller, who knows seed and step. The paper's weight is 10.
    """
    share = share[:, None, None, None].to(real.dtype)
    between = share * real + (1 - share) * fake
    # The square root has no slope at 0.
    return ((_slopes_at(judge, between) + 1e-12).sqrt() - 1).square().mean()
