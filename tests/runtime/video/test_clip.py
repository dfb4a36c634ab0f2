"""Painting videos with the tiny model: what comes out, what is copied, and going on after a stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import moving, shots, sound_of, write_clip
from helpers import CODES
from impasto.errors import ImpastoError, PictureError, PictureExists, UnknownName
from impasto.progress import Progress
from impasto.runtime.picture import Picture
from impasto.runtime.style import StyleModel
from impasto.runtime.video.clip import Painted, morphed, stylize_clip
from impasto.runtime.video.footage import Reader, open_footage
from impasto.runtime.video.reel import CODECS
from impasto.runtime.video.work import parts_folder

STYLE = "starry-night"
# Every pixel as it was painted: RGB without loss.
EXACT = {"codec": "ffv1"}

Paint = Callable[..., Painted]


@pytest.fixture
def model(style_bundle: Path) -> StyleModel:
    return StyleModel.load(style_bundle, threads=1)


@pytest.fixture
def paint(model: StyleModel, tmp_path: Path) -> Paint:
    def call(source: Path, name: str = "out.mkv", styles: Any = (STYLE,), **options: Any) -> Painted:
        return stylize_clip(source, tmp_path / name, model, styles, **({"part_seconds": 0.5} | options))

    return call


def read(path: Path) -> list[Any]:
    with Reader(open_footage(path)) as reader:
        return [shot.rgb for shot in reader]


def singly(model: StyleModel, source: Path, code: Any = STYLE, **options: Any) -> list[Any]:
    """The frames of a video, painted as photos are."""
    return [model.paint(Picture(rgb), code, **options).rgb for rgb in read(source)]


def furthest(some: list[Any], others: list[Any]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_unsteadied_frames_are_painted_as_photos_are(paint: Paint, model: StyleModel, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(6))
    done = paint(clip, steady=False, strength=0.6, keep_colors=True, **EXACT)
    expected = singly(model, clip, strength=0.6, keep_colors=True)
    assert furthest(read(done.output), expected) < 0.5 / 255 + 1e-5
    assert (done.frames, done.width, done.height, done.codec, done.crf) == (6, 48, 32, "ffv1", None)
    assert furthest(read(paint(clip, "full.mkv", steady=False, **EXACT).output), expected) > 0.1
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, True)])
def test_what_players_show_is_what_was_painted(
    paint: Paint, model: StyleModel, tmp_path: Path, codec: str, matrix: int, full: bool
) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(3), matrix=matrix, full=full, sound=None)
    done = paint(clip, codec=codec, crf=4, steady=False)
    footage = open_footage(done.output)
    assert (footage.colors.matrix, footage.colors.full) == (matrix, full)
    off = [np.abs(a - b).mean() for a, b in zip(read(done.output), singly(model, clip), strict=True)]
    assert max(off) < 0.02
    # Judged by PyAV's own conversion too, which goes by the tags alone.
    shown = np.stack(shots(done.output)[1]) / 255
    assert np.abs(shown - np.stack(singly(model, clip))).mean() < 0.025


def test_ten_bits_stay_where_the_codec_is_played_with_them(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(2, 64, 32), form="yuv420p10le", sound=None)
    for codec, depth in (("h265", 10), ("av1", 10), ("ffv1", 16), ("h264", 8)):
        done = paint(clip, f"{codec}.mkv", codec=codec)
        assert open_footage(done.output).depth == depth
        assert any("10 bits are written as 8" in note for note in done.notes) == (depth == 8)


def test_quality_can_be_chosen(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(6, noise=0.1), sound=None)
    sizes = [paint(clip, f"{crf}.mp4", crf=crf, steady=False).output.stat().st_size for crf in (0, 18, 45)]
    plain = paint(clip, "plain.mp4", steady=False)
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]
    assert (plain.codec, plain.crf) == ("h264", 18)
    # Not to the byte: now and then x264 spends a little more or less on the very same frames.
    assert plain.output.stat().st_size == pytest.approx(sizes[1], rel=0.05)


def test_odd_sides_and_turned_videos(paint: Paint, model: StyleModel, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving(2, 47, 31), codec="ffv1", form="bgr0", options={}, sound=None)
    done = paint(clip, crf=1, codec="h264")
    assert (done.width, done.height) == (48, 32) and any("even sides" in note for note in done.notes)
    assert paint(clip, "exact.mkv", **EXACT).width == 47
    clip = write_clip(tmp_path / "b.mp4", moving(2), turn=90, aspect=Fraction(4, 3))
    done = paint(clip, "b-out.mp4", crf=1, steady=False)
    assert (done.width, done.height) == (32, 48)
    footage = open_footage(done.output)
    assert (footage.turn, footage.aspect) == ((False, False, False), Fraction(3, 4))
    assert np.abs(read(done.output)[0] - singly(model, clip)[0]).mean() < 0.03


def test_size_is_the_long_side(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    done = paint(clip, size=96, **EXACT)
    assert (done.width, done.height) == (96, 64)
    with pytest.raises(PictureError, match="more than 1,000 pixels"):
        paint(clip, "b.mkv", max_pixels=1000)
    with pytest.raises(PictureError, match="from 1 on"):
        paint(clip, "b.mkv", size=0)


def test_steadying_helps_a_noisy_clip(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(10, noise=0.05, step=0))
    flicker = []
    for steady in (True, False):
        frames = np.stack(read(paint(clip, f"{steady}.mkv", steady=steady, **EXACT).output))
        flicker.append(float(np.square(np.diff(frames[4:], axis=0)).mean()))
    assert flicker[0] < 0.25 * flicker[1]


# --- morphing ---------------------------------------------------------------------------------------------------------


def test_a_morph_begins_and_ends_with_its_styles(paint: Paint, model: StyleModel, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(9))
    names = ["starry-night", "great-wave", "the-scream"]
    done = read(paint(clip, styles=names, steady=False, **EXACT).output)
    for place, name in zip((0, 4, 8), names, strict=True):
        assert furthest([done[place]], [singly(model, clip, name)[place]]) < 0.5 / 255 + 1e-5
    code = 0.5 * (CODES[0] + CODES[1])  # half of the first leg
    assert furthest([done[2]], [singly(model, clip, code)[2]]) < 0.5 / 255 + 1e-4


def test_the_way_of_a_morph_by_hand() -> None:
    codes = [np.zeros(2, np.float32), np.ones(2, np.float32), np.full(2, 3, np.float32)]
    for share, value in [(0, 0), (0.125, 0.15625), (0.25, 0.5), (0.5, 1), (0.75, 2), (1, 3), (-1, 0), (7, 3)]:
        np.testing.assert_allclose(morphed(codes, share), value, atol=1e-6)
    assert morphed(codes[:1], 0.3) is codes[0]


# --- times, sound and the rest ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("o.mp4", "h264"), ("o.mov", "h265"), ("o.mp4", "av1"), ("o.m4v", "vp9")])
def test_every_time_and_every_byte_of_sound_is_kept(paint: Paint, tmp_path: Path, name: str, codec: str) -> None:
    times = [0, 30, 110, 140, 200, 480, 500, 501, 610, 900, 960, 1000]
    clip = write_clip(tmp_path / "a.mp4", moving(12, 64, 32), times=times)
    done = paint(clip, name, codec=codec)
    assert done.notes == ()
    np.testing.assert_allclose(shots(done.output)[0], np.array(times) / 600, atol=1e-9)
    assert sound_of(done.output) == sound_of(clip)
    assert len(sound_of(clip)) > 8
    with av.open(str(done.output)) as container:
        assert container.metadata["title"] == "a moving thing"
        stream = container.streams.video[0]
        assert 1000 / 600 + 0.09 < float(stream.duration * stream.time_base) < 1000 / 600 + 0.21
        packets = [packet for packet in container.demux(video=0) if packet.size]
        order = [packet.dts for packet in packets]
        assert order == sorted(set(order))
        assert all(packet.dts <= packet.pts for packet in packets)


def test_a_container_that_counts_milliseconds_keeps_sound_and_pictures_together(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(8))
    done = paint(clip)
    times, sound = np.array(shots(done.output)[0]), sound_of(done.output)
    np.testing.assert_allclose(np.diff(times), 0.1, atol=0.0011)
    assert [data for _, data in sound] == [data for _, data in sound_of(clip)]
    assert abs((times[0] - float(sound[0][0])) - (0 - float(sound_of(clip)[0][0]))) < 0.0011


def test_a_part_of_a_clip(paint: Paint, model: StyleModel, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(20))
    done = paint(clip, "cut.mkv", start=0.5, end=1.2, steady=False, **EXACT)
    assert furthest(read(done.output), singly(model, clip)[5:12]) < 0.5 / 255 + 1e-5
    cut = paint(clip, "cut.mp4", start=0.5, end=1.2)
    np.testing.assert_allclose(shots(cut.output)[0], np.arange(7) / 10, atol=1e-6)
    # Packets of 128 ms that begin from 0.5 to before 1.2 seconds.
    whole = sound_of(clip)
    assert [(t + Fraction(1, 2), d) for t, d in sound_of(cut.output)] == [x for x in whole if 0.5 <= x[0] < 1.2]
    end = paint(clip, "end.mp4", end=0.55)
    assert end.frames == 6
    assert sound_of(end.output) == [x for x in whole if x[0] < 0.6]
    for start, stop, words in [(2.5, None, "2.00 seconds long"), (1, 1, "Nothing lies"), (-1, None, "Nothing lies")]:
        with pytest.raises(ImpastoError, match=words):
            paint(clip, "x.mp4", start=start, end=stop)
    with pytest.raises(ImpastoError, match="Nothing lies"):
        paint(clip, "x.mp4", end=float("nan"))
    assert hidden(tmp_path) == []


def test_metadata_can_be_stripped(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    with av.open(str(paint(clip, strip=True).output)) as container:
        assert "title" not in {name.lower() for name in container.metadata}
    with av.open(str(paint(clip, "kept.mkv").output)) as container:
        assert container.metadata["title"] == "a moving thing"


def test_subtitles_and_chapters(paint: Paint, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    bare = write_clip(tmp_path / "bare.mkv", moving(10))
    with av.open(str(bare)) as source, av.open(str(path), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        words = out.add_mux_stream("subrip")
        words.metadata["language"] = "fra"
        unit = Fraction(1, 1000)
        chapter = {"id": 1, "start": 200, "end": 700, "time_base": unit, "metadata": {"title": "One"}}
        out.set_chapters([chapter])
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
        packet = av.Packet(b"Bonjour")
        packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = words, unit, 300, 300, 400
        out.mux(packet)
    done = paint(path, "o.mkv")
    with av.open(str(done.output)) as container:
        subtitle = container.streams.subtitles[0]
        said = [p for p in container.demux(subtitle) if p.size]
        assert [bytes(p) for p in said] == [b"Bonjour"] and subtitle.language == "fra"
        assert [c["metadata"]["title"] for c in container.chapters()] == ["One"]
        assert said[0].duration * said[0].time_base == Fraction(2, 5)
    assert done.notes == ()
    done = paint(path, "o.mp4")
    assert done.notes == ("Left out, as .mp4 does not hold it: subtitle (srt).",)


def test_a_sound_that_the_container_does_not_hold(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    with pytest.raises(PictureError, match=r"cannot hold the sound of a.mp4 \(aac\): choose .*\.mkv"):
        paint(clip, "o.webm")
    assert paint(write_clip(tmp_path / "b.mkv", moving(2), sound=None), "o.webm").codec == "vp9"
    # FFmpeg thinks that MOV holds Opus, until it begins to write one.
    opus = write_clip(tmp_path / "c.mkv", moving(2), sound="libopus")
    with pytest.raises(PictureError, match=r"o.mov cannot hold c.mkv with its sound \(Invalid argument\)"):
        paint(opus, "o.mov", on_progress=stopping(1))
    assert sound_of(paint(opus, "o.mp4").output) != []
    assert hidden(tmp_path) == []


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_wrong_outputs_are_refused_before_anything_is_read(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "there.mp4").write_bytes(b"mine")
    (tmp_path / "folder.mp4").mkdir()
    for name, options, error, words in [
        ("there.mp4", {}, PictureExists, "exists already"),
        ("folder.mp4", {}, PictureError, "folder"),
        ("o.gif", {}, UnknownName, "video format"),
        ("o.mp4", {"codec": "h246"}, UnknownName, "h264"),
        ("o.mp4", {"codec": "ffv1"}, PictureError, "does not hold ffv1: choose an output ending in .mkv"),
        ("o.webm", {"codec": "h264"}, PictureError, "does not hold h264"),
        ("o.mkv", {"codec": "ffv1", "crf": 3}, PictureError, "lossless"),
        ("o.mp4", {"crf": 52}, PictureError, "0 .best. to 51"),
    ]:
        with pytest.raises(error, match=words):
            paint(tmp_path / "not-even-there.mp4", name, **options)
    with pytest.raises(PictureError, match="clip itself"):
        paint(clip, "a.mp4", overwrite=True)
    with pytest.raises(PictureError, match="needs frames of 64 pixels"):
        paint(clip, "o.mkv", codec="h265")
    with pytest.raises(ImpastoError, match="needs a style"):
        paint(clip, "o.mkv", styles=())
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"
    assert hidden(tmp_path) == []


def test_an_encoder_that_pyav_was_built_without(paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"libx264", "ffv1"})
    with pytest.raises(PictureError, match="without an encoder for av1: choose h264 or ffv1"):
        paint(tmp_path / "a.mp4", codec="av1")
    assert list(CODECS) == ["h264", "h265", "vp9", "av1", "ffv1"]


def test_overwriting(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "out.mkv").write_bytes(b"old")
    assert paint(clip, overwrite=True).frames == 2
    assert len(read(tmp_path / "out.mkv")) == 2


# --- going on ---------------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stopping(at: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.done == at:
            raise Stop

    return report


@pytest.mark.parametrize("steady", [True, False])
def test_going_on_equals_the_undisturbed_run(paint: Paint, tmp_path: Path, steady: bool) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(17, noise=0.02))
    styles = ["starry-night", "great-wave"]
    whole = paint(clip, "whole.mkv", styles=styles, strength=0.8, steady=steady, **EXACT)
    for stop in (3, 8, 13):
        with pytest.raises(Stop):
            paint(clip, styles=styles, strength=0.8, steady=steady, on_progress=stopping(stop), **EXACT)
        # Five frames make a part; one without a finished part leaves nothing.
        assert parts_folder(tmp_path / "out.mkv").exists() == (stop > 5)
        assert not (tmp_path / "out.mkv").exists()
    done = paint(clip, styles=styles, strength=0.8, steady=steady, **EXACT)
    assert (done.resumed, done.frames) == (10, 17)
    assert shots(done.output)[0] == shots(whole.output)[0]
    assert furthest(read(done.output), read(whole.output)) == 0
    assert hidden(tmp_path) == []


def test_a_killed_process_loses_no_finished_part(paint: Paint, style_bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(14, noise=0.02))
    code = f"""
