"""The fields of a manifest: what each takes, what is refused and how it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers import STYLES, style_manifest
from impasto.runtime.manifest import GraphSpec, Manifest, ManifestError, StyleInfo, TensorSpec

WHOLE = json.loads(style_manifest().to_json())


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The tiny manifest, as JSON has it, with one value replaced."""
    table = json.loads(json.dumps(WHOLE))
    *parents, last = path.split("/")
    inside = table
    for parent in parents:
        inside = inside[int(parent) if isinstance(inside, list) else parent]
    inside[last] = value
    return table  # type: ignore[no-any-return]


def test_what_is_written_is_read_again() -> None:
    manifest = Manifest.read(WHOLE)
    assert manifest == style_manifest() and manifest.to_json() == style_manifest().to_json()
    assert isinstance(manifest.graphs["painter"], GraphSpec) and manifest.styles == STYLES
    assert manifest.graphs["painter"].inputs[0].range == (0.0, 1.0)
    assert Manifest.read(manifest) == manifest, "one that was put together in code is checked too"


def test_what_has_a_default_may_be_left_out() -> None:
    least = {key: WHOLE[key] for key in ("kind", "name", "created", "impasto", "graphs", "licence")}
    manifest = Manifest.read(least)
    assert (manifest.format, manifest.styles, manifest.recipe, manifest.code_size) == (1, (), {}, None)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("format", 0, "format: should be a whole number from 1 on"),
        ("format", True, "format: should be a whole number from 1 on"),
        ("step", 1.5, "step: should be a whole number from 0 on"),
        ("step", "3", "step: should be a whole number from 0 on"),
        ("code_size", 0, "code_size: should be a whole number from 1 on"),
        ("kind", "oracle", "kind: should be style or generator"),
        ("kind", ["style"], "kind: should be style or generator"),
        ("name", "../tiny", "name: should match"),
        ("name", "tiny\n", "name: should match"),
        ("name", None, "name: should be a text"),
        ("created", "\ud800", "created: should be a text of whole letters"),
        ("graphs", [], "graphs: should be an object"),
        ("graphs/painter", "painter.onnx", "graphs.painter: should be an object"),
        ("graphs/painter/member", "../p.onnx", "graphs.painter.member: should match"),
        ("graphs/painter/shape", [], "graphs.painter.shape: is no field of this format"),
        ("graphs/painter/multiple", 0, "graphs.painter.multiple: should be a whole number from 1 on"),
        ("graphs/painter/inputs", {}, "graphs.painter.inputs: should be a list"),
        ("graphs/painter/inputs/0/shape", [1, 2.5], "graphs.painter.inputs.0.shape.1: should be a whole number or"),
        ("graphs/painter/inputs/0/range", [0], "graphs.painter.inputs.0.range: should be a list of 2"),
        ("graphs/painter/inputs/0/range", [0, 10**400], "graphs.painter.inputs.0.range.1: should be a finite number"),
        ("styles", "starry-night", "styles: should be a list"),
        ("styles", [{"name": "a", "title": "", "artist": ""}], "styles.0.year: is missing"),
        ("styles", [STYLES[0].to_fields(), STYLES[0].to_fields()], "styles: two have the same name"),
        ("quality", {"gap": "good"}, "quality.gap: should be a finite number"),
        ("quality", {"gap": float("nan")}, "quality.gap: should be a finite number"),
        ("licence", {"code": "MIT"}, "licence.weights: is missing"),
        ("members", {"a": {"sha256": "short", "size": 1}}, "members.a.sha256: should match"),
        ("members", {"A": {"sha256": "0" * 64, "size": 1}}, "members.A: should match"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(path: str, value: Any, fault: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(with_value(path, value))
    assert str(caught.value).startswith(fault)


def test_what_was_put_together_in_code_is_checked_by_read() -> None:
    wrong = TensorSpec(name="photo", shape=(1, 3), range=(0.0, float("inf")), meaning="RGB")
    with pytest.raises(ManifestError, match=r"range\.1: should be a finite number"):
        TensorSpec.read(wrong)
    with pytest.raises(ManifestError, match="name: should match"):
        StyleInfo.read(StyleInfo(name="Big Name", title="", artist="", year=""))
