from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from impasto.errors import TrainingError
from impasto.training.nets import NETS
from impasto.training.nets.gan import FAMILIES, PAIRS, GanSpec, Kind
from impasto.training.nets.style import StyleSpec

KINDS = get_args(Kind)
THIN = {"base_width": 4, "max_width": 16, "critic_base_width": 4, "critic_max_width": 16, "latent": 8}


@pytest.mark.parametrize(
    ("height", "width", "base", "doublings"),
    [
        (32, 32, (4, 4), 3),
        (64, 64, (4, 4), 4),
        (128, 128, (4, 4), 5),
        (256, 256, (4, 4), 6),
        (48, 48, (6, 6), 3),
        (40, 40, (5, 5), 3),
        (96, 64, (6, 4), 4),
        (64, 128, (4, 8), 4),
        (32, 128, (2, 8), 4),
        (28, 28, (7, 7), 2),
    ],
)
def test_levels(height: int, width: int, base: tuple[int, int], doublings: int) -> None:
    levels = GanSpec(height=height, width=width).levels
    assert levels[0] == base and levels[-1] == (height, width) and len(levels) == doublings + 1
    for (h, w), larger in itertools.pairwise(levels):
        assert larger == (2 * h, 2 * w)


@pytest.mark.parametrize(("height", "width"), [(34, 34), (37, 64), (16, 128), (250, 250), (8, 8), (512, 512)])
def test_sizes_that_cannot_be(height: int, width: int) -> None:
    with pytest.raises(ValidationError):
        GanSpec(height=height, width=width)


def test_the_sentence_about_sizes() -> None:
    with pytest.raises(ValidationError, match=r"50 x 64 pixels is no base of 2 to 8 .* take sides such as"):
        GanSpec(height=50)


def test_channels_depend_on_the_level_alone() -> None:
    small, large = GanSpec(height=32, width=32), GanSpec(height=128, width=128)
    assert large.widths == (128, 128, 128, 64, 32, 16)
    assert large.widths[: len(small.widths)] == small.widths
    assert GanSpec(height=64, width=64, base_width=20, max_width=48).widths == (48, 48, 48, 40, 24)
    assert GanSpec(critic_base_width=64, critic_max_width=256).critic_widths == (256, 256, 256, 128, 64)
    assert GanSpec(height=256, width=256).widths[-1] == 16  # not 8
    assert all(w % 8 == 0 for size in (48, 96, 80) for w in GanSpec(height=size, width=size).widths)


def test_families_have_defaults_of_their_own() -> None:
    dcgan = GanSpec(kind="dcgan")
    assert (dcgan.norm, dcgan.up, dcgan.output, dcgan.max_width) == ("batch", "transposed", "tanh", 256)
    assert GanSpec(kind="dcgan", up="nearest").up == "nearest"
    assert GanSpec() == GanSpec(kind="style") != GanSpec(kind="r3")
    for kind in KINDS:
        spec = GanSpec(kind=kind)
        assert GanSpec.model_validate_json(spec.model_dump_json()) == spec
    assert set(FAMILIES) == set(PAIRS) == set(KINDS)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "stylegan"},
        {"kind": 3},
        {"heigth": 64},
        {"channels": 2},
        {"classes": -1},
        {"max_width": 100},
        {"kind": "style", "norm": "batch"},
        {"kind": "style", "up": "transposed"},
        {"kind": "r3", "critic_norm": "spectral"},
        "style",
    ],
)
def test_specs_that_are_refused(table: Any) -> None:
    with pytest.raises(ValidationError):
        GanSpec.model_validate(table)


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        GanSpec().latent = 3  # type: ignore[misc]


def test_the_table_of_networks() -> None:
    nets = NETS["dcgan"](GanSpec.model_validate({"kind": "dcgan"} | THIN))
    assert set(nets) == {"generator", "discriminator"}
    with pytest.raises(TrainingError, match="GanSpec, not from a StyleSpec"):
        NETS["dcgan"](StyleSpec())
