from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.errors import TrainingError, UnknownName
from impasto.training import loop
from impasto.training import mixture as mixture_module
from impasto.training.checkpoint import load_checkpoint
from impasto.training.journal import Journal
from impasto.training.losses import variational as losses
from impasto.training.mixture import fit_mixture
from impasto.training.nets.vae import Decoder, Judge
from impasto.training.recipe import load_recipe, make_recipe, recipe_hash
from impasto.training.recipe_vae import VaeRecipe, vae_preset, vae_recipe
from impasto.training.tasks import TASKS
from impasto.training.tasks.vae import VaeTask, between
from training.support import draw_folder, tiny_recipe

KINDS = ("vae", "vae-gan", "vq-vae")
TINY: dict[str, Any] = {
    "height": 16,
    "width": 16,
    "latent": 8,
    "base_width": 8,
    "max_width": 16,
    "critic_base_width": 8,
    "critic_max_width": 16,
    "codes": 12,
    "code_size": 4,
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("drawn") / "My Pictures", 40, size=(24, 24))


@pytest.fixture(autouse=True)
def _every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def table_of(folder: Path, **changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "task": "vae",
        "name": "tiny",
        "steps": 4,
        "seed": 3,
        "precision": "fp32",
        "net": dict(TINY),
        "data": {"folder": str(folder)},
        "loss": {"layers": ("relu1_2", "relu2_2")},
        "optim": {"warmup": 0},
        "batch": 4,
        "save_every": 100,
        "sample_every": 100,
        "watch_every": 2,
    }
    for key, value in changes.items():
        table[key] = table[key] | value if isinstance(value, dict) and isinstance(table.get(key), dict) else value
    return table


def recipe_of(folder: Path, **changes: Any) -> VaeRecipe:
    recipe = make_recipe(table_of(folder, **changes))
    assert isinstance(recipe, VaeRecipe)
    return recipe


def task_of(folder: Path, **changes: Any) -> VaeTask:
    return VaeTask(recipe_of(folder, **changes))


def figures(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text("utf-8").splitlines()]


def of_kind(kind: str, **changes: Any) -> dict[str, Any]:
    return {"net": {"kind": kind}} | changes


# Recipes ------------------------------------------------------------------------------------------------------------


def test_a_vae_gan_has_an_optimiser_of_its_own_kind(drawn: Path) -> None:
    assert recipe_of(drawn).optim.betas == (0.9, 0.99)
    judged = recipe_of(drawn, **of_kind("vae-gan"))
    assert judged.optim.betas == (0.5, 0.99) and judged.optim.lr == 5e-4
    assert recipe_of(drawn, **of_kind("vae-gan"), optim={"lr": 1e-4}).optim.lr == 1e-4, "what is said counts"
    assert make_recipe(json.loads(judged.model_dump_json())) == judged


def test_the_weight_of_the_divergence_rises() -> None:
    recipe = recipe_of(Path("x"), steps=100, loss={"beta": 4.0, "warm": 0.2})
    assert [recipe.beta(step) for step in (0, 5, 10, 20, 99)] == [0.0, 1.0, 2.0, 4.0, 4.0]
    assert recipe_of(Path("x"), loss={"warm": 0.0, "beta": 2.0}).beta(0) == 2.0


def test_folders_are_taken_from_where_the_recipe_lies(drawn: Path, tmp_path: Path) -> None:
    text = '[data]\nfolder = "pictures"\n'
    (tmp_path / "vae.toml").write_text(f'task = "vae"\nname = "tiny"\nsteps = 3\n{text}', "utf-8")
    recipe = load_recipe(tmp_path / "vae.toml", ["loss.beta=2", "net.kind=vq-vae"])
    assert isinstance(recipe, VaeRecipe)
    assert recipe.data.folder == str(tmp_path / "pictures")
    assert recipe.loss.beta == 2.0 and recipe.net.kind == "vq-vae"
    with pytest.raises(UnknownName, match=r"recipe key called 'loss.betta': did you mean 'loss.beta'"):
        load_recipe(tmp_path / "vae.toml", ["loss.betta=2"])
    one, two = recipe_of(Path("/a/cats")), recipe_of(Path("/b/cats"), watch_every=7)
    assert recipe_hash(one) == recipe_hash(two) != recipe_hash(recipe_of(Path("/a/dogs")))


