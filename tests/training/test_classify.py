"""Classifiers of parts and classes, the judge of compositions, and what is counted with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from impasto.errors import TrainingError
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.training import measure_samples
from impasto.training.classify import Classifier, Eye, Lesson, held_out, seen, train_classifier
from impasto.training.conditional import measure_classes
from impasto.training.labelled import Head, Labelled, labelled_classes, labelled_parts
from impasto.training.layers import Layers
from impasto.training.nets.features import cache_folder
from impasto.training.parts import Judged, count_parts, judge, measure_parts

SIDE = 16
LAYERS = ("2#0body", "0#1hat", "1#2badge")
COUNTS = (3, 4, 3)
QUICK = Lesson(epochs=8, batch=16, width=8, lr=6e-3, noise=0.05, shift=0)
Pixels = NDArray[np.uint8]


def layer(part: int, value: int) -> Image.Image:
    """A coloured shape in its place; body values 0..2, hat 0..3 (3 is none), badge 0..2 (2 looks like 1)."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    if part == 0:
        rgba[6:, 2:14] = (*[(200, 40, 40), (40, 160, 40), (40, 40, 200)][value], 255)
    elif part == 1 and value < 3:
        rgba[1 : 3 + value, 4 : 8 + 2 * value] = (250 - 100 * value, 120 * value, 60, 255)
    elif part == 2:
        rgba[9:13, 6 + 3 * (value > 0) : 9 + 3 * (value > 0)] = (255, 255, 0, 255) if value else (255, 255, 255, 255)
    return Image.fromarray(rgba)


def write_layers(folder: Path) -> Path:
    for part, (name, count) in enumerate(zip(LAYERS, COUNTS, strict=True)):
        (folder / name).mkdir(parents=True)
        for value in range(count):
            layer(part, value).save(folder / name / f"{value:03d}.png")
    return folder


def composed(values: Sequence[int], ground: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (SIDE, SIDE), (*ground, 255))
    for part, value in enumerate(values):
        image.alpha_composite(layer(part, value))
    return image.convert("RGB")


