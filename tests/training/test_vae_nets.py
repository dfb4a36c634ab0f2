from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from impasto.training.export import quiet_exporter
from impasto.training.losses.variational import LOGVAR_RANGE
from impasto.training.nets import NETS
from impasto.training.nets.vae import Codebook, Decoder, Encoder, Judge, Means, VaeSpec, build_vae

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
KINDS = ("vae", "vae-gan", "vq-vae")


def spec_of(**changes: Any) -> VaeSpec:
    return VaeSpec.model_validate(TINY | changes)


def built(**changes: Any) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return build_vae(spec_of(**changes))


def pictures(count: int, spec: VaeSpec, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, spec.channels, spec.height, spec.width, generator=random) * 2 - 1


def latents(count: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


# Shapes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width", "channels"), [(16, 16, 3), (28, 28, 1), (32, 64, 4), (48, 32, 3)])
def test_any_size_and_any_channels(kind: str, height: int, width: int, channels: int) -> None:
    spec = spec_of(kind=kind, height=height, width=width, channels=channels)
    torch.manual_seed(0)
    nets = build_vae(spec)
    x = pictures(3, spec)
    mean, logvar = nets["encoder"](x)
    assert mean.shape == logvar.shape == (3, 8) and mean.dtype == logvar.dtype == torch.float32
    made = nets["decoder"](mean)
    assert made.shape == x.shape and made.dtype == torch.float32
    assert set(nets) == {"encoder", "decoder"} | ({"discriminator"} if kind == "vae-gan" else set())
    if kind == "vae-gan":
        assert nets["discriminator"](x).shape == (3,)


def test_the_table_of_networks_builds_them() -> None:
    for kind in KINDS:
        nets = NETS[kind](spec_of(kind=kind))
        assert isinstance(nets["encoder"], Encoder) and isinstance(nets["decoder"], Decoder)


def test_what_cannot_be_built() -> None:
    with pytest.raises(ValidationError, match="a picture of 36 x 100 pixels is no base of 2 to 8"):
        spec_of(height=36, width=100)
    with pytest.raises(ValidationError, match="latent 9 must be a multiple of code_size 4"):
        spec_of(kind="vq-vae", latent=9)
    with pytest.raises(ValidationError, match="Extra inputs"):
        spec_of(classes=3)


@pytest.mark.parametrize(
    "choice",
    [
        {"norm": "batch", "activation": "relu", "up": "transposed", "down": "max"},
        {"norm": "none", "activation": "leaky_relu", "up": "bilinear", "down": "average", "blocks": 0},
        {"norm": "spectral", "activation": "tanh", "blocks": 2},
        {"norm": "pixel", "activation": "sigmoid"},
        {"norm": "instance"},
    ],
)
@pytest.mark.filterwarnings("ignore:Expected more than 1 value")
def test_building_blocks_are_choices(choice: dict[str, Any]) -> None:
    nets, x = built(**choice), pictures(3, spec_of())
    mean, logvar = nets["encoder"](x)
    (nets["decoder"](mean).square().mean() + logvar.square().mean()).backward()
    for module in nets.values():
        for name, value in module.named_parameters():
            if name != "logvar":  # of the likelihood, which is not taken here
                assert value.grad is not None and value.grad.isfinite().all(), name
                assert float(value.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_do_not_see_each_other(kind: str) -> None:
    nets = {name: module.eval() for name, module in built(kind=kind).items()}
    x, z = pictures(4, spec_of()), latents(4)
    with torch.no_grad():
        for i in range(4):
            torch.testing.assert_close(nets["encoder"](x[i : i + 1])[0], nets["encoder"](x)[0][i : i + 1])
            torch.testing.assert_close(nets["decoder"](z[i : i + 1]), nets["decoder"](z)[i : i + 1])


# Ranges -------------------------------------------------------------------------------------------------------------


def test_pictures_are_clamped_in_evaluation_only() -> None:
    decoder = built(norm="none")["decoder"]
    z = latents(6) * 100
    with torch.no_grad():
        free = decoder.train()(z)
        held = decoder.eval()(z)
    assert float(free.abs().max()) > 1
    torch.testing.assert_close(held, free.clamp(-1, 1))


def test_fresh_pictures_are_nearly_grey() -> None:
    decoder = build_vae(VaeSpec())["decoder"]
    with torch.no_grad():
        assert 0.01 < float(decoder(latents(4, 128)).std()) < 0.3


def test_log_variances_stay_in_range() -> None:
    nets = built()
    encoder, decoder = nets["encoder"], nets["decoder"]
    assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
    with torch.no_grad():
        encoder.head.bias.copy_(torch.tensor([0.0] * 8 + [1e4, -1e4] * 4))
        _, logvar = encoder(pictures(2, spec_of()))
        assert {float(logvar.min()), float(logvar.max())} == set(LOGVAR_RANGE)
        decoder.logvar.fill_(-1e4)
        assert float(decoder.noise()) == LOGVAR_RANGE[0]
    coded = built(kind="vq-vae")["encoder"](pictures(2, spec_of()))[1]
    assert (coded == LOGVAR_RANGE[0]).all()


def test_bfloat16_is_close() -> None:
    nets, x, z = built(), pictures(2, spec_of()), latents(2)
    nets = {name: module.to(memory_format=torch.channels_last) for name, module in nets.items()}  # type: ignore[call-overload]
    with torch.no_grad():
        exact = nets["encoder"](x)[0], nets["decoder"](z)
        with torch.autocast("cpu", torch.bfloat16):
            rough = nets["encoder"](x)[0], nets["decoder"](z)
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)


# The discriminator --------------------------------------------------------------------------------------------------


def test_the_judge_gives_features_with_its_logits() -> None:
    judge, x = built(kind="vae-gan")["discriminator"].eval(), pictures(3, spec_of())
    assert isinstance(judge, Judge)
    features, logits = judge.look(x)
    torch.testing.assert_close(logits, judge(x))
    # 16x16 halved twice to 4x4; the last but one level has 8x8 pixels.
    assert features.shape[0] == 3 and features.shape[2:] == (8, 8)
    torch.testing.assert_close(features, judge.steps[:2](x))


# The table of codes -------------------------------------------------------------------------------------------------


def test_latents_are_rounded_to_the_nearest_entry() -> None:
    book = Codebook(3, 2)
    book.table.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, -3.0]]))
    z = torch.tensor([[0.3, 0.4, 3.0, 1.0], [1.9, 0.0, 0.0, -1.6]])
    assert book(z).tolist() == [[0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, -3.0]]
    assert float(book.used(z)) == 3 and float(book.used(z[:1])) == 2
    vectors = latents(50, 2)
    brute = torch.cdist(vectors, book.table).argmin(1)
    assert torch.equal(book.nearest(vectors), brute)


