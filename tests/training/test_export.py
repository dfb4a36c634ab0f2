from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from helpers import drawn_photo
from impasto.errors import BundleError, TrainingError
from impasto.progress import Progress
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import Engine
from impasto.runtime.grain import grain
from impasto.runtime.picture import Picture, color_stats
from impasto.runtime.style import StyleModel
from impasto.training import export as export_module
from impasto.training import loop
from impasto.training.checkpoint import load_checkpoint, module_tensors, save_checkpoint
from impasto.training.export import PARITY, export, frozen, load_run, portable
from impasto.training.journal import Journal
from impasto.training.nets import NETS
from impasto.training.nets.blocks import ModulatedConv, SlowLinear
from impasto.training.recipe import StyleRecipe, recipe_hash
from impasto.training.recover import recover_encoder, recover_painter
from impasto.training.tasks.style import StyleTask
from training.support import tiny_recipe

CREATED = "2025-01-02"
STYLES = ("small-night", "great-splash")


def make_run(folder: Path, pictures: Path, **changes: Any) -> Path:
    """A run folder as after training: every part of the networks matters, the averaged ones are not the others."""
    files = [str(pictures / "paintings" / f"00{i}.png") for i in range(len(STYLES))]
    named = [
        {"name": name, "title": name.title(), "artist": "A", "year": "1900", "picture": file}
        for name, file in zip(STYLES, files, strict=True)
    ]
    sources = [{"name": "drawn", "what": "4 drawn pictures", "licence": "none needed"}]
    recipe = tiny_recipe(
        pictures, **({"styles": named, "data": {"sources": sources}, "licence": {"weights": "CC0-1.0"}} | changes)
    )
    journal = Journal(folder)
    journal.start(recipe, resume=False)
    tensors = {}
    for seed, prefix in enumerate(("model", "ema")):
        torch.manual_seed(seed)
        modules = NETS[recipe.net.kind](recipe.net)
        for module in modules.values():
            for part in module.modules():
                if isinstance(part, SlowLinear):
                    torch.nn.init.normal_(part.bias, std=0.1 / part.rate)
        tensors |= module_tensors(modules, prefix)
    save_checkpoint(journal.checkpoint, tensors, 3, recipe_hash(recipe))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> tuple[Path, Path, list[Progress], Any]:
    """A run folder, its model file, what was reported, and the result."""
    folder = tmp_path_factory.mktemp("export")
    run, told = make_run(folder / "run", pictures), list[Progress]()
    out = folder / "tiny.impasto"
    return run, out, told, export(run, out, quality={"style gap": 0.5}, created=CREATED, progress=told.append)


Made = tuple[Path, Path, list[Progress], Any]


def test_what_it_says_about_itself(made: Made, pictures: Path) -> None:
    _, out, told, result = made
    manifest = Bundle.open(out, kind="style").manifest
    assert manifest == result.manifest
    assert (manifest.name, manifest.created, manifest.step, manifest.images_seen) == ("tiny", CREATED, 3, 6)
    assert manifest.quality == {"style gap": 0.5}
    assert manifest.code_size == 17
    assert manifest.graphs["painter"].receptive_field == tiny_recipe(pictures).net.receptive_field
    assert [source.name for source in manifest.data] == ["drawn"]
    assert manifest.licence.weights == "CC0-1.0"
    assert manifest.recipe["data"]["photos"] == "photos"
    assert manifest.recipe["optim"]["lr"] == pytest.approx(2e-3)
    assert set(manifest.members) == {"encoder.onnx", "painter.onnx", "styles.npy"}
    assert result.size == out.stat().st_size
    assert 0 < result.painter_difference < PARITY and 0 < result.encoder_difference < PARITY
    assert [(at.done, at.total) for at in told] == [(n, 4) for n in range(5)]
    assert len(result.notes) == 1 and result.notes[0].startswith("The model cannot dream. 4 paintings are too few")


