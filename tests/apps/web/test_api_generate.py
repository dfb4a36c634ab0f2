"""Drawing over HTTP: the generator's own pictures."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from impasto.apps.web.app import make_app
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.runtime.picture import Picture


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def same(data: bytes, drawn: Picture) -> None:
    np.testing.assert_array_equal(pixels(data), np.asarray(drawn.to_pil()))


def test_a_seed_gives_its_picture_by_query_and_by_form(client: TestClient, shelf: Shelf) -> None:
    asked = {"model": "tiny-drawer", "seed": "7", "class": "dog", "truncation": "0.5", "prior": "normal"}
    drawn = shelf.generator().sample(7, classes="dog", truncation=0.5)[0]
    answers = [
        client.get("/v1/generate", params=asked),
        client.post("/v1/generate", data=asked),
        client.post("/v1/generate", files={name: (None, value) for name, value in asked.items()}),
        client.post("/v1/generate", params=asked),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        same(answer.content, drawn)
        assert answer.headers["content-type"] == "image/png"
        assert (answer.headers["impasto-seed"], answer.headers["impasto-class"]) == ("7", "dog")
    told = json.loads(Image.open(io.BytesIO(answers[0].content)).text["impasto"])
    assert (told["seed"], told["class"]) == (7, "dog")


def test_a_place_on_the_way_between_two_seeds(client: TestClient, shelf: Shelf) -> None:
    film = list(shelf.generator().walk([3, 9], frames=5, classes="cat"))
    for at, picture in ((0, film[0]), (0.25, film[1]), (1, film[4])):
        answer = client.get("/v1/generate", params={"seed": 3, "to": 9, "at": at, "class": "cat"})
        same(answer.content, picture)
        told = json.loads(Image.open(io.BytesIO(answer.content)).text["impasto"])
        assert (told["seed"], told["to"], told["at"]) == (3, 9, at)
    start = client.get("/v1/generate?seed=3&to=9&class=cat")
    assert start.content == client.get("/v1/generate?seed=3&to=9&at=0&class=cat").content


def test_several_are_lines(client: TestClient, shelf: Shelf) -> None:
    answer = client.get("/v1/generate", params={"seed": 4, "count": 3, "format": "webp"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seed"] for line in lines] == [4, 5, 6]
    assert {line["class"] for line in lines} <= {"cat", "dog"}
    assert {(line["type"], line["width"], line["height"]) for line in lines} == {("image/webp", 12, 8)}
    assert pixels(base64.b64decode(lines[0]["picture"])).shape == (8, 12, 3)


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"class": "cow"}, 404, "there is cat, dog"),
        ({"model": "tiny"}, 404, "generator model here"),
        ({"seed": "-1"}, 422, "a whole number from 0"),
        ({"seed": str(2**53)}, 422, "a whole number from 0"),
        ({"truncation": "2.5"}, 422, "a number from 0 to 2"),
        ({"prior": "mixture"}, 404, "no prior"),
        ({"at": "0.5"}, 422, "needs its end"),
        ({"to": "3", "count": "2"}, 422, "leave out count"),
        ({"count": "65"}, 422, "from 1 to 64"),
        ({"to": "3", "at": "1.5"}, 422, "from 0 to 1"),
        ({"photo": "x"}, 422, "no field called 'photo'"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, asked: dict[str, Any], status: int, words: str) -> None:
    answer = client.get("/v1/generate", params=asked)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"seed=1&seed", b"\xff\xfe=1", b"a" * 50])
def test_a_form_that_is_none(client: TestClient, body: bytes) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/generate", content=body, headers=kind)
    assert answer.status_code in (400, 422)
    other = client.post("/v1/generate", content=b"{}", headers={"content-type": "application/json"})
    assert other.status_code == 415


def test_a_server_without_generators_says_so(models: list[str]) -> None:
    app = make_app(Settings(models=models[:1], threads=1))
    answer = TestClient(app, base_url="http://127.0.0.1").get("/v1/generate")
    assert answer.status_code == 404
    assert "no generator model" in answer.json()["detail"]
