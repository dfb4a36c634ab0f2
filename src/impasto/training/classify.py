"""Small classifiers that judge what a generator draws: which parts of a composition, which class.

One network with a head for each question, trained on labelled pictures in a minute or two on two cores, and kept in the
cache with the accuracy that it reached on pictures it never saw. They are instruments: the accuracy is reported beside
every figure that was made with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.errors import TrainingError
from impasto.progress import OnProgress, Progress, silent
from impasto.training.checkpoint import save_checkpoint
from impasto.training.data import Pixels
from impasto.training.labelled import Head, Labelled
from impasto.training.nets.features import cache_folder

MOST_SIDE = 64
"""Larger pictures are averaged down to this before they are looked at."""

_VERSION = 1  # of what the cache holds
_BATCH = 256  # pictures looked at together; it changes nothing


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a classifier is trained.

    Attributes:
        epochs: passes through the pictures.
        batch: pictures in a step.
        lr: the highest rate of AdamW (one cycle: up over a tenth, then down along a cosine).
        width: channels of the first layer; they double twice.
        shift: pictures are moved by up to so many pixels.
        noise: largest deviation of the noise that is added, for pictures in -1..1. A generator's pictures are never
            as clean as the ones a classifier learns from.
        held: share of the pictures that is kept to test on, where no test pictures are given.
        seed: of everything drawn.
    """

    epochs: int = 6
    batch: int = 64
    lr: float = 3e-3
    width: int = 16
    shift: int = 1
    noise: float = 0.1
    held: float = 0.1
    seed: int = 0


