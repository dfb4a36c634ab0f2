from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from drawing import deep_noise, deep_png
from helpers import drawn_photo
from impasto.errors import TrainingError, UnknownName
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.training import picture_table
from impasto.training.picture_table import LUMA, fit
from impasto.training.pictures import PictureSet


def photo(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    return Image.fromarray((drawn_photo(width, height, seed) * 255).round().astype(np.uint8))


def draw(folder: Path, count: int, *, width: int = 24, height: int = 16, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        photo(i, width, height).save(folder / f"{i:03d}.png")
    return folder


def small_set(folder: Path, height: int = 8, width: int = 8, **options: Any) -> PictureSet:
    return PictureSet(folder, height, width, **{"minimum": 1} | options)


def pixels_of(picture: PictureSet, index: int = 0) -> NDArray[np.float64]:
    return picture.array(index).astype(np.float64)


# Rows ---------------------------------------------------------------------------------------------------------------


def lanczos_twin(plane: NDArray[np.float64], size: int, start: float, length: float) -> NDArray[np.float64]:
    """``length`` rows of a plane [n,...] from ``start`` on brought to ``size``: sinc(x) sinc(x/3), wider to shrink."""
    scale = length / size
    out = []
    for i in range(size):
        x = (np.arange(len(plane)) + 0.5 - start - (i + 0.5) * scale) / max(1.0, scale)
        weight = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
        out.append(np.tensordot(weight / weight.sum(), plane, 1))
    return np.array(out)


def test_a_row_is_the_centre_cut_to_the_aspect_and_resized_with_an_antialiased_filter() -> None:
    rgb = drawn_photo(60, 32, seed=3).astype(np.float32)
    row = fit(Picture.from_array(rgb), 8, 8)
    down = lanczos_twin(rgb.astype(np.float64), 8, 0, 32)
    slow = lanczos_twin(down.swapaxes(0, 1), 8, 14, 32).swapaxes(0, 1)
    assert row.shape == (8, 8, 4) and row.dtype == np.uint8
    assert np.abs(row[..., :3] - np.clip(slow, 0, 1) * 255).max() <= 0.51
    assert (row[..., 3] == 255).all()


def test_shrinking_leaves_no_moire_and_an_equal_size_changes_nothing() -> None:
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1
    shrunk = fit(Picture.from_array(stripes), 21, 21)[..., :3].astype(int)
    assert np.abs(shrunk[:, 2:-2] - 127.5).max() < 12, "stripes too fine to show become an even grey"
    same = photo(1, 24, 16)
    assert np.array_equal(fit(Picture.from_pil(same), 16, 24)[..., :3], np.asarray(same))


@pytest.mark.parametrize("size", [(31, 17), (17, 31), (7, 9), (100, 3), (1, 1)])
def test_any_shape_fits_a_rectangle(size: tuple[int, int]) -> None:
    plain = np.full((size[1], size[0], 3), 0.4, np.float32)
    assert np.array_equal(fit(Picture.from_array(plain), 16, 12)[..., :3], np.full((16, 12, 3), 102))


def test_what_lies_under_transparent_pixels_never_shows() -> None:
    rgba = np.zeros((32, 32, 4), np.float32)
    rgba[..., 0] = 1  # red below, transparent
    rgba[8:24, 8:24] = (0, 0, 1, 1)  # a blue square
    row = fit(Picture.from_array(rgba), 9, 9)  # 9 does not divide 32: edges are mixed
    seen = row[row[..., 3] > 0]
    assert ((row[..., 3] > 0) & (row[..., 3] < 255)).any()
    assert (seen[:, 0] == 0).all() and (seen[:, 2] > 250).all()
    assert (row[[0, -1], :, 3] == 0).all() and (row[3:6, 3:6, 3] == 255).all(), "no rings around or in the square"
    white = fit(Picture.from_array(rgba), 9, 9, ground=1.0)
    assert (white[..., 3] == 255).all() and (white[0, 0, :3] == 255).all()
    assert white[4, 4, 2] == 255 and white[4, 4, 0] < 20


# Folders ------------------------------------------------------------------------------------------------------------


def test_rows_names_and_batches(tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", 5)
    (folder / "notes.txt").write_text("no picture")
    photo(9).save(folder / ".hidden.png")
    (folder / ".thumbnails").mkdir()
    photo(9).save(folder / ".thumbnails" / "x.png")
    pictures = small_set(folder, 12, 8)
    assert len(pictures) == 5 and pictures.names == tuple(f"{i:03d}.png" for i in range(5))
    assert pictures.array(3).shape == (12, 8, 3) and pictures.array(3).dtype == np.uint8
    assert np.array_equal(pictures.array(3), fit(Picture.open(folder / "003.png"), 12, 8)[..., :3])
    batch = pictures.arrays([3, 0, 3])
    assert batch.shape == (3, 12, 8, 3) and np.array_equal(batch[2], pictures.array(3))
    batch[:] = 0
    assert pictures.array(3).any(), "a batch is a copy"
    assert pictures.skipped == {}
    assert pictures.remarks[0] == "5 pictures, 8x12 RGB." and not pictures.grey


def test_pictures_of_every_kind_become_the_same_rows(tmp_path: Path) -> None:
    upright = photo(2)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.png", exif=exif)
    upright.save(tmp_path / "b.bmp")
    upright.quantize(256).save(tmp_path / "c.png")
    upright.save(tmp_path / "d.webp", lossless=True)
    deep = np.asarray(upright).astype(np.uint16) * 257
    (tmp_path / "e.png").write_bytes(deep_png(deep))
    pictures = small_set(tmp_path, 8, 12)
    rows = pictures.arrays(range(5)).astype(int)
    assert pictures.channels == 3
    for other in (1, 3, 4):
        assert np.array_equal(rows[0], rows[other]), pictures.names[other]
    assert np.abs(rows[0] - rows[2]).mean() < 12, "a palette of 256 colours is near"


def test_grey_is_found_by_looking_and_sixteen_bits_are_read(tmp_path: Path) -> None:
    grey = photo(1).convert("L")
    grey.save(tmp_path / "a.png")
    grey.convert("RGB").save(tmp_path / "b.jpg", quality=95)  # grey in a file with three channels
    (tmp_path / "c.png").write_bytes(deep_png(deep_noise(1, 24, 16)))
    pictures = small_set(tmp_path)
    assert pictures.channels == 1 and pictures.array(0).shape == (8, 8, 1)
    assert np.abs(pictures.array(0).astype(int) - pictures.array(1)).max() < 8
    sixteen = fit(Picture.from_array(deep_noise(1, 24, 16)), 8, 8)
    assert np.array_equal(pictures.array(2), sixteen[..., :1])
    assert "grey" in pictures.remarks[0] and not any("mixed" in line for line in pictures.remarks)
    assert pictures.grey and pictures.remarks[0] == "3 pictures, 8x8 grey."
    asked = small_set(tmp_path, channels=3)
    assert asked.channels == 3 and asked.grey and asked.remarks[0] == "3 pictures, 8x8 grey, taken as RGB."


def test_mixed_kinds_are_said_and_transparency_wins(tmp_path: Path) -> None:
    photo(1).save(tmp_path / "a.png")
    photo(2).convert("L").save(tmp_path / "b.png")
    clear = photo(3).convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 24).astype(np.uint8), (16, 1))))
    clear.save(tmp_path / "c.png")
    solid = photo(4).convert("RGBA")
    solid.save(tmp_path / "d.png")
    pictures = small_set(tmp_path, 16, 24)
    assert pictures.channels == 4
    assert pictures.remarks[1] == (
        "The pictures are of mixed kinds (1 grey, 3 in colour, 1 with transparent parts): all are taken as RGBA."
    )
    assert (pictures.array(0)[..., 3] == 255).all() and (pictures.array(3)[..., 3] == 255).all()
    assert np.array_equal(pictures.array(2)[..., 3], np.asarray(clear)[..., 3])


