from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.errors import TrainingError
from impasto.training.data import EndlessSampler, ImageFolder, Prefetch, pattern_weights, random_square
from training.support import draw_folder


def photo(width: int = 80, height: int = 64, seed: int = 0) -> Image.Image:
    return Image.fromarray((drawn_photo(width, height, seed) * 255).astype(np.uint8))


# Folders ------------------------------------------------------------------------------------------------------------


def test_every_picture_below_the_folder_in_one_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.jpg", "a.PNG", "c.webp", "b/1.tif", "z.bmp"):
        photo().save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    photo().save(tmp_path / ".hidden.png")
    folder = ImageFolder(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in folder.files] == [
        "a.PNG",
        "b/1.tif",
        "b/2.jpg",
        "c.webp",
        "z.bmp",
    ]
    assert len(folder) == 5
    assert folder.skipped == {}


def test_unreadable_and_small_pictures_are_left_out_with_a_reason(tmp_path: Path) -> None:
    photo().save(tmp_path / "good.png")
    (tmp_path / "noise.jpg").write_bytes(b"this is no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    photo(80, 63).save(tmp_path / "flat.png")
    folder = ImageFolder(tmp_path, smallest=64)
    assert [path.name for path in folder.files] == ["good.png"]
    assert {path.name: reason for path, reason in folder.skipped.items()} == {
        "noise.jpg": "it cannot be read (UnidentifiedImageError)",
        "empty.png": "it cannot be read (UnidentifiedImageError)",
        "folder.png": "it cannot be read (IsADirectoryError)",
        "flat.png": "its short side of 63 px is below 64",
    }
    assert len(ImageFolder(tmp_path, smallest=63)) == 2


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^There is no folder .*nosuch: give a folder of pictures\.$"):
        ImageFolder(tmp_path / "nosuch")
    with pytest.raises(TrainingError, match=r"has no picture of at least 64 px a side \(0 passed over\): give"):
        ImageFolder(tmp_path)
    photo(20, 20).save(tmp_path / "small.png")
    with pytest.raises(TrainingError, match=r"\(1 passed over\)"):
        ImageFolder(tmp_path)


def test_pictures_are_upright_and_rgb(tmp_path: Path) -> None:
    upright = photo(80, 64)
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise, so it must be turned clockwise: 6
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.png", exif=exif)
    upright.convert("L").save(tmp_path / "b.png")
    with_alpha = upright.copy()
    with_alpha.putalpha(200)
    with_alpha.save(tmp_path / "c.png")
    upright.convert("CMYK").save(tmp_path / "d.tif")
    folder = ImageFolder(tmp_path)
    assert np.array_equal(folder.pixels(0), np.asarray(upright))
    assert np.array_equal(folder.pixels(2), np.asarray(upright)), "alpha is dropped, colours stay"
    grey = folder.pixels(1)
    assert grey.shape == (64, 80, 3) and np.array_equal(grey[..., 0], grey[..., 2])
    assert folder.pixels(3).dtype == np.uint8 and folder.pixels(3).shape == (64, 80, 3)


def test_statistics_are_of_the_whole_picture(tmp_path: Path) -> None:
    folder = ImageFolder(draw_folder(tmp_path, 1))
    exact = folder.pixels(0).astype(np.float64).reshape(-1, 3) / 255
    found = folder.stats(0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate((exact.mean(0), exact.std(0))), atol=1e-5)
    assert folder.stats(0) is found, "taken once"


def test_pictures_are_kept_while_they_fit(tmp_path: Path) -> None:
    draw_folder(tmp_path, 3, size=(80, 64))
    one = 80 * 64 * 3
    folder = ImageFolder(tmp_path, memory=2 * one)
    kept = [folder.pixels(i) for i in range(3)]
    assert folder.pixels(0) is kept[0] and folder.pixels(1) is kept[1]
    again = folder.pixels(2)
    assert again is not kept[2] and np.array_equal(again, kept[2])


def test_a_picture_that_breaks_or_vanishes_later_is_one_sentence(tmp_path: Path) -> None:
    photo(200, 200).save(tmp_path / "a.jpg", quality=95)
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) // 2])
    photo().save(tmp_path / "b.png")
    folder = ImageFolder(tmp_path)
    (tmp_path / "b.png").unlink()
    assert len(folder) == 2, "only headers are read at the start"
    for index, name in enumerate(("a.jpg", "b.png")):
        with pytest.raises(TrainingError, match=rf"{name} cannot be read \(.+\): mend or remove it\.$") as caught:
            folder.pixels(index)
        assert "\n" not in str(caught.value)


def test_crops(tmp_path: Path) -> None:
    photo(80, 64).save(tmp_path / "a.png")
    folder = ImageFolder(tmp_path)
    whole = folder.pixels(0)
    assert np.array_equal(folder.crop(0, (3.0, 5.0, 35.0, 37.0), 32), whole[5:37, 3:35])
    half = folder.crop(0, (0.0, 0.0, 64.0, 64.0), 32)
    means = whole[:, :64].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert half.shape == (32, 32, 3)
    assert np.abs(half - means).mean() < 3, "shrinking takes all pixels in"
    apart = folder.crop(0, (0.5, 0.5, 32.5, 32.5), 32)
    between = (whole[:32, :32].astype(float) + whole[1:33, 1:33] + whole[1:33, :32] + whole[:32, 1:33]) / 4
    assert np.abs(apart - between)[2:-2, 2:-2].mean() < 4, "fractions of a pixel count"
    assert folder.crop(0, (10.0, 10.0, 26.0, 26.0), 64).shape == (64, 64, 3)


