"""``impasto train style-one``: from one picture to a model that paints like it, and every way to get it wrong."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import drawn_photo
from impasto.apps.cli import run
from impasto.runtime.style import StyleModel, save_code

torch = pytest.importorskip("torch")

from impasto.training import style_one as style_one_module  # noqa: E402
from impasto.training.checkpoint import load_checkpoint  # noqa: E402
from impasto.training.tasks.style_one import StyleOneTask  # noqa: E402
from training.bases import TINY_ONE, make_base, painter_graph  # noqa: E402 (needs torch)
from training.support import draw_folder, write_vgg  # noqa: E402

Capture = pytest.CaptureFixture[str]
TINY = [
    word
    for key, value in TINY_ONE.items()
    for name, part in (value.items() if isinstance(value, dict) else [("", value)])
    for word in ("--set", f"{key}{'.' * bool(name)}{name}={json.dumps(part)}")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model, feature weights, a painting, and photos."""
    folder = tmp_path_factory.mktemp("place")
    make_base(folder / "base.impasto")
    write_vgg(folder / "vgg16.safetensors")
    draw_folder(folder / "photos", 2, size=(90, 80), seed=10)
    pixels = (drawn_photo(96, 72, seed=4) * [0.3, 1.0, 0.7] * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(folder / "night.png")
    (folder / "text.jpg").write_text("no picture")
    return folder


@pytest.fixture(autouse=True)
def _surroundings(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IMPASTO_VGG16", str(place / "vgg16.safetensors"))
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def learn(place: Path, *arguments: str, painting: str = "night.png", steps: str = "2") -> int:
    more = ["--photos", str(place / "photos"), "--model", str(place / "base.impasto"), *TINY, "--set", f"steps={steps}"]
    return run(["train", "style-one", str(place / painting), "--threads", "1", *more, *arguments])


@pytest.mark.slow
def test_from_one_picture_to_a_painter_without_torch(place: Path, tmp_path: Path, capsys: Capture) -> None:
    assert learn(place, "--device", "cpu") == 0
    out, err = capsys.readouterr()
    assert out == "night.impasto\n"
    for sentence in (
        "night.png: 96x72.",
        "2 photos.",
        "2 steps of ",
        "parity 1/2 stages",
        "paint with: impasto stylize",
    ):
        assert sentence in err, err
    assert (tmp_path / "runs/night/samples/0000002.png").exists()
    model = StyleModel.load("night.impasto", threads=1)
    assert list(model.styles) == ["night"]
    # Without --style: it has but one. With the painting itself, and with its code in a file, the same comes out.
    photo = str(place / "photos" / "000.png")
    save_code("night.npy", model.code("night"))
    for name, more in (
        ("plain", []),
        ("named", ["--style", "night"]),
        ("saved", ["--style", "night.npy"]),
        ("weak", ["--strength", "0.5"]),
        ("none", ["--strength", "0"]),
    ):
        assert run(["stylize", photo, "--model", "night.impasto", "-o", f"{name}.png", *more]) == 0, name
    pictures = {path.stem: np.asarray(Image.open(path)).astype(int) for path in Path().glob("*.png")}
    source = np.asarray(Image.open(photo)).astype(int)
    assert np.array_equal(pictures["plain"], pictures["named"]) and np.array_equal(pictures["plain"], pictures["saved"])
    far = {name: float(np.abs(picture - source).mean()) for name, picture in pictures.items()}
    assert far["none"] <= 1 < far["weak"] < far["plain"]


def test_stopped_and_gone_on_with(
    place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style_one_module, "to_onnx", lambda *_, **__: painter_graph())
    monkeypatch.setattr(style_one_module, "painter_difference", lambda *_: 0.0)
    real, stop = StyleOneTask.loss, [True]

    def loss(self: StyleOneTask, turn: str, batch: Any, step: int) -> Any:
        # The first two are the rehearsal's.
        if step == 1 and stop and (tmp_path / "runs").exists():
            stop.clear()
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, turn, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(StyleOneTask, "loss", loss)
        assert learn(place, "--size", "small", steps="4") == 0
    out, err = capsys.readouterr()
    assert out == f"{Path('runs/night')}\n" and "Stopped at step 2 of 4 and saved; go on with --resume." in err
    assert not Path("night.impasto").exists()
    again = ["train", "style-one", str(place / "night.png"), "--resume", "--threads", "1"]
    for option in (["--minutes", "3"], ["--size", "full"], ["--model", "anystyle"]):
        assert run([*again, *option]) == 2
        said = capsys.readouterr().err
        assert said == f"impasto: A run goes on as it was started: leave {option[0]} out with --resume.\n"
    assert run([*again, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["step"], said["finished"], said["path"]) == (4, True, "night.impasto")
    Image.open(place / "photos" / "000.png").save("photo.png")
    assert run(["stylize", "photo.png", "--model", "night.impasto"]) == 0
    assert capsys.readouterr().out == "photo-night.png\n", "it has but one style, so that needs no saying"
    assert learn(place, "--size", "small", "--run", "whole", "-o", "whole.impasto", steps="4") == 0
    ours, theirs = (load_checkpoint(Path(name) / "checkpoint.safetensors").tensors for name in ("runs/night", "whole"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    capsys.readouterr()
    assert run(["export", "whole", "-o", "again.impasto", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["painter_difference"] == 0.0
    assert learn(place, "-o", "third.impasto") == 2
    assert "holds a run already: pass --resume" in capsys.readouterr().err
    assert learn(place, "--run", "third") == 2
    assert "night.impasto exists already: choose another name with -o" in capsys.readouterr().err
    assert learn(place, "--run", "third", "--overwrite", "--set", "batch=1") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.jpg"], "There is no file "),
        (["text.jpg"], "text.jpg"),
        (["photos"], "photos"),
        (["night.png", "--minutes", "0"], "A run of 0 minutes teaches nothing: give a number above 0"),
        (["night.png", "--minutes", "nan"], "A run of nan minutes teaches nothing"),
        (["night.png", "--minutes", "soon"], "Invalid value for '--minutes'"),
        (["night.png", "--size", "smal"], "There is no size called 'smal': did you mean 'small'?"),
        (["night.png", "--photos", "nosuch"], "There is no folder "),
        (["night.png", "--model", "anystile"], "There is no model called 'anystile': did you mean 'anystyle'?"),
        (["night.png", "--model", "PLACE/text.jpg"], "text.jpg is not a model file"),
        (["night.png", "--set", "loss.stile=1"], "did you mean 'loss.style"),
        (["night.png", "--resume"], "holds no checkpoint to resume from"),
        (["night.png", "-o", "night.onnx"], "A model file must end in .impasto"),
        (["night.png", "-o", "no/night.impasto"], "There is no folder no for the model file"),
        (["night.png", "--device", "warp"], "The device 'warp' cannot be used here"),
        (["night.png", "--minute", "3"], "There is no option called '--minute': did you mean '--minutes'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    place: Path, tmp_path: Path, capsys: Capture, arguments: list[str], said: str
) -> None:
    painting, *more = (word.replace("PLACE", str(place)) for word in arguments)
    assert learn(place, *more, painting=painting) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1, err
    assert list(tmp_path.iterdir()) == []


def test_without_a_picture_and_without_weights(
    place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["train", "style-one"]) == 2
    assert "Missing argument" in capsys.readouterr().err
    monkeypatch.setenv("IMPASTO_VGG16", str(tmp_path / "gone.safetensors"))
    assert learn(place) == 2
    assert "There are no vgg16 weights at " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["train", "style-on", "x.jpg"]) == 2
    assert "did you mean 'style-one'?" in capsys.readouterr().err


def test_the_recipe_that_comes_with_it_can_be_read() -> None:
    from impasto.training.recipe import OneRecipe, load_recipe

    path = Path(__file__).parents[2] / "recipes" / "style-one.toml"
    recipe = load_recipe(path)
    assert isinstance(recipe, OneRecipe) and tomllib.loads(path.read_text("utf-8"))["task"] == "style-one"
    # What it says and what the command takes where nothing is said is the same.
    plain = OneRecipe.model_fields["loss"].default
    assert recipe.loss == plain and recipe.optim == OneRecipe.model_fields["optim"].default
