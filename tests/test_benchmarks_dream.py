"""The benchmark of dreams: on the tiny model and random features."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from dreaming import make_dreamer
from helpers import drawn_photo
from impasto.runtime.picture import Picture
from impasto.training.losses.perceptual import gram_loss
from training.support import write_vgg


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    # By its path: the tests have a module called dreaming, the runtime one called dream.
    path = Path(__file__).parent.parent / "benchmarks" / "dream.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_dreams", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: ModuleType) -> Path:
    monkeypatch.setenv("IMPASTO_VGG16", str(write_vgg(tmp_path / "vgg.safetensors", "relu2_2")))
    monkeypatch.setattr(bench, "LAYERS", ("relu1_2", "relu2_2"))
    (tmp_path / "photos").mkdir()
    for seed in range(4):
        Picture.from_array(drawn_photo(60, 44, seed)).save(tmp_path / "photos" / f"{seed}.png")
    make_dreamer(tmp_path / "dreamer.impasto")
    return tmp_path


def test_distances_are_the_means_over_pairs_and_layers(bench: ModuleType, folder: Path) -> None:
    vgg = bench.load_vgg("vgg16", bench.LAYERS)
    pictures = [drawn_photo(48, 48, seed) for seed in range(3)]
    planes = [torch.from_numpy(one.transpose(2, 0, 1).copy())[None] for one in pictures]
    with torch.no_grad():
        features = [vgg(one) for one in planes]
        pairs = [
            float(gram_loss(features[i][layer], features[j][layer]))
            for i, j in ((0, 1), (0, 2), (1, 2))
            for layer in bench.LAYERS
        ]
    assert bench.mean_distance(bench.vectors(vgg, pictures)) == pytest.approx(np.mean(pairs), rel=1e-4)
    assert bench.mean_distance(bench.vectors(vgg, pictures[:1] * 3)) == pytest.approx(0, abs=1e-6)


def test_looks(bench: ModuleType) -> None:
    photo = drawn_photo(48, 40)
    flat = np.full_like(photo, 0.5)
    flat[:10] = [1, 0.5, 0.25]
    found = bench.looks([photo, flat], photo)
    assert found["clipped"][1] == pytest.approx(0.25) and found["chroma"][1] == pytest.approx(0.25 * 0.75)
    assert found["rough"][0] == pytest.approx(1) and found["rough"][1] < 0.5


def test_a_whole_run(bench: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(folder / "dreamer.impasto"), str(folder / "photos"), "--size", "48", "--threads", "1"]
    assert bench.main([*arguments, "--photo-limit", "2", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["photos"] == 2 and figures["styles"] == 3 and figures["seed"] == 4
    ratio = figures["dreamt"]["distance"] / figures["named"]["distance"]
    assert figures["varied"] == pytest.approx(ratio, rel=1e-2)
    assert ("met" if figures["varied"] >= 0.5 else "missed") in err
    assert figures["dreamt"]["chroma_most"] >= figures["dreamt"]["chroma"]


@pytest.mark.parametrize(("photos", "model", "said"), [("none", "dreamer", "holds no pictures"), ("photos", "x", "x")])
def test_what_cannot_be_measured(
    bench: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str], photos: str, model: str, said: str
) -> None:
    assert bench.main([str(folder / f"{model}.impasto"), str(folder / photos)]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.parse(["a", "b", "--size", "0"])
