"""The API in a form for programs (OpenAPI 3.1), written from the tables that requests are read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from impasto import __version__
from impasto.apps.web.fields import DREAM, GENERATE, MOST_STYLES, STYLES, STYLIZE, THUMBNAILS, Field
from impasto.apps.web.painting import MEDIA_TYPES
from impasto.apps.web.problems import MEDIA_TYPE
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.runtime.manifest import StyleInfo

Node = dict[str, Any]

_ALWAYS = (400, 401, 403, 404, 405, 421, 422)
_READS = (408, 411, 413, 415)
_WORKS = (406, 429, 503)
_WHEN = {
    400: "The body is cut short or is no form.",
    401: "The server wants a token.",
    403: "The request comes from a page of another site.",
    404: "There is no such address, model, style or class.",
    405: "The address knows no such method.",
    406: "Nothing that is accepted can be written.",
    408: "The body came too slowly.",
    411: "A body without its length.",
    413: "More bytes or pixels than the server takes.",
    415: "Not a picture, or a body of another type.",
    421: "The Host is not one of this server's names.",
    422: "A field is missing, unknown or out of range, or a picture is damaged.",
    429: "Too many are waiting.",
    503: "It took too long, memory is short, or the server is stopping.",
}
_PICTURE = {"type": "string", "format": "binary"}


def document(settings: Settings, shelf: Shelf) -> Node:
    """The OpenAPI document of a server.

    Args:
        settings: its limits.
        shelf: its models, whose names are told.
    """
    lines = {"description": "One JSON object in a line, as soon as it is ready.", "type": "string"}
    generated = {**_pictures(), "application/x-ndjson": {"schema": lines}}
    paths: Node = {
        "/v1/health": {"get": _call("health", "Whether it lives, and how busy it is", (), _json("Health"), ())},
        "/v1/models": {"get": _call("models", "What can be asked for", (), _json("Models"), ())},
        "/v1/styles": {"get": _call("styles", "The named styles of a model", STYLES, _json("Styles"), ())},
        "/v1/styles/{name}/thumbnail": {
            "get": _call(
                "thumbnail", "A landscape in a named style", STYLES, {"image/jpeg": {"schema": _PICTURE}}, _WORKS
            )
        },
        "/v1/openapi.json": {"get": _call("openapi", "This document", (), _json("Document"), ())},
        "/v1/stylize": {"post": _call("stylize", "Paint a photo", STYLIZE, _pictures(), (*_READS, *_WORKS), body=True)},
        "/v1/thumbnails": {
            "post": _call(
                "thumbnails",
                "Paint a photo in many styles, small",
                THUMBNAILS,
                {"application/x-ndjson": {"schema": lines}},
                (*_READS, *_WORKS),
                body=True,
            )
        },
        "/v1/dream": {"get": _call("dream", "A landscape in a dreamt style", DREAM, _pictures(), _WORKS)},
        "/v1/generate": {
            "get": _call("generate", "Draw pictures", GENERATE, generated, _WORKS),
            "post": _call("generateByForm", "Draw pictures", GENERATE, generated, (*_READS, *_WORKS), body=True),
        },
    }
    paths["/v1/styles/{name}/thumbnail"]["get"]["parameters"].insert(
        0,
        {"name": "name", "in": "path", "required": True, "description": "Of the style.", "schema": {"type": "string"}},
    )
    about = "Paint photos in the manner of paintings, and draw new pictures, on this machine. Words: docs/web-api.md."
    found: Node = {
        "openapi": "3.1.0",
        "info": {"title": "impasto", "version": __version__, "description": about, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": _schemas(shelf)},
    }
    if settings.token is not None:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        paths["/v1/health"]["get"]["security"] = []
    return found


def _call(
    name: str, summary: str, fields: Sequence[Field], answer: Node, problems: Sequence[int], *, body: bool = False
) -> Node:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: Node = {"200": {"description": "It worked.", "content": answer}}
    for status in sorted({*_ALWAYS, *problems}):
        responses[str(status)] = {"description": _WHEN[status], "content": problem}
        if status in (429, 503):
            retry = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            responses[str(status)]["headers"] = {"Retry-After": retry}
    call: Node = {"operationId": name, "summary": summary, "parameters": [], "responses": responses}
    call["parameters"] = [_parameter(one) for one in fields if not one.is_file]
    if body:
        call["requestBody"] = _body(fields)
    return call


def _parameter(field: Field) -> Node:
    return {"name": field.name, "in": "query", "description": field.help, "schema": _schema(field), "explode": True}


def _schema(field: Field) -> Node:
    one: Node = dict(field.schema)
    if field.many:
        return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_STYLES}
    return one if field.default is None else {**one, "default": field.default}


def _body(fields: Sequence[Field]) -> Node:
    properties = {field.name: {**_schema(field), "description": field.help} for field in fields}
    photo = "photo" in properties
    form = {"type": "object", "properties": properties, "additionalProperties": False}
    if not photo:
        return {
            "content": {"application/x-www-form-urlencoded": {"schema": form}, "multipart/form-data": {"schema": form}}
        }
    raw = {kind: {"schema": _PICTURE} for kind in (*MEDIA_TYPES.values(), "application/octet-stream")}
    return {"required": True, "content": {"multipart/form-data": {"schema": {**form, "required": ["photo"]}}, **raw}}


def _pictures() -> Node:
    return {kind: {"schema": _PICTURE} for kind in MEDIA_TYPES.values()}


def _json(name: str) -> Node:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _object(properties: Mapping[str, Node], optional: Sequence[str] = (), *, more: bool = False) -> Node:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": more}


def _schemas(shelf: Shelf) -> Node:
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    names = {"type": "array", "items": text}
    style_only: Node = {"styles": count, "can_dream": {"type": "boolean"}, "precisions": names}
    sides: Node = {"width": count, "height": count, "channels": {"type": "integer", "enum": [1, 3, 4]}}
    generator_only: Node = {**sides, "classes": names, "priors": names, "latent_size": count}
    model = _object(
        {
            "name": text,
            "kind": {"type": "string", "enum": ["style", "generator"]},
            "bytes": count,
            "parameters": count,
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "created": text,
            "licence": _object({"code": text, "weights": text, "data": text}),
            **style_only,
            **generator_only,
        },
        optional=[*style_only, *generator_only],
    )
    default = {"type": ["string", "null"]}
    limits = _object({"body_bytes": count, "pixels": count, "seconds": {"type": "number"}, "waiting": count})
    info = dict.fromkeys(StyleInfo.__dataclass_fields__, text)
    return {
        "Problem": _object({"type": text, "title": text, "status": {"type": "integer"}, "detail": text}),
        "Health": _object(
            {"status": {"enum": ["ok", "stopping"]}, "version": text, "working": count, "waiting": count}
        ),
        "Models": _object(
            {
                "default": _object({"style": default, "generator": default}),
                "models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
                "limits": limits,
            }
        ),
        "Model": {**model, "examples": [{"name": name} for name in [*shelf.styles, *shelf.generators]]},
        "Styles": _object(
            {
                "model": text,
                "can_dream": {"type": "boolean"},
                "styles": {"type": "array", "items": _object({**info, "code": text, "thumbnail": text})},
            }
        ),
        "Document": _object({"openapi": text}, more=True),
    }