def test_colour_under_alpha_zero_is_the_mean_of_the_set(tmp_path: Path) -> None:
    for name, colour in (("a", (255, 0, 0)), ("b", (0, 0, 99))):
        rgba = np.zeros((8, 8, 4), np.uint8)
        rgba[..., :3] = 200  # hidden
        rgba[:4] = (*colour, 255)
        Image.fromarray(rgba).save(tmp_path / f"{name}.png")
    pictures = small_set(tmp_path)
    for index in range(2):
        row = pictures.array(index)
        assert (row[4:, :, 3] == 0).all() and (row[:4, :, 3] == 255).all()
        assert np.abs(row[4:, :, :3].astype(int) - (127.5, 0, 49.5)).max() <= 1


def test_channels_can_be_asked_for(tmp_path: Path) -> None:
    clear = photo(3).convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 24).astype(np.uint8), (16, 1))))
    clear.save(tmp_path / "a.png")
    rgb, grey, rgba = (small_set(tmp_path, 16, 24, channels=n) for n in (3, 1, 4))
    share = np.asarray(clear)[..., 3:] / 255
    on_white = np.asarray(clear)[..., :3] * share + 255 * (1 - share)
    assert np.abs(pixels_of(rgb) - on_white).max() <= 1
    assert grey.array(0).shape == (16, 24, 1)
    assert np.abs(pixels_of(grey)[..., 0] - pixels_of(rgb) @ np.array(LUMA)).max() <= 0.5
    assert np.array_equal(rgba.array(0)[..., 3], np.asarray(clear)[..., 3])
    assert any("laid on white" in line for line in rgb.remarks)
    assert any("turned grey" in line for line in grey.remarks)
    photo(1).save(tmp_path / "a.png")
    solid = small_set(tmp_path, 16, 24, channels=4)
    assert solid.channels == 4 and (solid.array(0)[..., 3] == 255).all()
    with pytest.raises(TrainingError, match=r"cannot have 2 channels: choose 1"):
        small_set(tmp_path, channels=2)


