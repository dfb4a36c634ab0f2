"""``impasto stylize clip.mp4`` with the tiny model."""

from __future__ import annotations

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

from clips import moving, shots, write_clip
from helpers import drawn_photo
from impasto.apps.cli import film, run
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.runtime.video import clip as clip_module
from impasto.runtime.video.footage import open_footage

Stylize = Callable[..., int]


@pytest.fixture
def stylize(style_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stylize:
    """Run ``impasto stylize`` with the tiny model in a folder that holds clip.mp4 (12 frames, 48x32) and photo.jpg."""
    monkeypatch.chdir(tmp_path)
    write_clip(Path("clip.mp4"), moving(12, noise=0.02))
    Picture.from_array(drawn_photo()).save("photo.jpg")

    def call(*arguments: str, styles: tuple[str, ...] = ("starry-night",)) -> int:
        wanted = [word for style in styles for word in ("--style", style)]
        return run(["stylize", *arguments, *wanted, "--model", str(style_bundle), "--threads", "1"])

    return call


def frames(name: str) -> Any:
    return np.stack(shots(Path(name))[1]).astype(float)


def test_beside_the_clip_or_into_a_folder(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("clip.mp4") == 0
    assert capsys.readouterr() == ("clip-starry-night.mp4\n", "")
    assert len(frames("clip-starry-night.mp4")) == 12
    Path("out").mkdir()
    assert stylize("clip.mp4", "-o", "out") == 0
    assert Path("out/clip.mp4").exists()
    Path("clip.mp4").rename("clip.mpg")
    assert stylize("clip.mpg", "-o", "new/") == 0
    assert len(frames("new/clip.mp4")) == 12
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_options_reach_the_painter(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    assert stylize("clip.mp4", "-o", "a.mkv", "--codec", "ffv1", "--no-steady") == 0
    assert stylize("clip.mp4", "-o", "b.mkv", "--codec", "ffv1", "--steady") == 0
    assert stylize("clip.mp4", "-o", "c.mkv", "--codec", "ffv1") == 0
    assert np.abs(frames("a.mkv") - frames("b.mkv"))[5:].max() > 3
    np.testing.assert_array_equal(frames("b.mkv"), frames("c.mkv"))
    capsys.readouterr()
    options = ["--crf", "30", "--size", "96", "--start", "0.3", "--end", "0.8", "--strength", "0.5", "--keep-colors"]
    assert stylize("clip.mp4", "-o", "d.mp4", "--json", "--strip", "--max-memory", "2GB", *options) == 0
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert err == ""
    assert line.pop("seconds") > 0 < line.pop("fps")
    assert line == {
        "input": "clip.mp4",
        "output": "d.mp4",
        "style": [{"style": "starry-night", "weight": 1.0}],
        "morph": False,
        "width": 96,
        "height": 64,
        "frames": 5,
        "resumed": 0,
        "codec": "h264",
        "crf": 30,
        "cuts": 0,
        "notes": [],
    }


def test_blend_and_morph(stylize: Stylize) -> None:
    both = ("starry-night:1", "great-wave:3")
    exact = ("--codec", "ffv1", "--no-steady")
    for name in ("starry-night", "great-wave"):
        assert stylize("clip.mp4", "-o", f"{name}.mkv", *exact, styles=(name,)) == 0
    assert stylize("clip.mp4", "-o", "blend.mkv", *exact, styles=both) == 0
    assert stylize("clip.mp4", "-o", "morph.mkv", "--morph", *exact, styles=("starry-night", "great-wave")) == 0
    one, other, blend, morph = (frames(f"{n}.mkv") for n in ("starry-night", "great-wave", "blend", "morph"))
    np.testing.assert_array_equal(morph[0], one[0])
    np.testing.assert_array_equal(morph[-1], other[-1])
    assert np.abs(morph[6] - one[6]).max() > 5 < np.abs(morph[6] - other[6]).max()
    assert np.abs(blend[0] - one[0]).max() > 5 < np.abs(blend[0] - other[0]).max()


def test_a_name_that_says_nothing_is_known_by_its_content(stylize: Stylize) -> None:
    Path("clip.mp4").rename("thing")
    assert stylize("thing", "-o", "out.mp4") == 0
    assert len(frames("out.mp4")) == 12


@pytest.mark.parametrize(
    ("arguments", "styles", "words"),
    [
        (["clip.mp4", "photo.jpg", "-o", "out"], ("starry-night",), "give clip.mp4 alone"),
        (["photo.jpg", "--morph"], ("starry-night", "great-wave"), "--morph is for videos, and photo.jpg is none"),
        (["photo.jpg", "--no-steady"], ("starry-night",), "--steady is for videos"),
        (["photo.jpg", "--codec", "h264"], ("starry-night",), "--codec is for videos"),
        (["photo.jpg", "--crf", "3"], ("starry-night",), "--crf is for videos"),
        (["photo.jpg", "--start", "3"], ("starry-night",), "--start is for videos"),
        (["photo.jpg", "--end", "3"], ("starry-night",), "--end is for videos"),
        (["clip.mp4", "--quality", "3"], ("starry-night",), "--quality is for pictures, and clip.mp4 is a video"),
        (["clip.mp4", "--format", "png"], ("starry-night",), "--format is for pictures"),
        (["clip.mp4", "-o", "-"], ("starry-night",), "standard output"),
        (["clip.mp4", "-o", ""], ("starry-night",), "-o is empty"),
        (["clip.mp4", "-o", "clip.mp4", "--overwrite"], ("starry-night",), "is the clip itself"),
        (["clip.mp4", "-o", "a.gif"], ("starry-night",), "no video format called '.gif'"),
        (["clip.mp4", "--codec", "h266"], ("starry-night",), "did you mean 'h26"),
        (["clip.mp4", "--morph"], ("starry-night",), "give --style twice or more"),
        (["clip.mp4", "--morph"], ("starry-night:2", "great-wave"), "no weights with --morph"),
        (["clip.mp4"], ("stary-night",), "did you mean 'starry-night'"),
        (["clip.mp4", "--start", "9"], ("starry-night",), "1.20 seconds long"),
        (["clips.mp4"], ("starry-night",), "did you mean clip.mp4"),
        (["noise.mp4"], ("starry-night",), "no video"),
        (["half.mp4"], ("starry-night",), "no video"),
        (["empty.mkv"], ("starry-night",), "empty"),
    ],
)
def test_one_sentence_and_code_2(
    stylize: Stylize, capsys: pytest.CaptureFixture[str], arguments: list[str], styles: tuple[str, ...], words: str
) -> None:
    Path("noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    whole = Path("clip.mp4").read_bytes()
    Path("half.mp4").write_bytes(whole[: len(whole) // 2])  # this one has its table of contents at the end
    Path("empty.mkv").touch()
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert stylize(*arguments, styles=styles) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_an_output_that_exists(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.mp4").write_bytes(b"mine")
    assert stylize("clip.mp4", "-o", "out.mp4") == 2
    assert "exists already" in capsys.readouterr().err and Path("out.mp4").read_bytes() == b"mine"
    assert stylize("clip.mp4", "-o", "out.mp4", "--overwrite") == 0
    assert len(frames("out.mp4")) == 12


def test_an_early_end_of_the_command_says_how_to_go_on(
    stylize: Stylize, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(at: int) -> Any:
        def bar(total: int, *, quiet: bool) -> Any:
            def report(progress: Progress) -> None:
                if progress.done == at:
                    raise KeyboardInterrupt

            class Context:
                def __enter__(self) -> Any:
                    return report

                def __exit__(self, *_: object) -> None:
                    pass

            return Context()

        return bar

    defaults = clip_module.stylize_clip.__kwdefaults__
    monkeypatch.setitem(defaults, "part_seconds", 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(film, "progress_bar", interrupted(3))
        assert stylize("clip.mp4", "-o", "out.mp4") == 130
        assert "kept: the same" not in capsys.readouterr().err
        patch.setattr(film, "progress_bar", interrupted(7))
        assert stylize("clip.mp4", "-o", "out.mp4") == 130
        assert "The finished parts of out.mp4 are kept: the same command goes on" in capsys.readouterr().err
    assert not Path("out.mp4").exists()
    assert stylize("clip.mp4", "-o", "out.mp4") == 0
    assert "5 of 12 frames had been painted before" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_notes_are_said(stylize: Stylize, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(Path("alpha.mkv"), moving(2), codec="ffv1", form="bgra", options={}, sound=None)
    assert stylize("alpha.mkv", "-o", "out.mp4") == 0
    assert "alpha.mkv: Its transparency is left out." in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
def test_a_terminated_command_leaves_no_half_video(style_bundle: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", moving(80, 96, 64), sound=None)
    arguments = ["stylize", "clip.mp4", "--style", "starry-night", "-o", "out.mp4", "--model", str(style_bundle)]
    code = "import sys; from impasto.apps.cli import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".out.mp4.parts/*.packets")) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    left = [path.suffix for path in tmp_path.rglob("*") if path.suffix in (".packets", ".tmp", ".new")]
    assert not (tmp_path / "out.mp4").exists()
    assert len(left) == len(list(tmp_path.glob(".out.mp4.parts/*.json"))) - bool(left)
    assert open_footage(tmp_path / "clip.mp4").times.size == 80