import os, signal
from impasto.runtime.style import StyleModel
from impasto.runtime.video.clip import stylize_clip
def report(progress):
    if progress.done == 8:
        os.kill(os.getpid(), signal.SIGKILL)
model = StyleModel.load({str(style_bundle)!r}, threads=1)
stylize_clip({str(clip)!r}, {str(tmp_path / "out.mkv")!r}, model, [{STYLE!r}],
             part_seconds=0.5, codec="ffv1", on_progress=report)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (tmp_path / "out.mkv").exists()
    left = sorted(path.name for path in parts_folder(tmp_path / "out.mkv").iterdir())
    assert left == ["00000.json", "00000.npz", "00000.packets", "00001.packets", "lock", "plan.json"]
    painted = paint(clip, **EXACT)
    assert (painted.resumed, painted.frames) == (5, 14)
    assert furthest(read(painted.output), read(paint(clip, "whole.mkv", **EXACT).output)) == 0
    assert hidden(tmp_path) == []


def test_other_settings_do_not_go_on_and_do_not_destroy(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(8))
    with pytest.raises(Stop):
        paint(clip, on_progress=stopping(7))
    for change in ({"styles": ["great-wave"]}, {"strength": 0.5}, {"crf": 3}, {"steady": False}, {"part_seconds": 0.4}):
        with pytest.raises(PictureExists, match="other settings"):
            paint(clip, **change)
    other = write_clip(tmp_path / "b.mp4", moving(8, step=2))
    with pytest.raises(PictureExists, match="other settings"):
        paint(other)
    assert paint(clip, strength=0.5, overwrite=True).resumed == 0