class Eye(nn.Module):
    """Convolutions and max pooling down to 8 pixels or less, then one linear layer for all heads.

    The places are kept up to the last layer, as a part of a composition has its own.
    """

    def __init__(self, channels: int, height: int, width: int, heads: Sequence[int], first: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taken, given = channels, first
        while True:
            layers += [nn.Conv2d(taken, given, 3, padding=1, bias=False), nn.BatchNorm2d(given), nn.ReLU()]
            if max(height, width) <= 8:
                break
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            height, width = -(-height // 2), -(-width // 2)
            taken, given = given, min(2 * given, 4 * first)
        layers += [nn.Conv2d(given, given, 3, padding=1, bias=False), nn.BatchNorm2d(given), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.2)
        self.heads = tuple(heads)
        self.answers = nn.Linear(given * height * width, sum(heads))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[N,C,H,W] in -1..1 -> logits [N,values] of each head."""
        found = self.answers(self.drop(self.body(x).flatten(1)))
        return tuple(found.split(self.heads, dim=1))


@dataclass(frozen=True, slots=True)
class Classifier:
    """A trained network and what is known of it.

    Attributes:
        eye: the network.
        heads: its questions.
        height, width, channels: of the pictures it takes.
        accuracy: head -> share of right answers on pictures it never saw, 0..1.
        tested: how many those were.
    """

    eye: Eye
    heads: tuple[Head, ...]
    height: int
    width: int
    channels: int
    accuracy: dict[str, float]
    tested: int

    def read(self, pictures: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What pictures uint8 [N,H,W,C] show: values int64 [N,K] and the share of belief in each, float32 [N,K].

        Raises:
            TrainingError: they are of another size.
        """
        values, belief = self.guesses(pictures)
        return values[:, :, 0], belief

    @torch.inference_mode()
    def guesses(self, pictures: Pixels) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As :meth:`read`, with the second guess of each head: values int64 [N,K,2] and belief in the first [N,K]."""
        if pictures.shape[1:] != (self.height, self.width, self.channels):
            raise TrainingError(
                f"The classifier takes pictures of {self.height}x{self.width}x{self.channels}, not "
                f"{'x'.join(map(str, pictures.shape[1:]))}: train it on pictures of this size."
            )
        values, beliefs = [np.zeros((0, len(self.heads), 2), np.int64)], [np.zeros((0, len(self.heads)), np.float32)]
        for at in range(0, len(pictures), _BATCH):
            best = [logits.softmax(1).topk(2) for logits in self.eye(seen(pictures[at : at + _BATCH]))]
            values.append(torch.stack([each.indices for each in best], 1).numpy())
            beliefs.append(torch.stack([each.values[:, 0] for each in best], 1).numpy())
        return np.concatenate(values), np.concatenate(beliefs)


def seen(pictures: Pixels) -> Tensor:
    """What the network sees of uint8 [N,H,W,C]: float32 [N,C,h,w] in -1..1, no side above ``MOST_SIDE``."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    factor = -(-max(x.shape[2:]) // MOST_SIDE)
    return F.avg_pool2d(x, factor, ceil_mode=True) if factor > 1 else x


def held_out(count: int, lesson: Lesson) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to learn from and positions to test on."""
    order = np.random.Generator(np.random.PCG64(lesson.seed)).permutation(count)
    tested = max(1, int(count * lesson.held))
    return np.sort(order[tested:]), np.sort(order[:tested])


def train_classifier(
    labelled: Labelled,
    lesson: Lesson | None = None,
    *,
    test: Labelled | None = None,
    cache: Path | None = None,
    progress: OnProgress = silent,
) -> Classifier:
    """A classifier for these pictures: from the cache where it is there, else trained.

    The same pictures, lesson and number of threads give the same classifier.

    Args:
        labelled: to learn from.
        lesson: how; None = ``Lesson()``.
        test: other pictures to test on; None = the share ``lesson.held`` of ``labelled``, which is not learnt from.
        cache: folder; None = the user's cache folder.
        progress: told of the steps.

    Raises:
        TrainingError: too few pictures, test pictures of other heads, or the cache cannot be written.
    """
    lesson = lesson or Lesson()
    if len(labelled) < 2 * lesson.batch:
        raise TrainingError(
            f"{len(labelled)} labelled pictures are too few for a classifier: give {2 * lesson.batch} or more."
        )
    if test is not None and test.heads != labelled.heads:
        raise TrainingError("The test pictures have other classes than those to learn from: give the same ones.")
    eye, channels = _new_eye(labelled, lesson)
    shape = labelled.pictures.height, labelled.pictures.width, channels
    path = (cache_folder() if cache is None else cache) / "classifiers" / f"{_key(labelled, lesson, test)}.safetensors"
    known = _read(path, eye)
    if known is not None:
        return Classifier(eye, labelled.heads, *shape, *known)
    eye, _ = _new_eye(labelled, lesson)  # a file that did not fit may have filled in some of it
    learnt, tested = held_out(len(labelled), lesson)
    if test is not None:
        learnt, tested = np.arange(len(labelled)), np.arange(len(test))
    _train(eye, labelled, learnt, lesson, progress)
    fresh = Classifier(eye, labelled.heads, *shape, {}, len(tested))
    fresh.accuracy.update(_accuracy(fresh, test or labelled, tested))
    _write(path, fresh)
    return fresh


def _new_eye(labelled: Labelled, lesson: Lesson) -> tuple[Eye, int]:
    _, channels, height, width = seen(labelled.pictures.arrays(labelled.rows[:1])).shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        eye = Eye(channels, height, width, [len(head.values) for head in labelled.heads], lesson.width)
    return eye.eval(), channels


def _train(eye: Eye, labelled: Labelled, learnt: NDArray[np.int64], lesson: Lesson, progress: OnProgress) -> None:
    per_epoch = len(learnt) // lesson.batch
    steps, rise = lesson.epochs * per_epoch, max(1, lesson.epochs * per_epoch // 10)
    optimizer = torch.optim.AdamW(eye.parameters(), lr=lesson.lr, weight_decay=1e-2)
    eye.train()
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global stream
        torch.manual_seed(lesson.seed)
        for step, (x, y) in enumerate(_batches(labelled, learnt, lesson, per_epoch)):
            fall = (1 + np.cos(np.pi * max(0, step - rise) / max(1, steps - rise))) / 2
            for group in optimizer.param_groups:
                group["lr"] = lesson.lr * min(1.0, (step + 1) / rise) * float(fall)
            loss = torch.stack([F.cross_entropy(each, y[:, k]) for k, each in enumerate(eye(x))]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            progress(Progress(step + 1, steps, "steps", "training the classifier"))
    eye.eval()


def _batches(
    labelled: Labelled, learnt: NDArray[np.int64], lesson: Lesson, per_epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(lesson.epochs):
        random = np.random.Generator(np.random.PCG64((lesson.seed, epoch + 1)))
        order = random.permutation(learnt)
        for at in range(per_epoch):
            chosen = order[at * lesson.batch : (at + 1) * lesson.batch]
            x = seen(labelled.pictures.arrays(labelled.rows[chosen]))
            yield _disturbed(x, lesson, random), torch.from_numpy(labelled.labels[chosen])


def _disturbed(x: Tensor, lesson: Lesson, random: np.random.Generator) -> Tensor:
    count, _, height, width = x.shape
    if lesson.shift:
        down, across = (torch.from_numpy(random.integers(0, 2 * lesson.shift + 1, count)) for _ in range(2))
        framed = F.pad(x, (lesson.shift,) * 4, mode="replicate")
        rows = (down[:, None] + torch.arange(height))[:, None, :, None]
        columns = (across[:, None] + torch.arange(width))[:, None, None, :]
        x = framed[
            torch.arange(count)[:, None, None, None], torch.arange(x.shape[1])[None, :, None, None], rows, columns
        ]
    if lesson.noise:
        strength = torch.from_numpy(random.uniform(0, lesson.noise, (count, 1, 1, 1)).astype(np.float32))
        x = x + strength * torch.from_numpy(random.standard_normal(x.shape, np.float32))
    return x


def _accuracy(classifier: Classifier, labelled: Labelled, places: NDArray[np.int64]) -> dict[str, float]:
    right = np.zeros(len(classifier.heads))
    for at in range(0, len(places), _BATCH):
        chosen = places[at : at + _BATCH]
        values, _ = classifier.read(labelled.pictures.arrays(labelled.rows[chosen]))
        right += (values == labelled.labels[chosen]).sum(0)
    return {head.name: float(share) for head, share in zip(classifier.heads, right / len(places), strict=True)}


# The cache -----------------------------------------------------------------------------------------------------------


def _key(labelled: Labelled, lesson: Lesson, test: Labelled | None) -> str:
    parts: list[Any] = [_VERSION, json.dumps(asdict(lesson)), torch.get_num_threads()]
    for one in (labelled, test):
        if one is not None:
            parts += [one.pictures.key, hashlib.sha256(one.rows.tobytes() + one.labels.tobytes()).hexdigest()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _write(path: Path, classifier: Classifier) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = json.dumps({"accuracy": classifier.accuracy, "tested": classifier.tested})
    save_checkpoint(path, dict(classifier.eye.state_dict()), 0, told)


def _read(path: Path, eye: Eye) -> tuple[dict[str, float], int] | None:
    """Fill in the kept weights and give accuracy and number of tests; None where there are none that fit."""
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(json.loads((file.metadata() or {})["impasto"])["recipe"])
            eye.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)
        return {str(name): float(share) for name, share in told["accuracy"].items()}, int(told["tested"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
