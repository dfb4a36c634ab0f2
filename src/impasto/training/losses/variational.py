"""Losses of variational autoencoders. Pure functions of tensors.

Pictures are ``[N,C,H,W]`` in -1..1, latents ``[N,Z]``. Everything is in nats (natural logarithms) and in float32
whatever the inputs' precision: differences of large numbers are taken here.

With D = C H W numbers in a picture, the loss of Kingma and Welling 2014 (equation 10) is

    negative_log_likelihood(reconstruction, picture).mean() + gaussian_kl(mean, logvar).sum(1).mean()

``objective`` puts it together and divides by D, so that rates and clipping hold at any picture size.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from impasto.errors import TrainingError

Likelihood = Literal["gaussian", "l2", "l1"]

LOGVAR_RANGE = (-12.0, 8.0)
"""Log variances that are believed: beyond, exp() over- or underflows in bfloat16 and one sample spoils a run."""


def reparameterise(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """A draw from N(mean, exp(logvar)) through which gradients flow: ``[N,Z]`` each, ``noise`` from N(0,1).

    z = mean + exp(logvar / 2) noise, Kingma and Welling 2014 (section 2.4). Noise comes from the caller, so that a
    step can be repeated.
    """
    return mean.float() + (0.5 * logvar.float()).exp() * noise.float()


def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(logvar)) from N(0,1) per latent number: ``[N,Z] -> [N,Z]``, nats, never negative.

    (mean^2 + exp(logvar) - 1 - logvar) / 2, Kingma and Welling 2014 (appendix B).
    """
    mean, logvar = mean.float(), logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def free_bits(kl: Tensor, least: float) -> Tensor:
    """What is charged for a divergence ``[N,Z]``: each latent number's batch mean, but never below ``least`` nats.

    Sum over latent numbers of max(least, mean over the batch), Kingma et al. 2016 (inverse autoregressive flow,
    equation 15; every latent number is a group of its own). A number below the mark has no gradient, so the decoder
    has time to find a use for it before the prior flattens it.

    Returns:
        A scalar, at least ``least`` x Z.
    """
    return kl.float().mean(0).clamp_min(least).sum()


def gaussian_nll(picture: Tensor, target: Tensor, logvar: Tensor | float) -> Tensor:
    """-log N(target; picture, exp(logvar)) summed over a picture's numbers: ``[N,C,H,W] -> [N]``, nats.

    Args:
        picture: what was decoded.
        target: what was encoded.
        logvar: log variance; a number, or a tensor that broadcasts to the pictures (learnt, as in Rybkin et al. 2021,
            sigma-VAE, section 3: one number that all pixels share).
    """
    logvar = torch.as_tensor(logvar, dtype=torch.float32, device=picture.device)
    squares = (picture.float() - target.float()).square()
    # The constant stays: without it the figure is no likelihood and cannot be compared with another model's.
    return 0.5 * (squares * (-logvar).exp() + logvar + math.log(2 * math.pi)).flatten(1).sum(1)


def laplace_nll(picture: Tensor, target: Tensor, scale: float) -> Tensor:
    """-log Laplace(target; picture, scale) summed over a picture's numbers: ``[N,C,H,W] -> [N]``, nats.

    The likelihood behind mean absolute error; ``scale`` is the mean absolute error that is expected.
    """
    errors = (picture.float() - target.float()).abs()
    return (errors / scale + math.log(2 * scale)).flatten(1).sum(1)


def negative_log_likelihood(
    likelihood: Likelihood, picture: Tensor, target: Tensor, *, logvar: Tensor | None = None, scale: float = 0.1
) -> Tensor:
    """How unlikely ``target`` is to the decoder: ``[N,C,H,W] -> [N]``, nats.

    Args:
        likelihood: ``"gaussian"`` takes its variance from ``logvar``; ``"l2"`` is a Gaussian of deviation ``scale``;
            ``"l1"`` a Laplacian of mean absolute error ``scale``.
        picture: what was decoded.
        target: what was encoded.
        logvar: the learnt log variance, for ``"gaussian"``.
        scale: in units of -1..1 pictures, for the other two.

    Raises:
        TrainingError: ``"gaussian"`` without a variance.
    """
    if likelihood == "l1":
        return laplace_nll(picture, target, scale)
    if likelihood == "l2":
        return gaussian_nll(picture, target, 2 * math.log(scale))
    if logvar is None:
        raise TrainingError("The gaussian likelihood needs a learnt variance: give logvar, or choose l2 or l1.")
    return gaussian_nll(picture, target, logvar)


def objective(nll: Tensor, kl: Tensor, numbers: int, *, beta: float = 1.0, least: float = 0.0) -> Tensor:
    """The loss to descend, per number of a picture: (mean nll + beta charged kl) / ``numbers``.

    Args:
        nll: [N], nats per picture.
        kl: [N,Z], nats.
        numbers: C H W, what a picture has.
        beta: weight of the divergence (Higgins et al. 2017, beta-VAE, equation 4); 1 is the evidence lower bound.
        least: free nats per latent number, see ``free_bits``.
    """
    return (nll.mean() + beta * free_bits(kl, least)) / numbers


def bits_per_number(nll: Tensor, kl: Tensor, numbers: int) -> Tensor:
    """The evidence lower bound as bits per number of an 8-bit picture, a scalar; smaller is better.

    Densities of -1..1 pictures are taken to 8-bit steps: a step is 2/255 wide, so a number costs
    -log2(density x 2/255) bits (Theis et al. 2016, section 3.1; without dequantisation noise, so an estimate).
    """
    nats = (nll.float().mean() + kl.float().sum(1).mean()) / numbers
    return (nats - math.log(2 / 255)) / math.log(2)


def used_latents(kl: Tensor, least: float = 0.01) -> Tensor:
    """How many latent numbers tell something: those with a batch-mean divergence above ``least`` nats. A scalar.

    As in Burda et al. 2016 (appendix C), with the divergence in place of the variance of the means: a number that
    stays at the prior for every picture (posterior collapse) has none.
    """
    return (kl.float().mean(0) > least).sum().float()
