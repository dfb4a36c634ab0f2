from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from impasto.training.losses.adversarial import r1
from impasto.training.nets.gan import GanGenerator, GanSpec, Kind, build_gan
from impasto.training.nets.gan_spec import Head
from impasto.training.nets.gan_style import Spread, StyledConv
from impasto.training.nets.layers import Activation, Down, Normalisation, Up

KINDS = get_args(Kind)
THIN = {"base_width": 4, "max_width": 16, "critic_base_width": 4, "critic_max_width": 16, "latent": 8}


def pair(kind: str, *, stirred: bool = True, **changes: Any) -> tuple[GanGenerator, nn.Module, GanSpec]:
    """A thin pair, 16 x 16 pixels unless told; what starts at zero is stirred, so that nothing hides behind it."""
    spec = GanSpec.model_validate({"kind": kind, "height": 16, "width": 16} | THIN | changes)
    torch.manual_seed(1)
    nets = build_gan(spec)
    generator, critic = nets["generator"], nets["discriminator"]
    assert isinstance(generator, GanGenerator)
    if stirred:
        with torch.no_grad():
            for p in itertools.chain(generator.parameters(), critic.parameters()):
                if not p.abs().sum():
                    p.normal_(std=0.2)
    return generator, critic, spec


def latents(n: int, spec: GanSpec, seed: int = 0) -> Tensor:
    return torch.randn(n, spec.latent, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, spec: GanSpec) -> Tensor:
    shape = n, spec.channels, spec.height, spec.width
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) * 2 - 1


def one_hot(*labels: int, classes: int = 3) -> Tensor:
    """-1 = unknown."""
    rows = torch.zeros(len(labels), classes)
    for row, label in zip(rows, labels, strict=True):
        if label >= 0:
            row[label] = 1
    return rows


