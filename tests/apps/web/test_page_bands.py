"""Bands in the browser's painter: its arithmetic and its thread, run by Node.js, against Python's."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dreaming import dream_members
from helpers import SIZE_RULE, drawn_photo, make_style_bundle, style_manifest
from impasto.apps.web import site
from impasto.errors import BundleError
from impasto.runtime.archive import format_table
from impasto.runtime.bands import DIRECT
from impasto.runtime.bundle import StyleInfo, TensorSpec
from impasto.runtime.dream import dream
from impasto.runtime.picture import Picture, color_stats, resample
from impasto.runtime.pyramid import NUMBERS, band_stats, gains_of
from impasto.runtime.style import StyleModel

F32 = NDArray[np.float32]

SIZE = 2 + NUMBERS + 9
"""Length of a code with two numbers of strokes."""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def painting(seed: int, width: int = 50, height: int = 60) -> F32:
    """A picture of stripes with some noise: [H,W,3]."""
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, (height, width, 3)).astype(np.float32)
    return np.clip(drawn_photo(width, height, seed) + noise * np.float32([1, 0.3, 0.6]), 0, 1)


def planes_of(rgb: F32) -> F32:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def code_of(rgb: F32, *strokes: float) -> F32:
    return np.concatenate([np.float32(strokes), band_stats(planes_of(rgb)), color_stats(rgb)])


def grainy_graph() -> bytes:
    """The photo paler, on a ground of its mean colour, with the grain on it: ``0.6 photo + 0.3 mean + noise``."""
    node = helper.make_node
    nodes = [
        node("Split", ["photo_stats", "parts"], ["mean", "spread"], axis=1),
        node("Unsqueeze", ["mean", "sides"], ["ground"]),
        node("Mul", ["ground", "part"], ["pale"]),
        node("Mul", ["photo", "most"], ["seen"]),
        node("ConvTranspose", ["grain", "cells"], ["noise"], strides=[8, 8]),
        node("Add", ["noise", "seen"], ["rough"]),
        node("Add", ["rough", "pale"], ["painted"]),
    ]
    cells = np.zeros((4, 3, 8, 8), np.float32)
    cells[[0, 1, 2], [0, 1, 2]] = 0.1
    shapes: dict[str, list[Any]] = {
        "photo": [1, 3, "H", "W"],
        "photo_stats": [1, 9],
        "code": [1, SIZE],
        "grain": [1, 4, "h", "w"],
    }
    constants: dict[str, Any] = {"parts": np.array([3, 6]), "sides": np.array([2, 3]), "cells": cells}
    constants |= {"part": np.array(0.3, np.float32), "most": np.array(0.6, np.float32)}
    graph = helper.make_graph(
        nodes,
        "grainy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("painted", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


# The same graph, where the site expects onnxruntime-web.
GRAINY = """
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { data, dims }); } }
const run = async ({ photo, photo_stats, grain }) => {
  const [, , height, width] = photo.dims, across = grain.dims[3], cells = grain.dims[2] * across;
  const data = photo.data.map((value, i) => {
    const x = i % width, y = Math.trunc(i / width) % height, c = Math.trunc(i / (width * height));
    return 0.6 * value + 0.3 * photo_stats.data[c] + 0.1 * grain.data[c * cells + (y >> 3) * across + (x >> 3)];
  });
  return { painted: { data } };
};
export const InferenceSession = { create: async () => ({ outputNames: ["painted"], run }) };
"""


def make_model(path: Path, width: float = 0.5, bands: int = NUMBERS, under: int = 0) -> Path:
    """A model of :func:`grainy_graph` that paints with bands, over other paintings, has one style and can dream."""
    plain = style_manifest()
    painter = plain.graphs["painter"]
    inputs = (
        painter.inputs[0],
        TensorSpec(name="photo_stats", shape=(1, 9), meaning="mean and spread of RGB"),
        TensorSpec(name="code", shape=(1, SIZE), meaning="style code"),
        TensorSpec(name="grain", shape=(1, 4, "H/8", "W/8"), meaning="noise"),
    )
    below = {"under": under, "ground": 0.6 if under else 0.0}
    changed = replace(painter, inputs=inputs, bands=bands, **below, **{**SIZE_RULE, "multiple": 8})
    members = {
        **dream_members(SIZE, width),
        "painter.onnx": grainy_graph(),
        "styles.npy": format_table(code_of(painting(7), 0, 0)[None]),
    }
    if under:
        # A little of everything from everything, and a little more colour.
        matrix = 0.9 * np.eye(SIZE) + np.random.default_rng(3).normal(0, 1e-3, (SIZE, SIZE))
        members["coarser.npy"] = format_table(np.column_stack([matrix, np.full(SIZE, 0.01)]).astype(np.float32))
    return make_style_bundle(
        path,
        members=members,
        graphs={**plain.graphs, "painter": changed},
        code_size=SIZE,
        styles=(StyleInfo(name="stripes", title="Stripes", artist="nobody", year="2024"),),
    )


OPENING = """
import { readFileSync, writeFileSync } from 'node:fs';
const asked = JSON.parse(readFileSync('asked.json'));
const bytes = (file) => new Uint8Array(readFileSync(file)).buffer;
"""


def node(folder: Path, script: str, asked: Any) -> Any:
    """What an ES module prints, as JSON, that runs in ``folder`` and is given ``asked``."""
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "script.js").write_text(OPENING + script)
    done = subprocess.run(["node", "script.js"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PAINT = """
