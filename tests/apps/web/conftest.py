"""A server of tiny models, asked in the same process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from dreaming import make_dreamer
from helpers import make_generator_bundle
from impasto.apps.web.app import make_app
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf

ADDRESS = "http://127.0.0.1:8017"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of a style model that dreams, and of a generator with classes."""
    folder = tmp_path_factory.mktemp("served")
    painter = make_dreamer(folder / "tiny.impasto")
    drawer = make_generator_bundle(folder / "tiny-drawer.impasto", classes=("cat", "dog"))
    return [str(painter), str(drawer)]


@pytest.fixture(scope="session")
def shelf(models: list[str]) -> Shelf:
    return Shelf(models, engine="onnxruntime", threads=1)


@pytest.fixture
def client(shelf: Shelf) -> Iterator[TestClient]:
    with TestClient(make_app(Settings(waiting=4, workers=2), shelf), base_url=ADDRESS) as client:
        yield client