def test_a_recipe_for_a_folder(drawn: Path) -> None:
    recipe = vae_recipe(drawn, 16)
    assert (recipe.name, recipe.net.kind, recipe.net.channels) == ("my-pictures", "vae", 3)
    assert (recipe.net.height, recipe.net.width) == (16, 16)
    assert (recipe.steps, recipe.net.latent, recipe.loss.free) == (3_000, 64, 0.05), "few pictures"
    assert recipe.data.folder == str(drawn.resolve())
    wide = vae_recipe(drawn, (16, 32), kind="vae-gan", preset="large", name="other", sets=["net.latent=32", "steps=7"])
    assert (wide.net.width, wide.net.kind, wide.net.latent, wide.steps) == (32, "vae-gan", 32, 7)
    assert (wide.net.max_width, wide.name, wide.optim.ema, wide.optim.lr) == (192, "other", 0.9995, 5e-4)
    assert vae_recipe(drawn, 16, sets=["net.channels=1"]).net.channels == 1
    assert vae_recipe(drawn, 16, sets=["net.height=32"]).net.height == 32
    with pytest.raises(UnknownName, match="no preset called 'larg': did you mean 'large'"):
        vae_recipe(drawn, 16, preset="larg")
    with pytest.raises(UnknownName, match=r"net\.latnet"):
        vae_recipe(drawn, 16, sets=["net.latnet=3"])
    with pytest.raises(TrainingError, match="leave task out of --set"):
        vae_recipe(drawn, 16, sets=["task=gan"])
    with pytest.raises(TrainingError, match="a picture of 17 x 17 pixels is no base"):
        vae_recipe(drawn, 17)
    with pytest.raises(TrainingError, match="does not exist: give a folder of pictures"):
        vae_recipe(drawn / "none", 16)


def test_presets_go_by_the_number_of_pictures() -> None:
    assert [vae_preset(n) for n in (1, 999, 1_000, 19_999, 20_000)] == ["few", "few", "medium", "medium", "large"]


