"""Run an ONNX graph: with onnxruntime, or with OpenVINO where it is installed and asked for.

An :class:`Engine` may be used from several threads at once. The heavy imports happen when one is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from impasto.errors import EngineError, UnknownName
from impasto.runtime.stopping import StoppedError, heeded_stop

Array = NDArray[np.float32]
EngineName = Literal["onnxruntime", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

MOST_THREADS = 256
_CPU = "CPUExecutionProvider"
# Tried in this order, where the installed onnxruntime has them.
_ACCELERATORS = {
    "CUDAExecutionProvider": "CUDA",
    "CoreMLExecutionProvider": "CoreML",
    "DmlExecutionProvider": "DirectML",
}


class _Backend(Protocol):
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    device: str
    notes: tuple[str, ...]
    lends: bool
    """The outputs are the backend's own and must be copied to be kept."""

    def run(self, feeds: dict[str, Array]) -> AbstractContextManager[list[Array]]: ...


def _copied(picture: Array) -> Array:
    return np.array(picture)


class Engine:
    """A graph, ready to run.

    Args:
        model: an ONNX graph whose inputs and outputs are float32.
        engine: ``"onnxruntime"`` or ``"openvino"``.
        threads: CPU threads, 1 to 256; None: as many as :func:`usable_cores`.
        providers: onnxruntime providers to try, in order; None: CUDA, CoreML or DirectML where the installed
            onnxruntime has them. The CPU is always the last.
        exact: keep OpenVINO from computing in bfloat16.

    Attributes:
        threads: CPU threads in use.
        device: where it runs, in words, such as ``"onnxruntime on CPU, 2 threads"``.
        notes: what did not go as asked, a sentence each, such as a GPU that could not be used.
        ran: it has run, and keeps the memory that it took.
        largest: pixels of the largest picture that :meth:`run_picture` was given.
        pixel_cost: bytes that it takes for each pixel, where somebody found out (`impasto.runtime.painting`); else 0.
        inputs, outputs: names, in the graph's order.

    Raises:
        EngineError: the engine is not installed, or the graph or the number of threads cannot be used.
        UnknownName: there is no such engine or provider.
    """

    def __init__(
        self,
        model: bytes,
        *,
        engine: EngineName = "onnxruntime",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        exact: bool = False,
    ) -> None:
        if engine not in ENGINES:
            raise UnknownName("engine", engine, ENGINES)
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise EngineError(f"{threads} threads cannot be used: choose 1 to {MOST_THREADS}.")
        if providers is not None and engine != "onnxruntime":
            raise EngineError("Providers belong to onnxruntime: leave them out for another engine.")
        self.threads = usable_cores() if threads is None else threads
        self._backend: _Backend = (
            _OnnxRuntime(model, self.threads, providers)
            if engine == "onnxruntime"
            else _OpenVino(model, self.threads, exact)
        )
        self.device, self.notes, self.ran = self._backend.device, self._backend.notes, False
        self.largest, self.pixel_cost = 0, 0.0
        self.inputs, self.outputs = self._backend.inputs, self._backend.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            feeds: every input by name; converted to float32.

        Returns:
            Every output by name, newly allocated.

        Raises:
            EngineError: an input is missing, unknown or of a wrong shape, or the graph fails.
            StoppedError: see :mod:`impasto.runtime.stopping`.
        """
        with self._running(feeds) as outputs:
            return {name: np.array(value) if self._backend.lends else value for name, value in outputs.items()}

    @contextmanager
    def _running(self, feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """The outputs of one run, for as long as the block lasts."""
        if set(feeds) != set(self.inputs):
            raise EngineError(
                f"The graph takes {', '.join(self.inputs)} and was given {', '.join(feeds) or 'nothing'}."
            )
        ready = {name: np.ascontiguousarray(value, np.float32) for name, value in feeds.items()}
        self.ran = True
        with ExitStack() as block:
            try:
                values = block.enter_context(self._backend.run(ready))
            except StoppedError:
                raise
            # Both engines raise many unrelated classes, some straight under Exception.
            except Exception as error:
                shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in ready.items())
                raise EngineError(
                    f"The graph cannot run on {shapes} ({_first_line(error)}): check the sizes."
                ) from error
            yield dict(zip(self.outputs, values, strict=True))

    def run_picture(
        self,
        name: str,
        picture: Array,
        rest: Mapping[str, Array],
        *,
        minimum: int = 1,
        multiple: int = 1,
        finish: Callable[[Array], Array] = _copied,
    ) -> Array:
        """Run a graph from picture to picture at any size: pad to the size rule, run, crop back.

        Args:
            name: the picture input.
            picture: float32 [N,C,H,W].
            rest: the other inputs.
            minimum, multiple: the graph's size rule (see ``GraphSpec``).
            finish: makes the result of the first output, cropped to [N,C',H,W], which it must not change or keep:
                the memory is the engine's. Whatever has to be copied anyway saves one copy here.

        Returns:
            What ``finish`` gives; without it, a copy of its argument.

        Raises:
            EngineError: as :meth:`run`; or the picture has no pixels, or the output is not of the picture's size.
        """
        padded, crop = pad_to_rule(picture, minimum, multiple)
        self.largest = max(self.largest, padded.shape[2] * padded.shape[3])
        with self._running({name: padded, **rest}) as outputs:
            painted = outputs[self.outputs[0]]
            if painted.ndim != 4 or painted.shape[2:] != padded.shape[2:]:
                raise EngineError(
                    f"The graph gave {list(painted.shape)} for {list(padded.shape)}: export the model again."
                )
            return finish(painted[crop])


def load_library(engine: EngineName) -> None:
    """Import what an engine needs, so that making one takes less time; one that is not installed is left alone."""
    with suppress(ImportError):
        import_module(engine)


def ruled(side: int, minimum: int, multiple: int) -> int:
    """The least side, in pixels, that obeys the size rule and is not below ``side``."""
    return -(-max(side, minimum) // multiple) * multiple


def pad_to_rule(picture: Array, minimum: int, multiple: int) -> tuple[Array, tuple[slice, ...]]:
    """Extend a picture at its right and bottom until both sides obey the size rule.

    The new pixels mirror the picture, or repeat its last row or column where there is too little to mirror.

    Args:
        picture: [N,C,H,W], H and W at least 1.
        minimum: least side, in pixels.
        multiple: both sides become multiples of this.

    Returns:
        The padded picture (the same array where nothing is to do), and the slices that crop it back.

    Raises:
        EngineError: the picture is not [N,C,H,W] or has no pixels.
    """
    if picture.ndim != 4 or 0 in picture.shape:
        raise EngineError(f"A picture must have the shape [N,C,H,W] with no side of 0, not {list(picture.shape)}.")
    height, width = picture.shape[2:]
    for axis, side in ((2, height), (3, width)):
        pad = ruled(side, minimum, multiple) - side
        if pad:
            widths = [(0, 0)] * 4
            widths[axis] = (0, pad)
            picture = np.pad(picture, widths, mode="reflect" if pad < side else "edge")
    return picture, (slice(None), slice(None), slice(height), slice(width))


def usable_cores(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: its affinity, and no more than the quota of its container; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    return max(1, min(cores, int(_quota(proc, cgroup))))


def control_groups(proc: Path, cgroup: Path, controller: str) -> list[Path]:
    """Folders that may hold limits of this process: of its control group, every parent, and version 1's controller."""
    folders = [cgroup]
    with suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            own = PurePosixPath(line.split(":", 2)[2]).relative_to("/")
            # A limit on any parent holds for its children too.
            folders += [cgroup / own, *(cgroup / parent for parent in own.parents)]
    return list(dict.fromkeys([*folders, cgroup / controller]))


def _quota(proc: Path, cgroup: Path) -> float:
    """Cores that the control groups of this process allow (version 2, then 1); a great number where unlimited."""
    least = float(MOST_THREADS)
    for folder in control_groups(proc, cgroup, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            least = min(least, float(quota) / float(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            micros = float((folder / "cpu.cfs_quota_us").read_text())
            if micros > 0:  # -1: no limit
                least = min(least, micros / float((folder / "cpu.cfs_period_us").read_text()))
    return least


class _OnnxRuntime:
    lends = False

    def __init__(self, model: bytes, threads: int, providers: Sequence[str] | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError("onnxruntime is not installed or does not load: pip install onnxruntime.") from error
        available = onnxruntime.get_available_providers()
        for name in providers or ():
            if name not in available:
                raise UnknownName("provider in this onnxruntime", name, available)
        tried = [name for name in (_ACCELERATORS if providers is None else providers) if name in available]
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Waiting threads that spin take the core from whoever else runs, and gain little here.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of the memory for one size is made in the first run and allocated anew, beside what that run took, in
        # the second. At 2048x2048 it is 300 MB for nothing: it paints no faster.
        options.enable_mem_pattern = False
        # Only fatal messages: an error is raised as well, and a library does not write on stderr.
        options.log_severity_level = 4
        notes: list[str] = []
        session: Any = None
        for name in dict.fromkeys([*tried, _CPU]):
            try:
                wanted = [name] if name == _CPU else [name, _CPU]
                session = onnxruntime.InferenceSession(model, options, providers=wanted)
            except Exception as error:
                if name == _CPU:
                    fault = _first_line(error)
                    raise EngineError(f"onnxruntime cannot load the graph ({fault}): get the model again.") from error
                notes.append(f"{_ACCELERATORS.get(name, name)} could not be used ({_first_line(error)}).")
                continue
            # onnxruntime drops a provider whose libraries do not load, without raising.
            if session.get_providers()[0] == name:
                break
            notes.append(f"{_ACCELERATORS.get(name, name)} could not be used: its libraries did not load.")
        used = session.get_providers()[0]
        where = f"CPU, {_count(threads)}" if used == _CPU else _ACCELERATORS.get(used, used)
        self.device, self.notes = f"onnxruntime on {where}", tuple(notes)
        self.inputs = tuple(value.name for value in session.get_inputs())
        self.outputs = tuple(value.name for value in session.get_outputs())
        self._session = session
        self._new_run: Callable[[], Any] = onnxruntime.RunOptions

    @contextmanager
    def run(self, feeds: dict[str, Array]) -> Iterator[list[Array]]:
        stop = heeded_stop()
        if stop is None:
            outputs = self._session.run(None, feeds)
        else:
            options = self._new_run()
            with stop.watching(options):
                outputs = self._session.run(None, feeds, options)
        yield outputs


class _OpenVino:
    """One compiled model for all sizes.

    Measured on a 3-million-weight painter at 512x512, 768x512 and 1024x1024: a model compiled for each size runs no
    faster than one with free sizes (25.0, 37.2, 104.0 against 25.0, 38.4, 104.4 ms), and compiling takes 70 to 100 ms
    a size, so there is nothing to cache.
    """

    lends = True

    def __init__(self, model: bytes, threads: int, exact: bool) -> None:
        try:
            import openvino
        except ImportError as error:
            raise EngineError("OpenVINO is not installed: pip install impasto[fast], or use onnxruntime.") from error
        try:
            core = openvino.Core()
            bfloat = not exact and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat else "f32",
            }
            compiled = core.compile_model(core.read_model(model), "CPU", settings)
        except Exception as error:
            fault = _first_line(error)
            raise EngineError(f"OpenVINO cannot load the graph ({fault}): try onnxruntime.") from error
        self.inputs = tuple(port.any_name for port in compiled.inputs)
        self.outputs = tuple(port.any_name for port in compiled.outputs)
        self.device = f"OpenVINO on CPU in {'bfloat16' if bfloat else 'float32'}, {_count(threads)}"
        self.notes: tuple[str, ...] = ()
        self._request = compiled.create_infer_request()
        # A request holds the tensors of one run; a second one would only share the same threads.
        self._lock = Lock()

    @contextmanager
    def run(self, feeds: dict[str, Array]) -> Iterator[list[Array]]:
        with self._lock:
            stop = heeded_stop()
            if stop is not None:
                stop.check()
            self._request.infer(feeds, share_inputs=True)
            yield [np.asarray(self._request.get_tensor(name).data, np.float32) for name in self.outputs]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO says where in its own sources it failed before it says what failed.
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))] or lines
    return said[0][:200].rstrip(".:") if said else type(error).__name__


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
