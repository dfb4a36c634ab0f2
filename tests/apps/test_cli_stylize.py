"""``impasto stylize``, through the real library with the tiny model."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import CODES, drawn_photo
from impasto.apps.cli import run
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel, save_code

Stylize = Callable[..., int]


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` with the tiny model in a folder that holds photo.jpg (48x40) and wide.png (64x20)."""
    monkeypatch.chdir(tmp_path)
    Picture.from_array(drawn_photo()).save("photo.jpg", quality=95)
    Picture.from_array(drawn_photo(64, 20, seed=1)).save("wide.png")

    def call(*arguments: str, style: str | None = "starry-night") -> int:
        styles = [] if style is None else ["--style", style]
        return run(["stylize", *arguments, *styles, "--model", str(style_bundle)])

    return call


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes, *, terminal: bool = False) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data))
    monkeypatch.setattr(stdin, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)


def pixels(path: str | Path) -> np.ndarray[Any, Any]:
    return Picture.open(path).rgb


def image(path: str | Path) -> Image.Image:
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def test_paints_as_the_library_does(stylize: Stylize, style_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("wide.png") == 0
    assert capsys.readouterr() == ("wide-starry-night.png\n", "")
    painter = StyleModel.load(style_bundle)
    expected = painter.paint(Picture.open("wide.png"), "starry-night").rgb
    assert np.abs(pixels("wide-starry-night.png") - expected).max() <= 0.5 / 255 + 1e-6


def test_strength_and_keep_colors(stylize: Stylize, style_bundle: Path) -> None:
    assert stylize("wide.png", "-o", "full.png") == 0
    assert stylize("wide.png", "-o", "half.png", "--strength", "0.5") == 0
    assert stylize("wide.png", "-o", "kept.png", "--strength", "0.5", "--keep-colors") == 0
    painter, photo = StyleModel.load(style_bundle), Picture.open("wide.png")
    half = painter.paint(photo, "starry-night", strength=0.5).rgb
    kept = painter.paint(photo, "starry-night", strength=0.5, keep_colors=True).rgb
    assert np.abs(pixels("half.png") - half).max() <= 0.5 / 255 + 1e-6
    assert np.abs(pixels("kept.png") - kept).max() <= 0.5 / 255 + 1e-6
    assert np.abs(pixels("full.png") - half).max() > 0.05 < np.abs(half - kept).max()


def test_styles_are_blended_by_weight(stylize: Stylize, style_bundle: Path) -> None:
    save_code("own.npy", CODES[1])
    assert stylize("wide.png", "-o", "mix.png", "-s", "starry-night:3", "-s", "own.npy", style=None) == 0
    code = (3 * CODES[0] + CODES[1]) / 4
    expected = StyleModel.load(style_bundle).paint(Picture.open("wide.png"), code).rgb
    assert np.abs(pixels("mix.png") - expected).max() <= 0.5 / 255 + 1e-5


def test_a_picture_is_a_style(stylize: Stylize, style_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("wide.png", style="photo.jpg") == 0
    assert capsys.readouterr().out == "wide-photo.png\n"
    expected = StyleModel.load(style_bundle).paint(Picture.open("wide.png"), Path("photo.jpg")).rgb
    assert np.abs(pixels("wide-photo.png") - expected).max() <= 0.5 / 255 + 1e-6


def test_a_lone_weight_is_said_to_change_nothing(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("wide.png", style="starry-night:0.5") == 0
    assert "0.5 is ignored: use --strength" in capsys.readouterr().err


def test_size_is_the_long_side(stylize: Stylize) -> None:
    assert stylize("wide.png", "-o", "small.png", "--size", "32") == 0
    assert image("small.png").size == (32, 10)
    assert stylize("wide.png", "-o", "large.png", "--size", "96") == 0
    assert image("large.png").size == (96, 30)


def test_format_and_quality(stylize: Stylize) -> None:
    assert stylize("wide.png", "--format", "webp") == 0
    assert image("wide-starry-night.webp").format == "WEBP"
    for quality in ("10", "95"):
        assert stylize("photo.jpg", "-o", f"q{quality}.jpg", "--quality", quality) == 0
    assert Path("q10.jpg").stat().st_size * 1.5 < Path("q95.jpg").stat().st_size


def test_strip_leaves_metadata_out(stylize: Stylize) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    image("photo.jpg").save("tagged.jpg", exif=exif)
    assert stylize("tagged.jpg", "-o", "kept.jpg") == 0
    assert stylize("tagged.jpg", "-o", "bare.jpg", "--strip") == 0
    assert image("kept.jpg").getexif()[0x010E] == "a secret place"
    assert 0x010E not in image("bare.jpg").getexif()
    assert b"secret" not in Path("bare.jpg").read_bytes()


def test_json_lines(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("photo.jpg", "wide.png", "-o", "out", "--json", "--strength", "0.25") == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [line.pop("seconds") > 0 for line in lines] == [True, True]
    assert lines == [
        {
            "input": name,
            "output": str(Path("out") / name),
            "style": [{"style": "starry-night", "weight": 1.0}],
            "strength": 0.25,
            "width": width,
            "height": height,
            "notes": [],
        }
        for name, width, height in (("photo.jpg", 48, 40), ("wide.png", 64, 20))
    ]


def test_notes_are_said_aloud(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "green")]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    assert stylize("film.gif", "--json") == 0
    out, err = capsys.readouterr()
    (note,) = json.loads(out)["notes"]
    assert "frame" in note
    assert err == f"impasto: film.gif: {note}\n"
    Image.fromarray((drawn_photo(20, 20) * 255).astype("uint8")).convert("RGBA").save("glass.png")
    Image.merge("RGBA", [*image("glass.png").split()[:3], Image.new("L", (20, 20), 99)]).save("glass.png")
    assert stylize("glass.png", "-o", "flat.jpg") == 0
    assert "glass.png: " in capsys.readouterr().err, "JPEG cannot keep transparency"


def test_overwrite(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.png").write_bytes(b"precious")
    assert stylize("wide.png", "-o", "out.png") == 2
    assert Path("out.png").read_bytes() == b"precious"
    out, err = capsys.readouterr()
    assert (out, err) == ("", "impasto: out.png exists already: choose another output or add --overwrite.\n")
    assert stylize("wide.png", "-o", "out.png", "--overwrite") == 0
    assert image("out.png").size == (64, 20)


def test_one_bad_picture_among_many(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.jpg").write_bytes(Path("photo.jpg").read_bytes()[:300])
    assert stylize("broken.jpg", "photo.jpg", "missing.jpg", "wide.png", "-o", "out") == 1
    out, err = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines()] == ["photo.jpg", "wide.png"]
    first, second, last = err.splitlines()
    assert first.startswith("impasto: broken.jpg: ")
    assert second.startswith("impasto: missing.jpg: There is no file missing.jpg")
    assert last == "impasto: 2 of 4 pictures could not be painted."
    assert sorted(path.name for path in Path("out").iterdir()) == ["photo.jpg", "wide.png"]


def test_a_failure_is_a_json_line_too(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("missing.jpg", "wide.png", "-o", "out", "--json") == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(first) == {"input", "error"}
    assert first["input"] == "missing.jpg"
    assert second["output"].endswith("wide.png")


def test_a_fault_of_ours_in_one_picture_does_not_stop_the_others(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = StyleModel.paint

    def paint(self: StyleModel, picture: Picture, *rest: Any, **more: Any) -> Picture:
        if picture.size == (48, 40):
            raise ZeroDivisionError("oh")
        return real(self, picture, *rest, **more)

    monkeypatch.setattr(StyleModel, "paint", paint)
    assert stylize("photo.jpg", "wide.png", "-o", "out") == 1
    out, err = capsys.readouterr()
    assert Path(out.strip()) == Path("out/wide.png")
    assert "photo.jpg: Unexpected ZeroDivisionError (oh): run the same command with --debug" in err
    assert stylize("photo.jpg") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert stylize("photo.jpg", "wide.png", "-o", "out2", "--debug") == 1
    assert "ZeroDivisionError: oh" in capsys.readouterr().err

    def full(*_: Any, **__: Any) -> Picture:
        raise MemoryError

    monkeypatch.setattr(StyleModel, "paint", full)
    assert stylize("photo.jpg") == 1
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "style", "sentence"),
    [
        (["missing.jpg"], "starry-night", "There is no file missing.jpg here"),
        (["fhoto.jpg"], "starry-night", "did you mean photo.jpg?"),
        (["wide.png"], "stary-night", "There is no style called 'stary-night': did you mean 'starry-night'?"),
        (["wide.png"], "missing.npy", "There is no"),
        (["wide.png"], "night:0", "must be a number above 0"),
        (["wide.png"], None, "Missing option"),
        ([], "starry-night", "Missing argument"),
        (["wide.png", "--strenght", "1"], "starry-night", "no option called '--strenght': did you mean '--strength'"),
        (["wide.png", "--strength", "1.5"], "starry-night", "--strength"),
        (["wide.png", "--strength", "nan"], "starry-night", "--strength"),
        (["wide.png", "--size", "0"], "starry-night", "--size"),
        (["wide.png", "--quality", "101"], "starry-night", "--quality"),
        (["wide.png", "--format", "gif"], "starry-night", "There is no format called 'gif'"),
        (["wide.png", "--engine", "openvin"], "starry-night", "did you mean 'openvino'?"),
        (["wide.png", "--threads", "0"], "starry-night", "--threads"),
        (["wide.png", "--threads", "1000"], "starry-night", "1000 threads cannot be used"),
        (["wide.png", "--max-pixels", "100"], "starry-night", "wide.png"),
        (["wide.png", "-o", "-", "--json"], "starry-night", "cannot carry both"),
    ],
)
def test_wrong_usage_is_one_sentence(
    stylize: Stylize, capsys: pytest.CaptureFixture[str], arguments: list[str], style: str | None, sentence: str
) -> None:
    before = sorted(Path().iterdir())
    assert stylize(*arguments, style=style) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("impasto: ")
    assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


def test_engine_threads_and_memory_reach_the_library(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, style_bundle: Path
) -> None:
    seen: dict[str, Any] = {}
    real = StyleModel.load.__func__  # type: ignore[attr-defined]

    def load(cls: type[StyleModel], name: str, **options: Any) -> StyleModel:
        seen.update(options, name=name)
        loaded: StyleModel = real(cls, name, **options)
        return loaded

    monkeypatch.setattr(StyleModel, "load", classmethod(load))
    assert stylize("wide.png", "--engine", "onnxruntime", "--threads", "1", "--precision", "auto") == 0
    assert seen == {"name": str(style_bundle), "engine": "onnxruntime", "threads": 1, "precision": "auto"}


def test_openvino_paints_the_same(stylize: Stylize) -> None:
    pytest.importorskip("openvino")
    assert stylize("wide.png", "-o", "a.png") == 0
    assert stylize("wide.png", "-o", "b.png", "--engine", "openvino") == 0
    assert np.abs(pixels("a.png") - pixels("b.png")).max() < 0.03, "bfloat16 has 8 bits"


def test_max_pixels_can_be_raised(stylize: Stylize) -> None:
    assert stylize("wide.png", "--max-pixels", str(64 * 20)) == 0


def test_standard_input_and_output(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert stylize("wide.png", "-o", "expected.png") == 0
    capfdbinary.readouterr()
    feed(monkeypatch, Path("wide.png").read_bytes())
    assert stylize("-") == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(out))), np.asarray(image("expected.png")))
    assert stylize("wide.png", "-o", "-", "--format", "jpg") == 0
    assert Image.open(io.BytesIO(capfdbinary.readouterr().out)).format == "JPEG"
    feed(monkeypatch, Path("wide.png").read_bytes())
    assert stylize("-", "-o", "named.png") == 0
    assert capfdbinary.readouterr().out == b"named.png\n"


def test_streams_that_cannot_carry_a_picture(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, b"", terminal=True)
    assert stylize("-", "-o", "x.png") == 2
    assert "is the keyboard" in capsys.readouterr().err
    feed(monkeypatch, b"")
    assert stylize("-", "-o", "x.png") == 2
    assert "empty" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert stylize("wide.png", "-o", "-") == 2
    assert "to the terminal" in capsys.readouterr().err


def test_a_folder_is_mirrored(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("trip/day two").mkdir(parents=True)
    Path("photo.jpg").rename("trip/day two/a.jpg")
    Path("wide.png").rename("trip/b.png")
    Path("trip/notes.txt").write_text("not a picture")
    assert stylize("trip", "-o", "painted") == 0
    assert capsys.readouterr().out.splitlines() == [str(Path("painted/b.png")), str(Path("painted/day two/a.jpg"))]
    assert stylize("trip/**/*.jpg", "--output", "painted2") == 0
    assert [path.as_posix() for path in Path("painted2").rglob("*.jpg")] == ["painted2/day two/a.jpg"]


def test_progress_on_a_terminal_only(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert stylize("photo.jpg", "wide.png", "missing.jpg", "-o", "out") == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(Path("out/photo.jpg")), str(Path("out/wide.png"))]
    assert "/3" in err
    assert "missing.jpg: There is no file" in err
    assert stylize("photo.jpg", "wide.png", "-o", "out2", "--json") == 0
    assert capsys.readouterr().err == "", "no bar beside JSON"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_whole_pictures_only(stylize: Stylize, style_bundle: Path, number: int, code: int) -> None:
    Path("many").mkdir()
    data = Path("photo.jpg").read_bytes()
    for index in range(3000):
        Path(f"many/{index:04}.jpg").write_bytes(data)
    # Tests that a shell runs in the background have Ctrl-C turned off, and so would their children.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{start}; from impasto.apps.cli import main; main()"]
    options = [
        "stylize",
        "many",
        "-o",
        "out",
        "--style",
        "starry-night",
        "--model",
        str(style_bundle),
        "--threads",
        "1",
    ]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(".jpg\n")
        time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    written = [path for path in Path("out").iterdir() if path.name != "impasto-report.jsonl"]
    assert 0 < len(written) < 3000, "it was stopped half way"
    assert all(path.suffix == ".jpg" and path.name[0] != "." for path in written)
    assert {Picture.open(path).size for path in written} == {(48, 40)}
