"""Which file of a folder of paintings is which photo in which style: by its name.

A folder is read in two ways at once, whoever painted it:

    PHOTO__STYLE.png    PHOTO--STYLE.png    PHOTO-STYLE.png     a file for each pair; all three may be mixed
    STYLE/PHOTO.png                                             a folder for each style

PHOTO and STYLE are the names of the photo and of the painting without their suffixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from impasto.errors import TrainingError
from impasto.runtime.files import READABLE_SUFFIXES
from impasto.runtime.video.kinds import CLIP_SUFFIXES

SEPARATORS = ("__", "--", "-")
_NAMED = 5  # names in a sentence


@dataclass(frozen=True, slots=True)
class Pair:
    """A painted picture (or clip), the photo (or clip) that it was, and the painting whose style it has."""

    photo: Path
    painting: Path
    painted: Path


@dataclass(frozen=True, slots=True)
class PaintedSet:
    """What was found in a folder.

    Attributes:
        folder: the folder.
        pairs: of pictures, by photo and painting.
        clips: of videos, likewise.
        missing: ``PHOTO--STYLE`` of the pairs of pictures that are not there.
        left_out: names of files that are no pair.
    """

    folder: Path
    pairs: tuple[Pair, ...]
    clips: tuple[Pair, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]

    def remarks(self) -> list[str]:
        """What a person should know before believing the figures: a sentence each."""
        said = []
        if self.missing:
            said.append(f"{self.folder}: {len(self.missing)} pairs are not there ({listed(self.missing)}).")
        if self.left_out:
            said.append(f"{self.folder}: left out, as no PHOTO--STYLE: {listed(self.left_out)}.")
        return said


def find_pairs(photos: Sequence[Path], paintings: Sequence[Path], folder: Path) -> PaintedSet:
    """Read a folder of paintings.

    Args:
        photos: pictures and clips.
        paintings: pictures.
        folder: what was painted of them.

    Raises:
        TrainingError: there is no such folder, nothing in it is a pair, or a name or pair is ambiguous.
    """
    if not folder.is_dir():
        raise TrainingError(f"There is no folder {folder}: name the one that holds the painted pictures.")
    by_photo, by_style = _by_stem(photos, "photos"), _by_stem(paintings, "paintings")
    meant: dict[str, set[tuple[str, str]]] = {}
    for photo in by_photo:
        for style in by_style:
            for separator in SEPARATORS:
                meant.setdefault(f"{photo}{separator}{style}", set()).add((photo, style))
    found: dict[tuple[str, str], list[Path]] = {}
    left_out, unsure = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (path.is_file() and not _shown(path)):
            continue
        if path.is_dir():
            for inner in sorted(path.iterdir()) if path.name in by_style else ():
                if inner.stem in by_photo and _shown(inner):
                    found.setdefault((inner.stem, path.name), []).append(inner)
                elif _shown(inner) and not inner.name.startswith("."):
                    left_out.append(f"{path.name}/{inner.name}")
            if path.name not in by_style:
                left_out.append(f"{path.name}/")
            continue
        pairs = meant.get(path.stem, set())
        if len(pairs) > 1:
            unsure.append(path.name)
        elif pairs:
            found.setdefault(next(iter(pairs)), []).append(path)
        else:
            left_out.append(path.name)
    if unsure:
        raise TrainingError(
            f"{folder} has names that may be more than one pair ({listed(unsure)}): write them as PHOTO__STYLE, or "
            "in a folder for each style."
        )
    twice = [f"{files[0].name} and {files[1].name}" for files in found.values() if len(files) > 1]
    if twice:
        raise TrainingError(f"{folder} has pairs twice ({listed(twice)}): keep one file of each.")
    if not found:
        raise TrainingError(
            f"{folder} holds no picture called PHOTO--STYLE.png or STYLE/PHOTO.png of these photos and paintings: "
            f"rename them{f' ({listed(left_out)})' if left_out else ''}."
        )
    pictures: list[Pair] = []
    clips: list[Pair] = []
    for (photo, style), (path,) in sorted(found.items()):
        pair = Pair(by_photo[photo], by_style[style], path)
        if is_film(path) != is_film(pair.photo):
            left_out.append(path.name)  # a frame of a clip, or a film of a picture
        else:
            (clips if is_film(path) else pictures).append(pair)
    stills = [stem for stem, path in by_photo.items() if not is_film(path)] if pictures else []
    missing = [f"{photo}--{style}" for photo in stills for style in by_style if (photo, style) not in found]
    return PaintedSet(folder, tuple(pictures), tuple(clips), tuple(missing), tuple(left_out))


def pictures_in(folder: Path, *, clips: bool = False) -> list[Path]:
    """The pictures of a folder, by name; with ``clips`` its videos too.

    Raises:
        TrainingError: there is no such folder, or nothing in it.
    """
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [
        path
        for path in there
        if path.is_file() and not path.name.startswith(".") and _shown(path) and (clips or not is_film(path))
    ]
    if not found:
        raise TrainingError(f"{folder} holds no picture: name a folder of pictures.")
    return found


def is_film(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in CLIP_SUFFIXES


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(islice(names, _NAMED)) + more


def _shown(path: Path) -> bool:
    return path.suffix.lower() in READABLE_SUFFIXES or is_film(path)


def _by_stem(files: Sequence[Path], what: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise TrainingError(f"Two {what} are called {path.stem} ({other.name}, {path.name}): rename one of them.")
    return found