def test_entries_follow_what_is_near_to_them() -> None:
    torch.manual_seed(0)
    book = Codebook(3, 2, decay=0.8)
    centres = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, -5.0]])
    random = torch.Generator().manual_seed(1)
    for _ in range(60):
        which = torch.randint(3, (64,), generator=random)
        book.learn((centres[which] + 0.1 * torch.randn(64, 2, generator=random)).reshape(32, 4), random)
    found = torch.cdist(centres, book.table).min(1)
    assert sorted(found.indices.tolist()) == [0, 1, 2], "idle entries are moved to where latents are"
    assert float(found.values.max()) < 0.1


def test_one_step_of_the_running_means_by_hand() -> None:
    book = Codebook(2, 1, decay=0.75)
    book.table.copy_(torch.tensor([[0.0], [10.0]]))
    book.sums.copy_(book.table)
    book.learn(torch.tensor([[1.0], [2.0], [11.0], [13.0]]), torch.Generator().manual_seed(0))
    # counts 0.75 x 1 + 0.25 x 2 each; sums 0.75 x old + 0.25 x (3, 24)
    assert book.counts.tolist() == [1.25, 1.25]
    assert book.table.flatten().tolist() == pytest.approx([0.75 / 1.25, (7.5 + 6.0) / 1.25])
    before = {name: value.clone() for name, value in book.state_dict().items()}
    book.learn(torch.tensor([[float("nan")]]), torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_a_vq_decoder_rounds_in_evaluation() -> None:
    decoder = built(kind="vq-vae")["decoder"].eval()
    assert isinstance(decoder, Decoder) and decoder.codebook is not None
    z = latents(3)
    with torch.no_grad():
        torch.testing.assert_close(decoder(z), decoder(decoder.codebook(z)))
        nudged = decoder.codebook(z) + 1e-4
        torch.testing.assert_close(decoder(nudged), decoder(z))
        assert not torch.allclose(decoder.train()(z), decoder.eval()(z), atol=1e-3)


# Export -------------------------------------------------------------------------------------------------------------


def test_onnx_gives_the_same_for_any_batch() -> None:
    """The encoder of a vae (it leaves out its variances) and the decoder of a vq-vae (it rounds first)."""
    encoder = Means(built(kind="vae")["encoder"]).eval().requires_grad_(False)
    decoder = built(kind="vq-vae")["decoder"].eval().requires_grad_(False)
    for module, example in ((encoder, pictures(3, spec_of())), (decoder, latents(3))):
        with quiet_exporter(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about torch internals
            program = torch.onnx.export(
                module,
                (example,),
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},),
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        file = io.BytesIO()
        file.write(program.model_proto.SerializeToString())
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        for count in (1, 5):
            x = torch.cat((example, example.flip(0)))[:count]
            (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            assert np.abs(got - module(x).numpy()).max() < 1e-4
