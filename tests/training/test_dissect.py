"""Models taken apart: the parts give what the whole gives, and each has a say of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo, make_style_bundle
from impasto.errors import TrainingError
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.dissect import Seen, SplitEncoder, SplitPainter
from training.whole import make_whole_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    return StyleModel.load(make_whole_bundle(tmp_path_factory.mktemp("whole")), threads=1)


PHOTO = Picture.from_array(drawn_photo(72, 64, seed=1))
PAINTING = Picture.from_array(drawn_photo(90, 70, seed=2))


def test_the_encoder_in_halves_gives_the_models_codes(model: StyleModel) -> None:
    encoder = SplitEncoder(model, threads=1)
    assert encoder.strides == (4, 8, 16)
    seen, code = encoder.look(PAINTING, 64), model.encode(PAINTING, scale=64)
    assert [len(layer) for layer in seen.layers] == [16, 16, 16] and len(seen.colors) == 9
    np.testing.assert_allclose(encoder.code(seen), code, atol=1e-5)
    encoder.check(seen, code)
    with pytest.raises(TrainingError, match=r"whole\.impasto cannot be explained .* codes that differ by"):
        encoder.check(seen, code + 1)


def test_each_layer_says_something(model: StyleModel) -> None:
    encoder = SplitEncoder(model, threads=1)
    own, other = encoder.look(PHOTO, 64), encoder.look(PAINTING, 64)
    np.testing.assert_allclose(encoder.code(own.towards(other, [1, 1, 1, 1])), encoder.code(other), atol=1e-4)
    np.testing.assert_array_equal(encoder.code(own.towards(other, [0, 0, 0, 0])), encoder.code(own))
    codes = [encoder.code(own.towards(other, [float(k == j) for j in range(4)])) for k in range(4)]
    for k, code in enumerate(codes):
        learnt = np.abs(code - encoder.code(own))[:-9].max()
        assert learnt > 1e-6 if k < 3 else learnt == 0  # colours are no part of the learnt half
    np.testing.assert_allclose(codes[3][-9:], encoder.code(other)[-9:], atol=1e-6)


def test_shares_are_as_many_as_parts() -> None:
    seen = Seen((np.zeros(2, np.float32),), np.zeros(9, np.float32))
    with pytest.raises(ValueError, match="zip"):
        seen.towards(seen, [1, 1, 1])


def test_the_painter_with_one_code_everywhere_is_the_painter(model: StyleModel) -> None:
    painter = SplitPainter(model, threads=1)
    assert painter.places == ("in", "block1", "up4", "at4", "up2", "up1", "colors")
    code = model.code("great-wave")
    painted = painter.paint(PHOTO, dict.fromkeys(painter.places, code))
    np.testing.assert_allclose(painted.rgb, model.paint(PHOTO, code).rgb, atol=1e-5)
    painter.check(painted, model.paint(PHOTO, code))
    with pytest.raises(TrainingError, match="paints otherwise by"):
        painter.check(painted, PHOTO)


def test_each_place_of_the_painter_acts(model: StyleModel) -> None:
    painter = SplitPainter(model, threads=1)
    own, code = model.code("the-scream"), model.code("starry-night")
    before = painter.paint(PHOTO, dict.fromkeys(painter.places, own))
    changed = [
        painter.paint(PHOTO, {key: code if key == place else own for key in painter.places}) for place in painter.places
    ]
    assert all(np.abs(picture.rgb - before.rgb).max() > 1e-5 for picture in changed)


def test_a_model_of_another_make_is_refused(tmp_path: Path) -> None:
    other = StyleModel.load(make_style_bundle(tmp_path / "other.impasto"), threads=1)
    for part in (SplitEncoder, SplitPainter):
        with pytest.raises(TrainingError, match=r"other\.impasto cannot be explained layer by layer \(its "):
            part(other)