def write_compositions(folder: Path, count: int, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines = ["\t".join(["file", "variant", *LAYERS])]
    for i in range(count):
        values = [int(random.integers(n)) for n in COUNTS]
        composed(values, tuple(map(int, random.integers(120, 255, 3)))).save(folder / f"{i:05d}.png")
        lines.append("\t".join([f"{i:05d}.png", "0", *map(str, values)]))
    (folder / "factors.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def layers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layers(tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="module")
def compositions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_compositions(tmp_path_factory.mktemp("parts") / "set", 240)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for the whole module, so that the classifier is trained once."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(autouse=True)
def _shared_cache(_own_cache: None, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(shelf))


@pytest.fixture
def labelled(compositions: Path) -> Labelled:
    return labelled_parts(compositions, SIDE, SIDE)


# Labels --------------------------------------------------------------------------------------------------------------


def test_parts_of_compositions(labelled: Labelled) -> None:
    assert [head.name for head in labelled.heads] == list(LAYERS), "variant has one value: nothing is asked"
    assert [len(head.values) for head in labelled.heads] == list(COUNTS)
    shown = labelled.pictures.arrays(labelled.rows[:5])
    for picture, values in zip(shown, labelled.labels, strict=False):
        np.testing.assert_array_equal(picture, np.asarray(composed(values, tuple(picture[0, 0]))))


def test_values_are_ordered_as_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
    (folder / "factors.tsv").write_text("file\tkind\n0.png\t10\n1.png\t9\n2.png\tnone\nlost.png\t1\n")
    found = labelled_parts(folder, 8, 8)
    assert found.heads == (Head("kind", ("9", "10", "none")),)
    assert found.labels.tolist() == [[1], [0], [2]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "There is no .*factors.tsv"),
        ("file\n0.png\n", "not a table"),
        ("file\tkind\n0.png\n", "not a table"),
        ("file\tkind\nx.png\t1\ny.png\t2\n", "names none of the pictures"),
        ("file\tkind\n0.png\t1\n1.png\t1\n", "no column with two values"),
        ("", "cannot be read"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str | None, error: str) -> None:
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
    if text is not None:
        (tmp_path / "factors.tsv").write_text(text)
    with pytest.raises(TrainingError, match=error):
        labelled_parts(tmp_path, 8, 8)


# The classifier ------------------------------------------------------------------------------------------------------


def test_the_classifier_reads_parts(labelled: Labelled, layers_folder: Path) -> None:
    """Value 2 of the badge is the picture of value 1: put together, all is learnt; left apart, it cannot be."""
    merged = Layers(layers_folder, labelled.heads, SIDE, SIDE).relabel(labelled)
    told: list[Progress] = []
    found = train_classifier(merged, QUICK, progress=told.append)
    assert found.tested == 24
    assert min(found.accuracy.values()) > 0.9, found.accuracy
    assert told[-1].done == told[-1].total == 8 * (216 // 16)
    values, belief = found.read(merged.pictures.arrays(merged.rows))
    assert (values == merged.labels).mean() > 0.95
    assert belief.shape == (240, 3) and 0.3 < belief.min() <= belief.max() <= 1
    told.clear()
    again = train_classifier(merged, QUICK, progress=told.append)
    assert not told and again.accuracy == found.accuracy
    np.testing.assert_array_equal(again.read(merged.pictures.arrays(merged.rows))[1], belief)


def test_training_is_repeatable_and_a_broken_cache_no_harm(labelled: Labelled, tmp_path: Path) -> None:
    short = replace(QUICK, epochs=1)
    before = torch.random.get_rng_state()
    first, second = (train_classifier(labelled, short, cache=tmp_path / name) for name in ("a", "b"))
    assert torch.equal(torch.random.get_rng_state(), before), "nobody else's random numbers are touched"
    states = first.eye.state_dict(), second.eye.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    (kept,) = (tmp_path / "a" / "classifiers").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    third = train_classifier(labelled, short, cache=tmp_path / "a").eye.state_dict()
    assert all(torch.equal(states[0][name], third[name]) for name in third)
    other = train_classifier(labelled, replace(short, seed=1), cache=tmp_path / "a").eye.state_dict()
    assert not torch.equal(other["answers.weight"], third["answers.weight"])


def test_what_is_tested_is_not_learnt_from() -> None:
    learnt, tested = held_out(100, Lesson())
    assert len(tested) == 10 and sorted([*learnt, *tested]) == list(range(100))


def test_batches_do_not_matter(labelled: Labelled) -> None:
    torch.manual_seed(0)
    eye = Eye(3, SIDE, SIDE, [3, 4, 3], 8).eval()
    classifier = Classifier(eye, labelled.heads, SIDE, SIDE, 3, {}, 0)
    pictures = labelled.pictures.arrays(labelled.rows[:20])
    whole = classifier.read(pictures)
    for i in range(20):
        values, belief = classifier.read(pictures[i : i + 1])
        assert (values == whole[0][i]).all()
        np.testing.assert_allclose(belief[0], whole[1][i], rtol=1e-5)
    assert classifier.read(pictures[:0])[0].shape == (0, 3)
    with pytest.raises(TrainingError, match="takes pictures of 16x16x3, not 16x16x1"):
        classifier.read(pictures[..., :1])


def test_large_pictures_are_averaged() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 128, 100, 3), dtype=np.uint8)
    assert seen(pictures).shape == (2, 3, 64, 50)
    assert float(seen(pictures)[1, 2, 5, 7]) == pytest.approx(pictures[1, 10:12, 14:16, 2].mean() / 127.5 - 1, abs=1e-5)
    assert seen(pictures[:, :64, :60]).shape == (2, 3, 64, 60)


def test_too_few_pictures(labelled: Labelled) -> None:
    with pytest.raises(TrainingError, match="too few for a classifier: give 400 or more"):
        train_classifier(labelled, Lesson(batch=200))
    with pytest.raises(TrainingError, match="other classes"):
        train_classifier(labelled, QUICK, test=replace(labelled, heads=labelled.heads[:2]))


# The judge -----------------------------------------------------------------------------------------------------------


def test_compositions_are_made_again(labelled: Labelled, layers_folder: Path) -> None:
    layers = Layers(layers_folder, labelled.heads, SIDE, SIDE)
    assert layers.heads[2] == Head(LAYERS[2], ("0", "1=2"))
    assert layers.heads[:2] == labelled.heads[:2]
    merged = layers.relabel(labelled)
    pictures = merged.pictures.arrays(merged.rows[:40])
    ground = (pictures[:, 0, 0] / np.float32(255)).astype(np.float32)
    again = layers.compose(layers.stacks(merged.labels[:40]), ground)
    np.testing.assert_allclose(again * 255, pictures, atol=1.01)
    there, visible = layers.drawn(pictures, merged.labels[:40])
    assert there.all() and visible.all(), "also the hat that is none"


@pytest.mark.parametrize("part", range(3))
def test_a_part_that_is_not_there_is_noticed(labelled: Labelled, layers_folder: Path, part: int) -> None:
    layers = Layers(layers_folder, labelled.heads, SIDE, SIDE)
    values = np.array([[1, 1, 0]])
    bare = Image.new("RGBA", (SIDE, SIDE), (200, 210, 220, 255))
    for number, value in enumerate(values[0]):
        if number != part:
            bare.alpha_composite(layer(number, value))
    there, visible = layers.drawn(np.asarray(bare.convert("RGB"))[None], values)
    assert visible.all()
    assert there.tolist() == [[number != part for number in range(3)]]


def test_noise_is_forgiven_and_blends_are_not(labelled: Labelled, layers_folder: Path) -> None:
    layers = Layers(layers_folder, labelled.heads, SIDE, SIDE)
    one, other = (np.asarray(composed(v, (200, 210, 220)), np.float64) for v in ([1, 1, 0], [1, 0, 1]))
    noise = np.random.default_rng(0).normal(0, 12, one.shape)
    values = np.array([[1, 1, 0]])
    assert layers.drawn((one + noise).clip(0, 255).astype(np.uint8)[None], values)[0].all()
    blend = ((one + other) / 2).astype(np.uint8)[None]
    assert layers.drawn(blend, values, np.array([[0, 0, 1]]))[0].tolist() == [[True, False, False]]
    assert layers.drawn(one.astype(np.uint8)[None], values, np.array([[0, 0, 1]]))[0].all()
    # Between hats of like shape and colour only the other hat tells: without it the blend passes for either.
    assert layers.drawn(blend, values)[0].tolist() == [[True, True, False]]


def test_a_hidden_part_is_neither_drawn_nor_missing(tmp_path: Path) -> None:
    for name, size in (("1#0low", 4), ("0#1high", 8)):
        (tmp_path / name).mkdir()
        for value in range(2):
            rgba = np.zeros((8, 8, 4), np.uint8)
            rgba[:size, :size] = (255 * value, 90, 0, 255)
            Image.fromarray(rgba).save(tmp_path / name / f"{value}.png")
    heads = Head("low", ("0", "1")), Head("high", ("0", "1"))
    layers = Layers(tmp_path, heads, 8, 8)
    picture = np.asarray(Image.open(tmp_path / "0#1high" / "1.png").convert("RGB"))[None]
    values = np.array([[0, 1]])
    there, visible = layers.drawn(picture, values)
    assert there.all() and visible.tolist() == [[False, True]]

    class Reader:
        def guesses(self, pictures: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            return np.stack((values, 1 - values), 2), np.array([[0.4, 0.9]], np.float32)

    judged = judge(Reader(), layers, picture)  # type: ignore[arg-type]
    assert judged.valid.tolist() == [True] and judged.drawn.tolist() == [[False, True]]
    alone = judge(Reader(), None, picture)  # type: ignore[arg-type]
    assert alone.valid.tolist() == [False] and alone.drawn.tolist() == [[False, True]]


def test_variants_and_other_sizes(tmp_path: Path) -> None:
    """Each variant has layers of its own; a layer of one picture is in every composition; larger layers are reduced."""
    for variant, blue in (("azure", 255), ("black", 0)):
        for name, count in (("000#Zebra", 2), ("001#Base", 1)):
            (tmp_path / variant / name).mkdir(parents=True)
            for value in range(count):
                rgba = np.zeros((16, 16, 4), np.uint8)
                top = 0 if name == "001#Base" else 8
                rgba[top : top + 8] = (200 * value, 100, blue, 255)
                Image.fromarray(rgba).save(tmp_path / variant / name / f"{value}.png")
    heads = Head("variant", ("0", "1")), Head("Zebra", ("0", "1"))
    layers = Layers(tmp_path, heads, 8, 8)
    made = layers.compose(layers.stacks(np.array([[0, 1], [1, 0]])), np.zeros((2, 3), np.float32))
    assert made.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(made[0, 0, 0] * 255, [0, 100, 255], atol=0.1)
    np.testing.assert_allclose(made[0, 7, 7] * 255, [200, 100, 255], atol=0.1)
    np.testing.assert_allclose(made[1, 7, 7] * 255, [0, 100, 0], atol=0.1)
    for wrong in (heads[:1], (*heads, Head("More", ("0", "1"))), (heads[0], Head("Zebra", ("0", "2")))):
        with pytest.raises(TrainingError, match="does not hold a folder of layers"):
            Layers(tmp_path, wrong, 8, 8)
    with pytest.raises(TrainingError, match="does not hold a folder of layers"):
        Layers(tmp_path / "nosuch", heads, 8, 8)


def test_counting_by_hand() -> None:
    heads = Head("a", ("x", "y")), Head("b", ("0", "1", "2"))
    values = np.array([[0, 0], [0, 1], [1, 1], [1, 2], [0, 0]])
    drawn = np.array([[True, True], [True, True], [False, True], [False, False], [True, True]])
    found = count_parts(Judged(values, drawn, drawn.all(1)), heads)
    assert found["values"] == {"a": (1, 2), "b": (2, 3)}
    assert found["missing"] == {"a": ["y"], "b": ["2"]}
    assert found["pairs"] == (2, 6)
    assert found["pairs_by_chance"] == round(6 * (1 - (5 / 6) ** 5), 1)


@pytest.mark.parametrize("with_layers", [True, False])
def test_a_folder_of_samples(
    compositions: Path, layers_folder: Path, tmp_path: Path, with_layers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A "generator" that never draws hat 2, and whose every fourth sample is a blend of two."""
    monkeypatch.setattr("impasto.training.parts.BELIEF_ALONE", 0.6)  # the quick lesson leaves some doubt
    random = np.random.default_rng(9)
    made = tmp_path / "made"
    made.mkdir()
    for i in range(80):
        values = [[int(random.integers(3)), [0, 1, 3][int(random.integers(3))], int(random.integers(2))] for _ in "ab"]
        one, other = (np.asarray(composed(v, (180, 200, 220)), np.uint16) for v in values)
        Image.fromarray((one if i % 4 else (one + other) // 2).astype(np.uint8)).save(made / f"{i:03d}.png")
    found = measure_parts(made, compositions, layers=layers_folder if with_layers else None, count=80, lesson=QUICK)
    assert found.with_layers == with_layers and found.samples == 80
    if not with_layers:  # badges 1 and 2 cannot be told apart, so there is much doubt
        assert found.accuracy[LAYERS[2]] < 0.95
        return
    assert found.values[LAYERS[0]] == (3, 3)
    assert found.values[LAYERS[1]] == (3, 4) and found.missing == {LAYERS[1]: ["2"]}
    assert found.values[LAYERS[2]] == (2, 2)
    assert 0.65 < found.valid < 0.85
    assert found.valid_real > 0.9 and found.valid_blends < 0.3
    assert found.pairs == (3 * 3 + 3 * 2 + 3 * 2, 3 * 4 + 3 * 2 + 4 * 2)
    assert found.to_fields()["tested"] == 24


# Classes -------------------------------------------------------------------------------------------------------------


def stroke(digit: int, random: np.random.Generator) -> Pixels:
    """uint8 [12,12]: a line down, a line across, or a square, not always in the same place."""
    image = np.zeros((12, 12), np.uint8)
    y, x = random.integers(0, 4, 2)
    if digit == 0:
        image[y : y + 8, x + 3 : x + 5] = 255
    elif digit == 1:
        image[y + 3 : y + 5, x : x + 8] = 255
    else:
        image[y + 1 : y + 7, x + 1 : x + 7] = 255
    return image


def write_digits(path: Path, count: int, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    np.savez(path, images=np.stack([stroke(label, random) for label in labels]), labels=labels)
    return path


class Drawer:
    """A generator of strokes that draws "2" for every second "1" it is asked for."""

    height, width, channels = 12, 12, 1
    classes: tuple[str, ...] = ("0", "1", "2")

    @classmethod
    def load(cls, name: str) -> Drawer:
        return cls()

    def sample(self, seed: int, count: int, *, classes: Sequence[str] | None, truncation: float) -> list[Picture]:
        assert classes is not None and len(classes) == count
        drawn = []
        for i, name in enumerate(classes):
            digit = 2 if name == "1" and (seed + i) % 2 else int(name)
            drawn.append(Picture.from_array(stroke(digit, np.random.default_rng(seed + i))[..., None]))
        return drawn


def test_conditional_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_samples, "Generator", Drawer)
    data, test = write_digits(tmp_path / "train.npz", 200), write_digits(tmp_path / "test.npz", 45, seed=5)
    lesson = replace(QUICK, epochs=4, shift=1)
    found = measure_classes("strokes", data, test=test, count=90, lesson=lesson)
    assert (found.tested, found.samples) == (45, 90)
    assert found.classifier > 0.95
    assert found.by_class["0"] > 0.9 and found.by_class["2"] > 0.9
    assert found.by_class["1"] == pytest.approx(0.5, abs=0.1)
    assert found.accuracy == pytest.approx(np.mean(list(found.by_class.values())))
    # A folder of pictures, some of them in the wrong sub-folder.
    random = np.random.default_rng(3)
    for i in range(60):
        folder = tmp_path / "made" / str(i % 3)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stroke(0 if i < 6 else i % 3, random)).save(folder / f"{i:02d}.png")
    folder_found = measure_classes(tmp_path / "made", data, test=test, count=60, lesson=lesson)
    assert folder_found.accuracy == pytest.approx(56 / 60, abs=0.05)

    monkeypatch.setattr(Drawer, "classes", ())
    with pytest.raises(TrainingError, match=r"strokes has no classes, and .*train.npz has 0, 1, 2"):
        measure_classes("strokes", data)
    monkeypatch.setattr(Drawer, "classes", ("0", "1", "3"))
    with pytest.raises(TrainingError, match="strokes draws 0, 1, 3"):
        measure_classes("strokes", data)


def test_data_without_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", images=np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(TrainingError, match="no two classes"):
        labelled_classes(tmp_path / "plain.npz", 8, 8)


def test_classifiers_are_kept_in_the_cache(labelled: Labelled) -> None:
    train_classifier(labelled, replace(QUICK, epochs=1, width=4))
    assert {path.suffix for path in (cache_folder() / "classifiers").iterdir()} == {".safetensors"}
