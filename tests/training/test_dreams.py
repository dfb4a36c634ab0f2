"""What a model dreams by, learnt from a folder of paintings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import CODE_SIZE, make_style_bundle
from impasto.errors import BundleError, EngineError, TrainingError
from impasto.progress import Progress, silent
from impasto.runtime.archive import parse_table
from impasto.runtime.bundle import MANIFEST, Bundle
from impasto.runtime.dream import BOUNDS, MEANS, ROOTS, TABLES, WEIGHTS, can_dream, dream, to_coordinates
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.training import dreams as module
from impasto.training.dreams import LEAST, add_dreams, dream_tables, learn_dreams
from impasto.training.export import _dreams
from training.support import draw_folder, tiny_recipe


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("many") / "paintings", LEAST + 4, size=(70, 66), seed=200)


@pytest.fixture(scope="module")
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


def codes(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random codes with colours that can be."""
    random = np.random.default_rng(seed)
    strokes = random.standard_normal((count, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    return np.float32(
        np.concatenate([strokes, random.uniform(0.2, 0.8, (count, 3)), 0.1 + strokes[:, [0] * 3] ** 2 / 50], 1)
    )


def test_the_mixture_is_that_of_the_coordinates() -> None:
    given = codes(500)
    tables = dream_tables(given, 6)
    assert tuple(tables) == TABLES and all(table.dtype == np.float32 for table in tables.values())
    points = to_coordinates(given, 6)
    mean = tables[WEIGHTS] @ tables[MEANS]
    np.testing.assert_allclose(mean, points.mean(0), atol=0.1)
    if len(tables[WEIGHTS]) == 1:
        covariance = tables[ROOTS][0] @ tables[ROOTS][0].T
        np.testing.assert_allclose(covariance[:2, :2], np.cov(points[:, :2].T), atol=0.08)
    np.testing.assert_allclose(tables[BOUNDS][0], np.quantile(points, 0.005, axis=0), atol=1e-6)
    np.testing.assert_allclose(tables[BOUNDS][1], np.quantile(points, 0.995, axis=0), atol=1e-6)


def test_odd_paintings_have_no_component_of_their_own() -> None:
    given = codes(600)
    given[:6, 0] += 60  # 1 % of the paintings, far away from all others
    tables = dream_tables(given, 6)
    assert tables[WEIGHTS].min() >= module.SMALLEST and tables[WEIGHTS].sum() == pytest.approx(1)
    assert np.abs(tables[MEANS][:, 0]).max() < 5
    assert len(dream_tables(codes(600), 6)[WEIGHTS]) >= 1


def test_a_folder_is_learnt_from(model: StyleModel, paintings: Path) -> None:
    seen: list[Progress] = []
    tables = learn_dreams(model, paintings, progress=seen.append)
    assert tuple(tables) == TABLES and len(seen) == LEAST + 4
    files = sorted(paintings.iterdir())
    every = np.stack([model.encode(Picture.open(path), scale=round(2**0.5 * 66)) for path in files])
    for name, table in dream_tables(every, 6).items():
        assert np.array_equal(parse_table(tables[name], name), table), name
    assert learn_dreams(model, paintings) == tables, "the same every time"


def test_an_even_choice_is_made(model: StyleModel, paintings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    before = Picture.open

    def listen(source: Any, **options: Any) -> Picture:
        opened.append(Path(source).stem)
        return before(source, **options)

    monkeypatch.setattr(Picture, "open", listen)
    monkeypatch.setattr(module, "LEAST", 3)
    learn_dreams(model, paintings, count=6)
    assert opened == ["002", "006", "010", "014", "018", "022"]


def test_what_was_shown_more_often_counts_for_more(paintings: Path, tmp_path: Path) -> None:
    recipe = {"data": {"weights": {"00?.png": 3.0, "01*": 0.0, "nosuch*": 9.0}}}
    weighted = StyleModel.load(make_style_bundle(tmp_path / "weighted.impasto", recipe=recipe))
    files = sorted(paintings.iterdir())
    weights = module._weights(weighted, files)
    assert weights.tolist() == [3.0] * 10 + [0.0] * 10 + [1.0] * 4
    chosen = module._evenly(weights, 34)
    assert [chosen.count(k) for k in range(24)] == [3] * 10 + [0] * 10 + [1] * 4
    plain = StyleModel.load(make_style_bundle(tmp_path / "plain.impasto", recipe={"data": {"weights": {"*": 0.0}}}))
    assert module._weights(plain, files).tolist() == [1.0] * 24


def test_damaged_paintings_are_passed_over(model: StyleModel, paintings: Path, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "some", LEAST, size=(70, 66), seed=200)
    (folder / "zz.png").write_bytes((folder / "000.png").read_bytes()[:500])
    assert set(learn_dreams(model, folder)) == set(TABLES)
    (folder / "000.png").unlink()
    with pytest.raises(TrainingError, match=rf"{LEAST - 1} paintings are too few to dream by: let it look at"):
        learn_dreams(model, folder)
    with pytest.raises(TrainingError, match="There is no folder"):
        learn_dreams(model, tmp_path / "nowhere")


def test_an_encoder_that_fails_is_not_a_damaged_painting(
    model: StyleModel, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fail(*_: Any, **__: Any) -> Any:
        nonlocal calls
        calls += 1
        raise EngineError("onnxruntime cannot run the graph: get the model again.")

    monkeypatch.setattr(StyleModel, "encode", fail)
    with pytest.raises(EngineError, match="get the model again"):
        learn_dreams(model, paintings)
    assert calls == 1, "it would fail for all of them"
    with pytest.raises(EngineError):  # nor does the exporter make a note of it and go on
        _dreams(tiny_recipe(paintings.parent), model, 1000, silent)


def test_a_model_is_given_dreams_and_stays_what_it_was(style_bundle: Path, paintings: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "dreamer.impasto"
    add_dreams(style_bundle, paintings, out)
    old, new = Bundle.open(style_bundle), Bundle.open(out)
    assert set(new.members) - set(old.members) == set(TABLES)
    assert all(new.read(name) == old.read(name) for name in old.members if name != MANIFEST)
    assert replace(new.manifest, members={}) == replace(old.manifest, members={})
    model = StyleModel.load(out)
    assert can_dream(model) and dream(model, 11, 3).shape == (3, CODE_SIZE)
    again = out.read_bytes()
    add_dreams(out, paintings, out, overwrite=True)
    assert out.read_bytes() == again, "of a model that could dream before"


def test_what_would_fail_later_is_said_at_once(
    style_bundle: Path, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "learn_dreams", lambda *_, **__: pytest.fail("minutes of work"))
    there = tmp_path / "there.impasto"
    there.write_bytes(b"precious")
    with pytest.raises(BundleError, match="exists already"):
        add_dreams(style_bundle, paintings, there)
    assert there.read_bytes() == b"precious"
    with pytest.raises(BundleError, match="must end in"):
        add_dreams(style_bundle, paintings, tmp_path / "there.zip")


def test_the_exporter_uses_the_recipes_paintings(model: StyleModel, paintings: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(paintings.parent)
    tables, notes = _dreams(recipe, model, 1000, silent)
    assert tables == learn_dreams(model, paintings) and notes == ()
    tables, notes = _dreams(tiny_recipe(tmp_path), model, 1000, silent)
    assert tables == {} and "cannot dream" in notes[0] and "impasto models dream" in notes[0]