def test_damaged_parts_are_painted_again(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(12))
    whole = read(paint(clip, "whole.mkv", **EXACT).output)
    folder = parts_folder(tmp_path / "out.mkv")
    for damage in ("00000.packets", "00001.npz", "00001.json", "00000.json"):
        with pytest.raises(Stop):
            paint(clip, on_progress=stopping(11), **EXACT)
        data = bytearray((folder / damage).read_bytes())
        data[len(data) // 2] ^= 0xFF
        (folder / damage).write_bytes(data[: len(data) - 1])
        done = paint(clip, **EXACT)
        assert done.resumed < 10
        assert furthest(read(done.output), whole) == 0
        done.output.unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_one_sentence_and_costs_no_finished_part(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(8))

    def fill(progress: Progress) -> None:
        if progress.done == 1:
            (parts_folder(tmp_path / "out.mkv") / "00001.packets").symlink_to("/dev/full")

    with pytest.raises(PictureError, match=r"cannot be written \(No space left on device\)"):
        paint(clip, on_progress=fill, **EXACT)
    assert not (tmp_path / "out.mkv").exists()
    joined = parts_folder(tmp_path / "out.mkv") / "out.mkv"
    joined.symlink_to("/dev/full")
    with pytest.raises(PictureError, match=r"could not be put together \(No space left on device\): make room"):
        paint(clip, **EXACT)
    joined.unlink()
    assert paint(clip, **EXACT).resumed == 8


def test_two_commands_do_not_make_one_output(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(8))
    said = []

    def report(progress: Progress) -> None:
        if progress.done == 6:
            with pytest.raises(PictureError, match="Another command is making out") as caught:
                paint(clip)
            said.append(str(caught.value))

    assert paint(clip, on_progress=report).frames == 8
    assert len(said) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(paint: Paint, tmp_path: Path) -> None:
    peaks = []
    for count in (20, 160):
        clip = write_clip(tmp_path / f"{count}.mp4", moving(20, 96, 64) * (count // 20), options={"crf": "20"})
        tracemalloc.start()
        try:
            paint(clip, f"{count}.mkv")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # One frame is 74 kB in floats: those of the longer clip would be 10 MB more.
    assert peaks[1] - peaks[0] < 1.5e6


def test_progress_counts_frames(paint: Paint, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(7))
    told: list[Progress] = []
    paint(clip, on_progress=told.append)
    assert [(p.done, p.total, p.unit) for p in told] == [(n, 7, "frames") for n in range(1, 8)]
    assert all(p.numbers["fps"] > 0 and "fps" in p.message for p in told)


def test_damage_is_said(paint: Paint, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(12), sound=None, options={"crf": "1", "g": "1", "bf": "0"})
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for start, size in places[7:8]:
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    done = paint(path)
    assert done.frames == 11 and any("1 damaged piece" in note for note in done.notes)
    for start, size in places:
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(PictureError, match="Not one frame"):
        paint(path, "b.mp4")
