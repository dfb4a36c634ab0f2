"""From file to file in parts: the same as opened, painted and saved whole, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.errors import ImpastoError, PictureError, PictureExists
from impasto.progress import Progress
from impasto.runtime import mural, painting
from impasto.runtime.fitting import file_limit
from impasto.runtime.mural import paint_file
from impasto.runtime.picture import Picture, PictureInfo
from impasto.runtime.style import StyleModel

PLENTY = 10**15


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "LARGEST_WINDOW", 6000)


def photo(path: Path, *, alpha: bool = False, deep: bool = False, grey: bool = False, **info: Any) -> Path:
    """A file of 131x94 pixels."""
    rgb = drawn_photo(131, 94)
    if grey:
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    opacity = np.random.default_rng(0).random((94, 131), dtype=np.float32) if alpha else None
    Picture(rgb, opacity, PictureInfo(depth=16 if deep else 8, grey=grey, **info)).save(path)
    return path


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def whole(model: StyleModel, source: Path, target: Path, *, size: int | None = None, **options: Any) -> tuple[str, ...]:
    picture = Picture.open(source)
    picture = picture if size is None else picture.resized(size)
    return model.paint(picture, "great-wave", **options).save(target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ({}, "png"),
        ({"alpha": True}, "png"),
        ({"deep": True}, "png"),
        ({"deep": True, "alpha": True}, "tif"),
        ({"grey": True}, "tiff"),
        ({"alpha": True}, "tif"),
        ({"deep": True}, "tif"),
    ],
)
@pytest.mark.parametrize(
    "options", [{}, {"strength": 0.5, "keep_colors": True}, {"size": 90}, {"size": 170, "strength": 0.3}]
)
def test_the_same_file_as_painted_whole(
    tmp_path: Path, model: StyleModel, source: dict[str, Any], target: str, options: dict[str, Any]
) -> None:
    file = photo(tmp_path / "photo.png", **source)
    expected, got, told = tmp_path / f"whole.{target}", tmp_path / f"parts.{target}", list[Progress]()
    lost = whole(model, file, expected, **options)
    done = paint_file(model, file, got, "great-wave", max_memory=PLENTY, progress=told.append, **options)
    one, two = Picture.open(expected), Picture.open(got)
    assert done.size == one.size == two.size and done.lost == lost and done.notes == ()
    assert one.info == two.info
    assert np.abs(one.rgb - two.rgb).max() <= 1 / 255 + 1e-6
    if not options:
        # Where a value lies between two levels, float32's last bits decide.
        assert (np.abs(one.rgb - two.rgb) > 1e-7).mean() < (1 if source.get("deep") else 1e-3)
        assert np.abs(one.rgb - two.rgb).max() <= (1 / 65535 if source.get("deep") else 1 / 255) + 1e-7
    assert (one.alpha is None) == (two.alpha is None)
    if one.alpha is not None:
        np.testing.assert_allclose(two.alpha, one.alpha, atol=1.01 / 255)
    totals = {report.total for report in told if report.total is not None}
    assert len(totals) == 1 and totals.pop() > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts." + target, "photo.png", "whole." + target]


@pytest.mark.parametrize("target", ["jpg", "webp", "avif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossy_formats(tmp_path: Path, model: StyleModel, target: str, alpha: bool) -> None:
    file = photo(tmp_path / "photo.png", alpha=alpha, deep=alpha, dpi=(300.0, 300.0))
    whole(model, file, tmp_path / f"whole.{target}", strength=0.5)
    done = paint_file(model, file, tmp_path / f"parts.{target}", "great-wave", max_memory=PLENTY, strength=0.5)
    one, two = Picture.open(tmp_path / f"whole.{target}"), Picture.open(tmp_path / f"parts.{target}")
    # One level before encoding may be several after it, in a few places.
    assert np.abs(one.rgb - two.rgb).mean() < 0.2 / 255 and one.info == two.info
    assert any("laid on white" in note for note in done.lost) == (alpha and target == "jpg")
    assert any("keeps 8" in note for note in done.lost) == alpha


def test_a_grey_picture_that_is_still_grey_stays_one(tmp_path: Path, model: StyleModel) -> None:
    file = photo(tmp_path / "photo.png", grey=True)
    assert mode(file) == "L"
    paint_file(model, file, tmp_path / "kept.png", "great-wave", max_memory=PLENTY, keep_colors=True)
    paint_file(model, file, tmp_path / "painted.png", "great-wave", max_memory=PLENTY)
    assert mode(tmp_path / "painted.png") == "RGB"
    kept = Picture.open(tmp_path / "kept.png")
    whole(model, file, tmp_path / "whole.png", keep_colors=True)
    assert mode(tmp_path / "kept.png") == mode(tmp_path / "whole.png")
    np.testing.assert_array_equal(kept.rgb, Picture.open(tmp_path / "whole.png").rgb)


def test_a_photo_lying_on_its_side_with_all_it_knows(tmp_path: Path, model: StyleModel) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a place"
    image = Image.fromarray((drawn_photo(131, 94) * 255).astype(np.uint8))
    image.save(tmp_path / "photo.jpg", exif=exif, quality=95, dpi=(240, 240))
    paint_file(model, tmp_path / "photo.jpg", tmp_path / "parts.tif", "great-wave", max_memory=PLENTY)
    whole(model, tmp_path / "photo.jpg", tmp_path / "whole.tif")
    one, two = Picture.open(tmp_path / "whole.tif"), Picture.open(tmp_path / "parts.tif")
    assert two.size == (94, 131) and one.info == two.info
    assert np.abs(one.rgb - two.rgb).max() <= 1 / 255 + 1e-6
    bare = tmp_path / "bare.jpg"
    paint_file(model, tmp_path / "photo.jpg", bare, "great-wave", max_memory=PLENTY, strip=True, quality=5)
    assert b"a place" not in bare.read_bytes()
    assert bare.stat().st_size < 5000


def test_what_is_there_is_kept(tmp_path: Path, model: StyleModel) -> None:
    file = photo(tmp_path / "photo.png")
    (tmp_path / "out.png").write_text("mine")
    with pytest.raises(PictureExists):
        paint_file(model, file, tmp_path / "out.png", "great-wave", max_memory=PLENTY)
    assert (tmp_path / "out.png").read_text() == "mine"
    paint_file(model, file, tmp_path / "out.png", "great-wave", max_memory=PLENTY, overwrite=True)
    assert Picture.open(tmp_path / "out.png").size == (131, 94)
    paint_file(model, file, tmp_path / "new/folder/out.png", "great-wave", max_memory=PLENTY)
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["out.png"]


def test_an_interrupt_leaves_nothing(tmp_path: Path, model: StyleModel) -> None:
    file, out = photo(tmp_path / "photo.png"), tmp_path / "out"
    for stop in range(4):

        def told(report: Progress, stop: int = stop) -> None:
            if report.message.startswith("writing") if stop == 3 else report.done == stop and report.total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            paint_file(model, file, out / "out.jpg", "great-wave", max_memory=PLENTY, progress=told)
        assert list(out.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path, model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    file = photo(tmp_path / "photo.png")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mural, "write_strips", full)
    with pytest.raises(PictureError, match=r"out.jpg cannot be written \(No space left on device\)"):
        paint_file(model, file, tmp_path / "out.jpg", "great-wave", max_memory=PLENTY)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_what_goes_wrong_later_is_not_put_down_to_the_photo(tmp_path: Path, model: StyleModel) -> None:
    file = photo(tmp_path / "photo.png")

    def told(report: Progress) -> None:
        if report.total:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        paint_file(model, file, tmp_path / "out.jpg", "great-wave", max_memory=PLENTY, progress=told)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_the_photo_itself_is_no_output(tmp_path: Path, model: StyleModel) -> None:
    file = photo(tmp_path / "photo.png")
    (tmp_path / "link.png").symlink_to(file)
    before = file.read_bytes()
    for target in (file, tmp_path / "link.png"):
        with pytest.raises(PictureError, match="is the photo itself, and it would be lost"):
            paint_file(model, file, target, "great-wave", max_memory=PLENTY, overwrite=True)
    assert file.read_bytes() == before


def test_too_little_memory_is_found_out_first(
    tmp_path: Path, model: StyleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mural, "resident", lambda: 100_000_000)
    file = photo(tmp_path / "photo.png")
    told: list[Progress] = []
    with pytest.raises(PictureError, match=r"Reading 'photo.png' takes about 180 MB of memory and 150 MB are allowed"):
        paint_file(model, file, tmp_path / "out.jpg", "great-wave", max_memory=150_000_000, progress=told.append)
    monkeypatch.setattr(mural, "ENCODER_COST", 100_000)
    with pytest.raises(PictureError, match=r"Writing WEBP whole takes about 1\.3 GB .*: write JPEG, PNG or TIFF, or"):
        paint_file(model, file, tmp_path / "out.webp", "great-wave", max_memory=10**9, progress=told.append)
    with pytest.raises(PictureError, match="more than 200,000,000 pixels: choose a smaller size"):
        paint_file(model, file, tmp_path / "o.png", "great-wave", size=20000, max_memory=PLENTY, progress=told.append)
    with pytest.raises(PictureError, match="at most 65535 pixels a side"):
        wide = tmp_path / "wide.png"
        Image.new("L", (66000, 1)).save(wide)
        paint_file(model, wide, tmp_path / "o.jpg", "great-wave", max_memory=PLENTY, progress=told.append)
    with pytest.raises(ImpastoError, match="from 0 to 1"):
        paint_file(model, file, tmp_path / "o.png", "great-wave", strength=2.0, max_memory=PLENTY)
    assert told == [] and sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "wide.png"]


def test_which_files_are_painted_in_parts(tmp_path: Path, model: StyleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "resident", lambda: 0)
    monkeypatch.setitem(painting.KEPT, "onnxruntime", 0)
    file = photo(tmp_path / "photo.png")
    cost = 105 + painting.WHOLE_COST
    assert file_limit(model, file) is None
    assert file_limit(model, file, max_memory=131 * 94 * cost) is None
    assert file_limit(model, file, max_memory=131 * 94 * cost - 1) == 131 * 94 * cost - 1
    assert file_limit(model, file, size=262, max_memory=131 * 94 * cost) is not None, "the larger of the two counts"
    assert file_limit(model, file, size=50, max_memory=131 * 94 * cost - 1) is not None
    with pytest.raises(PictureError, match="more than the limit of 5"):
        file_limit(model, file, max_pixels=5)
    with pytest.raises(PictureError, match="There is no file"):
        file_limit(model, tmp_path / "gone.png")


PEAK = """
import json, sys
from pathlib import Path
from impasto.runtime.mural import paint_file
from impasto.runtime.style import StyleModel
from impasto.runtime.memory import _field

model = StyleModel.load(sys.argv[1], threads=1)
model.device
before = _field(Path("/proc/self/status"), "VmHWM")
paint_file(model, sys.argv[2], sys.argv[3], "great-wave", max_memory=before + 150_000_000, keep_colors=True)
print(json.dumps([before, _field(Path("/proc/self/status"), "VmHWM")]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_stays_within_its_memory(tmp_path: Path, style_bundle: Path) -> None:
    from PIL import ImageDraw

    image = Image.linear_gradient("L").resize((4200, 3700)).convert("RGB")
    ImageDraw.Draw(image).ellipse((500, 400, 3000, 3500), fill=(200, 30, 60))
    image.save(tmp_path / "photo.jpg")
    command = [sys.executable, "-c", PEAK, str(style_bundle), str(tmp_path / "photo.jpg"), str(tmp_path / "out.jpg")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    # As float32 the photo alone would take 186 MB, and painting all of it at once four times that.
    assert peak - before < 150_000_000
    assert Picture.open(tmp_path / "out.jpg").size == (4200, 3700)
