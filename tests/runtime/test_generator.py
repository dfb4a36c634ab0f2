"""Drawing with a generator of plain matrix products, whose every picture numpy can tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import impasto
from helpers import LATENT, W_SIZE, drawn_photo, generator_weights, make_generator_bundle
from impasto.errors import BundleError, EngineError, ImpastoError, UnknownName
from impasto.runtime.bundle import LatentInfo, TensorSpec
from impasto.runtime.frames import about, fitted
from impasto.runtime.generator import CENTRES, MIXTURE, Generator
from impasto.runtime.latents import draw_streams, slerp
from impasto.runtime.picture import Picture

CLASSES = ("cat", "dog", "owl")
WIDTH, HEIGHT = 12, 8
Make = Callable[..., Generator]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a tiny generator and load it; see ``make_generator_bundle``."""

    def call(**wanted: Any) -> Generator:
        return Generator.load(make_generator_bundle(tmp_path / "tiny.impasto", **wanted), threads=1)

    return call


def planes(picture: Picture, channels: int = 3) -> NDArray[np.float32]:
    """[channels,H,W] in 0..1."""
    parts = [picture.rgb[..., c] for c in range(min(channels, 3))]
    return np.stack([*parts, picture.alpha] if channels == 4 and picture.alpha is not None else parts)


def expected(w: NDArray[np.float32], channels: int = 3, layers: int = 0, mapped: bool = True) -> NDArray[np.float32]:
    """What the synthesis makes of w, as planes [N,channels,H,W] in 0..1."""
    weights = generator_weights(channels, HEIGHT, WIDTH, layers, mapped)
    drawn = w.reshape(len(w), -1) @ weights["basis"] + weights["lean"]
    return np.clip(drawn.reshape(-1, channels, HEIGHT, WIDTH) * 0.5 + 0.5, 0, 1)


