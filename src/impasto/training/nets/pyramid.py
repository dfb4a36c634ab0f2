"""A picture as a pyramid of bands, and the bands given the covariances that a painting's have; in torch.

The Laplacian pyramid (Burt and Adelson 1983): what a picture loses when it is made half as large, again and again, and
what is left in the end. How strongly the colours of each band vary, and together with which, is much of a texture
(Heeger and Bergen 1995, who match whole histograms). How patchy the finest band lies is one more number.
``runtime/pyramid.py`` does the same in numpy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.runtime import pyramid as plain
from impasto.runtime.band_rows import BAND_FLOOR, CONTRAST_FLOOR, EVENED, LOW_FLOOR
from impasto.runtime.laplacian import LEVELS, STEP
from impasto.runtime.pyramid import LARGEST_GAIN, NUMBERS, ROUNDS
from impasto.training.nets.blocks import edge_pad, invert_symmetric, symmetric_root, unpack_symmetric

_UPPER = [0, 1, 2, 4, 5, 8]
_TAPS = (0.125, 0.375, 0.375, 0.125)


def halved(x: Tensor) -> Tensor:
    """Half as large, smoothed with (1,3,3,1)/8 each way: [N,3,H,W] -> [N,3,H/2,W/2]; H and W even."""
    taps = torch.tensor(_TAPS, dtype=x.dtype, device=x.device)
    kernel = (taps[:, None] * taps[None]).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(edge_pad(x, 1), kernel, stride=2, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Twice as large, between pixels linear: [N,3,H,W] -> [N,3,2H,2W]."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def split(x: Tensor) -> list[Tensor]:
    """The pyramid of pictures [N,3,H,W], H and W multiples of 2^LEVELS: bands from fine to coarse, then the rest."""
    bands = []
    for _ in range(LEVELS):
        small = halved(x)
        bands.append(x - doubled(small))
        x = small
    return [*bands, x]


def join(bands: list[Tensor]) -> Tensor:
    """The pictures [N,3,H,W] whose pyramid this is."""
    x = bands[-1]
    for band in bands[-2::-1]:
        x = band + doubled(x)
    return x


def spreads(bands: list[Tensor]) -> Tensor:
    """Of each band (covariance + floor^2)^(1/2) as an upper triangle: float32 [N,LEVELS+1,6].

    All but the last band have mean 0, more or less, and are taken as if it were so.
    """
    roots = []
    for level, band in enumerate(bands):
        pixels = band.float().flatten(2)  # [N,3,P]
        floor = BAND_FLOOR
        if level == LEVELS:
            pixels, floor = pixels - pixels.mean(2, keepdim=True), LOW_FLOOR
        # Products and sums rather than a matrix product: mixed precision would take that in bfloat16.
        parts = [(pixels[:, i] * pixels[:, j]).mean(1) for i in range(3) for j in range(i, 3)]
        covariance = unpack_symmetric(torch.stack(parts, 1)) + floor**2 * torch.eye(3, device=band.device)
        roots.append(symmetric_root(covariance).float().flatten(1)[:, _UPPER])
    return torch.stack(roots, 1)


def energy(band: Tensor) -> Tensor:
    """Mean squares of a finest band in cells of STEP x STEP pixels: [N,3,H,W] -> float32 [N,1,H/STEP,W/STEP]."""
    return F.avg_pool2d(band.float().square().mean(1, keepdim=True), STEP)


def patchiness(squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of contrast where mean squares are [N,1,h,w], their mean and their deviation, [N,1,1,1] both."""
    found = 0.5 * (squares + CONTRAST_FLOOR**2).log()
    mean = found.mean((1, 2, 3), keepdim=True)
    return found, mean, ((found - mean).square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()


def evened(band: Tensor, wanted: Tensor, spread: Tensor) -> Tensor:
    """A finest band with its local contrast raised to the power that makes it as patchy as the painting's.

    Args:
        band: [N,3,H,W].
        wanted: [N], how patchy that is.
        spread: [N,3,3], of the painting's finest band: contrast is measured as it will be seen.
    """
    squares = energy(band)
    asked = (spread.square().sum((1, 2)) / 3 - BAND_FLOOR**2).clamp(min=0)
    scale = asked / squares.mean((1, 2, 3)).clamp(min=1e-12)
    found, level, own = patchiness(scale.clamp(max=LARGEST_GAIN**2)[:, None, None, None] * squares)
    power = (wanted[:, None, None, None] / own).clamp(*plain.POWERS) - 1
    gains = ((found - level) * power).exp().clamp(1 / EVENED, EVENED)
    for _ in range(LEVELS):
        gains = doubled(gains)
    return band * gains


def band_stats(x: Tensor) -> Tensor:
    """How the bands of pictures [N,3,H,W] vary: float32 [N,NUMBERS]. Sizes as ``split`` takes them."""
    with torch.autocast(x.device.type, enabled=False):
        bands = split(x.float())
        return torch.cat((spreads(bands).flatten(1), patchiness(energy(bands[0]))[2].flatten(1)), 1)


def match_bands(x: Tensor, mean: Tensor, wanted: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Pictures whose bands vary as ``wanted`` says, around a mean colour.

    The finest band's local contrast is raised to a power, then each band is multiplied by a 3x3 matrix: wanted spread
    by inverse of its own. Bands overlap, so what comes out does not quite have the covariances asked for; the matrices
    are found in rounds.

    Args:
        x: [N,3,H,W], RGB 0..1, sizes as ``split`` takes them.
        mean: [N,3], of the painting's colours.
        wanted: [N,NUMBERS], from :func:`band_stats`.
        rounds: how often the matrices are corrected.

    Returns:
        float32 [N,3,H,W], not clamped.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _matched(x.float(), mean.float(), wanted.float(), rounds)


def _matched(x: Tensor, mean: Tensor, wanted: Tensor, rounds: int) -> Tensor:
    bands = split(x)
    target = unpack_symmetric(wanted[:, : NUMBERS - 1].reshape(-1, 6)).reshape(len(x), LEVELS + 1, 3, 3)
    bands[0] = evened(bands[0], wanted[:, NUMBERS - 1], target[:, 0])
    gains, own, painted = torch.eye(3, device=x.device).expand_as(target), spreads(bands), x
    for turn in range(rounds):
        if turn:
            own = spreads(split(painted.clamp(0, 1)))
        inverse = unpack_symmetric(invert_symmetric(own.flatten(0, 1))).reshape_as(target)
        gains = limited(product(product(target, inverse), gains))
        low = applied(gains[:, -1], bands[-1])
        low = low + (mean - low.mean((2, 3)))[:, :, None, None]
        painted = join([*(applied(gains[:, k], band) for k, band in enumerate(bands[:-1])), low])
    return painted


def limited(gains: Tensor) -> Tensor:
    """No larger than ``LARGEST_GAIN`` as a whole: the root of the mean square of what they do to white noise."""
    size = (gains.square().sum((-2, -1), keepdim=True) / 3 + 1e-12).sqrt()
    return gains * (LARGEST_GAIN / size).clamp(max=1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of small matrices, in full precision whatever autocast says: [...,3,3] each."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def applied(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix`` [N,3,3] times every pixel of ``x`` [N,3,H,W]."""
    return (matrix[:, :, :, None, None] * x[:, None]).sum(2)
