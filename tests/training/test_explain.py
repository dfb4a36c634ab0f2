"""What a style did to a photo, of an untrained painter and random features: the book-keeping, not the taste."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import drawn_photo
from impasto.errors import PictureError, TrainingError, UnknownName
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training.explain import explain_style
from impasto.training.explanation import STRENGTHS, Explanation
from impasto.training.nets.features import load_vgg
from training.support import LAYERS
from training.whole import make_whole_bundle

PHOTO = Picture.from_array(drawn_photo(64, 48, seed=1))
PAINTING = Picture.from_array(drawn_photo(80, 64, seed=2))
SEEN = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    return StyleModel.load(make_whole_bundle(tmp_path_factory.mktemp("whole")), threads=1)


@pytest.fixture(scope="module")
def found(model: StyleModel, vgg_weights: Path) -> Explanation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPASTO_VGG16", str(vgg_weights))
        return explain_style(model, PHOTO, PAINTING, scale=SEEN, layers=LAYERS, threads=1)


def test_all_parts_are_there(found: Explanation) -> None:
    assert [source.key for source in found.sources] == ["stats4", "stats8", "stats16", "colors"]
    assert all(len(source.sweep) == len(STRENGTHS) for source in found.sources)
    assert [place.key for place in found.places] == ["in", "block1", "up4", "at4", "up2", "up1", "colors"]
    assert found.remarks == () and found.painting is not None and found.painting.size == PAINTING.size


def test_the_full_style_is_what_the_model_paints(found: Explanation, model: StyleModel) -> None:
    code = model.encode(PAINTING, scale=SEEN)
    np.testing.assert_allclose(found.painted.picture.rgb, model.paint(PHOTO, code).rgb, atol=1e-5)
    assert found.painted.figures["change"] == pytest.approx(1) and found.own.figures["change"] == 0
    assert found.together[-1] is found.painted


def test_a_part_that_moves_further_changes_more(found: Explanation) -> None:
    colors = found.sources[-1]
    changes = [variant.figures["change"] for variant in colors.sweep]
    assert changes == sorted(changes) and 0 < changes[0] < changes[-1]
    assert colors.without.figures["change"] > 0


def test_the_gap_is_the_loss_over_that_of_the_photo(found: Explanation, vgg_weights: Path) -> None:
    assert [one.layer for one in found.left] == list(LAYERS)
    before, after = (sum(getattr(one, name) for one in found.left) for name in ("before", "after"))
    assert found.painted.figures["style_gap"] == pytest.approx(after / before, rel=1e-3)
    for one in found.left:
        assert one.places.mean() == pytest.approx(one.after, rel=1e-3)
        assert found.painted.figures[f"style_gap_{one.layer}"] == pytest.approx(one.after / one.before, rel=1e-3)
        assert 0 < one.half_lies_in <= 0.5
    assert load_vgg("vgg16", LAYERS, weights=vgg_weights).layers == LAYERS


def test_strokes_are_looked_for_in_the_painting(found: Explanation) -> None:
    assert found.strokes is not None
    assert found.strokes.found.theirs_shape == (16, 20) and found.strokes.found.ours_shape == (12, 16)
    assert -1 <= found.strokes.similarity <= 1 and 0 < found.strokes.used <= 1
    assert found.strokes.similarity == pytest.approx(float(found.strokes.found.similarity.mean()))
    assert 0 < len(found.strokes.pairs) <= 6


def test_the_figures_are_json(found: Explanation) -> None:
    fields = json.loads(json.dumps(found.to_fields(), allow_nan=False))
    assert fields["size"] == [64, 48] and fields["network"] == "vgg16"
    assert set(fields["sources"]["stats8"]["without"]) == {
        "change",
        "style_gap",
        *(f"style_gap_{layer}" for layer in LAYERS),
        "content_distance",
    }
    assert set(fields["loss_left"]) == set(LAYERS) and fields["strokes"]["layer"] == "relu3_1"


def test_of_a_code_strokes_and_colours_are_told_apart(model: StyleModel) -> None:
    clear = Picture(PHOTO.rgb, np.full(PHOTO.rgb.shape[:2], 0.5, np.float32))
    reports = []
    found = explain_style(model, clear, "great-wave", threads=1, progress=reports.append)
    assert [source.key for source in found.sources] == ["strokes", "colors"]
    assert found.painting is None and found.left == () and found.strokes is None
    assert set(found.painted.figures) == {"change"}
    assert [remark[:11] for remark in found.remarks] == ["The photo's", "The paintin"]
    assert found.photo.alpha is None and found.photo.rgb.min() >= 0.5
    assert len(reports) == reports[0].total
    # Strokes and colours are all of a code: one by itself is the other left out.
    strokes, colors = found.sources
    np.testing.assert_allclose(strokes.sweep[-1].picture.rgb, colors.without.picture.rgb, atol=1e-6)


def test_what_cannot_be_explained(model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match="64x32 at the size it is explained at, and its shorter side needs 48"):
        explain_style(model, Picture.from_array(drawn_photo(128, 64)), PAINTING, size=64)
    with pytest.raises(UnknownName, match="no feature network called 'vgg61'"):
        explain_style(model, PHOTO, PAINTING, network="vgg61", scale=SEEN, threads=1)
    with pytest.raises(UnknownName, match="no style called"):
        explain_style(model, PHOTO, "great-wav", threads=1)
    monkeypatch.setitem(model._graphs, "painter", "painter_int8")
    with pytest.raises(TrainingError, match="load it in fp32"):
        explain_style(model, PHOTO, "great-wave", threads=1)