def mapped(z: NDArray[np.float32], labels: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    weights = generator_weights(3, HEIGHT, WIDTH, 0, True)
    return z @ weights["map"] + (0 if labels is None else labels @ weights["label"])


def same(pictures: list[Picture], wanted: NDArray[np.float32], channels: int = 3) -> None:
    got = np.stack([planes(picture, channels) for picture in pictures])
    np.testing.assert_allclose(got, wanted, atol=1e-5)


# By seed ----------------------------------------------------------------------------------------------------------


def test_a_seed_gives_its_picture(make: Make) -> None:
    drawer = make()
    assert (drawer.size, drawer.channels, drawer.latent_size, drawer.w_size) == ((WIDTH, HEIGHT), 3, LATENT, W_SIZE)
    same(drawer.sample(7, 3), expected(mapped(draw_streams(7, 3, LATENT).normals)))
    same(drawer.sample(), expected(mapped(draw_streams(0, 1, LATENT).normals)))
    assert drawer.sample(7, 0) == []
    assert "CPU, 1 thread" in drawer.device and drawer.notes == ()


def test_the_picture_of_a_seed_does_not_depend_on_its_company(make: Make) -> None:
    drawer = make(classes=CLASSES, layers=3)
    assert drawer.batch == 16
    together = drawer.sample(3, 21)  # more than a batch
    drawer.batch = 1
    for k, picture in enumerate(together):
        alone = drawer.sample(3 + k)[0]
        assert np.abs(alone.rgb - picture.rgb).max() < 1e-6
        assert about(alone) == about(picture)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_colour_and_transparency_are_kept(make: Make, channels: int) -> None:
    drawer = make(channels=channels)
    picture = drawer.sample(2)[0]
    same([picture], expected(drawer.to_w(drawer.latents(2)), channels), channels)
    assert (picture.alpha is not None) == (channels == 4) and picture.info.grey == (channels == 1)
    if channels == 1:
        assert np.array_equal(picture.rgb[..., 0], picture.rgb[..., 2])


def test_a_picture_tells_how_it_was_drawn(make: Make) -> None:
    drawer = make(classes=CLASSES)
    told = about(drawer.sample(7, classes="dog", truncation=0.5)[0])
    assert told == {
        "model": "tiny-drawer",
        "sha256": drawer.bundle.sha256,
        "seed": 7,
        "class": "dog",
        "truncation": 0.5,
    }


# Classes ----------------------------------------------------------------------------------------------------------


def test_classes_by_name_and_number_and_turn(make: Make) -> None:
    drawer = make(classes=CLASSES)
    z = drawer.latents(0, 3)
    one_hot = np.eye(3, dtype=np.float32)
    same(drawer.sample(0, 3, classes="owl"), expected(mapped(z, one_hot[[2, 2, 2]])))
    same(
        drawer.sample(0, 3, classes=["dog", 0, "unknown"]),
        expected(mapped(z, np.float32([[0, 1, 0], [1, 0, 0], [0] * 3]))),
    )
    same(drawer.draw(z, classes=1), expected(mapped(z, one_hot[[1, 1, 1]])))


def test_without_a_class_the_seed_decides(make: Make) -> None:
    drawer = make(classes=CLASSES)
    drawn = [about(picture)["class"] for picture in drawer.sample(0, 60)]
    assert drawn == [CLASSES[int(share * 3)] for share in draw_streams(0, 60, LATENT).label]
    assert min(drawn.count(name) for name in CLASSES) > 8
    assert about(drawer.sample(31)[0])["class"] == drawn[31]
    same(drawer.sample(4), expected(drawer.to_w(drawer.latents(4), classes=drawn[4])))


def test_a_class_called_unknown_is_a_class(make: Make) -> None:
    drawer = make(classes=("known", "unknown"))
    z = drawer.latents(0)
    np.testing.assert_allclose(drawer.to_w(z, classes="unknown"), drawer.to_w(z, classes=1))


def test_wrong_classes_are_refused(make: Make) -> None:
    drawer = make(classes=CLASSES)
    with pytest.raises(UnknownName, match="no class in tiny-drawer called 'dgo': did you mean 'dog'"):
        drawer.sample(0, classes="dgo")
    for number in (3, -1):
        with pytest.raises(UnknownName, match=f"'{number}'"):
            drawer.sample(0, classes=number)
    with pytest.raises(ImpastoError, match="2 classes do not go with 3 pictures"):
        drawer.sample(0, 3, classes=["cat", "dog"])
    with pytest.raises(ImpastoError, match="say which of cat, dog, owl"):
        drawer.draw(drawer.latents(0))
    with pytest.raises(ImpastoError, match="knows no classes"):
        make().sample(0, classes="cat")


# Truncation -------------------------------------------------------------------------------------------------------


def test_truncation_goes_towards_the_mean_w(make: Make) -> None:
    centre = np.full((1, W_SIZE), 0.25, np.float32)
    drawer = make(tables={CENTRES: centre})
    z = drawer.latents(3, 2)
    np.testing.assert_allclose(drawer.to_w(z, truncation=0), np.repeat(centre, 2, 0), atol=1e-6)
    half = drawer.to_w(z, truncation=0.5)
    np.testing.assert_allclose(half, (mapped(z) + centre) / 2, atol=1e-6)
    same(drawer.sample(3, 2, truncation=0.5), expected(half))


def test_every_class_has_its_own_mean(make: Make) -> None:
    centres = np.arange(4 * W_SIZE, dtype=np.float32).reshape(4, W_SIZE)
    drawer = make(classes=CLASSES, tables={CENTRES: centres})
    got = drawer.to_w(drawer.latents(0, 2), classes=["owl", "unknown"], truncation=0)
    np.testing.assert_allclose(got, centres[[2, 3]], atol=1e-5)


def test_without_a_mapping_network_truncation_scales_z(make: Make) -> None:
    drawer = make(mapped=False)
    z = drawer.latents(3, 2)
    same(drawer.draw(z, truncation=0.3), expected(z * np.float32(0.3), mapped=False))
    joined = make(classes=CLASSES)  # a mapping that only joins the class has no mean w
    np.testing.assert_allclose(
        joined.to_w(z, classes=0, truncation=0.3), mapped(z * 0.3, np.float32([[1, 0, 0]])), rtol=1e-5
    )


@pytest.mark.parametrize("truncation", [-0.1, 2.1, float("nan")])
def test_truncation_out_of_range_is_refused(make: Make, truncation: float) -> None:
    drawer = make()
    for refused in (
        lambda: drawer.sample(0, truncation=truncation),
        lambda: drawer.walk([1, 2], truncation=truncation),
    ):
        with pytest.raises(ImpastoError, match=r"truncation .* cannot be used: choose 0 to 2"):
            refused()


# Latents and w ----------------------------------------------------------------------------------------------------


def test_latents_are_plain_arrays(make: Make) -> None:
    drawer = make()
    z = drawer.latents(5, 2)
    assert z.dtype == np.float32 and z.shape == (2, LATENT)
    same(drawer.draw(z.mean(0).tolist()), expected(mapped(z.mean(0, keepdims=True))))
    assert "seed" not in about(drawer.draw(z)[0])


def test_w_per_layer(make: Make) -> None:
    drawer = make(layers=3)
    assert drawer.layers == 3
    w = np.random.default_rng(0).standard_normal((2, 3, W_SIZE)).astype(np.float32)
    same(drawer.synthesize(w), expected(w, layers=3))
    same(drawer.synthesize(w[:, 0]), expected(np.repeat(w[:, :1], 3, 1), layers=3))
    with pytest.raises(ImpastoError, match="takes 3 layers"):
        drawer.synthesize(w[:, :2])
    with pytest.raises(ImpastoError, match="takes 1 layer"):
        make().synthesize(w)


@pytest.mark.parametrize("wrong", [np.zeros((2, LATENT + 1)), np.zeros((1, 1, LATENT)), np.array("z"), np.float32(1)])
def test_latents_of_another_model_are_refused(make: Make, wrong: Any) -> None:
    with pytest.raises(ImpastoError, match=rf"latents given are .* takes float32 \[N,{LATENT}\]"):
        make().draw(wrong)


def test_latents_that_are_no_numbers_are_refused(make: Make) -> None:
    with pytest.raises(ImpastoError, match="not finite"):
        make().draw(np.full(LATENT, np.nan))


# Walks and mixes --------------------------------------------------------------------------------------------------


def test_a_walk_is_straight_in_w(make: Make) -> None:
    drawer = make(tables={CENTRES: np.zeros((1, W_SIZE), np.float32)})
    a, b, c = mapped(np.concatenate([drawer.latents(seed) for seed in (1, 9, 4)]))
    way = np.stack([a, (a + b) / 2, b, (b + c) / 2, c])
    same(list(drawer.walk([1, 9, 4], frames=5)), expected(way))
    loop = np.stack([a, (a + b) / 2, b, (b + c) / 2, c, (c + a) / 2])
    same(list(drawer.walk([1, 9, 4], frames=6, loop=True)), expected(loop))
    half = list(drawer.walk([1, 9], frames=3, truncation=0.5))
    same(half, expected(np.stack([a, (a + b) / 2, b]) / 2))


def test_a_walk_without_mapping_network_follows_the_sphere(make: Make) -> None:
    drawer = make(mapped=False)
    a, b = drawer.latents(1)[0], drawer.latents(2)[0]
    way = np.stack([a, slerp(a, b, 0.5), b])
    same(list(drawer.walk([1, 2], frames=3)), expected(way, mapped=False))
    same(list(drawer.walk(np.stack([a, b]), frames=3)), expected(way, mapped=False))
    classy = make(classes=CLASSES)
    labels = np.float32([[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]])
    same(list(classy.walk([1, 2], frames=3, classes=["cat", "owl"])), expected(mapped(way, labels)))


def test_a_walk_is_drawn_as_it_is_asked_for(make: Make) -> None:
    drawer = make()
    way = drawer.walk([1, 2], frames=10**5)
    assert about(next(way))["frame"] == 0 and about(next(way))["frame"] == 1
    for keys, frames in (([1], 10), ([], 10), ([1, 2], 1)):
        with pytest.raises(ImpastoError, match="at least 2"):
            drawer.walk(keys, frames=frames)


def test_mixing_takes_coarse_layers_of_one_and_fine_ones_of_the_other(make: Make) -> None:
    drawer = make(layers=4)
    a, b = (drawer.to_w(drawer.latents(seed))[0] for seed in (1, 2))
    for layers, rows in ((1, [a, b, b, b]), (None, [a, a, b, b]), (0, [b] * 4), (4, [a] * 4)):
        mixed = drawer.mix(1, 2, layers)
        same(mixed, expected(np.stack(rows)[None], layers=4))
    assert {key: about(mixed[0])[key] for key in ("a", "b", "layers")} == {"a": 1, "b": 2, "layers": 4}
    several = drawer.mix(drawer.latents(1), drawer.latents(2, 3), 2)
    assert len(several) == 3
    same(several[:1], expected(np.stack([a, a, b, b])[None], layers=4))


def test_what_cannot_be_mixed_is_refused(make: Make) -> None:
    drawer = make(layers=4)
    for layers in (-1, 5):
        with pytest.raises(ImpastoError, match="has 4"):
            drawer.mix(1, 2, layers)
    with pytest.raises(ImpastoError, match="2 and 3 latents cannot be paired"):
        drawer.mix(drawer.latents(0, 2), drawer.latents(0, 3))
    with pytest.raises(ImpastoError, match="no layers to mix"):
        make().mix(1, 2)


# VAEs -------------------------------------------------------------------------------------------------------------


def test_a_picture_is_encoded_and_drawn_again(make: Make) -> None:
    drawer = make(mapped=False, encoder=True)
    assert drawer.can_reconstruct
    z = 0.3 * drawer.latents(0, 19)  # small, so that nothing is clipped; more than a batch
    drawn = drawer.draw(z)
    np.testing.assert_allclose(drawer.encode(drawn), z, atol=1e-4)
    photo = Picture.open(Picture.from_array(drawn_photo(50, 30)).to_bytes("png"))
    again = drawer.reconstruct([*drawn[:2], photo])
    same(again[:2], np.stack([planes(picture) for picture in drawn[:2]]))
    assert again[2].size == drawer.size and again[2].info.format == "PNG"
    assert drawer.encode([]).shape == (0, LATENT) and drawer.reconstruct([]) == []


def test_a_model_without_encoder_says_so(make: Make) -> None:
    drawer = make()
    assert not drawer.can_reconstruct
    with pytest.raises(ImpastoError, match="has no encoder"):
        drawer.reconstruct([])


def test_the_mixture_is_drawn_from_where_there_is_one(make: Make) -> None:
    tables = {
        MIXTURE[0]: np.float32([1]),
        MIXTURE[1]: np.full((1, LATENT), 3, np.float32),
        MIXTURE[2]: 0.1 * np.eye(LATENT, dtype=np.float32)[None],
    }
    drawer = make(mapped=False, tables=tables)
    normals = draw_streams(4, 2, LATENT).normals
    assert drawer.priors == ("mixture", "normal")
    np.testing.assert_allclose(drawer.latents(4, 2), 3 + 0.1 * normals, rtol=1e-5)
    assert np.array_equal(drawer.latents(4, 2, prior="normal"), normals)
    same(drawer.sample(4, prior="normal"), expected(normals[:1], mapped=False))
    assert about(drawer.sample(4)[0])["prior"] == "mixture"
    with pytest.raises(UnknownName, match="prior in tiny-drawer called 'mixtrue': did you mean 'mixture'"):
        drawer.sample(0, prior="mixtrue")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="'mixture'"):
        make(mapped=False).latents(0, prior="mixture")