# ---- all families


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("height", "width", "channels", "classes"), [(16, 16, 3, 0), (32, 32, 1, 3), (24, 16, 4, 3), (16, 64, 3, 0)]
)
def test_shapes(kind: str, height: int, width: int, channels: int, classes: int) -> None:
    generator, critic, spec = pair(kind, height=height, width=width, channels=channels, classes=classes)
    z, labels = latents(3, spec), one_hot(0, 2, -1) if classes else None
    w = generator.mapping(z, labels)
    assert w.shape == (3, generator.w_size) and generator.latent_size == 8
    assert generator.has_mapping == (kind == "style")
    picture = generator.synthesis(w)
    assert picture.shape == (3, channels, height, width) and picture.dtype == torch.float32
    logits = critic(picture, labels)
    assert logits.shape == (3,) and logits.dtype == torch.float32 and bool(logits.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_at_the_start(kind: str) -> None:
    """Pictures about as large as pictures are, logits neither silent nor sure."""
    generator, critic, spec = pair(kind, stirred=False, height=64, width=64, latent=64, base_width=16, max_width=64)
    picture = generator(latents(8, spec))
    assert 0.1 < float(picture.detach().std()) < 1
    logits = critic(picture).detach()
    assert 0.005 < float(logits.abs().mean()) < 3


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_heard_and_zeros_mean_unknown(kind: str) -> None:
    generator, critic, spec = pair(kind, classes=3)
    generator.eval()
    critic.eval()
    z, x = latents(1, spec).expand(3, -1), pictures(1, spec).expand(3, -1, -1, -1)
    for net, given in ((generator, z), (critic, x)):
        known, other, unknown = net(given, one_hot(0, 1, -1))
        assert not torch.allclose(known, other) and not torch.allclose(known, unknown)
        torch.testing.assert_close(net(given)[0], unknown)


def test_projection_is_its_formula() -> None:
    torch.manual_seed(0)
    head, x = Head(5, GanSpec(classes=3)), torch.randn(2, 5)
    assert head.embed is not None
    plain = x @ head.score.weight[0] + head.score.bias[0]
    wanted = plain + torch.stack((x[0] @ head.embed.weight[:, 2], torch.zeros(())))
    torch.testing.assert_close(head(x, one_hot(2, -1)), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_does_not_depend_on_the_neighbours(kind: str) -> None:
    """And is repeated exactly: noise is fixed."""
    generator, critic, spec = pair(kind, classes=3)
    z, x, labels = latents(8, spec), pictures(8, spec), one_hot(0, 1, 2, -1, 0, 1, 2, -1)
    generator(z, labels), critic(x, labels)  # running statistics move
    generator.eval()
    critic.eval()
    for net, given in ((generator, z), (critic, x)):
        together = net(given, labels)
        alone = torch.cat([net(given[i : i + 1], labels[i : i + 1]) for i in range(8)])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
        assert torch.equal(together, net(given, labels))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    generator, critic, spec = pair(kind, classes=3)
    labels = one_hot(0, 1, 2, -1)
    F.softplus(-critic(generator(latents(4, spec), labels), labels)).mean().backward()
    for name, p in itertools.chain(generator.named_parameters(), critic.named_parameters()):
        assert p.grad is not None and float(p.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_slope_penalties_can_be_learnt_through(kind: str) -> None:
    """In bfloat16 and channels_last too, as training does it."""
    _, critic, spec = pair(kind)
    x = pictures(4, spec)
    slopes = []
    for mixed in (False, True):
        critic.zero_grad()
        if mixed:
            critic.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            r1(critic, x).backward()
        parts = [p.grad.flatten() for p in critic.parameters() if p.grad is not None]
        slopes.append(torch.cat(parts))
    assert bool(slopes[1].isfinite().all())
    assert float(F.cosine_similarity(slopes[0], slopes[1], dim=0)) > 0.97


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_and_layout_change_little(kind: str) -> None:
    generator, critic, spec = pair(kind)
    generator.eval()
    critic.eval()
    z, x = latents(4, spec), pictures(4, spec)
    with torch.no_grad():
        picture, logits = generator(z), critic(x)
        for net in (generator, critic):
            net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(generator(z), picture, atol=1e-5, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            rough, guess = generator(z), critic(x.contiguous(memory_format=torch.channels_last))
    assert rough.dtype == guess.dtype == torch.float32
    assert float((rough - picture).abs().mean()) < 0.03
    torch.testing.assert_close(guess, logits, atol=0.05 * float(logits.abs().max()) + 0.02, rtol=0)


class _Mapping(nn.Module):
    def __init__(self, generator: GanGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.generator.mapping(z, labels)


class _Synthesis(_Mapping):
    def forward(self, w: Tensor) -> Tensor:  # type: ignore[override]
        return self.generator.synthesis(w)


def onnx_session(module: nn.Module, inputs: dict[str, Tensor]) -> onnxruntime.InferenceSession:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    count = torch.export.Dim("n", min=1, max=1024)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["out"],
            dynamic_shapes={name: {0: count} for name in inputs},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", KINDS)
def test_exported_graphs_draw_the_same(kind: str) -> None:
    generator, _, spec = pair(kind, classes=3, height=16, width=24)
    generator.eval().requires_grad_(False)
    z, labels = latents(5, spec), one_hot(0, 1, 2, -1, 0)
    w = generator.mapping(z, labels)
    drawn = generator.synthesis(w)
    if generator.has_mapping:
        session = onnx_session(_Mapping(generator), {"z": z[:2], "labels": labels[:2]})
        (got,) = session.run(None, {"z": z.numpy(), "labels": labels.numpy()})
        np.testing.assert_allclose(got, w.numpy(), atol=1e-4)
    session = onnx_session(_Synthesis(generator), {"w": w[:2]})
    for count in (1, 5):
        (got,) = session.run(None, {"w": w[:count].numpy()})
        np.testing.assert_allclose(got, drawn[:count].numpy(), atol=1e-4)
    if generator.layers > 1:
        mixed = torch.stack([w.roll(i, 0) for i in range(generator.layers)], 1)  # [N,L,W]
        session = onnx_session(_Synthesis(generator), {"w": mixed[:2]})
        (got,) = session.run(None, {"w": mixed.numpy()})
        np.testing.assert_allclose(got, generator.synthesis(mixed).numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_affordable(kind: str) -> None:
    """Multiply-adds per picture: G and D at 64 pixels for two cores to learn, G at 128 for 60 pictures per second."""
    small, large = (build_gan(GanSpec(kind=kind, height=side, width=side)) for side in (64, 128))
    cost: Callable[[nn.Module, Tensor], float] = lambda net, x: _macs(net.eval().requires_grad_(False), x) / 1e9  # noqa: E731
    z = torch.randn(1, 128)
    assert 0.15 < cost(small["generator"], z) + cost(small["discriminator"], torch.randn(1, 3, 64, 64)) < 0.4
    assert cost(large["generator"], z) < 0.4
    assert sum(p.numel() for p in small["generator"].parameters()) < 2.5e6


def _macs(net: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return counter.get_total_flops() / 2


# ---- choices of the plain families


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("activation", name) for name in get_args(Activation)),
        *(("critic_activation", name) for name in get_args(Activation)),
        *(("norm", name) for name in get_args(Normalisation)),
        *(("critic_norm", name) for name in get_args(Normalisation)),
        *(("up", name) for name in get_args(Up)),
        *(("down", name) for name in get_args(Down)),
        ("output", "none"),
    ],
)
def test_every_choice_builds_and_matters(kind: str, key: str, value: str) -> None:
    usual = pair(kind, stirred=False)
    generator, critic, spec = pair(kind, stirred=False, **{key: value})
    z, x = latents(4, spec), pictures(4, spec)
    picture, logits = generator(z), critic(x)
    assert picture.shape == x.shape and logits.shape == (4,)
    assert bool(picture.isfinite().all()) and bool(logits.isfinite().all())
    if getattr(usual[2], key) != value:
        changed = usual[1](x) if key.startswith(("critic", "down")) else usual[0](z)
        assert not torch.equal(changed, logits if key.startswith(("critic", "down")) else picture)


def test_tanh_keeps_the_range() -> None:
    generator, _, spec = pair("dcgan")
    with torch.no_grad():
        generator.get_parameter("first.weight").mul_(100)
    picture = generator.eval()(latents(2, spec))
    assert float(picture.detach().abs().max()) <= 1


# ---- the style family


def test_one_w_for_all_layers_or_one_for_each() -> None:
    generator, _, spec = pair("style", height=32, width=32)
    generator.eval()
    a, b = generator.mapping(latents(2, spec))[:, None]
    assert generator.layers == 2 * len(spec.levels) - 1
    same = a[:, None].expand(1, generator.layers, -1)
    torch.testing.assert_close(generator.synthesis(same), generator.synthesis(a))
    first, whole = same.clone(), generator.synthesis(a)
    for layer in range(generator.layers):
        mixed = same.clone()
        mixed[:, layer] = b
        assert not torch.allclose(generator.synthesis(mixed), whole), f"layer {layer} is deaf"
        first[:, layer] = b
    torch.testing.assert_close(generator.synthesis(first), generator.synthesis(b))


def test_noise_is_fresh_in_training_only() -> None:
    generator, _, spec = pair("style")
    z = latents(2, spec)
    one, two = generator(z), generator(z)
    assert not torch.allclose(one, two)
    torch.manual_seed(3)
    one = generator(z)
    torch.manual_seed(3)
    assert torch.equal(one, generator(z))
    silent, _, _ = pair("style", noise=False)
    assert torch.equal(silent(z), silent(z))
    assert any(name.endswith("fixed_noise") for name in generator.state_dict())
    assert not any(name.endswith("fixed_noise") for name in silent.state_dict())


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_the_papers(demodulate: bool) -> None:
    """The slow twin scales the kernel of every picture, as equations 1 and 3 of StyleGAN2 say."""
    torch.manual_seed(0)
    conv = StyledConv(3, 5, 4, demodulate=demodulate, gain=1.5 if demodulate else 1.0)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    got = conv(x, w)
    for n in range(2):
        kernel = conv.weight * conv.rate * conv.affine(w)[n][None, :, None, None]
        if demodulate:
            kernel = 1.5 * kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(got[n], F.conv2d(x[n : n + 1], kernel, padding=1)[0], atol=1e-5, rtol=1e-4)


def test_interpolation_may_be_chosen() -> None:
    smooth, _, spec = pair("style")
    blocky, _, _ = pair("style", up="nearest")
    assert not torch.allclose(smooth.eval()(latents(1, spec)), blocky.eval()(latents(1, spec)))


def test_mapping_layers_and_r3_blocks() -> None:
    count = lambda kind, **changes: sum(p.numel() for p in pair(kind, **changes)[0].parameters())  # noqa: E731
    assert count("style", mapping_layers=4) - count("style") == 2 * (8 * 8 + 8)
    assert count("r3", blocks=2) > 1.5 * count("r3")


def test_spread_of_a_group() -> None:
    """Four pictures are one group; eight are two, pictures 0, 2, 4, 6 and 1, 3, 5, 7."""
    spread = Spread()
    x = torch.zeros(4, 2, 1, 1)
    x[:, 0, 0, 0] = torch.tensor([1.0, 3.0, 1.0, 3.0])  # deviation 1; the other channel's is 0
    torch.testing.assert_close(spread(x)[:, 2].flatten(), torch.full((4,), 0.5), atol=1e-3, rtol=0)
    eight = torch.stack((x, x * 3), 1).flatten(0, 1)
    torch.testing.assert_close(spread(eight)[:, 2].flatten(), torch.tensor([0.5, 1.5] * 4), atol=1e-3, rtol=0)
    assert spread(x[:1])[:, 2].item() < 1e-3
    assert spread(torch.cat((x, x[:2])))[:, 2].shape == (6, 1, 1)  # groups of three


def test_spread_is_remembered_for_evaluation() -> None:
    spread = Spread()
    x = torch.randn(4, 8, 2, 2, generator=torch.Generator().manual_seed(0)) * 3
    for _ in range(1000):
        seen = spread(x)[0, 8, 0, 0]
    torch.testing.assert_close(spread.typical, seen, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(spread.eval()(x[:1])[0, 8], seen.expand(2, 2), atol=1e-3, rtol=1e-3)


def test_r3_starts_without_its_branches() -> None:
    """Fix-up: the last layer of every branch is silent, so z passes in a straight line."""
    generator, _, spec = pair("r3", stirred=False)
    a, b = latents(2, spec)[:, None]
    mean = generator((a + b) / 2)
    torch.testing.assert_close(mean, (generator(a) + generator(b)) / 2, atol=1e-5, rtol=1e-4)
