"""`impasto web build`: what is written, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dreaming import make_dreamer
from helpers import make_generator_bundle
from impasto.apps.cli import run
from impasto.apps.web import site
from impasto.errors import ImpastoError
from impasto.runtime.style import StyleModel


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files in place of onnxruntime-web's."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in site.RUNTIME_FILES:
        (folder / name).write_text(name)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in site.RUNTIME_FILES}
    monkeypatch.setattr(site, "RUNTIME_FILES", digests)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_dreamer(tmp_path / "tiny.impasto")


def test_a_site_is_the_page_the_painter_and_the_models(runtime: Path, model: Path, tmp_path: Path) -> None:
    drawer = make_generator_bundle(tmp_path / "drawer.impasto", classes=("cat", "dog"), layers=2)
    out, size = site.build_site(tmp_path / "new" / "site", style=model, generators=[drawer], runtime=runtime)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert size == sum(path.stat().st_size for path in files.values())
    assert {"index.html", "style.css", "js/app.js", "painter/worker.js", "ort/LICENSE"} <= set(files)
    about = json.loads(files["site.json"].read_text("utf-8"))
    painter = StyleModel.load(model)
    codes = np.frombuffer(files[about["style"]["codes"]].read_bytes(), "<f4").reshape(-1, painter.code_size)
    np.testing.assert_array_equal(codes, [painter.code(name) for name in painter.styles])
    assert files[about["style"]["painter"]["file"]].read_bytes() == painter.bundle.read("painter.onnx")
    assert about["style"]["painter"]["multiple"] == 4
    (drawn,) = about["generators"]
    assert (drawn["classes"], drawn["layers"], drawn["w"]) == (["cat", "dog"], 2, 6)
    # The page as it is served paints there; on the site the browser does, and may ask nobody else.
    assert "painter/local.js" in files["js/config.js"].read_text()
    assert "connect-src 'self'" in files["index.html"].read_text()
    assert not list(out.parent.glob(".*"))


def test_nothing_of_the_page_names_another_host() -> None:
    for folder in (site.PAGE, site.BROWSER):
        for path in folder.rglob("*"):
            if path.is_file():
                found = {word for word in path.read_text("utf-8").split() if "://" in word}
                # Names of XML, which are asked for by nobody.
                assert all("w3.org" in word or "ns.adobe.com" in word for word in found), path


def test_the_page_stays_small() -> None:
    assert sum(len(path.read_text("utf-8").splitlines()) for path in site.PAGE.rglob("*") if path.is_file()) < 1500


def test_what_is_there_is_replaced_only_if_it_is_a_site(runtime: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir()
    (out / "holiday.jpg").write_text("mine")
    for overwrite, said in ((False, "exists already"), (True, "is no site that 'impasto web build' wrote")):
        with pytest.raises(ImpastoError, match=said):
            site.build_site(out, style=model, runtime=runtime, overwrite=overwrite)
    assert [path.name for path in out.iterdir()] == ["holiday.jpg"]
    (out / "holiday.jpg").unlink()
    site.build_site(out, style=model, runtime=runtime, overwrite=True)
    (out / "stale.txt").write_text("of the last build")
    with pytest.raises(ImpastoError, match="exists already"):
        site.build_site(out, style=model, runtime=runtime)
    site.build_site(out, style=model, runtime=runtime, overwrite=True)
    assert (out / "site.json").is_file()
    assert not (out / "stale.txt").exists()


def test_a_failure_leaves_nothing(runtime: Path, model: Path, tmp_path: Path) -> None:
    (runtime / "ort.wasm.min.mjs").write_text("another version")
    with pytest.raises(ImpastoError, match="is not that of onnxruntime-web"):
        site.build_site(tmp_path / "out" / "site", style=model, runtime=runtime)
    (runtime / "ort.wasm.min.mjs").unlink()
    with pytest.raises(ImpastoError, match=r"has no ort\.wasm\.min\.mjs"):
        site.build_site(tmp_path / "out" / "site", style=model, runtime=runtime)
    assert list((tmp_path / "out").iterdir()) == []


def test_npm_missing_or_failing_is_one_sentence_and_exit_code_2(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["web", "build", str(tmp_path / "site"), "--model", str(model), "--generator", "mnist"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(command) == 2
    assert "npm was not found" in capsys.readouterr().err
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error no network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert run(command) == 2
    assert "npm could not fetch onnxruntime-web" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_the_command_says_where_and_how_large(
    runtime: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["web", "build", str(tmp_path / "site"), "--model", str(model), "--runtime", str(runtime)]
    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["generators"] and told["bytes"] > 1000
    assert run([*command, "--overwrite"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "site")
    assert run([*command, "--overwrite", "--model", str(tmp_path / "none.impasto")]) == 2
    assert (tmp_path / "site" / "index.html").is_file()