def test_a_flow_carries_what_is_drawn(make: Make) -> None:
    drawer = make(mapped=False, flow=True)
    normals = draw_streams(4, 2, LATENT).normals
    assert drawer.priors == ("flow", "normal")
    np.testing.assert_allclose(drawer.latents(4, 2), 2 * normals + 1, rtol=1e-5)
    same(drawer.sample(4, 2), expected(2 * normals + 1, mapped=False))
    # Truncation shortens what flows, not where it gets to.
    same(drawer.sample(4, 2, truncation=0.5), expected(normals + 1, mapped=False))
    same(drawer.sample(4, 2, truncation=0), expected(np.ones_like(normals), mapped=False))
    same(drawer.sample(4, prior="normal", truncation=0.5), expected(0.5 * normals[:1], mapped=False))
    assert about(drawer.sample(4)[0])["prior"] == "flow"


def test_a_walk_between_seeds_of_a_flow_stays_on_what_it_knows(make: Make) -> None:
    drawer = make(mapped=False, flow=True)
    a, b = draw_streams(4, 2, LATENT).normals
    way = np.stack([2 * slerp(a, b, share) + 1 for share in (0, 0.5, 1)])
    same(list(drawer.walk([4, 5], frames=3)), expected(way, mapped=False))
    # Latents that are given are latents already.
    keys = drawer.latents(4, 2)
    same(list(drawer.walk(keys, frames=2)), expected(keys, mapped=False))


