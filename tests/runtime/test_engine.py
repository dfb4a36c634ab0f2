"""Running graphs: sizes, threads, engines, and what is said when it cannot be done."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import CODES, SIZE_RULE, drawn_photo, encoder_graph, painter_graph
from impasto.errors import EngineError, UnknownName
from impasto.runtime.engine import ENGINES, Engine, pad_to_rule, usable_cores

PAINTER, ENCODER = painter_graph(), encoder_graph()
STATS = np.array([[0.5, 0.4, 0.3, 0.2, 0.2, 0.1]], np.float32)
REST = {"photo_stats": STATS, "code": CODES[:1]}


def planes(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.ascontiguousarray(drawn_photo(width, height, seed).transpose(2, 0, 1))[None]


@pytest.fixture(scope="module")
def painter() -> Engine:
    return Engine(PAINTER, threads=1)


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return str(request.param)


@settings(deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.integers(1, 16), st.integers(1, 2), st.integers(1, 3)
)
def test_padding_obeys_the_rule_and_crops_back(
    height: int, width: int, minimum: int, multiple: int, count: int, channels: int
) -> None:
    picture = np.random.default_rng(height * 100 + width).random((count, channels, height, width), np.float32)
    padded, crop = pad_to_rule(picture, minimum, multiple)
    for side, old in zip(padded.shape[2:], (height, width), strict=True):
        assert side % multiple == 0 and side >= max(minimum, old) and side < max(minimum, old) + multiple
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded[crop], picture)


def test_padding_mirrors_where_it_can_and_repeats_where_it_cannot() -> None:
    row = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5)
    padded, _ = pad_to_rule(row, 2, 4)
    np.testing.assert_array_equal(padded, [[[[1, 2, 3, 4, 5, 4, 3, 2]] * 4]])
    padded, _ = pad_to_rule(row, 10, 1)
    np.testing.assert_array_equal(padded[0, 0, 0], [1, 2, 3, 4, 5, 5, 5, 5, 5, 5])


def test_a_picture_that_fits_is_not_copied() -> None:
    picture = planes(16, 20)
    assert pad_to_rule(picture, **SIZE_RULE)[0] is picture


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (1, 3, 5, 0), (3, 5, 5), (0, 3, 5, 5)])
def test_a_picture_without_pixels_is_refused(shape: tuple[int, ...], painter: Engine) -> None:
    with pytest.raises(EngineError, match=r"no side of 0"):
        painter.run_picture("photo", np.zeros(shape, np.float32), REST)


def by_hand(picture: np.ndarray) -> np.ndarray:
    """The tiny painter in numpy: its slow twin."""
    framed = np.pad(picture, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    height, width = picture.shape[2:]
    soft = sum(framed[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
    code, stats = CODES[0], STATS[0].reshape(2, 1, 3, 1, 1)
    drawn = picture + (soft - picture) * code[0]
    return (drawn - stats[0]) / stats[1] * code[5:].reshape(1, 3, 1, 1) + code[2:5].reshape(1, 3, 1, 1)


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 70))
def test_every_size_comes_out_at_its_own_size(width: int, height: int) -> None:
    engine = _shared()
    picture = planes(width, height)
    padded, crop = pad_to_rule(picture, **SIZE_RULE)
    painted = engine.run_picture("photo", picture, REST, **SIZE_RULE)
    assert painted.shape == picture.shape
    np.testing.assert_allclose(painted, by_hand(padded)[crop], atol=2e-6)


_kept: list[Engine] = []


def _shared() -> Engine:  # hypothesis does not take function-scoped fixtures, and loading once is enough
    if not _kept:
        _kept.append(Engine(PAINTER, threads=1))
    return _kept[0]


def test_all_small_squares_come_out_at_their_own_size(painter: Engine) -> None:
    for side in range(1, 71):
        assert painter.run_picture("photo", planes(side, side), REST, **SIZE_RULE).shape == (1, 3, side, side)


def test_engines_agree_with_the_slow_twin(engine_name: Any) -> None:
    engine = Engine(PAINTER, engine=engine_name, exact=True)
    for width, height in ((64, 48), (20, 16), (64, 48), (132, 40)):
        painted = engine.run({"photo": planes(width, height), **REST})["painted"]
        np.testing.assert_allclose(painted, by_hand(planes(width, height)), atol=1e-4)


def test_openvino_in_its_fast_precision_is_close() -> None:
    pytest.importorskip("openvino")
    engine = Engine(PAINTER, engine="openvino")
    painted = engine.run_picture("photo", planes(61, 47), REST, **SIZE_RULE)
    expected = Engine(PAINTER).run_picture("photo", planes(61, 47), REST, **SIZE_RULE)
    assert np.abs(painted - expected).max() < 0.02
    assert ("bfloat16" in engine.device) != ("float32" in engine.device)
    assert "float32" in Engine(PAINTER, engine="openvino", exact=True).device


def test_outputs_belong_to_the_caller(engine_name: Any) -> None:
    """A second run must not write over what the first gave."""
    engine = Engine(PAINTER, engine=engine_name)
    first = engine.run({"photo": planes(32, 32), **REST})["painted"]
    kept = first.copy()
    engine.run({"photo": planes(32, 32, seed=5), **REST})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0.0  # and may be written to


def test_a_picture_is_finished_while_it_is_still_the_engines(engine_name: Any) -> None:
    engine = Engine(PAINTER, engine=engine_name, exact=True)
    expected = engine.run_picture("photo", planes(30, 21), REST, **SIZE_RULE)
    seen = []

    def finish(painted: np.ndarray) -> np.ndarray:
        seen.append(painted.shape)
        return painted.mean(axis=1)

    mean = engine.run_picture("photo", planes(30, 21), REST, **SIZE_RULE, finish=finish)
    assert seen == [(1, 3, 21, 30)], "once, and cropped"
    np.testing.assert_allclose(mean, expected.mean(axis=1), atol=1e-6)

    def fail(painted: np.ndarray) -> np.ndarray:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        engine.run_picture("photo", planes(30, 21), REST, **SIZE_RULE, finish=fail)
    again = engine.run_picture("photo", planes(30, 21), REST, **SIZE_RULE)
    np.testing.assert_allclose(again, expected, atol=1e-6, err_msg="a failure leaves the engine free")


def test_inputs_are_left_alone(engine_name: Any) -> None:
    picture = planes(32, 24)
    before = picture.copy()
    picture.flags.writeable = False
    engine = Engine(PAINTER, engine=engine_name, exact=True)
    first = engine.run({"photo": picture, **REST})["painted"]
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_allclose(engine.run({"photo": before, **REST})["painted"], first, atol=1e-6)


def test_threads_do_not_disturb_each_other(engine_name: Any) -> None:
    engine = Engine(PAINTER, engine=engine_name, exact=True)
    pictures = [planes(16 + 4 * (i % 5), 20, seed=i) for i in range(12)]
    alone = [engine.run({"photo": picture, **REST})["painted"] for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda picture: engine.run({"photo": picture, **REST})["painted"], pictures * 4))
    for index, painted in enumerate(together):
        np.testing.assert_allclose(painted, alone[index % len(pictures)], atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing_but_speed(threads: int, engine_name: Any, painter: Engine) -> None:
    engine = Engine(PAINTER, engine=engine_name, threads=threads, exact=True)
    assert engine.threads == threads and f"{threads} thread" in engine.device
    painted = engine.run({"photo": planes(64, 64), **REST})["painted"]
    np.testing.assert_allclose(painted, painter.run({"photo": planes(64, 64), **REST})["painted"], atol=1e-4)


def test_the_options_reach_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = onnxruntime.InferenceSession

    def spy(model: bytes, options: Any, providers: list[str]) -> Any:
        seen.append(options)
        return real(model, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    Engine(PAINTER, threads=1)
    Engine(PAINTER, threads=2)
    assert [options.intra_op_num_threads for options in seen] == [1, 2]
    assert [options.enable_mem_pattern for options in seen] == [False, False]
    assert {options.get_session_config_entry("session.intra_op.allow_spinning") for options in seen} == {"0"}


def test_names_are_told(painter: Engine) -> None:
    assert painter.inputs == ("photo", "photo_stats", "code") and painter.outputs == ("painted",)
    assert painter.device == "onnxruntime on CPU, 1 thread" and painter.notes == ()


def test_inputs_are_converted(painter: Engine) -> None:
    picture = planes(16, 16)
    sideways = np.asfortranarray(picture.astype(np.float64))
    one, two = (painter.run({"photo": p, **REST})["painted"] for p in (picture, sideways))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "feeds", [{}, {"photo": planes(16, 16)}, {"photo": planes(16, 16), **REST, "mood": STATS}], ids=len
)
def test_wrong_inputs_are_refused(feeds: dict[str, Any], painter: Engine) -> None:
    with pytest.raises(EngineError, match="The graph takes photo, photo_stats, code and was given"):
        painter.run(feeds)


@pytest.mark.parametrize(
    "photo", [planes(17, 16), planes(16, 16)[0], planes(16, 16)[:, :2]], ids=lambda p: str(p.shape)
)
def test_a_graph_that_fails_says_so_in_one_sentence(
    photo: np.ndarray, engine_name: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    if engine_name == "openvino" and photo.shape[-1] == 17:
        photo = planes(16, 16)[:, :1]  # with one thread it takes a size that breaks the rule
    engine = Engine(PAINTER, engine=engine_name)
    with pytest.raises(EngineError, match=r"cannot run on photo \[.*check the sizes") as caught:
        engine.run({"photo": photo, **REST})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_from_picture_to_something_else_is_refused() -> None:
    with pytest.raises(EngineError, match=r"The graph gave \[1, 8\] for \[1, 3, 16, 16\]"):
        Engine(ENCODER).run_picture("style", planes(9, 9), {}, **SIZE_RULE)


@pytest.mark.parametrize("model", [b"", b"rubbish", PAINTER[:300], PAINTER[:-100]], ids=len)
def test_what_is_no_graph_is_refused(model: bytes, engine_name: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="cannot load the graph") as caught:
        Engine(model, engine=engine_name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_a_senseless_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(EngineError, match="choose 1 to 256"):
        Engine(PAINTER, threads=threads)


def test_unknown_engines_and_providers_get_a_hint() -> None:
    with pytest.raises(UnknownName, match="did you mean 'onnxruntime'"):
        Engine(PAINTER, engine="onnx-runtime")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="There is no provider in this onnxruntime called 'CPU'"):
        Engine(PAINTER, providers=["CPU"])
    with pytest.raises(EngineError, match="Providers belong to onnxruntime"):
        Engine(PAINTER, engine="openvino", providers=["CPUExecutionProvider"])
    assert "CPU" in Engine(PAINTER, providers=["CPUExecutionProvider"]).device


@pytest.mark.parametrize(
    ("name", "hint"), [("openvino", r"pip install impasto\[fast\]"), ("onnxruntime", "pip install")]
)
def test_an_engine_that_is_not_installed_says_how(name: Any, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=hint):
        Engine(PAINTER, engine=name)


def pretend_providers(monkeypatch: pytest.MonkeyPatch, raising: set[str], silent: set[str]) -> list[list[str]]:
    """An onnxruntime with three accelerators, of which some fail aloud and some are dropped in silence."""
    asked: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: Any, providers: list[str]) -> Any:
        asked.append(providers)
        if providers[0] in raising:
            raise RuntimeError("no such device\nand a long story")
        made = real(model, options, providers=["CPUExecutionProvider"])
        used = [name for name in providers if name not in silent]
        return SimpleNamespace(
            get_providers=lambda: used, get_inputs=made.get_inputs, get_outputs=made.get_outputs, run=made.run
        )

    everything = ["CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


def test_an_accelerator_is_used_when_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_providers(monkeypatch, set(), set())
    engine = Engine(PAINTER)
    assert engine.device == "onnxruntime on CUDA" and engine.notes == ()
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"]]


def test_accelerators_that_fail_fall_back_to_the_cpu_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_providers(
        monkeypatch, {"CUDAExecutionProvider", "DmlExecutionProvider"}, {"CoreMLExecutionProvider"}
    )
    engine = Engine(PAINTER, threads=1)
    assert engine.device == "onnxruntime on CPU, 1 thread"
    assert engine.notes == (
        "CUDA could not be used (no such device).",
        "CoreML could not be used: its libraries did not load.",
        "DirectML could not be used (no such device).",
    )
    assert len(asked) == 4
    assert engine.run({"photo": planes(16, 16), **REST})["painted"].shape == (1, 3, 16, 16)


def test_only_the_providers_asked_for_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend_providers(monkeypatch, set(), set())
    assert Engine(PAINTER, providers=["DmlExecutionProvider"]).device == "onnxruntime on DirectML"
    assert "CPU" in Engine(PAINTER, providers=[]).device
    assert asked == [["DmlExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]]


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert usable_cores(tmp_path, tmp_path) == 6
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path, tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path, tmp_path) == 1


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 6), ("rubbish", 6), ("1 0", 6)],
)
def test_cores_keep_to_the_quota_of_the_container(
    limit: str, cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    written(proc / "self", cgroup="0::/system/job\n")
    for folder in (cgroup, cgroup / "system", cgroup / "system" / "job"):
        (folder / "cpu.max").unlink(missing_ok=True)
        written(folder, cpu__max=limit)
        assert usable_cores(proc, cgroup) == cores
        (folder / "cpu.max").unlink()


def test_cores_keep_to_an_old_quota_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    for quota, cores in (("-1", 6), ("300000", 3)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
        assert usable_cores(tmp_path, tmp_path) == cores


def test_the_default_never_asks_for_more_than_there_is() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert Engine(PAINTER).threads == usable_cores()
