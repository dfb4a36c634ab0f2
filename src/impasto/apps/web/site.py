"""``impasto web build``: the page as a folder of static files that paints in the browser itself.

What is written runs on any static host, below any path: the page (``page/``), the painter in the browser
(``browser/``), onnxruntime-web, and the models taken apart into ONNX graphs and tables of float32. Nothing
of it asks another host for anything. ``site.json`` tells the painter what there is.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import files as files_of
from pathlib import Path
from typing import Any

import impasto
from impasto.errors import BundleError, ImpastoError
from impasto.runtime import dream
from impasto.runtime.bundle import Bundle
from impasto.runtime.generator import CENTRES, Generator
from impasto.runtime.priors import FLOW, MIXTURE
from impasto.runtime.pyramid import NUMBERS
from impasto.runtime.style import STYLES, StyleModel
from impasto.runtime.underpaint import COARSER

PAGE = Path(__file__).with_name("page")
BROWSER = Path(__file__).with_name("browser")
SITE = "site.json"

RUNTIME_PACKAGE = "onnxruntime-web"
RUNTIME_VERSION = "1.30.0"
RUNTIME_FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.jspi.min.mjs": "bc57179d923fda2d88d4a395359c8df44399dde087bf9ff44fc0e40ab398e4d9",
    "ort-wasm-simd-threaded.jspi.mjs": "270e2c6da9f297239d301d329782b6446641cb1e16a77967690adcfca35f3268",
    "ort-wasm-simd-threaded.jspi.wasm": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
}
"""Files of the package's ``dist`` and their sha256. The second three run on the graphics card (WebGPU), where the
browser can halt WebAssembly to wait for it; the build without that is over the 25 MiB that some hosts allow a file."""

_MOST_SECONDS = 900
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'"
)
_MIXTURE = ("weights", "means", "roots")
_COLORS = 9


def build_site(
    out: Path,
    *,
    style: str | Path,
    generators: Sequence[str | Path] = (),
    runtime: Path | None = None,
    overwrite: bool = False,
) -> tuple[Path, int]:
    """Write the site.

    Args:
        out: the folder to write; whole or not at all.
        style: a style model: the name of a bundled one, or a file.
        generators: generator models, likewise.
        runtime: a folder with :data:`RUNTIME_FILES`; None: fetched with npm.
        overwrite: replace a site that was built there before. A folder with anything else in it is never replaced.

    Returns:
        The folder, and how many bytes are in it.

    Raises:
        ImpastoError: ``out`` is there already; a model does not do; npm is missing or fails; ``out`` cannot be written.
    """
    _check_target(out, overwrite)
    painter = StyleModel.load(style)
    drawers = [Generator.load(name) for name in generators]
    if len({drawer.name for drawer in drawers}) < len(drawers):
        raise ImpastoError("Two of the generators have the same name: leave one out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _fetched(runtime) as source, _folder_beside(out) as folder:
            shutil.copytree(PAGE, folder, dirs_exist_ok=True)
            shutil.copytree(BROWSER, folder / "painter")
            _put_runtime(source, folder / "ort")
            about = {
                "impasto": impasto.__version__,
                "style": _style(painter, folder),
                "generators": [_generator(drawer, folder) for drawer in drawers],
            }
            (folder / SITE).write_text(json.dumps(about, ensure_ascii=False, indent=1), "utf-8")
            _turn_local(folder)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            _place(folder, out)
    except OSError as error:
        raise ImpastoError(f"{out} cannot be written ({error.strerror or error}): choose another place.") from error
    return out, size


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise ImpastoError(f"{out} exists already: choose another folder, or add --overwrite to replace a built site.")
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / SITE).is_file()):
        raise ImpastoError(f"{out} is no site that 'impasto web build' wrote, so it is not replaced: choose another.")


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A new empty folder beside ``out``, on the same disk; gone afterwards unless it was given another name."""
    folder = out.with_name(f".{out.name[:40]}.{secrets.token_hex(6)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(folder: Path, out: Path) -> None:
    """Give the folder its name; a site that is there goes only when the new one stands in its place."""
    if not out.exists():
        folder.rename(out)
        return
    old = folder.with_suffix(".old")
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _turn_local(folder: Path) -> None:
    config, index = folder / "js" / "config.js", folder / "index.html"
    config.write_text('// The browser itself paints.\nexport const painter = "../painter/local.js";\n', "utf-8")
    tag = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    text, marker = index.read_text("utf-8"), "<!-- policy -->"
    if marker not in text:
        raise ImpastoError("The page has no place for its policy: install impasto again.")
    index.write_text(text.replace(marker, tag), "utf-8")


def _style(model: StyleModel, folder: Path) -> dict[str, Any]:
    manifest, bundle = model.bundle.manifest, model.bundle
    name = f"models/{manifest.name}"
    painter, encoder = manifest.graphs["painter"], manifest.graphs["encoder"]
    channels = {tensor.name: tensor.shape[1] for tensor in painter.inputs}
    unknown = set(channels) - {"photo", "code", "photo_stats", "grain"}
    if unknown:
        raise BundleError(f"The painter of {bundle.path} takes {min(unknown)}, which the page does not know.")
    if painter.bands not in (0, NUMBERS):
        raise BundleError(
            f"{bundle.path} says in {painter.bands} numbers how bands vary, where the page knows {NUMBERS}: "
            "update impasto."
        )
    put = _Members(bundle, folder, name)
    dreams = dict(zip((*_MIXTURE, "bounds"), dream.TABLES, strict=True)) if dream.can_dream(model) else {}
    return {
        "name": manifest.name,
        "sha256": bundle.sha256,
        "code_size": model.code_size,
        "colors": channels.get("photo_stats", _COLORS),
        "styles": [
            {"name": one.name, "title": one.title, "artist": one.artist, "year": one.year} for one in manifest.styles
        ],
        "codes": put.table(STYLES) if manifest.styles else None,
        "painter": {
            "file": put.graph("painter"),
            "inputs": list(channels),
            "grain": channels.get("grain", 0),
            "minimum": painter.minimum,
            "multiple": painter.multiple,
            "bands": painter.bands,
            "under": {"levels": painter.under, "ground": painter.ground, "table": put.table(COARSER)}
            if painter.under
            else None,
        },
        "encoder": {
            "file": put.graph("encoder"),
            "input": encoder.inputs[0].name,
            "minimum": encoder.minimum,
            "multiple": encoder.multiple,
        },
        "dream": {key: put.table(member) for key, member in dreams.items()} or None,
        "licence": {"code": manifest.licence.code, "weights": manifest.licence.weights, "data": manifest.licence.data},
    }


def _generator(model: Generator, folder: Path) -> dict[str, Any]:
    bundle, manifest = model.bundle, model.bundle.manifest
    put, graphs = _Members(bundle, folder, f"models/{model.name}"), manifest.graphs
    synthesis = graphs["synthesis"].inputs[0]
    return {
        "name": model.name,
        "sha256": bundle.sha256,
        "width": model.width,
        "height": model.height,
        "channels": model.channels,
        "classes": list(model.classes),
        "latent": model.latent_size,
        "w": model.w_size,
        "layers": model.layers if len(synthesis.shape) == 3 else 0,
        "input": synthesis.name,
        "synthesis": put.graph("synthesis"),
        "mapping": put.graph("mapping") if "mapping" in graphs else None,
        "flow": {"file": put.graph(FLOW), "input": graphs[FLOW].inputs[0].name} if FLOW in graphs else None,
        "centres": put.table(CENTRES) if CENTRES in bundle.members else None,
        "mixture": {key: put.table(member) for key, member in zip(_MIXTURE, MIXTURE, strict=True)}
        if MIXTURE[0] in bundle.members
        else None,
        "licence": {"code": manifest.licence.code, "weights": manifest.licence.weights, "data": manifest.licence.data},
    }


class _Members:
    """Writes members of a model file below a folder and tells their paths on the site."""

    def __init__(self, bundle: Bundle, folder: Path, name: str) -> None:
        self._bundle, self._folder, self._name = bundle, folder, name
        (folder / name).mkdir(parents=True)

    def graph(self, role: str) -> str:
        _, data = self._bundle.graph(role)
        return self._write(f"{role}.onnx", data)

    def table(self, member: str) -> str:
        # Browsers on processors of the other byte order have been gone for years; the file says nothing else.
        return self._write(f"{Path(member).stem}.f32", self._bundle.table(member).astype("<f4").tobytes())

    def _write(self, file: str, data: bytes | memoryview) -> str:
        (self._folder / self._name / file).write_bytes(data)
        return f"{self._name}/{file}"


def _put_runtime(source: Path, folder: Path) -> None:
    folder.mkdir()
    for name, digest in RUNTIME_FILES.items():
        file = source / name
        if not file.is_file():
            raise ImpastoError(
                f"{source} has no {name}: name the folder 'dist' of {RUNTIME_PACKAGE} {RUNTIME_VERSION}."
            )
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ImpastoError(
                f"{file} is not that of {RUNTIME_PACKAGE} {RUNTIME_VERSION}: get that version, or leave --runtime out."
            )
        (folder / name).write_bytes(data)
    # The Python package of the same project and the same licence comes with its text.
    for path in files_of("onnxruntime") or ():
        if path.name in ("LICENSE", "ThirdPartyNotices.txt"):
            shutil.copyfile(path.locate(), folder / path.name)


@contextmanager
def _fetched(runtime: Path | None) -> Iterator[Path]:
    """A folder with onnxruntime-web's files: the given one, or fetched with npm into a folder that goes afterwards."""
    if runtime is not None:
        yield runtime
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ImpastoError(
            f"npm was not found, which fetches {RUNTIME_PACKAGE}: install Node.js, or name a folder with its files "
            "with --runtime."
        )
    with tempfile.TemporaryDirectory(prefix="impasto-web-") as name:
        folder = Path(name)
        # Only packed, not installed: no script of a package runs.
        command = [npm, "pack", f"{RUNTIME_PACKAGE}@{RUNTIME_VERSION}", "--silent", "--prefer-offline"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImpastoError(f"npm could not fetch {RUNTIME_PACKAGE} ({error}): see whether it is online.") from error
        packed = sorted(folder.glob("*.tgz"))
        if done.returncode or not packed:
            said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "it said nothing")
            raise ImpastoError(
                f"npm could not fetch {RUNTIME_PACKAGE} {RUNTIME_VERSION} ({said[:200].rstrip('.')}): see whether this "
                "machine is online, or name a folder with its files with --runtime."
            )
        with tarfile.open(packed[0]) as archive:
            for member in RUNTIME_FILES:
                try:
                    held = archive.extractfile(f"package/dist/{member}")
                except KeyError:
                    held = None
                if held is None:
                    raise ImpastoError(f"{RUNTIME_PACKAGE} {RUNTIME_VERSION} has no {member}: install impasto again.")
                (folder / member).write_bytes(held.read())
        yield folder