def test_enlarged_pictures_are_said(tmp_path: Path) -> None:
    draw(tmp_path, 2)
    draw(tmp_path, 1, width=7, height=30, start=2)
    assert "1 pictures are smaller than 8x8 and were enlarged: a smaller size would do." in small_set(tmp_path).remarks


# Labels -------------------------------------------------------------------------------------------------------------


def test_classes_are_the_sub_folders_and_files_at_the_top_have_none(tmp_path: Path) -> None:
    draw(tmp_path / "dogs" / "deeper", 2)
    draw(tmp_path / "cats", 3)
    draw(tmp_path, 2)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"nothing")
    pictures = small_set(tmp_path)
    assert pictures.classes == ("cats", "dogs")
    found = dict(zip(pictures.names, pictures.labels.tolist(), strict=True))
    assert found == {
        "000.png": -1,
        "001.png": -1,
        "cats/000.png": 0,
        "cats/001.png": 0,
        "cats/002.png": 0,
        "dogs/deeper/000.png": 1,
        "dogs/deeper/001.png": 1,
    }
    assert "2 classes (cats, dogs); 2 pictures have none." in pictures.remarks
    unlabelled = small_set(tmp_path, labels="none")
    assert unlabelled.classes == () and (unlabelled.labels == -1).all() and len(unlabelled) == 7
    assert unlabelled.key == pictures.key, "labels do not make another table"
    with pytest.raises(UnknownName, match="did you mean 'folders'"):
        small_set(tmp_path, labels="folder")


def test_one_kind_of_picture_is_no_class(tmp_path: Path) -> None:
    draw(tmp_path / "only", 3)
    pictures = small_set(tmp_path)
    assert pictures.classes == () and pictures.labels.tolist() == [-1, -1, -1]


# Arrays -------------------------------------------------------------------------------------------------------------


def test_an_npz_of_grey_digits(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=np.array([7, 3, -1, 7, 3, 3]))
    pictures = small_set(tmp_path / "digits.npz")
    assert pictures.channels == 1 and np.array_equal(pictures.arrays(range(6))[..., 0], images)
    assert pictures.classes == ("3", "7") and pictures.labels.tolist() == [1, 0, -1, 1, 0, 0]
    assert len(pictures.skipped) == 0


