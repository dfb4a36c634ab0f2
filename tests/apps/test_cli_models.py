"""``impasto models``: list, inspect and verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import STYLES
from impasto.apps.cli import models, run
from impasto.runtime.bundle import Bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bundled(style_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the tiny model came with the package."""
    monkeypatch.setattr(models, "bundled_models", lambda: {"tiny": style_bundle})
    monkeypatch.setattr("impasto.runtime.bundle.bundled_models", lambda: {"tiny": style_bundle})
    return style_bundle


@pytest.fixture
def altered(style_bundle: Path, tmp_path: Path) -> Path:
    data = bytearray(style_bundle.read_bytes())
    data[len(data) // 2] ^= 1
    file = tmp_path / "altered.impasto"
    file.write_bytes(data)
    return file


def test_list(bundled: Path, capsys: Capture) -> None:
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out == "tiny  style  3 styles  0.0 MB  2024-01-01\n"
    assert run(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "tiny",
        "kind": "style",
        "styles": 3,
        "bytes": bundled.stat().st_size,
        "created": "2024-01-01",
        "path": str(bundled),
    }


def test_inspect_by_name_and_by_file(bundled: Path, capsys: Capture) -> None:
    assert run(["models", "inspect", "tiny"]) == 0
    by_name = capsys.readouterr().out
    assert run(["models", "inspect", str(bundled)]) == 0
    assert capsys.readouterr().out == by_name
    rows = [line.split("  ", 1) for line in by_name.splitlines()]
    shown = {label.strip(): value.strip() for label, value in rows if label.strip() != "style"}
    assert shown["sha256"] == Bundle.open(bundled).sha256
    assert shown["style code"] == "8 numbers"
    assert "photo 1x3xHxW, photo_stats 1x6, code 1x8 -> painted 1x3xHxW" in shown["graph painter"]
    assert "sees 1 px around" in shown["graph painter"]
    assert "sees the whole picture" in shown["graph encoder"]
    assert shown["recipe"] == "steps = 0"
    assert all(f"{style.name}: {style.title}, {style.artist}, {style.year}" in by_name for style in STYLES)


def test_inspect_as_json_is_the_manifest(bundled: Path, capsys: Capture) -> None:
    assert run(["models", "inspect", "tiny", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    bundle = Bundle.open(bundled)
    assert fields.pop("sha256") == bundle.sha256
    assert fields.pop("path") == str(bundled)
    assert fields == json.loads(bundle.manifest.to_json())


def test_verify(bundled: Path, altered: Path, capsys: Capture) -> None:
    assert run(["models", "verify", "tiny", str(bundled)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"tiny: whole and unaltered, sha256 {Bundle.open(bundled).sha256}"
    assert second.startswith(f"{bundled}: whole")
    assert run(["models", "verify", str(altered)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("impasto: ")
    assert run(["models", "verify", str(altered), "tiny"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("tiny: whole")
    assert "altered.impasto" in err


@pytest.mark.usefixtures("bundled")
def test_verify_as_json(altered: Path, capsys: Capture) -> None:
    assert run(["models", "verify", "--json", "tiny", str(altered)]) == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["model"], good["ok"], len(good["sha256"])) == ("tiny", True, 64)
    assert (bad["model"], bad["ok"]) == (str(altered), False)
    assert "altered" in bad["error"]
    assert run(["models", "verify", "--json", str(altered)]) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_misspelt_name(verb: str, capsys: Capture) -> None:
    assert run(["models", verb, "tinny"]) == 2
    assert capsys.readouterr().err == "impasto: There is no model called 'tinny': did you mean 'tiny'?\n"


def test_a_misspelt_verb(capsys: Capture) -> None:
    assert run(["models", "verfy"]) == 2
    assert "id you mean 'verify'?" in capsys.readouterr().err
    assert run(["models"]) == 2
    assert "inspect" in capsys.readouterr().err, "help instead"
