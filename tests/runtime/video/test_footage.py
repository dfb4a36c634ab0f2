"""Reading videos: times, colours, turns, and refusing what is none, on clips made by code."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import RATE, UNIT, moving, write_clip
from impasto.errors import PictureError
from impasto.runtime.video.footage import Colors, Reader, Turn, open_footage, turn_of
from impasto.runtime.video.kinds import is_clip


def read(path: Path, **options: Any) -> list[Any]:
    with Reader(open_footage(path), **options) as reader:
        return list(reader)


def off(shot: Any, frame: Any) -> float:
    return float(np.abs(shot.rgb - frame).max())


def test_frames_and_their_times(tmp_path: Path) -> None:
    frames = moving(7)
    path = write_clip(tmp_path / "a.mp4", frames)
    footage = open_footage(path)
    assert (footage.width, footage.height, footage.depth, footage.exact) == (48, 32, 8, True)
    assert footage.rate == RATE and footage.notes == () and footage.aspect == 1
    assert (footage.times * footage.time_base == [Fraction(n, RATE) for n in range(7)]).all()
    assert footage.last * footage.time_base == Fraction(1, RATE)
    shots = read(path)
    assert [shot.time for shot in shots] == footage.times.tolist()
    assert max(off(shot, frame) for shot, frame in zip(shots, frames, strict=True)) < 0.05
    assert min(off(shot, frame) for shot, frame in zip(shots, frames[1:], strict=False)) > 0.03


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 20, 100, 110, 400, 401, 600]
    for name in ("a.mp4", "a.mkv"):
        path = write_clip(tmp_path / name, moving(7), times=times, sound=None)
        footage = open_footage(path)
        got = [round(time * footage.time_base / UNIT) for time in footage.times.tolist()]
        assert got == times
        assert [shot.time for shot in read(path)] == footage.times.tolist()


@pytest.mark.parametrize("after", [0, 1, 4, 5, 8])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_going_on_after_a_frame_gives_the_same_frames(tmp_path: Path, after: int, name: str) -> None:
    # Long groups with frames that refer to later ones, and short ones.
    for options in ({"crf": "1", "g": "5"}, {"crf": "1", "g": "100"}, {"crf": "1", "g": "4", "flags": "-cgop"}):
        path = write_clip(tmp_path / name, moving(10), options=options, sound=None)
        whole = read(path)
        rest = read(path, after=whole[after].time)
        assert [shot.time for shot in rest] == [shot.time for shot in whole[after + 1 :]]
        for expected, got in zip(whole[after + 1 :], rest, strict=True):
            np.testing.assert_array_equal(got.rgb, expected.rgb)


@pytest.mark.parametrize("form", ["yuv444p", "yuv420p", "yuvj420p"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (1, True), (6, False), (6, True), (9, False)])
def test_colours_of_every_matrix_and_range(tmp_path: Path, form: str, matrix: int, full: bool) -> None:
    full = full or form == "yuvj420p"
    frames = moving(2)
    path = write_clip(tmp_path / "a.mkv", frames, form=form, matrix=matrix, full=full, sound=None)
    assert open_footage(path).colors[:2] == (matrix, full)
    assert off(read(path)[1], frames[1]) < (0.02 if form == "yuv444p" else 0.05)


def test_colours_that_are_not_said_are_those_of_the_size(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.mkv", moving(1), matrix=2, sound=None)
    assert open_footage(small).colors[:2] == (6, False)
    large = write_clip(tmp_path / "b.mkv", moving(1, 16, 720), matrix=2, sound=None)
    assert open_footage(large).colors[:2] == (1, False)


def test_ten_bits_are_read_as_such(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :48]
    ramp = np.repeat((0.4 + x[..., None] / 48 / 20 + 0 * y[..., None]).astype(np.float32), 3, axis=2)
    path = write_clip(tmp_path / "a.mkv", [ramp], form="yuv444p10le", matrix=1, sound=None)
    assert open_footage(path).depth == 10
    assert off(read(path)[0], ramp) < 0.0025
    assert len(np.unique(read(path)[0].rgb[0, :, 0])) > 30  # 8 bits have 13 values there


def test_pixels_stored_as_rgb_or_grey(tmp_path: Path) -> None:
    frames = moving(2)
    path = write_clip(tmp_path / "a.mkv", frames, codec="ffv1", form="bgr0", options={}, sound=None)
    assert open_footage(path).colors == Colors(0, True, 2, 2)
    assert off(read(path)[0], frames[0]) < 0.5 / 255 + 1e-6
    grey = [frame.mean(axis=2, keepdims=True).repeat(3, axis=2) for frame in frames]
    path = write_clip(tmp_path / "b.mkv", grey, codec="ffv1", form="gray", options={}, full=True, sound=None)
    assert off(read(path)[1], grey[1]) < 2 / 255


def test_transparency_and_hdr_are_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", moving(1), codec="ffv1", form="bgra", options={}, sound=None)
    assert "transparency" in open_footage(path).notes[0]
    options = {"crf": "1", "color_trc": "smpte2084"}
    path = write_clip(tmp_path / "b.mkv", moving(1), form="yuv420p10le", matrix=9, options=options, sound=None)
    assert "HDR (PQ)" in open_footage(path).notes[0]


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_a_turned_video_is_upright(tmp_path: Path, turn: int, quarters: int) -> None:
    frames = moving(2)
    path = write_clip(tmp_path / "a.mp4", frames, turn=turn, aspect=Fraction(4, 3))
    footage = open_footage(path)
    upright = [np.rot90(frame, quarters) for frame in frames]  # counterclockwise
    assert (footage.height, footage.width) == upright[0].shape[:2]
    assert footage.aspect == (Fraction(4, 3) if turn == 180 else Fraction(3, 4))
    assert off(read(path)[1], upright[1]) < 0.05


def test_every_right_angled_matrix() -> None:
    picture = np.arange(6).reshape(2, 3, 1)
    points = np.stack(np.meshgrid(np.arange(3), np.arange(2)), -1).reshape(-1, 2)
    straight = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
    turned = [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
    for a, b, c, d in straight + turned:
        got = turn_of((a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)).applied(picture)
        places = points @ np.array([[a, b], [c, d]])
        places -= places.min(axis=0)
        for (x, y), (left, top) in zip(points, places, strict=True):
            assert got[top, left, 0] == picture[y, x, 0], (a, b, c, d)
    assert turn_of(None) == Turn()
    assert turn_of((60000, -20000, 0, 20000, 60000, 0, 0, 0, 1 << 30)) == Turn()


def test_frames_can_be_scaled(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(2, 64, 32), turn=90)
    assert read(path, size=(16, 32))[0].rgb.shape == (32, 16, 3)


def test_a_stream_without_times_goes_at_its_rate(tmp_path: Path) -> None:
    frames = moving(6)
    path = write_clip(tmp_path / "a.avi", frames, sound=None, options={"crf": "1", "g": "100"})
    footage = open_footage(path)
    shots = read(path)
    assert [shot.time for shot in shots] == footage.times.tolist()
    steps = np.diff(footage.times) * float(footage.time_base)
    np.testing.assert_allclose(steps, 1 / float(footage.rate), rtol=1e-6)
    assert max(off(shot, frame) for shot, frame in zip(shots, frames, strict=True)) < 0.05
    rest = read(path, after=shots[3].time)
    assert [shot.time for shot in rest] == [shot.time for shot in shots[4:]]


def test_damage_in_the_middle_costs_only_what_is_damaged(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(20), sound=None, options={"crf": "1", "g": "1", "bf": "0"})
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    start, size = places[10]
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with Reader(open_footage(path)) as reader:
        shots = list(reader)
        assert len(shots) == 19
        assert reader.damaged == 1


# --- what is refused --------------------------------------------------------------------------------------------------


def test_one_sentence_for_everything_that_is_no_video(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "good.mp4", moving(3))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "headless.mp4").write_bytes(good.read_bytes()[:200])
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {good}\n")
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", 8000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.pts, piece.time_base = 8000, 0, Fraction(1, 8000)
        out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    cases = {
        "god.mp4": "There is no file god.mp4 .*: did you mean good.mp4?",
        "empty.mp4": "empty",
        "noise.mp4": "no video",
        "headless.mp4": "no video",
        "folder.mp4": "folder",
        "list.mp4": "no video",
        "concat.mp4": "no video",
        "sound.mp4": "no pictures",
    }
    for name, words in cases.items():
        with pytest.raises(PictureError, match=words) as caught:
            open_footage(tmp_path / name)
        assert str(caught.value)[-1] in ".?" and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_that_is_cut_short(tmp_path: Path, name: str) -> None:
    with av.open(
        str(tmp_path / name), "w", container_options={"movflags": "+faststart"} if "mp4" in name else {}
    ) as out:
        stream = out.add_stream("ffv1" if "mkv" in name else "libx264", RATE)
        stream.width, stream.height = 48, 32
        for frame in moving(20, noise=0.1):
            out.mux(stream.encode(av.VideoFrame.from_ndarray((frame * 255).astype(np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    path = tmp_path / name
    whole = path.read_bytes()
    assert len(open_footage(path).times) == 20
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match=r"cut short: only the first \d\.\d\d seconds") as caught:
        open_footage(path)
    there = float(str(caught.value).split("only the first ")[1].split()[0])
    assert 0.2 < there < 1.6
    footage = open_footage(path, end=there - 0.05)
    assert 2 < len(footage.times) < 20
    with pytest.raises(PictureError, match="cut short"):
        open_footage(path, end=2.0)


def test_what_is_taken_for_a_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", moving(1))
    assert is_clip(clip)
    plain = clip.rename(tmp_path / "noname")
    assert is_clip(plain)
    assert is_clip(write_clip(tmp_path / "a.mkv", moving(1)).rename(tmp_path / "mkv"))
    assert is_clip(write_clip(tmp_path / "a.avi", moving(1), sound=None).rename(tmp_path / "avi"))
    assert is_clip(tmp_path / "missing.MOV")
    picture = tmp_path / "picture.mp4"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    assert not is_clip(picture)
    (tmp_path / "heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    assert not is_clip(tmp_path / "heic")
    (tmp_path / "folder.mp4").mkdir()
    assert not is_clip(tmp_path / "folder.mp4")
    assert not is_clip(tmp_path / "missing.jpg")


def test_a_pipe_is_not_read_to_see_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert not is_clip(pipe)  # reading it would wait for ever


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", moving(2))
    cover = tmp_path / "b.mp4"
    with av.open(str(cover), "w") as out, av.open(str(path)) as source:
        voice = out.add_stream_from_template(source.streams.audio[0])
        image = out.add_stream("png", 1, width=64, height=64)
        image.pix_fmt = "rgb24"
        image.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        packets = [*image.encode(frame), *image.encode(None)]
        out.mux(packets)
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = voice
                out.mux(packet)
    with pytest.raises(PictureError, match="no pictures"):
        open_footage(cover)


def test_pyav_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(1))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PictureError, match=r"pip install 'impasto\[video\]'"):
        open_footage(path)
