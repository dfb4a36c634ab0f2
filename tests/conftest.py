"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import make_style_bundle


@pytest.fixture(scope="session")
def style_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny style model. Shared by the whole session: copy it before changing it."""
    return make_style_bundle(tmp_path_factory.mktemp("models") / "tiny.impasto")
