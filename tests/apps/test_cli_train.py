"""``impasto train`` and ``impasto export``: from a recipe file to a model file, and every way to get it wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from impasto.apps.cli import run, trainer
from impasto.progress import Progress
from impasto.runtime.style import StyleModel

torch = pytest.importorskip("torch")

from impasto.training.checkpoint import load_checkpoint  # noqa: E402
from impasto.training.journal import Journal  # noqa: E402
from impasto.training.tasks.style import StyleTask  # noqa: E402
from training.duel import duel_recipe  # noqa: E402 (needs torch)
from training.support import LAYERS, TINY, draw_folder, write_vgg  # noqa: E402 (needs torch)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, feature weights and a recipe of two steps."""
    folder = tmp_path_factory.mktemp("workshop")
    draw_folder(folder / "photos", 2, seed=10)
    draw_folder(folder / "paintings", 2, seed=50)
    write_vgg(folder / "vgg16.safetensors")
    lines = [
        'name = "tiny"', "steps = 2", 'precision = "fp32"',
        "[data]", 'photos = "photos"', 'paintings = "paintings"', "style_size = 64",
        "[net]", *(f"{key} = {list(value) if isinstance(value, tuple) else value}" for key, value in TINY.items()),
        "[loss]", f"content_layers = ['{LAYERS[1]}']", f"style_layers = {list(LAYERS)}",
        "[[stages]]", "share = 1.0", "crop = 64", "batch = 1",
        "[[styles]]", 'name = "one"', 'title = "One"', 'artist = "A"', 'year = "1900"', 'picture = "paintings/000.png"',
    ]  # fmt: skip
    (folder / "tiny.toml").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _surroundings(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("IMPASTO_CACHE", str(workshop / "cache"))
    monkeypatch.setenv("IMPASTO_VGG16", str(workshop / "vgg16.safetensors"))
    monkeypatch.chdir(tmp_path)
    # A grid of real samples costs more than the training here.
    monkeypatch.setattr(StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def train(workshop: Path, *arguments: str) -> int:
    return run(["train", str(workshop / "tiny.toml"), "--threads", "1", *arguments])


def step_of(folder: Path) -> int:
    return load_checkpoint(folder / "checkpoint.safetensors").step


def test_in_parts_and_at_once(workshop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert train(workshop, "--stop-at", "1", "--device", "cpu") == 0
    out, err = capsys.readouterr()
    assert out == f"{Path('runs/tiny')}\n", "data on stdout, named after the recipe"
    assert "impasto: 2 photos and 2 paintings.\n" in err
    assert "tiny 1/1 steps loss " in err, "figures on stderr"
    assert err.endswith("impasto: Stopped at step 1 of 2 and saved; go on with --resume.\n")
    assert step_of(tmp_path / "runs/tiny") == 1

    assert train(workshop, "--resume", "--json") == 0
    out, err = capsys.readouterr()
    parts = json.loads(out)
    assert (parts["run"], parts["step"], parts["finished"]) == (str(Path("runs/tiny")), 2, True)
    assert "steps loss" not in err and "Stopped" not in err

    assert train(workshop, "--run", "whole", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole == parts | {"run": "whole"}, "the same figures to the last digit"
    ours, theirs = (load_checkpoint(Path(name) / "checkpoint.safetensors").tensors for name in ("runs/tiny", "whole"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_settings_and_threads(workshop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert train(workshop, "--set", "optim.lr=5e-4", "--set", "steps=1", "--run", "set", "--threads", "2") == 0
    recipe = json.loads((tmp_path / "set" / "recipe.json").read_text())
    assert (recipe["optim"]["lr"], recipe["steps"]) == (5e-4, 1)
    assert step_of(tmp_path / "set") == 1
    assert torch.get_num_threads() == 2
    assert "Stopped" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "optim.rl=1"], "There is no recipe key called 'optim.rl': did you mean 'optim.lr'"),
        (["--set", "steps"], "--set wants key=value, such as optim.lr=1e-3, not 'steps'."),
        (["--set", "steps=0"], "The recipe's steps does not fit: "),
        (["--device", "warp"], "The device 'warp' cannot be used here: choose cpu, or leave --device out."),
        (["--resume"], f"{Path('runs/tiny')} holds no checkpoint to resume from: leave --resume out."),
        (["--set", "data.photos=nosuch"], "There is no folder "),
        (["--set", "loss.style_layers=['relu9_1']"], "There is no layer of vgg16 called 'relu9_1'"),
        (["--stop-at", "0"], "Invalid value for '--stop-at'"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--threads", "many"], "Invalid value for '--threads'"),
        (["--steps", "3"], "There is no option called '--steps'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    workshop: Path, tmp_path: Path, capsys: Capture, arguments: list[str], said: str
) -> None:
    assert train(workshop, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"impasto: {said}") and err.count("\n") == 1, err
    assert list(tmp_path.iterdir()) == []


def test_recipes_that_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert run(["train", "nosuch.toml"]) == 2
    assert capsys.readouterr().err == "impasto: There is no recipe at nosuch.toml: give the path of a .toml file.\n"
    (tmp_path / "bad.toml").write_text("steps = ")
    assert run(["train", "bad.toml"]) == 2
    assert capsys.readouterr().err.startswith("impasto: bad.toml is not TOML: ")
    assert run(["train"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_a_run_is_not_overwritten_nor_changed(workshop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert train(workshop, "--stop-at", "1") == 0
    before = (tmp_path / "runs/tiny/checkpoint.safetensors").read_bytes()
    capsys.readouterr()
    assert train(workshop) == 2
    assert capsys.readouterr().err == (
        f"impasto: {Path('runs/tiny')} holds a run already: pass --resume, or name another folder with --run.\n"
    )
    assert train(workshop, "--resume", "--set", "optim.lr=0.5") == 2
    assert "The recipe is not the one that " in capsys.readouterr().err
    assert (tmp_path / "runs/tiny/checkpoint.safetensors").read_bytes() == before
    assert json.loads((tmp_path / "runs/tiny/recipe.json").read_text())["optim"]["lr"] != 0.5


def test_export_makes_a_model_that_opens(workshop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert train(workshop, "--stop-at", "1") == 0
    (tmp_path / "quality.json").write_text('{"style gap": 0.5, "content lost": 1}')
    capsys.readouterr()
    options = ["--quality", "quality.json", "--dreams", "0", "--json"]
    assert run(["export", "runs/tiny", "-o", "tiny.impasto", *options]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert err == ""
    assert (said["path"], said["step"], said["bytes"]) == ("tiny.impasto", 1, Path("tiny.impasto").stat().st_size)
    assert 0 <= said["painter_difference"] < 1e-3 and 0 <= said["encoder_difference"] < 1e-3
    model = StyleModel.load(tmp_path / "tiny.impasto", threads=1)
    assert list(model.styles) == ["one"]
    assert model.bundle.manifest.quality == {"style gap": 0.5, "content lost": 1.0}

    assert run(["export", "runs/tiny", "--output", "tiny.impasto"]) == 2
    assert "exists already" in capsys.readouterr().err
    import impasto.training.export as export_module

    graphs = {"code": model.bundle.graph("encoder")[1], "painted": model.bundle.graph("painter")[1]}
    with pytest.MonkeyPatch.context() as patch:  # not to wait for the exporter once more
        patch.setattr(export_module, "to_onnx", lambda module, inputs, multiples, output, **_: graphs[output])
        assert run(["export", "runs/tiny", "-o", "tiny.impasto", "--overwrite"]) == 0
    out, err = capsys.readouterr()
    assert out == "tiny.impasto\n"
    assert "painter 1/4 stages" in err
    assert "impasto: The model cannot dream. " in err
    assert "MB, step 1; torch and onnxruntime differ by at most " in err


def test_only_models_of_many_styles_dream(tmp_path: Path, capsys: Capture) -> None:
    Journal(tmp_path / "runs/duel").start(duel_recipe(), resume=False)
    assert run(["export", "runs/duel", "-o", "duel.impasto", "--dreams", "9"]) == 2
    assert "--dreams is about models of many styles, and runs/duel is one of gan" in capsys.readouterr().err
    assert run(["export", "runs/duel", "-o", "duel.impasto", "--mean-with", "runs/duel"]) == 2
    assert "--mean-with is about models of many styles, and runs/duel is one of gan" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"gap": "small"}', '{"gap": null}'])
def test_bad_figures_and_runs(tmp_path: Path, capsys: Capture, content: str | None) -> None:
    if content is not None:
        (tmp_path / "quality.json").write_text(content)
    assert run(["export", "runs/tiny", "-o", "tiny.impasto", "--quality", "quality.json"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("impasto: quality.json is not a JSON object of numbers (") and err.count("\n") == 1
    assert run(["export", "runs/nosuch", "-o", "tiny.impasto"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert run(["export", "runs/nosuch"]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        (["train", "tiny.toml"], ["torch"]),
        (["train", "tiny.toml"], ["torch", "safetensors"]),
        (["export", "run", "-o", "x.impasto"], ["onnxscript"]),
    ],
)
def test_without_the_extra_it_says_what_to_install(verb: list[str], missing: list[str]) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); from impasto.apps.cli import run; "
    command = [sys.executable, "-W", "error", "-c", code + f"sys.exit(run({verb!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"impasto: This needs {' and '.join(missing)}: pip install 'impasto[train]'.\n"


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with trainer.Reporter(False) as progress:
        progress(Progress(1, 4, "steps", "tiny", {"loss": 0.125, "style_relu1_2": 3.0}))
        progress(Progress(2, 4, "steps", "tiny"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "tiny" in err and "2/4" in err and "loss 0.125" in err.split("2/4")[-1], "the last figures stay"
    assert "relu" not in err


def test_progress_in_a_log_file(capsys: Capture) -> None:
    with trainer.Reporter(False) as progress:
        progress(Progress(1, 4, "steps", "tiny"))
        progress(Progress(2, 4, "steps", "tiny", {"loss": 0.125}))
        progress(Progress(1000, None, "bytes", "weights.pth"))
        progress(Progress(1, 2, "stages", "painter"))
        progress(Progress(1, 2, "stages", "painter"))
    assert capsys.readouterr().err == "impasto: tiny 2/4 steps loss 0.125\nimpasto: painter 1/2 stages\n"
    with trainer.Reporter(True) as progress:
        progress(Progress(2, 4, "steps", "tiny", {"loss": 0.125}))
    assert capsys.readouterr().err == ""