def test_pictures_of_any_size_and_kind_are_fitted() -> None:
    tall = Picture(np.tile(np.linspace(0, 1, 90, dtype=np.float32)[:, None, None], (1, 30, 3)))
    fit = fitted(tall, (10, 10), 3)
    assert fit.shape == (3, 10, 10) and abs(float(fit.mean()) - 0.5) < 0.01
    assert 0.34 < fit[0, 0, 5] < 0.37  # the middle third of it
    same_size = Picture(drawn_photo(12, 8))
    np.testing.assert_allclose(fitted(same_size, (12, 8), 3), same_size.rgb.transpose(2, 0, 1), atol=1e-6)
    red = Picture(np.broadcast_to(np.float32([1, 0, 0]), (8, 8, 3)).copy(), np.zeros((8, 8), np.float32))
    np.testing.assert_allclose(fitted(red, (4, 4), 3), 1)  # on white
    np.testing.assert_allclose(
        fitted(red, (4, 4), 4), np.broadcast_to(np.float32([1, 0, 0, 0])[:, None, None], (4, 4, 4))
    )
    half = replace(red, rgb=red.rgb.copy(), alpha=np.repeat(np.float32([0, 1]), 32).reshape(8, 8))
    half.rgb[:4] = (0, 1, 0)  # under transparency
    fit = fitted(half, (8, 8), 4)
    np.testing.assert_allclose(fit[:, 7, 3], [1, 0, 0, 1])
    np.testing.assert_allclose(fit[:, 0, 3], [1, 0, 0, 0])
    np.testing.assert_allclose(fitted(replace(red, alpha=None), (4, 4), 1), 0.299, rtol=1e-5)
    np.testing.assert_allclose(fitted(replace(red, alpha=None), (4, 4), 4)[[0, 3]], 1)


# Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"latent": None}, "does not describe a generator"),
        ({"height": None}, "does not describe a generator"),
        ({"graphs": {}}, "no synthesis graph"),
        ({"latent": LatentInfo(size=LATENT, classes=("a",)), "mapped": False}, "no mapping"),
        ({"latent": LatentInfo(size=LATENT + 1), "mapped": False}, "no mapping"),
    ],
)
def test_a_file_that_does_not_say_enough_is_refused(make: Make, wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(BundleError, match=fault):
        make(**wrong)


def test_a_file_that_says_other_than_it_holds_is_refused(make: Make) -> None:
    with pytest.raises(EngineError, match="drew"):
        make(height=9).sample(0)
    for tables in ({CENTRES: np.zeros((2, W_SIZE), np.float32)}, {MIXTURE[0]: np.ones(1, np.float32)}):
        with pytest.raises(ImpastoError):
            make(tables=tables).sample(0)
    with pytest.raises(BundleError, match="another latent size"):
        make(
            mapped=False,
            tables=dict(zip(MIXTURE, (np.ones(1, "f"), np.ones((1, 2), "f"), np.ones((1, 2, 2), "f")), strict=True)),
        ).sample(0)


def test_a_style_model_is_no_generator(style_bundle: Path) -> None:
    with pytest.raises(BundleError, match="kind 'style' where 'generator' is needed"):
        Generator.load(style_bundle)


def test_what_a_generator_needs_is_in_the_manifest_and_in_no_style_model(make: Make, style_bundle: Path) -> None:
    fields = make(classes=CLASSES, channels=4).bundle.manifest.to_fields()
    assert fields["latent"] == {"size": LATENT, "distribution": "normal", "classes": CLASSES}
    assert (fields["width"], fields["height"], fields["channels"]) == (WIDTH, HEIGHT, 4)
    style = impasto.Bundle.open(style_bundle).manifest
    assert not {"latent", "height", "width", "channels"} & set(style.to_fields())
    assert style.latent is None


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("channels", 2, "channels: should be 1, 3 or 4"),
        ("channels", True, "channels: should be 1, 3 or 4"),
        ("height", 0, "height: should be a whole number from 1 on"),
        ("latent", {"size": 0}, "latent.size: should be"),
        ("latent", {"size": 4, "distribution": "flat"}, "latent.distribution: should be normal"),
        ("latent", {"size": 4, "classes": ["a", "a"]}, "latent.classes: two have the same name"),
        ("latent", {"size": 4, "classes": [""]}, "latent.classes.0: should match"),
        ("latent", {"classes": []}, "latent.size: is missing"),
    ],
)
def test_a_wrong_field_is_named(make: Make, field: str, value: Any, fault: str) -> None:
    fields = make().bundle.manifest.to_fields() | {field: value}
    with pytest.raises(ValueError, match="^" + fault):
        impasto.Manifest.read(fields)


def test_a_shape_that_is_no_synthesis_is_refused(make: Make) -> None:
    spec = make().bundle.manifest.graphs["synthesis"]
    odd = replace(spec, inputs=(TensorSpec(name="w", shape=("n", 2, 3, W_SIZE), meaning="w"),))
    with pytest.raises(BundleError, match="synthesis of"):
        make(graphs={"synthesis": odd}, mapped=False)


def test_drawing_needs_no_torch(make: Make) -> None:
    file = make(layers=2, classes=CLASSES).bundle.path
    code = f"""
import sys
for name in ("torch", "onnx", "pydantic", "safetensors"):
    sys.modules[name] = None
import impasto
drawer = impasto.Generator.load({str(file)!r})
assert len(drawer.sample(0, 2)) == len(drawer.mix(1, 2)) + 1 == len(list(drawer.walk([1, 2], frames=2)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
