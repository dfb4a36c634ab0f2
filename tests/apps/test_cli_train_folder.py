"""``impasto train gan FOLDER`` and ``train vae FOLDER``: from pictures to a model file, and what can go wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from impasto.apps.cli import run

torch = pytest.importorskip("torch")

from impasto.runtime.generator import Generator  # noqa: E402
from impasto.training import deliver as delivery  # noqa: E402
from impasto.training.checkpoint import load_checkpoint  # noqa: E402
from impasto.training.journal import Journal  # noqa: E402
from impasto.training.tasks.gan import GanTask  # noqa: E402
from training.support import draw_folder  # noqa: E402 (needs torch)

Capture = pytest.CaptureFixture[str]

SMALL = [
    "net.latent=8", "net.max_width=8", "batch=4", "precision=fp32", "measure_every=0", "sample_every=2",
]  # fmt: skip
TINY = [word for text in [*SMALL, "net.critic_max_width=8", "watch_every=0"] for word in ("--set", text)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of two classes, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("folder") / "My Cats"
    draw_folder(folder / "grey", 10, size=(16, 16))
    draw_folder(folder / "red", 10, size=(24, 18), seed=50)
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(autouse=True)
def _surroundings(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("IMPASTO_CACHE", str(pictures.parent / "cache"))
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was to be exported: (run, out, overwrite, quality, ways to a smaller file). The exporter has own tests."""
    found: list[tuple[Any, ...]] = []

    def deliver(run: Any, out: Any, *, quality: Any = None, overwrite: bool, progress: Any, **small: bool) -> Any:
        found.append((str(run), str(out), overwrite, quality, *(name for name in small if small[name])))
        return SimpleNamespace(size=1_500_000, manifest=SimpleNamespace(step=3), differences={"synthesis": 1e-6})

    monkeypatch.setattr(delivery, "deliver", deliver)
    return found


def gan(pictures: Path, *arguments: str) -> int:
    return run(["train", "gan", str(pictures), "--size", "16", "--threads", "1", *TINY, *arguments])


def test_from_a_folder_to_pictures_without_torch(pictures: Path, tmp_path: Path, capsys: Capture) -> None:
    assert gan(pictures, "--images", "8") == 0
    out, err = capsys.readouterr()
    assert out == "my-cats.impasto\n"
    for sentence in (
        "20 pictures, 16x16 RGB.",
        "2 classes (grey, red).",
        "broken.png",
        "2 steps of ",
        "8 images: about ",
        " GB of memory (parameters: generator ",
        "draw with: impasto generate my-cats.impasto",
    ):
        assert sentence in err, err
    model = Generator.load("my-cats.impasto")
    assert list(model.classes) == ["grey", "red"]
    assert [picture.rgb.shape for picture in model.sample(seed=7, count=2)] == [(16, 16, 3)] * 2
    assert json.loads((tmp_path / "runs/my-cats/classes.json").read_text()) == ["grey", "red"]
    assert {path.name for path in (tmp_path / "runs/my-cats").iterdir()} >= {"timeline.png", "samples", "stats.jsonl"}


