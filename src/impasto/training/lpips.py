"""LPIPS and ArtFID, of the published weights alone, which the user gives; nothing of ours is called by their names.

LPIPS (Zhang et al. 2018, version 0.1, "vgg") needs two files: VGG-16 of torchvision (``vgg16-397923af.pth``) and the
linear heads that were trained on people's judgements (``lpips/weights/v0.1/vgg.pth`` of the authors' repository or
package). ArtFID (Wright and Ommer 2022) is (1 + LPIPS) (1 + FID) with FID between painted pictures and paintings by the
authors' Inception that was trained on art, given as a file that says how to run itself (TorchScript or ONNX, 299 x 299
in 0..255 to [n,2048], see ``measure_features``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impasto.errors import TrainingError
from impasto.training.measure_features import digest_of
from impasto.training.nets.features import load_vgg

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_EPSILON = 1e-10


class Lpips:
    """The learned perceptual distance of two pictures.

    Args:
        heads: ``vgg.pth`` of LPIPS 0.1.
        vgg: the weights of torchvision's VGG-16; None: as ``load_vgg`` finds them.
        device: where it runs.

    Attributes:
        digest: sha256 digits of the heads' file.

    Raises:
        TrainingError: a file is not what it should be.
    """

    def __init__(self, heads: str | Path, vgg: str | Path | None, device: torch.device) -> None:
        path = Path(heads)
        self._net = load_vgg("vgg16", LAYERS, weights=vgg)
        if self._net.weights is None or self._net.weights.suffix in (".h5", ".hdf5"):
            raise TrainingError(
                "LPIPS is defined on torchvision's VGG-16, and this one was changed: give vgg16-397923af.pth to --vgg."
            )
        self._net.to(device)
        self._heads = [head.to(device) for head in _read_heads(path, self._net.name)]
        self.digest = digest_of(path)

    @torch.inference_mode()
    def __call__(self, one: Tensor, other: Tensor) -> float:
        """The distance of two pictures [1,3,H,W] of one size, RGB 0..1: 0 where they are equal."""
        # The scaling layer of LPIPS, for -1..1, is torchvision's normalisation for 0..1.
        first, second = self._net(one), self._net(other)
        total = 0.0
        for layer, head in zip(LAYERS, self._heads, strict=True):
            a, b = (f / (f.square().sum(1, keepdim=True).sqrt() + _EPSILON) for f in (first[layer], second[layer]))
            total += float(((a - b).square() * head).sum(1).mean())
        return total


def _read_heads(path: Path, network: str) -> list[Tensor]:
    """The weights [1,C,1,1] of each layer."""
    if not path.is_file():
        raise TrainingError(f"There are no LPIPS heads at {path}: give vgg.pth of LPIPS 0.1 (lpips/weights/v0.1).")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged, or a pickle of more than tensors; torch's reasons run over many lines
        raise TrainingError(f"{path.name} cannot be read as weights: give vgg.pth of LPIPS 0.1.") from error
    names = [f"lin{index}.model.1.weight" for index in range(len(LAYERS))]
    widths = (64, 128, 256, 512, 512)
    fits = isinstance(state, Mapping) and all(
        isinstance(state.get(name), Tensor) and tuple(state[name].shape) == (1, width, 1, 1)
        for name, width in zip(names, widths, strict=True)
    )
    if not fits:
        raise TrainingError(f"{path.name} does not hold the LPIPS heads of {network}: give vgg.pth of LPIPS 0.1.")
    return [state[name].float() for name in names]