import { banded, gainsOf } from './painter/pyramid.js';
console.log(JSON.stringify(asked.map(({ file, size, alpha, code }) => {
  const planes = new Float32Array(bytes(file)), seen = alpha && new Float32Array(bytes(alpha));
  const gains = gainsOf(planes, size, seen, Float32Array.from(code));
  writeFileSync(file, banded(planes, size, gains));
  return [...gains.matrices.flat(), ...gains.offset, gains.power, gains.level, gains.scale];
})));
"""


@needs_node
def test_a_picture_is_given_the_bands_that_python_gives_it(tmp_path: Path) -> None:
    shutil.copytree(site.BROWSER, tmp_path / "painter")
    # Of several strips (which are cut between 8 rows), of whole steps, small, smaller than a step.
    sizes = [(53, 45), (64, 40), (4099, 75), (9, 30), (3, 5)]
    cases: list[tuple[F32, F32 | None]] = []
    for seed, (width, height) in enumerate(sizes):
        # A painter may leave 0..1.
        planes = planes_of(1.4 * drawn_photo(width, height, seed) - 0.2)
        down, across = np.mgrid[0:height, 0:width] / max(width, height)
        cases.append((planes, None))
        if width < 1000:
            cases.append((planes, np.float32((np.sin(9 * down) * np.cos(7 * across)).clip(0, 1))))
    cases.append((cases[0][0], np.zeros_like(cases[0][0][0])))  # none of it is to be seen
    code, asked, wanted = code_of(painting(3), 0.2, 0.4), [], []
    for planes, alpha in cases:
        gains = gains_of(planes, code[-9:-6], code[-9 - NUMBERS : -9], alpha)
        wanted.append((gains.numbers, planes_of(gains.pixels(planes))))
        file, seen = f"{len(asked)}.planes", None if alpha is None else f"{len(asked)}.alpha"
        planes.tofile(tmp_path / file)
        if alpha is not None and seen is not None:
            alpha.tofile(tmp_path / seen)
        size = [planes.shape[2], planes.shape[1]]
        asked.append({"file": file, "size": size, "alpha": seen, "code": code.tolist()})
    found = node(tmp_path, PAINT, asked)
    for one, gains, (numbers, painted), (planes, _) in zip(asked, found, wanted, cases, strict=True):
        np.testing.assert_allclose(gains, numbers, atol=2e-4, rtol=1e-4)
        np.testing.assert_allclose(np.fromfile(tmp_path / one["file"], np.float32), painted.ravel(), atol=1e-4)
        assert np.abs(painted - planes.clip(0, 1)).mean() > 0.02
    assert np.abs(wanted[0][0] - wanted[1][0]).max() > 0.01, "alpha matters"


SCALE = """
import { scaledClear } from './painter/scaling.js';
const [planes, alpha] = ['planes', 'alpha'].map((file) => new Float32Array(bytes(file)));
console.log(JSON.stringify(scaledClear(planes, alpha, asked.size, asked.to).map((found) => [...found])));
"""


@needs_node
def test_what_is_measured_is_as_small_as_in_python_and_as_clear(tmp_path: Path) -> None:
    shutil.copytree(site.BROWSER, tmp_path / "painter")
    rgb, alpha = painting(1, 50, 40), np.ones((40, 50), np.float32)
    alpha[:, 20:] = 0.3
    rgb[5:, 33:] = alpha[5:, 33:] = 0
    planes_of(rgb).tofile(tmp_path / "planes")
    alpha.tofile(tmp_path / "alpha")
    small, clear = resample(rgb, alpha, (33, 26))
    found = node(tmp_path, SCALE, {"size": [50, 40], "to": [33, 26]})
    np.testing.assert_allclose(found[0], planes_of(small).ravel(), atol=2e-5)
    np.testing.assert_allclose(found[1], np.ravel(clear), atol=2e-5)


DREAM = """
import { dreamt } from './painter/numbers.js';
const tables = Object.fromEntries(Object.entries(asked.tables).map(([name, list]) => [name, Float32Array.from(list)]));
console.log(JSON.stringify(asked.seeds.map((seed) => [...dreamt(tables, seed, asked.size, 9, asked.bands)])));
"""


@needs_node
@pytest.mark.parametrize("width", [0.5, 4.0])
def test_a_dream_has_the_bands_that_python_dreams(tmp_path: Path, width: float) -> None:
    shutil.copytree(site.BROWSER, tmp_path / "painter")
    model = StyleModel.load(make_model(tmp_path / "bands.impasto", width), threads=1)
    tables = {name.removeprefix("dream_").removesuffix(".npy"): model.bundle.table(name) for name in site.dream.TABLES}
    asked = {"tables": {name: table.ravel().tolist() for name, table in tables.items()}, "seeds": list(range(20))}
    found = np.array(node(tmp_path, DREAM, {**asked, "size": SIZE, "bands": NUMBERS}))
    np.testing.assert_allclose(found, dream(model, 0, 20), atol=1e-5, rtol=1e-4)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with :data:`GRAINY` in place of onnxruntime-web."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in site.RUNTIME_FILES:
        (folder / name).write_text(GRAINY)
    monkeypatch.setattr(
        site, "RUNTIME_FILES", dict.fromkeys(site.RUNTIME_FILES, hashlib.sha256(GRAINY.encode()).hexdigest())
    )
    return folder


# The painter's thread, by itself: no page, and files in place of addresses.
THREAD = """
globalThis.self = {};
globalThis.fetch = async (url) => ({
  ok: true, json: async () => JSON.parse(readFileSync(url)), arrayBuffer: async () => bytes(url),
});
await import('./painter/worker.js');
const call = (name, settings) => new Promise((resolve, reject) => {
  self.postMessage = ({ result, error }) => { if (result) resolve(result); else if (error) reject(new Error(error)); };
  self.onmessage({ data: { id: 1, call: name, settings } });
});
await call('open');
for (const { file, ...settings } of asked) {
  const pixels = new Uint8ClampedArray(readFileSync(file));
  writeFileSync(`${file}.out`, (await call('paint', { ...settings, pixels })).pixels);
}
console.log('true');
"""


@needs_node
@pytest.mark.parametrize("under", [0, 2])
def test_the_thread_paints_with_bands_as_python_does(runtime: Path, tmp_path: Path, under: int) -> None:
    path = make_model(tmp_path / "bands.impasto", under=under)
    model, (out, _) = StyleModel.load(path, threads=1), site.build_site(tmp_path / "site", style=path, runtime=runtime)
    assert json.loads((out / "site.json").read_text())["style"]["painter"]["bands"] == NUMBERS
    # Beyond DIRECT a smaller one is measured, whose grain is not finer with it.
    small, large = (153 if under else 53, 145 if under else 45), (1203, 931)
    assert large[0] * large[1] > DIRECT
    asked, wanted = [], []
    for size, clear, style in ((small, False, "stripes"), (small, True, "dream:5"), (large, True, "stripes")):
        rgb = drawn_photo(*size, seed=2)
        alpha = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size[::-1])
        rgba = np.round(255 * np.dstack([rgb, alpha if clear else np.ones_like(alpha)])).astype(np.uint8)
        file = out / f"{len(asked)}.rgba"
        file.write_bytes(rgba.tobytes())
        one = {"id": style, "dream": 5} if style == "dream:5" else {"id": style}
        settings = {"styles": [one], "weights": [1], "strength": 1, "stroke": 0, "detail": 0, "colors": "off"}
        asked.append({"file": file.name, "size": list(size), **settings})
        code = dream(model, 5)[0] if style == "dream:5" else model.code(style)
        wanted.append(model.paint(Picture.from_array(rgba if clear else rgba[..., :3]), code).rgb)
    assert node(out, THREAD, asked) is True
    for one, picture in zip(asked, wanted, strict=True):
        height, width = picture.shape[:2]
        found = np.frombuffer((out / f"{one['file']}.out").read_bytes(), np.uint8).reshape(height, width, 4)[..., :3]
        assert np.abs(found / 255 - picture).max() < 0.5 / 255 + 2e-3


def test_bands_that_the_page_does_not_know_are_refused(runtime: Path, tmp_path: Path) -> None:
    path = make_model(tmp_path / "other.impasto", bands=6)
    with pytest.raises(
        BundleError, match=rf"says in 6 numbers how bands vary, where the page knows {NUMBERS}: update impasto\.$"
    ):
        site.build_site(tmp_path / "site", style=path, runtime=runtime)
    assert not (tmp_path / "site").exists()
    out, _ = site.build_site(tmp_path / "site", style=make_model(path, bands=0), runtime=runtime)
    assert json.loads((out / "site.json").read_text())["style"]["painter"]["bands"] == 0