def test_an_npz_of_colour_with_names(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    path = tmp_path / "named.npz"
    np.savez(path, images=images, labels=np.array([0, 2, 2, 0], np.uint8), classes=np.array(["cat", "dog", "eel"]))
    pictures = small_set(path)
    assert pictures.channels == 3 and pictures.classes == ("cat", "eel") and pictures.labels.tolist() == [0, 1, 1, 0]
    assert np.array_equal(pictures.array(1), fit(Picture.from_array(images[1]), 8, 8)[..., :3])


def test_an_npz_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(TrainingError, match=r"x\.npz cannot be read \(No such file or directory\): give an \.npz"):
        small_set(path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(TrainingError, match=r"x\.npz cannot be read"):
        small_set(path)
    good = np.zeros((3, 8, 8), np.uint8)
    for held, message in (
        ({"pixels": good}, "it needs an array 'images', uint8"),
        ({"images": good.astype(np.float32)}, "it needs an array 'images', uint8"),
        ({"images": np.zeros((3, 3, 8, 8), np.uint8)}, "it needs an array 'images', uint8"),
        ({"images": good, "labels": np.zeros(2, int)}, "'labels' must be 3 whole numbers"),
        ({"images": good, "labels": np.zeros(3)}, "'labels' must be 3 whole numbers"),
        ({"images": good, "labels": np.full(3, 2), "classes": np.array(["a"])}, "it has label 2, but only 1 names"),
    ):
        np.savez(path, **held)
        with pytest.raises(TrainingError, match=message):
            small_set(path)


# Bad input ----------------------------------------------------------------------------------------------------------


def test_unreadable_pictures_are_skipped_counted_and_named(tmp_path: Path) -> None:
    draw(tmp_path, 4)
    for i in range(7):
        (tmp_path / f"bad{i}.jpg").write_bytes(b"this is no picture" if i else b"")
    raw = (tmp_path / "002.png").read_bytes()
    (tmp_path / "002.png").write_bytes(raw[: len(raw) // 2])
    pictures = small_set(tmp_path)
    assert pictures.names == ("000.png", "001.png", "003.png") and len(pictures) == 3
    assert np.array_equal(pictures.array(2), fit(Picture.open(tmp_path / "003.png"), 8, 8)[..., :3])
    assert len(pictures.skipped) == 8
    assert pictures.skipped[tmp_path / "bad0.jpg"].endswith("is empty (0 bytes): copy or download it again")
    assert "is damaged or cut short" in pictures.skipped[tmp_path / "002.png"]
    left_out = [line for line in pictures.remarks if line.startswith("Left out: ")]
    assert len(left_out) == 5 and "002.png" in left_out[0]
    assert "3 more pictures cannot be read and are left out." in pictures.remarks


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nosuch does not exist: give a folder of pictures, or an \.npz file\.$"):
        small_set(tmp_path / "nosuch")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match=r"file is a file: give a folder"):
        small_set(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=r"empty has no pictures: give a folder with \.avif, .* files in it\.$"):
        small_set(tmp_path / "empty")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"")
    with pytest.raises(
        TrainingError, match=r"None of the 1 pictures in .*bad can be read \(the first: .*a\.png.* is empty"
    ):
        PictureSet(bad, 8, 8)
    few = draw(tmp_path / "few", 2)
    (few / "x.png").write_bytes(b"")
    message = r"few has only 2 pictures \(1 more cannot be read\): give at least 16, better 100 or more\.$"
    with pytest.raises(TrainingError, match=message):
        PictureSet(few, 8, 8)
    assert any("2 pictures are few" in line for line in small_set(few).remarks)
    with pytest.raises(TrainingError, match="2x8 are too small"):
        small_set(few, 8, 2)


# The table on disk ---------------------------------------------------------------------------------------------------


def test_the_second_start_reads_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw(tmp_path / "in", 4)
    (folder / "bad.png").write_bytes(b"")
    told: list[Progress] = []
    first = small_set(folder, progress=told.append)
    assert [p.done for p in told] == [1, 2, 3, 4, 5] and told[-1].total == 5

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr(Picture, "open", refuse)
    again = small_set(folder, progress=refuse)
    assert np.array_equal(again.arrays(range(4)), first.arrays(range(4)))
    assert again.skipped == first.skipped and again.remarks == first.remarks and again.names == first.names
    with pytest.raises(AssertionError, match="was read"):
        small_set(folder, 16, 8)


def test_a_changed_folder_makes_a_new_table_and_drops_the_old_one(tmp_path: Path) -> None:
    folder, cache = draw(tmp_path / "in", 3), tmp_path / "kept"
    first = small_set(folder, cache=cache)
    other = small_set(folder, 16, 16, cache=cache)
    assert sorted(p.name for p in cache.iterdir()) == sorted([first.key, other.key])
    state = (folder / "001.png").stat()
    photo(77).save(folder / "001.png")
    os.utime(folder / "001.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    second = small_set(folder, cache=cache)
    assert second.key != first.key
    assert np.array_equal(second.array(1), fit(Picture.from_pil(photo(77)), 8, 8)[..., :3])
    assert sorted(p.name for p in cache.iterdir()) == sorted([second.key, other.key])
    draw(folder, 1, start=3)
    assert len(small_set(folder, cache=cache)) == 4


def test_a_table_that_is_cut_short_is_made_again(tmp_path: Path) -> None:
    folder, cache = draw(tmp_path / "in", 3), tmp_path / "kept"
    first = small_set(folder, cache=cache)
    rows = cache / first.key / "rows.u8"
    assert rows.stat().st_size == 3 * 8 * 8 * 3
    rows.write_bytes(rows.read_bytes()[:-1])
    assert np.array_equal(small_set(folder, cache=cache).arrays(range(3)), first.arrays(range(3)))
    (cache / first.key / "facts.json").write_text("{")
    assert len(small_set(folder, cache=cache)) == 3
    assert rows.stat().st_size == 3 * 8 * 8 * 3


def test_large_tables_are_mapped_small_ones_are_read(tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", 3)
    mapped, read = small_set(folder, memory=3 * 8 * 8 * 3 - 1), small_set(folder, memory=3 * 8 * 8 * 3)
    assert isinstance(mapped._rows, np.memmap) and not isinstance(read._rows, np.memmap)
    assert np.array_equal(mapped.arrays([2, 1]), read.arrays([2, 1]))
    assert type(mapped.array(0)) is np.ndarray and mapped.array(0).flags.writeable


def test_a_table_of_many_blocks_is_narrowed_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw(tmp_path / "in", 5)
    whole = small_set(folder, cache=tmp_path / "a")
    real = picture_table._blocks
    monkeypatch.setattr(picture_table, "_blocks", lambda count, size: real(count, 2))
    assert np.array_equal(small_set(folder, cache=tmp_path / "b").arrays(range(5)), whole.arrays(range(5)))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = draw(tmp_path / "in", 3), tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 5))  # type: ignore[attr-defined]
        with pytest.raises(TrainingError, match=r"cannot be kept in .*kept \(0\.0 GB are needed, 0\.0 GB are free\)"):
            small_set(folder, cache=cache)
    assert list(cache.iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"\(No space left on device\): make room, or set IMPASTO_CACHE"):
        small_set(folder, cache=cache)
    assert list(cache.iterdir()) == []


def test_remains_of_killed_runs_are_cleared_once_they_are_old(tmp_path: Path) -> None:
    folder, cache = draw(tmp_path / "in", 3), tmp_path / "kept"
    for name in (".old.1.part", ".new.2.part"):
        (cache / name).mkdir(parents=True)
    os.utime(cache / ".old.1.part", (1, 1))
    key = small_set(folder, cache=cache).key
    assert sorted(p.name for p in cache.iterdir()) == sorted([".new.2.part", key])


def test_another_process_may_be_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = draw(tmp_path / "in", 3), tmp_path / "kept"
    real = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        return real(self, target)  # which refuses: the target is there, and not empty

    monkeypatch.setattr(Path, "rename", beaten)
    pictures = small_set(folder, cache=cache)
    assert len(pictures) == 3 and [p.name for p in cache.iterdir()] == [pictures.key]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, cache = draw(tmp_path / "in", 30), tmp_path / "kept"

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_set(folder, cache=cache, progress=stop)
    assert list(cache.iterdir()) == []
    assert len(small_set(folder, cache=cache)) == 30
