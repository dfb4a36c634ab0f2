"""Embedded profiles: what they mean, and that the 16-bit arithmetic agrees with LittleCMS."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from drawing import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB_CURVE,
    SWAPPED,
    deep_noise,
    deep_png,
    encoded,
    formula_curve,
    gamma_curve,
    gradient,
    grey_profile,
    png_chunk,
    profile,
    rgb_profile,
    table_curve,
)
from impasto.runtime.picture import Picture
from impasto.runtime.pixels import icc

P3 = rgb_profile(DISPLAY_P3, SRGB_CURVE)
ADOBE = rgb_profile(ADOBE_RGB, gamma_curve(2.19921875))
SRGB = icc.srgb_profile()
MILD = [[0.5, 0.3, 0.1642], [0.3, 0.6, 0.1], [0.05, 0.1, 0.6749]]  # inside sRGB mostly: little is clipped

CURVES = {
    "identity": b"curv" + bytes(8),
    "gamma": gamma_curve(1.8),
    "table": table_curve([round(65535 * (i / 16) ** 2) for i in range(17)]),
    "form 0": formula_curve(0, 2.2),
    "form 1": formula_curve(1, 2.0, 0.9, 0.1),
    "form 2": formula_curve(2, 2.0, 0.9, 0.05, 0.0975),
    "form 3": SRGB_CURVE,
    "form 4": formula_curve(4, 2.4, 0.9, 0.05, 0.0893, 0.1, 0.1158, 0.1158),
}


def deep_with(samples: np.ndarray, data: bytes) -> bytes:
    import zlib

    return deep_png(samples, extra=png_chunk(b"iCCP", b"x\0\0" + zlib.compress(data)))


def test_srgb_is_kept_as_it_is_with_its_own_profile() -> None:
    for own in (
        SRGB,
        rgb_profile([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]], SRGB_CURVE),
    ):
        picture = Picture.open(encoded(Image.fromarray(gradient()), "PNG", icc_profile=own))
        np.testing.assert_array_equal(picture.rgb, gradient() / np.float32(255))
        assert picture.info.icc == own and picture.info.notes == ()


def test_no_profile_in_means_no_profile_out_and_an_unchanged_picture() -> None:
    picture = Picture.open(encoded(Image.fromarray(gradient()), "PNG"))
    assert picture.info.icc is None
    assert "icc_profile" not in Image.open(_file(picture.to_bytes("png"))).info


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_display_p3_picture_becomes_srgb_and_says_so(kind: str) -> None:
    colour = (200, 120, 100)
    data = encoded(Image.new("RGB", (16, 16), colour), kind, icc_profile=P3)
    picture = Picture.open(data)
    # by hand: decode, to XYZ, to linear sRGB, encode
    light = np.array([((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour])
    to_xyz = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    expected = 1.055 * (np.linalg.inv(to_xyz) @ np.array(DISPLAY_P3) @ light) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(picture.rgb[8, 8], expected, atol=3.5 / 255)
    assert abs(picture.rgb[8, 8, 0] - 200 / 255) > 5 / 255
    assert picture.info.icc == SRGB
    for out in ("jpeg", "png", "webp", "avif", "tiff"):
        again = Picture.open(picture.to_bytes(out))
        assert again.info.icc == SRGB
        np.testing.assert_allclose(again.rgb[8, 8], expected, atol=6 / 255)


def test_swapped_primaries_swap_the_channels() -> None:
    picture = Picture.open(
        encoded(Image.new("RGB", (4, 4), (230, 100, 20)), "PNG", icc_profile=rgb_profile(SWAPPED, SRGB_CURVE))
    )
    np.testing.assert_allclose(picture.rgb[0, 0] * 255, (20, 100, 230), atol=2)


def test_alpha_survives_a_conversion_and_a_palette_is_converted_too() -> None:
    rgba = np.dstack([gradient(), gradient()[..., 0]])
    picture = Picture.open(encoded(Image.fromarray(rgba), "PNG", icc_profile=ADOBE))
    np.testing.assert_array_equal(np.rint(picture.alpha * 255), rgba[..., 3])
    plain = Picture.open(encoded(Image.fromarray(gradient()), "PNG", icc_profile=ADOBE))
    np.testing.assert_array_equal(picture.rgb, plain.rgb)
    palette = Image.fromarray(gradient()).quantize(16)
    converted = Picture.open(encoded(palette, "PNG", icc_profile=ADOBE))
    direct = Picture.open(encoded(palette.convert("RGB"), "PNG", icc_profile=ADOBE))
    np.testing.assert_array_equal(converted.rgb, direct.rgb)


@pytest.mark.parametrize("name", CURVES)
def test_sixteen_bit_arithmetic_agrees_with_littlecms(name: str) -> None:
    data = rgb_profile(MILD, CURVES[name])
    eight = gradient(40, 40)
    expected = np.asarray(icc.to_srgb(Image.fromarray(eight), data))
    ours = icc.to_srgb_deep(eight.astype(np.uint16) * 257, data)
    assert ours is not None
    # LittleCMS works in 8 to 15 bits here, and sRGB is steep in the dark
    difference = np.abs(ours * 255 - expected)
    assert difference.max() < 10 and difference.mean() < 0.5 and np.quantile(difference, 0.99) < 2
    assert np.abs(eight.astype(int) - expected).max() > 10  # the profile does something


def test_each_channel_has_its_own_curve() -> None:
    data = rgb_profile(MILD, CURVES["identity"], CURVES["gamma"], CURVES["form 0"])
    eight = gradient(40, 40)
    expected = np.asarray(icc.to_srgb(Image.fromarray(eight), data))
    ours = icc.to_srgb_deep(eight.astype(np.uint16) * 257, data)
    assert ours is not None
    np.testing.assert_allclose(ours * 255, expected, atol=2)


@pytest.mark.parametrize("name", CURVES)
def test_sixteen_bit_grey_agrees_with_littlecms(name: str) -> None:
    data = grey_profile(CURVES[name])
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.asarray(icc.to_srgb(Image.fromarray(ramp), data))
    ours = icc.to_srgb_deep((ramp.astype(np.uint16) * 257)[..., None], data)
    assert ours is not None and ours.shape == (16, 16, 3)
    # LittleCMS is coarse in the dark, where sRGB is steep: compared from a dark grey on
    light = ours * 255 > 60
    np.testing.assert_allclose(ours[light] * 255, expected[light], atol=2)
    np.testing.assert_allclose(ours * 255, expected, atol=12)


def test_sixteen_bit_pictures_are_converted_in_more_than_eight_bits() -> None:
    ramp = np.repeat(np.arange(20000, 24000, dtype=np.uint16)[None, :, None], 3, axis=2)
    picture = Picture.open(deep_with(ramp, ADOBE))
    assert picture.info.depth == 16 and picture.info.icc == SRGB and picture.info.notes == ()
    assert len(np.unique(picture.rgb[0, :, 1])) > 3000
    again = Picture.open(picture.to_bytes("png"))
    np.testing.assert_allclose(again.rgb, picture.rgb, atol=1 / 131070 + 1e-6)
    assert again.info.icc == SRGB
    np.testing.assert_array_equal(Picture.open(again.to_bytes("png")).rgb, again.rgb)


def test_sixteen_bit_srgb_and_grey_profiles() -> None:
    samples = deep_noise(3)
    picture = Picture.open(deep_with(samples, SRGB))
    np.testing.assert_array_equal(np.rint(picture.rgb * 65535), samples)
    grey = Picture.open(deep_with(deep_noise(1), grey_profile(gamma_curve(1.0))))
    assert grey.info.grey and grey.info.icc == SRGB
    light = deep_noise(1)[..., 0] / 65535
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(grey.rgb, np.repeat(expected[..., None], 3, axis=2), atol=2e-4)
    kept = Picture.open(deep_with(deep_noise(1), grey_profile(SRGB_CURVE)))
    np.testing.assert_array_equal(np.rint(kept.rgb[..., :1] * 65535), deep_noise(1))
    assert kept.info.icc == SRGB  # a grey profile would not fit the RGB that is written


def test_grey_profiles_on_eight_bits() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    linear = Picture.open(encoded(ramp, "PNG", icc_profile=grey_profile(gamma_curve(1.0))))
    assert linear.rgb[8, 0, 0] == pytest.approx(188 / 255, abs=2 / 255)
    assert linear.info.grey and linear.info.icc == SRGB
    with_alpha = Image.merge("LA", [ramp, ramp])
    both = Picture.open(encoded(with_alpha, "PNG", icc_profile=grey_profile(gamma_curve(1.0))))
    np.testing.assert_array_equal(both.rgb, linear.rgb)
    np.testing.assert_array_equal(np.rint(both.alpha * 255), np.asarray(ramp))
    kept = Picture.open(encoded(ramp, "PNG", icc_profile=grey_profile(SRGB_CURVE)))
    np.testing.assert_array_equal(np.rint(kept.rgb[..., 0] * 255), np.asarray(ramp))


@pytest.mark.parametrize(
    "bad",
    [b"nonsense", SRGB[:100], SRGB[:300], SRGB[:128] + b"\xff" * (len(SRGB) - 128), SRGB[:16] + b"2CLR" + SRGB[20:]],
    ids=["nonsense", "short head", "short body", "scrambled tags", "unknown space"],
)
@pytest.mark.parametrize("deep", [False, True])
def test_a_bad_profile_is_ignored_aloud(bad: bytes, deep: bool) -> None:
    if deep:
        data, expected = deep_with(deep_noise(3), bad), deep_noise(3) / np.float32(65535)
    else:
        data = encoded(Image.fromarray(gradient()), "PNG", icc_profile=bad)
        expected = gradient() / np.float32(255)
    picture = Picture.open(data)
    np.testing.assert_array_equal(picture.rgb, expected)
    assert picture.info.icc is None
    assert len(picture.info.notes) == 1 and "was ignored" in picture.info.notes[0]


@pytest.mark.parametrize("mode, wrong", [("RGB", grey_profile(SRGB_CURVE)), ("L", SRGB), ("CMYK", SRGB)])
def test_a_profile_for_another_kind_of_picture_is_ignored_aloud(mode: str, wrong: bytes) -> None:
    image = Image.fromarray(gradient()).convert(mode)
    picture = Picture.open(encoded(image, "TIFF", icc_profile=wrong))
    assert any("another kind of picture" in note for note in picture.info.notes)
    np.testing.assert_array_equal(np.asarray(picture.to_pil()), np.asarray(image.convert("RGB")))


def test_sixteen_bits_with_a_profile_of_tables_are_converted_at_eight_aloud() -> None:
    lab = profile(b"RGB ", {})  # an RGB profile without curves: built by LittleCMS below
    assert icc.to_srgb_deep(deep_noise(3), lab) is None
    with_table = profile(b"RGB ", {b"A2B0": lut_to_xyz()})
    picture = Picture.open(deep_with(deep_noise(3), with_table))
    assert picture.info.depth == 8 and picture.info.icc == SRGB
    assert "at 8" in picture.info.notes[0]
    eight = ((deep_noise(3).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    expected = np.asarray(icc.to_srgb(Image.fromarray(eight), with_table))
    np.testing.assert_array_equal(np.rint(picture.rgb * 255), expected)


def lut_to_xyz() -> bytes:
    """A lut16 tag: identity curves and a 2x2x2 lattice that turns RGB into a muted XYZ."""
    import struct

    identity = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lattice = [
        round(32768 * value)
        for r in (0, 1)
        for g in (0, 1)
        for b in (0, 1)
        for value in np.array(MILD) @ np.array([r, g, b])
    ]
    head = b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + identity + struct.pack(">HH", 2, 2)
    return (
        head + struct.pack(">6H", *[0, 65535] * 3) + struct.pack(">24H", *lattice) + struct.pack(">6H", *[0, 65535] * 3)
    )


def test_cmyk_with_a_profile_goes_through_it() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 200, 200, 0))
    data = encoded(cmyk, "TIFF", icc_profile=cmyk_profile())
    picture = Picture.open(data)
    assert picture.info.icc == SRGB and picture.info.notes == ()
    assert picture.rgb[0, 0, 0] > picture.rgb[0, 0, 1]
    ink = Picture.open(encoded(Image.new("CMYK", (8, 8), (255, 255, 255, 255)), "TIFF", icc_profile=cmyk_profile()))
    paper = Picture.open(encoded(Image.new("CMYK", (8, 8)), "TIFF", icc_profile=cmyk_profile()))
    assert ink.rgb.max() < 0.1 and paper.rgb.min() > 0.95
    without = Picture.open(encoded(cmyk, "TIFF"))
    assert np.abs(without.rgb[0, 0] - picture.rgb[0, 0]).max() > 0.02
    jpeg = Picture.open(encoded(cmyk, "JPEG", icc_profile=cmyk_profile(), quality=95))
    np.testing.assert_allclose(jpeg.rgb[0, 0], picture.rgb[0, 0], atol=0.03)


def cmyk_profile() -> bytes:
    """A toy printer: a lut16 tag from CMYK to XYZ, two steps an ink, each ink taking away its own third."""
    import struct

    white = np.array([0.9642, 1.0, 0.8249])
    identity = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    srgb = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    lattice = []
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    light = (1 - 0.9 * np.array([c, m, y])) * (1 - k)
                    lattice += [round(32768 * value) for value in srgb @ light]
    assert (
        lattice[:3] == [round(32768 * value) for value in srgb @ np.ones(3)] and abs(srgb.sum(1) - white).max() < 1e-3
    )
    head = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + identity + struct.pack(">HH", 2, 2)
    body = struct.pack(">8H", *[0, 65535] * 4) + struct.pack(f">{len(lattice)}H", *lattice)
    return profile(b"CMYK", {b"A2B0": head + body + struct.pack(">6H", *[0, 65535] * 3)}, version=2)


def test_lab_tiff() -> None:
    muted = gradient() // 2 + 64  # 8-bit Lab is coarse for strong colours
    lab = ImageCms.profileToProfile(
        Image.fromarray(muted),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    picture = Picture.open(encoded(lab, "TIFF"))
    np.testing.assert_allclose(picture.rgb * 255, muted, atol=8)
    assert picture.info.icc == SRGB


def test_the_srgb_profile_is_valid_and_never_changes() -> None:
    assert icc.srgb_profile() == SRGB
    icc.srgb_profile.cache_clear()
    assert icc.srgb_profile() == SRGB
    opened = ImageCms.ImageCmsProfile(_file(SRGB))
    assert "sRGB" in ImageCms.getProfileDescription(opened)
    assert icc.is_srgb(SRGB, "RGB") and not icc.is_srgb(P3, "RGB") and not icc.is_srgb(ADOBE, "RGB")


def _file(data: bytes):  # type: ignore[no-untyped-def]
    import io

    return io.BytesIO(data)