# Batches ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_its_index(drawn: Path) -> None:
    first, second = task_of(drawn), task_of(drawn)
    forwards = [first.batch(index) for index in range(3)]
    backwards = [second.batch(index) for index in reversed(range(3))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        for field in ("pictures", "noise", "prior"):
            assert torch.equal(getattr(a, field), getattr(b, field)), field
    assert forwards[0].pictures.shape == (4, 3, 16, 16) and forwards[0].pictures.dtype == torch.uint8
    assert not torch.equal(forwards[0].noise, forwards[1].noise)
    assert not torch.equal(forwards[0].noise, forwards[0].prior)


def test_pictures_are_mirrored_and_held_ones_never_seen(drawn: Path) -> None:
    task = task_of(drawn, data={"held": 0.25})
    assert len(task.held) == 10 and len(task.learnt) == 30
    whole = task.pictures.arrays(range(40))
    seen, mirrored = set(), set()
    for index in range(30):
        for row in task.batch(index).pictures.permute(0, 2, 3, 1).numpy():
            for flip in (1, -1):
                found = np.flatnonzero((whole == row[:, ::flip]).all((1, 2, 3)))
                seen.update(found.tolist())
                mirrored.update([flip] * len(found))
    assert seen == set(task.learnt.tolist()) and mirrored == {1, -1}
    assert task.remarks()[-1] == "10 of them are held out, to measure on."
    straight = task_of(drawn, data={"flip": False, "held": 0.0}).batch(0).pictures.permute(0, 2, 3, 1).numpy()
    assert all((whole == row).all((1, 2, 3)).any() for row in straight)


# The loss -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_evidence_lower_bound(drawn: Path) -> None:
    """Against a slow twin: torch's distributions, by hand for one batch."""
    task = task_of(drawn, steps=100, loss={"warm": 0.0, "free": 0.0})
    batch = task.batch(0)
    with torch.no_grad():
        total, parts = task.loss("autoencoder", batch, 0)
        x = batch.pictures.float() / 127.5 - 1
        mean, logvar = task.modules["encoder"](x)
        posterior = torch.distributions.Normal(mean, (logvar / 2).exp())
        decoder = task.modules["decoder"]
        assert isinstance(decoder, Decoder)
        made = decoder(mean + (logvar / 2).exp() * batch.noise)
        likelihood = torch.distributions.Normal(made, (decoder.logvar / 2).exp()).log_prob(x).flatten(1).sum(1)
        prior = torch.distributions.Normal(torch.zeros(8), torch.ones(8))
        kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
    bound = float((kl - likelihood).mean()) / (3 * 16 * 16)
    assert float(total) == pytest.approx(bound, rel=1e-5)
    assert float(parts["kl"]) == pytest.approx(float(kl.mean()), rel=1e-5)
    assert float(parts["bits"]) == pytest.approx((bound - math.log(2 / 255)) / math.log(2), rel=1e-5)
    assert float(parts["error"]) == pytest.approx(float((made - x).abs().mean()), rel=1e-5)


def test_weights_do_what_they_say(drawn: Path) -> None:
    def total(kind: str = "vae", **weights: float) -> float:
        loss = {"warm": 0.0, "free": 0.0, "likelihood": "l2", "perceptual": 0.0} | weights
        task = task_of(drawn, net={"kind": kind}, loss=loss)
        with torch.no_grad():
            return float(task.loss("autoencoder", task.batch(0), 0)[0])

    def part(name: str, kind: str = "vae") -> float:
        task = task_of(drawn, net={"kind": kind}, loss={"perceptual": 1.0 if name == "perceptual" else 0.0})
        with torch.no_grad():
            return float(task.loss("autoencoder", task.batch(0), 0)[1][name])

    assert total(beta=3.0) - total(beta=1.0) == pytest.approx(2 * part("kl") / 768, rel=1e-3)
    assert total(beta=0.0, free=1.0) == pytest.approx(total(beta=0.0), rel=1e-6)
    assert total(beta=1.0, free=100.0) - total(beta=0.0) == pytest.approx(100 * 8 / 768, rel=1e-3)
    assert total(pixels=0.0, beta=0.0) == 0.0
    assert total(pixels=2.0, beta=0.0) == pytest.approx(2 * total(beta=0.0), rel=1e-4)
    assert total(likelihood="l1") != total(likelihood="l2")
    assert total(perceptual=2.0) - total() == pytest.approx(2 * part("perceptual"), rel=1e-3)
    for name in ("features", "adversarial"):
        difference = total("vae-gan", **{name: 5.0}) - total("vae-gan", **{name: 1.0})
        assert difference == pytest.approx(4 * part(name, "vae-gan"), rel=1e-3)
    difference = total("vq-vae", commitment=3.0) - total("vq-vae", commitment=1.0)
    assert difference == pytest.approx(2 * part("commitment", "vq-vae"), rel=1e-3)


def test_perceptual_differences_of_grey_and_of_transparent_pictures(drawn: Path) -> None:
    for channels in (1, 4):
        task = task_of(drawn, net={"channels": channels}, loss={"perceptual": 1.0})
        total, parts = task.loss("autoencoder", task.batch(0), 0)
        assert 0 < float(parts["perceptual"].detach()) < 2 and torch.isfinite(total)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_what_a_turn_moves(drawn: Path, kind: str, precision: str) -> None:
    # Not hinge: as long as no logit is beyond 1, real and fake pull on the last bias alike.
    loss = {"warm": 0.0, "free": 0.0, "kind": "nonsaturating"}
    task = task_of(drawn, **of_kind(kind), precision=precision, loss=loss)
    batch = task.batch(0)
    for turn in task.turns:
        for module in task.modules.values():
            module.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            total, _ = task.loss(turn.name, batch, 0)
        total.backward()
        for part in turn.networks:
            for name, value in task.modules[part].named_parameters():
                assert value.grad is not None and value.grad.isfinite().all(), f"{part}.{name}"
                assert float(value.grad.abs().sum()) > 0, f"{part}.{name}"
    assert [turn.name for turn in task.turns] == ["autoencoder"] + ["discriminator"] * (kind == "vae-gan")


def test_the_discriminator_sees_real_reconstructed_and_drawn(drawn: Path) -> None:
    task = task_of(drawn, **of_kind("vae-gan"))
    batch, seen = task.batch(0), list[Tensor]()
    judge = task.modules["discriminator"]
    assert isinstance(judge, Judge)
    judge.eval()  # its spectral norms stand still, so that both ways can be compared
    judge.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    with torch.no_grad():
        alone = task.loss("discriminator", batch, 0)[0]
        made = task.loss("autoencoder", batch, 0)
        after = task.loss("discriminator", batch, 0)[0]
    assert float(after) == pytest.approx(float(alone), rel=1e-5), "what was decoded before is what it would decode"
    assert len(made[1]) and all(x.shape == (12, 3, 16, 16) for x in seen)
    torch.testing.assert_close(seen[-1][:4], batch.pictures.float() / 127.5 - 1)
    with torch.no_grad():
        decoded = task.modules["decoder"](torch.cat((losses_draw(task, batch), batch.prior)))
    torch.testing.assert_close(seen[-1][4:], decoded, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        shown = seen[-1]
        real, fake = judge(shown[:4]), judge(shown[4:])
    hinge = (1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean()
    assert float(after) == pytest.approx(float(hinge), rel=1e-5)


def losses_draw(task: VaeTask, batch: Any) -> Tensor:
    mean, logvar = task.modules["encoder"](batch.pictures.float() / 127.5 - 1)
    return losses.reparameterise(mean, logvar, batch.noise)


@pytest.mark.parametrize("kind", ["minimax", "nonsaturating", "hinge", "wasserstein", "relativistic"])
def test_every_adversarial_loss_serves(drawn: Path, kind: str) -> None:
    task = task_of(drawn, **of_kind("vae-gan"), loss={"kind": kind})
    batch = task.batch(0)
    for turn in ("autoencoder", "discriminator"):
        assert torch.isfinite(task.loss(turn, batch, 0)[0])


def test_codes_pass_the_gradient_straight_through(drawn: Path) -> None:
    task = task_of(drawn, **of_kind("vq-vae"), loss={"commitment": 0.0})
    task.loss("autoencoder", task.batch(0), 0)[0].backward()
    grads = [p.grad for p in task.modules["encoder"].parameters()]
    assert all(g is not None and float(g.abs().sum()) > 0 for g in grads)


# Whole runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "precision"), [("vae", "bf16"), ("vae-gan", "fp32"), ("vq-vae", "fp32")])
def test_four_steps_are_two_and_two_bit_for_bit(drawn: Path, tmp_path: Path, kind: str, precision: str) -> None:
    changes = {**of_kind(kind), "precision": precision, "accumulate": 2, "batch": 3}
    loop.run(task_of(drawn, **changes), Journal(tmp_path / "whole"))
    loop.run(task_of(drawn, **changes), Journal(tmp_path / "halves"), stop_at=2)
    loop.run(task_of(drawn, **changes), Journal(tmp_path / "halves"), resume=True)
    whole, halves = (
        load_checkpoint(tmp_path / name / "checkpoint.safetensors").tensors for name in ("whole", "halves")
    )
    assert whole.keys() == halves.keys()
    for key in whole:
        assert torch.equal(whole[key], halves[key]), key
    rows = [[row | {"images_per_second": 0} for row in figures(tmp_path / name)] for name in ("whole", "halves")]
    assert rows[0] == rows[1] and [row["step"] for row in rows[0]] == [1, 2, 3, 4]
    assert [row["images"] for row in rows[0]] == [6, 12, 18, 24]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_run_beats_the_mean_picture(drawn: Path, tmp_path: Path, kind: str) -> None:
    """The mean picture is the best that a decoder can do which ignores its latent."""
    changes = {"steps": 100, "batch": 10, "optim": {"lr": 4e-3, "ema": 0.95}, "data": {"held": 0.0, "flip": False}}
    task = task_of(drawn, **of_kind(kind), **changes, sample_every=1000, watch_every=0)
    loop.run(task, Journal(tmp_path / "run"))
    learnt = VaeTask.from_run(tmp_path / "run")
    x = torch.from_numpy(learnt.pictures.arrays(range(40))).permute(0, 3, 1, 2).float() / 127.5 - 1
    made = learnt.modules["decoder"](learnt.modules["encoder"](x)[0])
    mean = (x - x.mean(0)).square().mean()
    share = float((made - x).square().mean()) / float(mean)
    assert share < (0.6 if kind == "vae" else 0.8), share
    rows = figures(tmp_path / "run")
    assert rows[-1]["error"] < 0.8 * rows[0]["error"] and rows[-1]["bits"] < rows[0]["bits"] - 0.5


# Looking and drawing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "channels"), [("vae", 3), ("vq-vae", 1), ("vae-gan", 4)])
def test_sample_grids(drawn: Path, kind: str, channels: int) -> None:
    task = task_of(drawn, net={"kind": kind, "channels": channels})
    average = {name: module.eval() for name, module in task.modules.items()}
    grid = task.sample(average, count=4)
    assert grid.shape == (5 * 16, 4 * 16, 3) and grid.dtype == np.uint8
    assert np.array_equal(grid, task.sample(average, count=4)), "always the same"
    first = task.pictures.array(int(task.held[0]))[..., :3]
    assert np.array_equal(grid[:16, :16], np.broadcast_to(first, (16, 16, 3))), "held-out pictures come first"
    lines = grid.reshape(5, 16, 4, 16, 3)
    assert all((lines[row] != lines[row, :, :1]).any() for row in range(5)), "columns differ"
    assert np.array_equal(lines[4, :, 0], lines[1, :, 0]), "the way starts at the first picture"


def test_measuring_changes_nothing_and_is_repeatable(drawn: Path) -> None:
    task = task_of(drawn, data={"held": 0.2})
    before = {k: v.clone() for name, m in task.modules.items() for k, v in m.state_dict(prefix=name).items()}
    average = {name: module.eval() for name, module in task.modules.items()}
    told: list[dict[str, float]] = [{"used": 8.0}, {"used": 8.0}]
    for figures_ in told:
        assert task.watch(4, average, figures_) == []
    assert told[0] == told[1] and {"bits_held", "error_held"} < set(told[0])
    after = {k: v for name, m in task.modules.items() for k, v in m.state_dict(prefix=name).items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    x = torch.from_numpy(task.pictures.arrays(task.held)).permute(0, 3, 1, 2).float() / 127.5 - 1
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((8, 8), np.float32))
    with torch.no_grad():
        mean, logvar = task.modules["encoder"](x)
        made = task.modules["decoder"](losses.reparameterise(mean, logvar, noise))
    assert told[0]["error_held"] == pytest.approx(float((made - x).abs().mean()), rel=1e-4)
    assert task.best == "bits_held" and task_of(drawn, data={"held": 0.0}).best == ""


def test_a_silent_latent_is_said(drawn: Path) -> None:
    task = task_of(drawn)
    average = {name: module.eval() for name, module in task.modules.items()}
    (sentence,) = task.watch(4, average, {"used": 1.0})
    assert "uses 1 of its 8 numbers" in sentence and "raise loss.free, or lower loss.beta." in sentence
    assert task.watch(0, average, {"used": 1.0}) == [], "nothing is charged at the very start of the warm-up"
    coded = task_of(drawn, **of_kind("vq-vae"))
    assert coded.watch(4, {name: module.eval() for name, module in coded.modules.items()}, {"used": 1.0}) == []


def test_latents_are_draws_from_the_posteriors(drawn: Path) -> None:
    task = task_of(drawn, data={"flip": False, "held": 0.25})
    z = task.latents()
    assert z.shape == (30, 8) and z.dtype == np.float32
    assert np.array_equal(z, task.latents()) and len(task.latents(at_most=7)) == 7
    assert task.modules["encoder"].training, "left as it was"
    mirrored = task_of(drawn, data={"flip": True, "held": 0.25}).latents()
    assert mirrored.shape == (60, 8)
    with torch.no_grad():
        head = task.modules["encoder"].get_parameter("head.bias")
        head[8:] = -1e4  # no spread: now they are the means, in a shuffled order
        x = torch.from_numpy(task.pictures.arrays(task.learnt)).permute(0, 3, 1, 2).float() / 127.5 - 1
        means = task.modules["encoder"](x)[0].numpy()
    distances = np.square(task.latents()[:, None] - means[None]).sum(2)
    assert sorted(distances.argmin(1).tolist()) == list(range(30)) and distances.min(1).max() < 1e-3


def test_a_mixture_for_the_exporter(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(drawn)
    loop.run(task, Journal(tmp_path / "run"))
    seen: list[np.ndarray[Any, Any]] = []
    real: Callable[..., Any] = mixture_module.best_fit
    monkeypatch.setattr(mixture_module, "best_fit", lambda x, **kw: (seen.append(x), real(x, **kw))[1])
    tables = fit_mixture(tmp_path / "run").tables()
    count = len(tables["mixture_weights.npy"])
    assert tables["mixture_means.npy"].shape == (count, 8) and tables["mixture_roots.npy"].shape == (count, 8, 8)
    average = VaeTask.from_run(tmp_path / "run")
    assert np.array_equal(seen[0], average.latents()), "the averaged networks'"
    kept = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").part("ema.decoder")
    assert all(torch.equal(kept[key], value) for key, value in average.modules["decoder"].state_dict().items())
    assert not average.modules["decoder"].training
    fit_mixture(task)
    assert np.array_equal(seen[1], task.latents())
    best = fit_mixture(tmp_path / "run", Journal(tmp_path / "run").best)
    assert best.means.shape[1] == 8


def test_runs_of_another_task_have_no_latents(tmp_path: Path, pictures: Path) -> None:
    Journal(tmp_path / "run").start(tiny_recipe(pictures), resume=False)
    with pytest.raises(TrainingError, match="is a run of the style task: name the run folder of a VAE"):
        fit_mixture(tmp_path / "run")


def test_the_way_between_two_latents() -> None:
    start, end = np.array([3.0, 0.0], np.float32), np.array([0.0, 3.0], np.float32)
    way = between(start, end, 3)
    assert way[[0, 2]] == pytest.approx(np.stack((start, end)), abs=1e-6)
    assert way[1] == pytest.approx([3 / math.sqrt(2)] * 2), "along the sphere, not through its middle"
    assert between(start, end, 1) == pytest.approx(start[None])


def test_transparent_pictures_train(tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    for i in range(16):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 4), dtype=np.uint8)
        pixels[:8, :, 3] = 0
        Image.fromarray(pixels).save(tmp_path / "cut" / f"{i}.png")
    recipe = vae_recipe(tmp_path / "cut", 16, sets=["steps=2", "batch=2", "net.base_width=8", "net.max_width=8"])
    assert recipe.net.channels == 4
    loop.run(VaeTask(recipe), Journal(tmp_path / "run"))
    with Image.open(tmp_path / "run" / "samples" / "0000002.png") as grid:
        assert grid.size == (8 * 16, 5 * 16) and grid.mode == "RGB"


def test_it_is_in_the_table_of_tasks(drawn: Path) -> None:
    assert TASKS["vae"] is VaeTask
