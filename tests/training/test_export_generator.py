"""Runs of the gan and vae tasks as model files: the pictures of the file are the pictures of the networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from helpers import drawn_photo
from impasto.errors import BundleError, TrainingError
from impasto.progress import Progress
from impasto.runtime.bundle import Bundle
from impasto.runtime.frames import fitted
from impasto.runtime.generator import CENTRES, MIXTURE, Generator
from impasto.runtime.latents import draw_streams
from impasto.runtime.picture import Picture
from impasto.training import export_generator as module
from impasto.training.checkpoint import module_tensors, save_checkpoint
from impasto.training.export_generator import PARITY, export_generator, mean_w, portable, write_generator
from impasto.training.flow import fit_flow
from impasto.training.journal import Journal
from impasto.training.nets import NETS
from impasto.training.nets.gan_spec import GanGenerator
from impasto.training.recipe import Recipe, make_recipe, recipe_hash
from impasto.training.recipe_vae import PriorTable
from impasto.training.tasks.vae import VaeTask
from training.support import draw_folder

GAN = {"height": 16, "width": 32, "latent": 8, "base_width": 4, "max_width": 16}
VAE = {"kind": "vae", "height": 16, "width": 16, "latent": 4, "base_width": 4, "max_width": 16}
CLASSES = ("cat", "dog")


def gan_recipe(**net: Any) -> Recipe:
    sources = [{"name": "drawn", "what": "16 drawn pictures", "licence": "none needed"}]
    return make_recipe(
        {
            "task": "gan",
            "name": "tiny-gan",
            "steps": 9,
            "batch": 4,
            "net": GAN | net,
            "data": {"folder": "/somewhere/private/cats", "sources": sources},
            "licence": {"weights": "CC0-1.0"},
        }
    )


def build(recipe: Any, seed: int = 0) -> dict[str, nn.Module]:
    """Networks in which every number matters: also biases and noise strengths, which start at zero."""
    torch.manual_seed(seed)
    modules = NETS[recipe.net.kind](recipe.net)
    with torch.no_grad():
        for network in modules.values():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return modules


def make_run(folder: Path, recipe: Any, *, classes: tuple[str, ...] | None = None) -> Path:
    """A run folder as after training; the averaged networks are not the others, the best ones are others still."""
    journal = Journal(folder)
    journal.start(recipe, resume=False)
    tensors = module_tensors(build(recipe, 0), "model") | module_tensors(build(recipe, 1), "ema")
    save_checkpoint(journal.checkpoint, tensors, 5, recipe_hash(recipe))
    save_checkpoint(journal.best, module_tensors(build(recipe, 2), "ema"), 3, recipe_hash(recipe))
    if classes is not None:
        journal.note("classes", classes)
    return folder


def drawn_by(modules: dict[str, nn.Module], seed: int, labels: list[float] | None = None) -> np.ndarray[Any, Any]:
    """The picture of a seed by torch itself: float32 [H,W,c] in 0..1."""
    generator = modules["generator"].eval()
    assert isinstance(generator, GanGenerator)
    z = torch.from_numpy(draw_streams(seed, 1, generator.latent_size).normals)
    with torch.no_grad():
        picture = generator(z, None if labels is None else torch.tensor([labels]))[0]
    return (picture * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def style_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional RGBA run of the style family."""
    recipe = gan_recipe(kind="style", channels=4, classes=2)
    return make_run(tmp_path_factory.mktemp("runs") / "style", recipe, classes=CLASSES)


