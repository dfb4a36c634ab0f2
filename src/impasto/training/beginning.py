"""What a style-one run begins with: the base model, the painting, and the painting's code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import TrainingError
from impasto.runtime.picture import Picture
from impasto.runtime.style import Code, StyleModel
from impasto.training.recipe_one import OneRecipe


@dataclass(frozen=True, slots=True)
class Beginning:
    """See the module.

    Attributes:
        model: the base, of kind ``style``.
        painting: as its file has it.
        code: float32 [D], what the base's encoder says of the painting; it stays as it is.
    """

    model: StyleModel
    painting: Picture
    code: Code


def begin(recipe: OneRecipe) -> Beginning:
    """Open what the recipe names.

    Raises:
        PictureError: the painting cannot be read.
        BundleError, UnknownName: the base cannot be used.
        TrainingError: one of the two is not what the recipe was made for.
    """
    painting = Picture.open(recipe.data.painting)
    model = StyleModel.load(recipe.base, threads=1)  # small pictures, beside a training that has the cores
    if recipe.data.prints not in ("", prints(recipe.data.painting, model)):
        raise TrainingError(
            f"{Path(recipe.data.painting).name} or the model {Path(recipe.base).name} is not the one that this run was "
            "started with: put it back, or start anew with another --run folder."
        )
    return Beginning(model, painting, model.encode(painting, scale=recipe.data.scale))


def prints(painting: str | Path, model: StyleModel) -> str:
    """A digest of what a painting's file and a base model hold.

    Raises:
        TrainingError: the file cannot be read.
    """
    try:
        held = Path(painting).read_bytes()
    except OSError as error:
        raise TrainingError(f"{painting} cannot be read ({error.strerror}): check the path.") from error
    return hashlib.sha256(held + model.bundle.sha256.encode()).hexdigest()[:16]
