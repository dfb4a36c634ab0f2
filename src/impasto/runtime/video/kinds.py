"""Which files are videos. Nothing heavy is imported here: every ``impasto stylize`` asks."""

from __future__ import annotations

import os
from pathlib import Path

from impasto.runtime.files import sniff

CLIP_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".mxf", ".nut"}
)
"""Suffixes that a video usually has."""

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffixes of videos that can be written, and what FFmpeg calls the container."""

_HEAD = 64
_STILLS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")  # brands of HEIF pictures


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether a path is to be painted as a video: by its first bytes, or its suffix where they do not tell."""
    place = Path(path)
    head = b""
    try:
        # What is read from a pipe is gone.
        if place.is_file():
            with place.open("rb") as file:
                head = file.read(_HEAD)
    except (OSError, ValueError):
        pass
    if sniff(head) is not None:
        return False
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILLS
    if head[:4] in (b"\x1a\x45\xdf\xa3", b"FLV\x01") or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    return place.suffix.lower() in CLIP_SUFFIXES and not place.is_dir()