@pytest.fixture(scope="module")
def exported(style_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "style.impasto"
    stages: list[Progress] = []
    made = export_generator(style_run, out, quality={"fd_x": 1.5}, created="2025-01-02", progress=stages.append)
    assert made.size == out.stat().st_size
    assert set(made.differences) == {"mapping", "synthesis"} and max(made.differences.values()) < PARITY / 10
    assert [stage.message for stage in stages] == ["mapping", "synthesis", "done"]
    return out


def test_the_file_draws_what_the_averaged_networks_draw(style_run: Path, exported: Path) -> None:
    drawer = Generator.load(exported, threads=1)
    assert (drawer.size, drawer.channels, drawer.classes) == ((32, 16), 4, CLASSES)
    assert drawer.layers > 1 and drawer.w_size == 8
    modules = build(gan_recipe(kind="style", channels=4, classes=2), 1)
    for seed, name, label in ((3, "dog", [0.0, 1.0]), (4, "unknown", [0.0, 0.0])):
        picture = drawer.sample(seed, classes=name)[0]
        wanted = drawn_by(modules, seed, label)
        np.testing.assert_allclose(np.dstack([picture.rgb, picture.alpha]), wanted, atol=PARITY / 10)  # type: ignore[list-item]


def test_a_picture_does_not_depend_on_the_batch(exported: Path) -> None:
    drawer = Generator.load(exported, threads=1)
    eight = drawer.sample(0, 8)
    drawer.batch = 1
    for seed, picture in enumerate(eight):
        np.testing.assert_allclose(picture.rgb, drawer.sample(seed)[0].rgb, atol=1e-5)


def test_styles_mix_per_layer(exported: Path) -> None:
    drawer = Generator.load(exported, threads=1)
    a, b = (drawer.sample(seed, classes="cat")[0].rgb for seed in (1, 2))
    mixed = drawer.mix(1, 2, classes="cat")[0].rgb
    assert min(np.abs(mixed - a).max(), np.abs(mixed - b).max()) > 0.01
    np.testing.assert_allclose(drawer.mix(1, 2, drawer.layers, classes="cat")[0].rgb, a, atol=1e-5)
    np.testing.assert_allclose(drawer.mix(1, 2, 0, classes="cat")[0].rgb, b, atol=1e-5)


def test_truncation_statistics_are_the_mean_of_every_class(exported: Path) -> None:
    generator = build(gan_recipe(kind="style", channels=4, classes=2), 1)["generator"].eval()
    assert isinstance(generator, GanGenerator)
    z = torch.from_numpy(draw_streams(0, 10_000, 8).normals)
    table = Bundle.open(exported).table(CENTRES, shape=(3, 8))
    with torch.no_grad():
        for row, label in enumerate(([1.0, 0.0], [0.0, 1.0], [0.0, 0.0])):
            wanted = generator.mapping(z, torch.tensor([label]).expand(len(z), -1)).double().mean(0)
            np.testing.assert_allclose(table[row], wanted.numpy(), atol=1e-5)
    assert np.abs(table[0] - table[1]).max() > 1e-3


def test_the_manifest_says_all_and_nothing_of_this_machine(exported: Path) -> None:
    manifest = Bundle.open(exported, kind="generator").manifest
    assert manifest.latent is not None and manifest.latent.size == 8 and manifest.latent.classes == CLASSES
    assert (manifest.height, manifest.width, manifest.channels) == (16, 32, 4)
    assert (manifest.step, manifest.images_seen) == (5, 20)
    assert manifest.quality == {"fd_x": 1.5} and manifest.created == "2025-01-02"
    assert manifest.licence.weights == "CC0-1.0" and manifest.data[0].name == "drawn"
    assert manifest.recipe["data"]["folder"] == "cats" and "licence" not in manifest.recipe
    mapping, synthesis = manifest.graphs["mapping"], manifest.graphs["synthesis"]
    assert [(one.name, one.shape) for one in mapping.inputs] == [("z", ("n", 8)), ("labels", ("n", 2))]
    assert synthesis.inputs[0].shape[2] == 8 and synthesis.outputs[0].shape == ("n", 4, 16, 32)
    raw = exported.read_bytes()
    assert b"private" not in raw and str(Path(module.__file__).parent).encode() not in raw


def test_graphs_are_sound(exported: Path) -> None:
    bundle = Bundle.open(exported)
    for role in ("mapping", "synthesis"):
        graph = onnx.load_from_string(bundle.graph(role)[1])
        onnx.checker.check_model(graph, full_check=True)
        assert {node.domain for node in graph.graph.node} <= {""}
        for tensor in graph.graph.input:
            assert tensor.type.tensor_type.shape.dim[0].dim_param, "the batch is free"


def test_the_best_checkpoint_where_it_is_asked_for(
    style_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(monkeypatch)
    export_generator(style_run, tmp_path / "best.impasto", best=True)
    assert seen["step"] == 3
    wanted = build(gan_recipe(kind="style", channels=4, classes=2), 2)["generator"].state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in seen["modules"]["generator"].state_dict().items())
    (tmp_path / "run").mkdir()
    for name in ("recipe.json", "checkpoint.safetensors"):
        (tmp_path / "run" / name).write_bytes((style_run / name).read_bytes())
    export_generator(tmp_path / "run", tmp_path / "newest.impasto", best=True, classes=["Katze", "Hund"])
    assert seen["step"] == 5 and seen["classes"] == ("Katze", "Hund"), "without a best one, the newest"


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What export_generator hands on; nothing is written."""
    seen: dict[str, Any] = {}

    def write(out: Path, modules: Any, recipe: Any, **rest: Any) -> None:
        seen.update(rest, modules=modules)

    monkeypatch.setattr(module, "write_generator", write)
    return seen


def test_names_of_classes_come_from_the_run_or_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    table = gan_recipe(kind="dcgan", classes=2).model_dump(mode="json")
    table["data"]["folder"] = str(tmp_path / "pictures")
    run = make_run(tmp_path / "run", make_recipe(table))
    with pytest.raises(TrainingError, match="knows 2 classes and 0 names were found"):
        export_generator(run, tmp_path / "a.impasto")
    for name in ("owl", "cat"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    export_generator(run, tmp_path / "a.impasto")
    assert seen["classes"] == ("cat", "owl")
    (run / "classes.json").write_text(json.dumps(["x", "y"]))
    export_generator(run, tmp_path / "a.impasto")
    assert seen["classes"] == ("x", "y")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "roles"),
    [
        ({"kind": "dcgan", "channels": 1, "classes": 2}, {"mapping", "synthesis"}),
        ({"kind": "resnet"}, {"synthesis"}),
    ],
)
def test_families_without_a_mapping_network(tmp_path: Path, net: dict[str, Any], roles: set[str]) -> None:
    recipe: Any = gan_recipe(**net)
    names = CLASSES[: net.get("classes", 0)]
    modules = build(recipe)
    for network in modules.values():  # running statistics that are not those of the start
        network.train()
    with torch.no_grad():
        modules["generator"](torch.randn(8, 8), torch.eye(2)[[0, 1] * 4] if names else None)
    made = write_generator(tmp_path / "a.impasto", modules, recipe, classes=names)
    assert set(made.differences) == roles
    drawer = Generator.load(tmp_path / "a.impasto", threads=1)
    assert CENTRES not in drawer.bundle.members, "truncation scales z"
    picture = drawer.sample(6, classes="dog" if names else None)[0]
    wanted = drawn_by(modules, 6, [0.0, 1.0] if names else None)
    np.testing.assert_allclose(picture.rgb, np.broadcast_to(wanted, (16, 32, 3)), atol=PARITY / 10)


@pytest.fixture
def vae_run(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 20, size=(24, 20))
    recipe = make_recipe(
        {"task": "vae", "name": "tiny-vae", "steps": 9, "net": VAE, "data": {"folder": str(tmp_path / "photos")}}
    )
    return make_run(tmp_path / "run", recipe)


def test_a_vae_draws_and_reconstructs(vae_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "vae.impasto"
    made = export_generator(vae_run, out, best=True)
    assert set(made.differences) == {"synthesis", "encoder"} and made.manifest.step == 3
    drawer = Generator.load(out, threads=1)
    assert drawer.priors == ("mixture", "normal") and set(MIXTURE) <= set(drawer.bundle.members)
    modules = build(Journal(vae_run).recipe(), 2)
    encoder, decoder = modules["encoder"].eval(), modules["decoder"].eval()
    photo = Picture.from_array(drawn_photo(24, 20))
    seen = torch.from_numpy(fitted(photo, (16, 16), 3))[None] * 2 - 1
    with torch.no_grad():
        mean = encoder(seen)[0]
        back = decoder(mean)[0].permute(1, 2, 0).numpy() * 0.5 + 0.5
        drawn = decoder(torch.from_numpy(drawer.latents(9)))[0].permute(1, 2, 0).numpy() * 0.5 + 0.5
    np.testing.assert_allclose(drawer.encode([photo]), mean.numpy(), atol=PARITY / 10)
    np.testing.assert_allclose(drawer.reconstruct([photo])[0].rgb, back, atol=PARITY / 10)
    np.testing.assert_allclose(drawer.sample(9)[0].rgb, drawn, atol=PARITY / 10)
    # The mixture is of the latents of this very encoder.
    found = drawer.encode([Picture.open(path) for path in sorted((tmp_path / "photos").iterdir())])
    means, weights = drawer.bundle.table(MIXTURE[1]), drawer.bundle.table(MIXTURE[0])
    spread = found.std(0).max() + 0.5
    assert np.abs(weights @ means - found.mean(0)).max() < spread


def test_a_flow_of_latents_goes_into_the_file(tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 20, size=(24, 20))
    table = {"task": "vae", "name": "tiny-vae", "steps": 9, "net": VAE, "data": {"folder": str(tmp_path / "photos")}}
    prior = {"kind": "flow", "steps": 30, "width": 8, "blocks": 1, "strides": 3}
    make_run(tmp_path / "run", make_recipe(table | {"prior": prior}))
    made = export_generator(tmp_path / "run", tmp_path / "vae.impasto", best=True)
    assert set(made.differences) == {"synthesis", "encoder", "flow"}
    drawer = Generator.load(tmp_path / "vae.impasto", threads=1)
    assert drawer.priors == ("flow", "mixture", "normal")
    task = VaeTask.from_run(tmp_path / "run", checkpoint=Journal(tmp_path / "run").best)
    lean = export_generator(tmp_path / "run", tmp_path / "lean.impasto", best=True, lean=True)
    assert set(lean.differences) == {"synthesis", "flow"}
    small = Generator.load(tmp_path / "lean.impasto", threads=1)
    assert small.priors == ("flow", "normal") and not small.can_reconstruct
    np.testing.assert_allclose(small.sample(3)[0].rgb, drawer.sample(3)[0].rgb, atol=1e-6)
    normals = torch.from_numpy(drawer.latents(4, 3, prior="normal"))
    np.testing.assert_allclose(drawer.latents(4, 3), fit_flow(task)(normals).numpy(), atol=PARITY)


@pytest.mark.parametrize(("count", "flows"), [(499, False), (500, True)])
def test_a_flow_is_for_many_pictures(count: int, flows: bool) -> None:
    assert PriorTable().flows(count) is flows
    assert PriorTable(kind="flow").flows(2) and not PriorTable(kind="mixture").flows(10**6)


def test_weights_in_16_bits_make_half_the_file(vae_run: Path, tmp_path: Path) -> None:
    sizes, drawn = [], []
    for half in (False, True):
        out = tmp_path / f"{half}.impasto"
        made = export_generator(vae_run, out, half=half)
        assert max(made.differences.values()) < PARITY
        sizes.append(sum(len(Generator.load(out).bundle.graph(role)[1]) for role in ("synthesis", "encoder")))
        drawn.append(Generator.load(out, threads=1).draw(np.ones((1, 4), np.float32))[0].rgb)
    assert sizes[1] < 0.75 * sizes[0]
    assert 0 < np.abs(drawn[1] - drawn[0]).max() < 0.01


def test_a_vae_without_its_pictures_says_so(vae_run: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    (tmp_path / "photos").rmdir()
    with pytest.raises(TrainingError, match="photos"):
        export_generator(vae_run, tmp_path / "vae.impasto")
    assert not (tmp_path / "vae.impasto").exists()


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(part: module.Part) -> bytes:
        """The mapping of a plain generator is to give w as it is; this one gives a little more of it."""
        node = onnx.helper.make_node("Mul", ["z", "more"], ["w"])
        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 8]) for name in ("z", "w")]
        more = onnx.numpy_helper.from_array(np.float32(1.01), "more")
        graph = onnx.helper.make_graph([node], "wrong", ends[:1], ends[1:], [more])
        opsets = [onnx.helper.make_opsetid("", 18)]
        return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())

    part = module.Part(nn.Identity(), {"z": torch.randn(3, 8)}, "w", {})
    # nn.Identity calls its argument "input".
    monkeypatch.setattr(nn.Identity, "forward", lambda self, z: z)
    monkeypatch.setattr(module, "_gan_parts", lambda *_: {"mapping": part})
    monkeypatch.setattr(module, "batched_onnx", wrong)
    recipe = gan_recipe(kind="dcgan")
    with pytest.raises(TrainingError, match=r"mapping differs from torch by 0\.0"):
        write_generator(tmp_path / "a.impasto", build(recipe), recipe)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_at_once(style_run: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.impasto"
    there.write_bytes(b"mine")
    with pytest.raises(BundleError, match="exists already"):
        export_generator(style_run, there)
    with pytest.raises(BundleError, match="must end in"):
        export_generator(style_run, tmp_path / "model.zip")
    with pytest.raises(TrainingError, match="not a run folder"):
        export_generator(tmp_path, tmp_path / "a.impasto")
    with pytest.raises(TrainingError, match="1 have names"):
        export_generator(style_run, tmp_path / "a.impasto", classes=["cat"])
    assert there.read_bytes() == b"mine"


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    from training.support import recipe_table

    journal = Journal(tmp_path / "run")
    journal.start(make_recipe(recipe_table(tmp_path)), resume=False)
    with pytest.raises(TrainingError, match="'style', which draws no pictures"):
        export_generator(tmp_path / "run", tmp_path / "a.impasto")


def test_mean_w_without_classes_is_one_row() -> None:
    generator = build(gan_recipe(kind="style"))["generator"].eval()
    assert isinstance(generator, GanGenerator)
    assert mean_w(generator, 0).shape == (1, 8)


def test_a_recipe_is_portable() -> None:
    table = portable(gan_recipe())
    assert table["data"] == {"folder": "cats", "labels": "folders", "flip": True}
    assert "private" not in json.dumps(table)