def test_the_file_says_nothing_about_this_machine(made: Made, pictures: Path) -> None:
    _, out, _, _ = made
    raw = out.read_bytes()
    for secret in (Path.cwd(), Path.home(), out.parent, pictures, Path(torch.__file__).parent):
        if len(secret.parts) > 1:
            assert str(secret).encode() not in raw, secret
    assert b".py" not in raw.replace(b"styles.npy", b""), "no source file is named"
    bundle = Bundle.open(out)
    for role in ("encoder", "painter"):
        graph = onnx.load_from_string(bundle.graph(role)[1])
        assert not graph.metadata_props and not graph.graph.metadata_props
        assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
        assert not graph.functions


def test_the_model_paints_what_torch_paints(made: Made) -> None:
    """Through the whole runtime, at a size that wants padding."""
    run, out, _, _ = made
    _, modules, _ = load_run(run)
    model = StyleModel.load(out, threads=1)
    photo = drawn_photo(88, 64, seed=3)
    code = model.code("small-night")
    painted = model.paint(Picture(photo), code).rgb
    stats, noise = torch.from_numpy(color_stats(photo)[None]), torch.from_numpy(grain(4, 8, 11))
    x = torch.from_numpy(photo).permute(2, 0, 1)[None]
    expected = modules["painter"](x, stats, torch.from_numpy(code)[None], noise)[0].permute(1, 2, 0).numpy()
    assert painted.shape == photo.shape
    assert np.abs(painted - expected).max() < 1e-3
    assert np.abs(painted - photo).mean() > 0.01, "it paints something"
    assert model.paint(Picture(drawn_photo(61, 47)), code).rgb.shape == (47, 61, 3)


def test_named_styles_are_the_codes_of_their_pictures(made: Made, pictures: Path) -> None:
    run, out, _, _ = made
    model = StyleModel.load(out, threads=1)
    assert tuple(model.styles) == STYLES
    assert model.styles["great-splash"].title == "Great-Splash"
    first, second = (model.code(name) for name in STYLES)
    for i, code in enumerate((first, second)):
        picture = Picture.open(pictures / "paintings" / f"00{i}.png")
        np.testing.assert_allclose(code, model.encode(picture), atol=1e-5)
        np.testing.assert_allclose(code[-9:], color_stats(picture.rgb), atol=0.02)
    assert np.abs(first - second).max() > 0.01
    _, modules, _ = load_run(run)
    # 160 pixels on the short side are a multiple of 16: what torch is given is what the runtime gives the encoder.
    side = np.tile(drawn_photo(64, 64, seed=8), (8, 8, 1))
    code = model.encode(Picture(side))
    expected = modules["encoder"](torch.from_numpy(side).permute(2, 0, 1)[None])[0].numpy()
    np.testing.assert_allclose(code, expected, atol=1e-3)


def test_it_is_the_average_that_is_exported(made: Made) -> None:
    run, _, _, _ = made
    _, modules, step = load_run(run)
    assert step == 3
    saved = load_checkpoint(run / "checkpoint.safetensors")
    for key, value in saved.part("ema.painter").items():
        assert torch.equal(modules["painter"].state_dict()[key], value), key
    assert not torch.equal(saved.part("model.painter")["look.weight"], saved.part("ema.painter")["look.weight"])
    assert not any(p.requires_grad for module in modules.values() for p in module.parameters())


def test_the_same_run_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    run, out, _, _ = made
    moved = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    torch.manual_seed(123)
    again = tmp_path / "again.impasto"
    export(moved, again, quality={"style gap": 0.5}, created=CREATED)
    assert again.read_bytes() == out.read_bytes()


