"""Fixtures of the training floor. Nothing here reads or writes a user's cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training.support import draw_folder, write_vgg


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Exactness holds for a number of threads; one is also the quickest for networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def vgg_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random VGG-16 weights up to relu3_1, in torchvision's layout."""
    return write_vgg(tmp_path_factory.mktemp("vgg") / "vgg16-random.safetensors")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos`` (5) and ``paintings`` (4)."""
    folder = tmp_path_factory.mktemp("pictures")
    draw_folder(folder / "photos", 5, seed=10)
    draw_folder(folder / "paintings", 4, size=(80, 110), seed=50)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, vgg_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IMPASTO_VGG16", str(vgg_weights))
    monkeypatch.delenv("IMPASTO_VGG19", raising=False)