def test_stopped_and_gone_on_with(
    pictures: Path, tmp_path: Path, capsys: Capture, delivered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GanTask.finish

    def finish(self: GanTask, step: int) -> None:
        real(self, step)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(GanTask, "finish", finish)
        assert gan(pictures, "--steps", "4", "-o", "cats.impasto", "--run", "run") == 0
    out, err = capsys.readouterr()
    one = ["--threads", "1"]
    assert out == "run\n" and delivered == []
    assert "Stopped at step 2 of 4 and saved; go on with --resume." in err
    assert run(["train", "gan", str(pictures), "--run", "run", "--resume", "--json", *one, "-o", "cats.impasto"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["run"], said["step"], said["finished"], said["path"]) == ("run", 4, True, "cats.impasto")
    assert "2 steps of " in err, "only what is left is forecast"
    assert delivered == [("run", "cats.impasto", False, None)]
    assert gan(pictures, "--steps", "4", "--run", "whole") == 0
    ours, theirs = (load_checkpoint(Path(name) / "checkpoint.safetensors").tensors for name in ("run", "whole"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_an_autoencoder_likewise(pictures: Path, tmp_path: Path, capsys: Capture, delivered: Any) -> None:
    small = [word for text in SMALL if "measure" not in text for word in ("--set", text)]
    arguments = [
        "train",
        "vae",
        str(pictures),
        "--size",
        "16",
        "--steps",
        "2",
        "--threads",
        "1",
        "--kind",
        "vae",
        *small,
    ]
    assert run([*arguments, "-o", "v.impasto"]) == 0
    assert capsys.readouterr().out == "v.impasto\n"
    assert Journal("runs/my-cats").recipe().task == "vae"
    assert delivered == [(str(Path("runs/my-cats")), "v.impasto", False, None)]


def test_a_run_is_exported_as_what_it_is(pictures: Path, capsys: Capture, delivered: Any) -> None:
    assert gan(pictures, "--steps", "1", "--preset", "dcgan", "--overwrite") == 0
    Path("figures.json").write_text('{"fd_efflite0_10k": 3}')
    capsys.readouterr()
    arguments = ["export", "runs/my-cats", "-o", "c.impasto", "--quality", "figures.json", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": "c.impasto", "bytes": 1_500_000, "step": 3, "synthesis_difference": 1e-6,
    }  # fmt: skip
    assert delivered[-1] == ("runs/my-cats", "c.impasto", False, {"fd_efflite0_10k": 3.0})
    assert run(["export", "runs/my-cats", "-o", "c.impasto", "--half"]) == 0
    assert delivered[-1] == ("runs/my-cats", "c.impasto", False, {}, "half")
    assert run(["export", "runs/my-cats", "-o", "c.impasto", "--lean"]) == 2
    assert "--lean is about autoencoders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gan", "nosuch"], "nosuch does not exist: give a folder of pictures"),
        (["gan", "empty"], "empty has no pictures: give a folder"),
        (["gan", "few"], "few has only 2 pictures"),
        (["gan", "bad"], "None of the 2 pictures in bad can be read"),
        (["gan", "PICTURES", "--preset", "smal"], "There is no preset called 'smal'"),
        (["gan", "PICTURES", "--size", "50"], "The recipe's net does not fit: a picture of 50 x 50"),
        (["gan", "PICTURES", "--size", "big"], "--size big is no size: give pixels a side"),
        (["gan", "PICTURES", "--size", "64x"], "--size 64x is no size"),
        (["gan", "PICTURES", "--steps", "2", "--images", "2"], "A run is as long as its steps or as its images"),
        (["gan", "PICTURES", "--images", "0"], "Invalid value for '--images'"),
        (["gan", "PICTURES", "--set", "loss.r3=1"], "There is no recipe key called 'loss.r3': did you mean 'loss.r"),
        (["gan", "PICTURES", "--resume"], "my-cats holds no checkpoint to resume from"),
        (["gan", "PICTURES", "-o", "cats.onnx"], "A model file must end in .impasto: cats.onnx does not"),
        (["gan", "PICTURES", "-o", "there.impasto"], "there.impasto exists already: choose another name with -o"),
        (["gan", "PICTURES", "-o", "no/cats.impasto"], "There is no folder no for the model file: make it first."),
        (["gan", "PICTURES", "--device", "warp"], "The device 'warp' cannot be used here"),
        (["gan", "PICTURES", "--sise", "64"], "There is no option called '--sise': did you mean '--size'"),
        (["gan"], "Missing argument 'folder'"),
        (["vae", "PICTURES", "--kind", "veal"], "There is no kind of autoencoder called 'veal'"),
        (["gna", "PICTURES"], "There is no kind of training called 'gna': did you mean 'gan'?"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    pictures: Path, tmp_path: Path, capsys: Capture, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    draw_folder(tmp_path / "few", 2, size=(16, 16))
    (tmp_path / "bad").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "bad" / name).write_bytes(b"")
    (tmp_path / "there.impasto").write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    assert run(["train", *(str(pictures) if word == "PICTURES" else word for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1, err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.impasto").read_bytes() == b"mine"


def test_what_a_run_keeps_from_its_start(pictures: Path, capsys: Capture, delivered: Any) -> None:
    assert gan(pictures, "--steps", "1") == 0
    for option in (["--preset", "few"], ["--size", "32"], ["--steps", "9"], ["--images", "9"]):
        capsys.readouterr()
        assert run(["train", "gan", str(pictures), "--resume", *option]) == 2
        err = capsys.readouterr().err
        assert err == f"impasto: A run goes on as it was started: leave {option[0]} out with --resume.\n"
    assert gan(pictures, "--steps", "1") == 2
    assert "holds a run already: pass --resume" in capsys.readouterr().err


def test_help_says_what_there_is(capsys: Capture) -> None:
    assert run(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "gan" in out and "vae" in out
    assert run(["train", "gan", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--preset", "--size", "--images", "--resume", "--output"))