def test_random_squares_lie_inside() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(500):
        left, top, right, bottom = random_square(rng, 80, 64, 60.5)
        assert left >= 0 and right <= 80 and top >= 0 and bottom <= 64
        assert right - left == bottom - top == 60.5
        seen.add((left, top))
    assert {left for left, _ in seen} == set(range(20)) and {top for _, top in seen} == {0.0, 1.0, 2.0, 3.0}
    assert random_square(rng, 80, 64, 500)[2:] <= (80, 64), "cut to the short side"
    assert random_square(rng, 64, 64, 64) == (0, 0, 64, 64)
    assert random_square(np.random.default_rng(5), 80, 64, 9) == random_square(np.random.default_rng(5), 80, 64, 9)


# The endless stream -------------------------------------------------------------------------------------------------


def test_every_round_is_a_permutation() -> None:
    sampler = EndlessSampler(7, seed=3)
    assert sampler.round == 7
    rounds = [[sampler[7 * epoch + k] for k in range(7)] for epoch in range(5)]
    assert all(sorted(order) == list(range(7)) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 5, "each in an order of its own"


def test_the_stream_is_a_function_of_seed_and_place() -> None:
    first = [EndlessSampler(50, 1)[k] for k in range(120)]
    sampler = EndlessSampler(50, 1)
    backwards = [sampler[k] for k in reversed(range(120))]
    assert first == backwards[::-1], "in whatever order it is asked"
    assert first != [EndlessSampler(50, 2)[k] for k in range(120)]
    # The numbers themselves: a change here would change what a resumed run sees.
    assert [EndlessSampler(10, 1)[k] for k in range(10)] == [EndlessSampler(10, 1, np.ones(10))[k] for k in range(10)]


def test_weights_are_frequencies() -> None:
    weights = np.array([2.0, 1.0, 0.5, 0.0, 1.7])
    sampler = EndlessSampler(5, 9, weights)
    assert sampler.round == 5
    rounds = 400
    count = Counter(sampler[k] for k in range(rounds * sampler.round))
    expected = weights * (5 / 5.2)
    for item, share in enumerate(expected):
        assert count[item] / rounds == pytest.approx(share, abs=0.06)
    assert count[3] == 0
    for epoch in range(20):
        one = Counter(sampler[5 * epoch + k] for k in range(5))
        for item, share in enumerate(expected):
            assert int(share) <= one[item] <= int(np.ceil(share)), "no more by chance than must be"


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_weights_that_cannot_be_used(weights: list[float]) -> None:
    with pytest.raises(TrainingError, match="The weights cannot be used"):
        EndlessSampler(2, 0, np.array(weights))


def test_nothing_to_sample() -> None:
    with pytest.raises(TrainingError):
        EndlessSampler(0, 0)


def test_pattern_weights() -> None:
    files = [Path(name) for name in ("x/cubism_1.jpg", "x/cubism_2.jpg", "x/baroque_1.jpg", "x/Other.jpg")]
    assert pattern_weights(files, {}).tolist() == [1, 1, 1, 1]
    found = pattern_weights(files, {"*_2.jpg": 5.0, "cubism_*": 2.0, "baroque_?.jpg": 0.5})
    assert found.tolist() == [2, 5, 0.5, 1], "the first that fits decides"
    with pytest.raises(TrainingError, match=r"pattern 'cubsim_\*' fits no file of x: correct it"):
        pattern_weights(files, {"cubism_*": 2.0, "cubsim_*": 2.0})
    with pytest.raises(TrainingError):
        pattern_weights(files, {"other.jpg": 2.0})  # letters are told apart on every system


# Making ahead -------------------------------------------------------------------------------------------------------


def test_prefetch_gives_everything_in_order_from_one_other_thread() -> None:
    makers = set()

    def make(index: int) -> int:
        makers.add(threading.get_ident())
        return index * index

    with Prefetch(make, 3) as items:
        stream = iter(items)
        assert [next(stream) for _ in range(50)] == [k * k for k in range(3, 53)]
    assert len(makers) == 1 and threading.get_ident() not in makers


def test_prefetch_works_ahead_but_not_endlessly() -> None:
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    with Prefetch(make, 0, ahead=2) as items:
        deadline = time.monotonic() + 10
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert made == [0, 1, 2], "two wait in line, one is held"
        assert next(iter(items)) == 0


@pytest.mark.parametrize("error", [TrainingError("no."), ValueError("odd"), KeyboardInterrupt()])
def test_an_error_comes_at_its_place(error: BaseException) -> None:
    def make(index: int) -> int:
        if index == 2:
            raise error
        return index

    with Prefetch(make, 0) as items:
        stream = iter(items)
        assert [next(stream), next(stream)] == [0, 1]
        with pytest.raises(type(error)) as caught:
            next(stream)
        assert caught.value is error
        items._thread.join(timeout=10)
        assert not items._thread.is_alive()


@pytest.mark.parametrize("taken", [0, 1, 10])
def test_close_ends_the_thread(taken: int) -> None:
    before = threading.active_count()
    items = Prefetch(lambda index: index, 0)
    stream = iter(items)
    assert [next(stream) for _ in range(taken)] == list(range(taken))
    assert threading.active_count() == before + 1
    started = time.monotonic()
    items.close()
    assert time.monotonic() - started < 5
    assert threading.active_count() == before
    items.close()  # twice is fine


def test_an_error_in_the_consumer_ends_the_thread_too() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Prefetch(lambda index: index, 0):
        _ = 1 / 0
    assert threading.active_count() == before
