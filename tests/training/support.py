"""Tiny recipes, drawn folders and made-up VGG weights: what the tests of the training floor share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers import drawn_photo
from impasto.training.nets.features import BLOCKS, WIDTHS
from impasto.training.nets.style import StyleSpec
from impasto.training.recipe import StyleRecipe, make_recipe

TINY = {"fine": 8, "coarse": 16, "half": 4, "blocks": 1, "code": 8, "hidden": 16, "eyes": (8, 8, 8)}
LAYERS = ("relu1_2", "relu2_2", "relu3_1")


def tiny_spec(**changes: Any) -> StyleSpec:
    """The smallest network of the family."""
    return StyleSpec.model_validate(TINY | changes)


def draw_folder(folder: Path, count: int, *, size: tuple[int, int] = (96, 80), seed: int = 0) -> Path:
    """``count`` different PNG pictures, ``size`` = (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = (drawn_photo(*size, seed=seed + i) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def conv_numbers(name: str = "vgg16") -> dict[str, int]:
    """Layer name to its number in torchvision's ``features``: convolution and ReLU count one each, a pooling one."""
    numbers, at = {}, 0
    for block, convs in enumerate(BLOCKS[name], 1):
        for i in range(1, convs + 1):
            numbers[f"relu{block}_{i}"] = at
            at += 2
        at += 1
    return numbers


def vgg_tables(top: str = "relu4_1", seed: int = 0, name: str = "vgg16") -> dict[str, tuple[Tensor, Tensor]]:
    """Random kernels [O,I,3,3] and biases [O] of every layer up to ``top``, for inputs of about unit size."""
    random = torch.Generator().manual_seed(seed)
    tables, channels = {}, 3
    for layer in conv_numbers(name):
        width = WIDTHS[int(layer[4]) - 1]
        kernel = torch.randn(width, channels, 3, 3, generator=random) * (2 / (9 * channels)) ** 0.5
        tables[layer] = kernel, 0.1 * torch.randn(width, generator=random)
        channels = width
        if layer == top:
            return tables
    raise ValueError(top)


def torchvision_state(tables: Mapping[str, tuple[Tensor, Tensor]], name: str = "vgg16") -> dict[str, Tensor]:
    """The tables under the names that torchvision gives them."""
    numbers = conv_numbers(name)
    state = {}
    for layer, (kernel, bias) in tables.items():
        state[f"features.{numbers[layer]}.weight"] = kernel.contiguous()
        state[f"features.{numbers[layer]}.bias"] = bias.contiguous()
    return state


def write_vgg(path: Path, top: str = LAYERS[-1], seed: int = 0) -> Path:
    """A ``.safetensors`` file of random VGG-16 weights up to ``top``."""
    save_file(torchvision_state(vgg_tables(top, seed)), path)
    return path


def recipe_table(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe as a dictionary; ``folder`` holds ``photos`` and ``paintings``; ``optim={...}`` and such are merged."""
    table: dict[str, Any] = {
        "name": "tiny",
        "steps": 4,
        "seed": 3,
        "precision": "fp32",
        "net": dict(TINY),
        "data": {"photos": str(folder / "photos"), "paintings": str(folder / "paintings"), "style_size": 64},
        "loss": {"content_layers": (LAYERS[1],), "style_layers": LAYERS, "identity_every": 2},
        "optim": {"warmup": 0, "lr": 2e-3},
        "stages": ({"share": 1.0, "crop": 64, "batch": 2},),
        "save_every": 100,
        "sample_every": 100,
    }
    for key, value in changes.items():
        table[key] = table[key] | value if isinstance(value, dict) and isinstance(table.get(key), dict) else value
    return table


def tiny_recipe(folder: Path, **changes: Any) -> StyleRecipe:
    """See ``recipe_table``."""
    return make_recipe(recipe_table(folder, **changes))


class ToyTask:
    """The smallest thing that the loop trains: a line through noisy points, one number per picture seen."""

    def __init__(self, recipe: StyleRecipe) -> None:
        self.recipe, self.device = recipe, torch.device("cpu")
        torch.manual_seed(recipe.seed)
        line = nn.Linear(3, 1)
        line.register_buffer("calls", torch.zeros(()))
        self.modules: dict[str, nn.Module] = {"line": line}
        self.sampled: list[int] = []

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(1000 + step)
        x = torch.randn(16, 3, generator=random)
        return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1

    def loss(self, turn: str, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = batch
        line = self.modules["line"]
        with torch.no_grad():
            line.get_buffer("calls").add_(1)
        error = (line(x).float() - y).square().mean()
        return error, {"error": error}

    def sample(self, modules: Mapping[str, nn.Module]) -> NDArray[np.uint8]:
        self.sampled.append(int(modules["line"].get_buffer("calls")))
        return np.full((8, 8, 3), 128, np.uint8)
