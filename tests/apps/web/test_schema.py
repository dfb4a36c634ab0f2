"""The OpenAPI document is right, and the server does what it says (schemathesis)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance

from drawing import sample
from impasto.apps.web import fields
from impasto.apps.web.app import make_app, with_server
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf

pytestmark = pytest.mark.filterwarnings("ignore:::(starlette|schemathesis|jsonschema|hypothesis|PIL)")

_PICTURES = st.sampled_from([sample("PNG", 9, 7), sample("JPEG", 8, 8), sample("GIF", 5, 6), b"not a picture"])
schemathesis.openapi.format("binary", _PICTURES)
for _kind in ("image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff", "application/octet-stream"):
    schemathesis.openapi.media_type(_kind, _PICTURES)


_WITH_FIELDS = ("/v1/styles", "/v1/stylize", "/v1/thumbnails", "/v1/dream", "/v1/generate")
CALLS = [
    ("/v1/health", "GET"),
    ("/v1/models", "GET"),
    ("/v1/styles", "GET"),
    ("/v1/styles/{name}/thumbnail", "GET"),
    ("/v1/openapi.json", "GET"),
    ("/v1/stylize", "POST"),
    ("/v1/thumbnails", "POST"),
    ("/v1/dream", "GET"),
    ("/v1/generate", "GET"),
    ("/v1/generate", "POST"),
]


@pytest.fixture(scope="module")
def schema(shelf: Shelf) -> Any:
    app = make_app(Settings(workers=1, pixels=100_000, seconds=60, allow_hosts=["testserver"]), shelf)
    return schemathesis.openapi.from_asgi("/v1/openapi.json", app)


@st.composite
def cases(draw: Any, strategy: Any) -> Any:
    """What schemathesis makes up, but for what it trips over itself: it gives its validator a binary of its own."""
    try:
        return draw(strategy)
    except ValueError as error:
        if "Unsupported type: 'Binary'" not in str(error):
            raise
        reject()


def conforms(schema: Any, path: str, method: str, mode: GenerationMode, count: int) -> None:
    @given(case=cases(schema[path][method].as_strategy(generation_mode=mode)))
    @settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    def ask(case: Any) -> None:
        # No schema can say that a weight goes with a style: fields that are right may not fit together.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    ask()


# Not by schemathesis' own plugin for pytest, which does not go with the newest pytest.
@pytest.mark.parametrize(("path", "method"), CALLS)
def test_right_requests_are_answered_as_the_document_says(schema: Any, path: str, method: str) -> None:
    conforms(schema, path, method, GenerationMode.POSITIVE, 3)


@pytest.mark.parametrize(("path", "method"), [call for call in CALLS if call[0] in _WITH_FIELDS])
def test_wrong_requests_are_refused_as_the_document_says(schema: Any, path: str, method: str) -> None:
    conforms(schema, path, method, GenerationMode.NEGATIVE, 6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), [call for call in CALLS if call[0] in _WITH_FIELDS])
def test_many_requests_are_answered_as_the_document_says(
    schema: Any, path: str, method: str, mode: GenerationMode
) -> None:
    conforms(schema, path, method, mode, 60)


def test_the_document_tells_every_call_and_every_field(shelf: Shelf) -> None:
    _, server = with_server(Settings(), shelf)
    document = server._document
    routes = {
        (route.path, method.lower()) for route in server._api for method in (route.methods or ()) if method != "HEAD"
    }
    told = {(path, method) for path, calls in document["paths"].items() for method in calls}
    assert told == routes
    form = document["paths"]["/v1/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {one.name for one in fields.STYLIZE}
    assert form["properties"]["strength"]["default"] == 1.0
    assert form["properties"]["weight"]["type"] == "array"
    query = {one["name"]: one for one in document["paths"]["/v1/stylize"]["post"]["parameters"]}
    assert query["detail"]["schema"]["maximum"] == 1 and "photo" not in query
    assert "security" not in document


def test_the_words_name_every_call_field_and_status(shelf: Shelf) -> None:
    words = (Path(__file__).parents[3] / "docs/web-api.md").read_text()
    document = with_server(Settings(), shelf)[1]._document
    for path, calls in document["paths"].items():
        assert f"{path}`" in words
        for call in calls.values():
            assert all(f"| {status} |" in words for status in call["responses"] if status != "200")
    for table in (fields.STYLIZE, fields.THUMBNAILS, fields.DREAM, fields.GENERATE):
        assert [one.name for one in table if f"`{one.name}`" not in words] == []