def test_the_mean_of_two_runs(made: Made, tmp_path: Path, pictures: Path) -> None:
    first, _, _, _ = made
    second = shutil.copytree(first, tmp_path / "second")
    found = load_checkpoint(second / "checkpoint.safetensors")
    moved = {key: value + 0.02 * value.std() if value.numel() > 1 else value for key, value in found.tensors.items()}
    save_checkpoint(second / "checkpoint.safetensors", moved, found.step, found.recipe_hash)
    out = tmp_path / "mean.impasto"
    manifest = export(first, out, mean_with=second, dreams=0).manifest
    assert manifest.recipe["mean_with"] == "second" and manifest.recipe["net"]
    recovered = recover_painter(Bundle.open(out)).state_dict()
    key = "blocks.0.first.weight"
    between = (found.part("ema.painter")[key] + moved[f"ema.painter.{key}"]) / 2
    torch.testing.assert_close(recovered[key], between, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(recovered[key], found.part("ema.painter")[key], rtol=1e-5)
    other = make_run(tmp_path / "other", pictures, net={"code": 12}, styles=[])
    with pytest.raises(TrainingError, match="there is no mean of the two"):
        export(first, tmp_path / "none.impasto", mean_with=other, dreams=0)


def test_a_run_may_start_from_a_model_file(
    made: Made, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the encoder of the run that it was exported from, to the bit, and its painter all but so."""
    first, out, _, _ = made
    theirs = load_checkpoint(first / "checkpoint.safetensors")
    monkeypatch.setattr(StyleTask, "sample", lambda *_: np.zeros((8, 8, 3), np.uint8))
    changes = {"optim": {"lr": 1e-12}, "net": {"variational": True}, "loss": {"hint": 0.0}}
    recipe = tiny_recipe(pictures, start=str(out), steps=1, **changes)
    loop.run(StyleTask(recipe, keep=tmp_path / "keep"), Journal(tmp_path / "run"))
    ours = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    for key, value in theirs.part("ema.encoder").items():
        torch.testing.assert_close(ours.part("ema.encoder")[key], value, rtol=0, atol=1e-9)
    for key, value in theirs.part("ema.painter").items():
        torch.testing.assert_close(ours.part("ema.painter")[key], value, rtol=1e-5, atol=1e-7)
    assert ours.part("ema.doubt") and not theirs.part("ema.doubt")  # what a model file lacks starts anew
    other = tiny_recipe(pictures, start=str(out), net={"code": 12}, loss={"hint": 0.0})
    with pytest.raises(TrainingError, match="does not fit the network's"):
        loop.run(StyleTask(other, keep=tmp_path / "keep"), Journal(tmp_path / "other"))


def test_the_bundled_encoder_can_learn_again() -> None:
    bundle = Bundle.open("anystyle")
    encoder = recover_encoder(bundle)
    graph = onnx.load_from_string(bundle.read("encoder.onnx")).graph
    kept = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    same = [name for name, value in encoder.state_dict().items() if name in kept]
    assert len(same) > 10
    assert all(np.array_equal(encoder.state_dict()[name].numpy(), kept[name]) for name in same)


def test_instance_norm_exports_too(tmp_path: Path, pictures: Path) -> None:
    run = make_run(tmp_path / "run", pictures, net={"norm": "instance"}, styles=[])
    result = export(run, tmp_path / "twin.impasto")
    assert result.manifest.graphs["painter"].receptive_field is None
    assert result.manifest.created == datetime.date.today().isoformat()
    assert result.manifest.styles == () and result.manifest.quality == {}
    assert result.painter_difference < PARITY
    model = StyleModel.load(tmp_path / "twin.impasto", threads=1)
    photo = Picture(drawn_photo(56, 48))
    assert model.paint(photo, model.encode(photo)).rgb.shape == (48, 56, 3)


def graphs(out: Path) -> tuple[bytes, bytes]:
    bundle = Bundle.open(out)
    return bundle.graph("encoder")[1], bundle.graph("painter")[1]


@pytest.mark.parametrize("part", ["encoder", "painter"])
@pytest.mark.parametrize("change", ["weight", "not a number"])
def test_a_graph_that_differs_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, change: str
) -> None:
    """Parity is checked on what is about to be written, so a graph altered on the way must be noticed."""
    run, out, _, _ = made
    eye, brush = graphs(out)

    def altered(module: Any, inputs: Any, multiples: Any, output: str, **rest: Any) -> bytes:
        raw = eye if output == "code" else brush
        if (output == "code") != (part == "encoder"):
            return raw
        model = onnx.load_from_string(raw)
        biggest = max(model.graph.initializer, key=lambda value: len(value.raw_data))
        values = onnx.numpy_helper.to_array(biggest) * np.float32(1.05)
        if change == "not a number":
            values.flat[0] = np.nan
        biggest.CopyFrom(onnx.numpy_helper.from_array(values, biggest.name))
        return model.SerializeToString()

    monkeypatch.setattr(export_module, "to_onnx", altered)
    with pytest.raises(TrainingError, match=f"The exported {part} differs from torch by .*nothing was written"):
        export(run, tmp_path / "new.impasto")
    assert list(tmp_path.glob("*.impasto")) == []


def test_graphs_take_any_size_of_their_rule(made: Made) -> None:
    eye, brush = (Engine(raw, threads=1) for raw in graphs(made[1]))
    code = eye.run({"style": np.full((1, 3, 32, 80), 0.5, np.float32)})["code"]
    for height, width in ((16, 16), (16, 264), (48, 24)):
        photo = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        rest = {"photo_stats": color_stats(photo[0].transpose(1, 2, 0))[None], "code": code}
        painted = brush.run({"photo": photo, "grain": grain(4, height // 8, width // 8), **rest})["painted"]
        assert painted.shape == photo.shape and painted.min() >= 0 and painted.max() <= 1


def test_kernels_are_constants_only_while_it_lasts(pictures: Path) -> None:
    painter = NETS["anystyle"](tiny_recipe(pictures).net)["painter"]
    convs = [module for module in painter.modules() if isinstance(module, ModulatedConv)]
    assert convs
    with pytest.raises(ZeroDivisionError), frozen(painter):
        assert all(conv._frozen is not None for conv in convs)
        _ = 1 / 0
    assert all(conv._frozen is None for conv in convs)


def test_what_would_fail_later_is_said_at_once(
    made: Made, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out, _, _ = made
    monkeypatch.setattr(export_module, "to_onnx", lambda *_, **__: pytest.fail("work was begun"))
    before = out.read_bytes()
    with pytest.raises(BundleError, match=r"exists already: choose another name or allow overwriting\.$"):
        export(run, out)
    assert out.read_bytes() == before
    with pytest.raises(BundleError, match=r"must end in \.impasto"):
        export(run, tmp_path / "model.onnx")
    style = {"name": "gone", "title": "G", "artist": "A", "year": "1", "picture": str(tmp_path / "gone.jpg")}
    wanting = make_run(tmp_path / "wanting", pictures, styles=[style])
    with pytest.raises(TrainingError, match=r"The named style 'gone' wants .*gone\.jpg: put the picture there\.$"):
        export(wanting, tmp_path / "new.impasto")


def test_runs_that_cannot_be_exported(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingError, match="is not a run folder"):
        export(tmp_path / "nosuch", tmp_path / "new.impasto")
    run = make_run(tmp_path / "run", pictures)
    table = json.loads((run / "recipe.json").read_text())
    table["net"]["coarse"] = 24
    (run / "recipe.json").write_text(json.dumps(table))
    with pytest.raises(TrainingError, match=r"does not fit the network's (encoder|painter): use") as caught:
        export(run, tmp_path / "new.impasto")
    assert "\n" not in str(caught.value)
    (run / "checkpoint.safetensors").unlink()
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        export(run, tmp_path / "new.impasto")


def test_overwriting(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out, _, _ = made
    eye, brush = graphs(out)
    monkeypatch.setattr(export_module, "to_onnx", lambda m, i, s, output, **_: eye if output == "code" else brush)
    target = tmp_path / "new.impasto"
    target.write_bytes(b"something else")
    export(run, target, overwrite=True, created=CREATED, quality={"style gap": 0.5})
    assert target.read_bytes() == out.read_bytes()


def test_the_portable_recipe_has_no_paths(tmp_path: Path) -> None:
    recipe: StyleRecipe = tiny_recipe(tmp_path)
    assert str(tmp_path) not in json.dumps(portable(recipe))
    stage = {"share": 1.0, "crop": 64, "batch": 2, "style": None, "teach": None, "given": 0.0}
    assert portable(recipe)["stages"] == [stage]
