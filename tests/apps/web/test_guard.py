"""Who may ask: names of the host, origins, the token; and what every answer carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from impasto.apps.web.app import make_app
from impasto.apps.web.page_files import PageFiles
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.errors import ImpastoError

SECRET = "correct-horse"


def asked(shelf: Shelf, *, base_url: str = "http://127.0.0.1:8017", **settings: Any) -> TestClient:
    return TestClient(make_app(Settings(**settings), shelf), base_url=base_url)


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8017", 200),
        ("127.0.0.1", "localhost:1", 200),
        ("127.0.0.1", "LOCALHOST.", 200),
        ("127.0.0.1", "[::1]:8017", 200),
        ("127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "127.0.0.1.evil.example", 421),
        ("127.0.0.1", "192.168.1.5", 421),
        ("127.0.0.1", "paint.example", 200),
        ("0.0.0.0", "192.168.1.5:8017", 200),
        ("0.0.0.0", "evil.example", 421),
        ("127.0.0.1", "", 400),
        ("127.0.0.1", "a b", 400),
        ("127.0.0.1", "127.0.0.1:8017@evil", 400),
    ],
)
def test_only_our_own_names_are_answered(shelf: Shelf, host: str, name: str, status: int) -> None:
    client = asked(shelf, host=host, allow_hosts=["paint.example"])
    for address in ("/v1/health", "/"):
        answer = client.get(address, headers={"host": name})
        assert answer.status_code == (status if address != "/" or status != 200 else answer.status_code)
        assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 421:
        assert answer.json()["detail"].endswith("start it with --allow-host for that name.")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8017"}, 200),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(shelf: Shelf, headers: dict[str, str], status: int) -> None:
    answer = asked(shelf).get("/v1/styles", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_is_allowed(shelf: Shelf) -> None:
    client = asked(shelf, allow_origins=["https://example.org"], token=SECRET)
    origin = {"origin": "https://example.org", "sec-fetch-site": "cross-site"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    first = client.options("/v1/stylize", headers=origin | asks)
    assert first.status_code == 204
    assert first.headers["access-control-allow-origin"] == "https://example.org"
    assert "Authorization" in first.headers["access-control-allow-headers"]
    answer = client.get("/v1/styles", headers=origin | {"authorization": f"Bearer {SECRET}"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert "Origin" in answer.headers["vary"]
    other = client.options("/v1/stylize", headers={"origin": "https://evil.example"} | asks)
    assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (None, 401),
        ("Bearer wrong-horse", 401),
        (f"Basic {SECRET}", 401),
        (f"Bearer {SECRET}x", 401),
        (SECRET, 401),
        ("Bearer ", 401),
        (f"Bearer {SECRET}", 200),
        (f"bearer  {SECRET} ", 200),
    ],
)
def test_the_token(shelf: Shelf, shown: str | None, status: int) -> None:
    client = asked(shelf, token=SECRET)
    headers = {} if shown is None else {"authorization": shown}
    answer = client.get("/v1/models", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
        assert SECRET not in answer.text
        assert client.get(f"/v1/models?token={SECRET}", headers=headers).status_code == 401
    assert client.get("/v1/health", headers=headers).status_code == 200
    document = client.get("/v1/openapi.json", headers={"authorization": f"Bearer {SECRET}"}).json()
    assert document["security"] == [{"token": []}]


def test_every_answer_is_strict(shelf: Shelf) -> None:
    client = asked(shelf)
    for address in ("/v1/health", "/v1/nowhere", "/nowhere.js", "/v1/dream?size=16"):
        headers = client.get(address).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert "http" not in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "no-cache")


def test_methods_and_addresses(shelf: Shelf) -> None:
    client = asked(shelf)
    assert client.get("/v1/stylize").headers["allow"] == "POST"
    for method, address, status in (
        ("GET", "/v1/stylize", 405),
        ("PUT", "/v1/stylize", 405),
        ("POST", "/v1/styles", 405),
        ("DELETE", "/v1/generate", 405),
        ("POST", "/v1/nowhere", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1/stylize/", 404),
        ("POST", "/", 405),
        ("HEAD", "/v1/health", 200),
    ):
        answer = client.request(method, address)
        assert answer.status_code == status, (method, address)
        if status >= 400:
            assert answer.json()["status"] == status


def test_the_page_is_a_table_of_files(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    page = tmp_path / "page"
    (page / "js").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>it</title>")
    (page / "js/app.js").write_text("export {};")
    (page / ".hidden.js").write_text("no")
    (page / "notes.txt").write_text("no")
    monkeypatch.setattr("impasto.apps.web.app.PageFiles", lambda: PageFiles(page))
    client = asked(shelf)
    first = client.get("/")
    assert (first.status_code, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert first.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert client.get("/js/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for hostile in ("/../secret.txt", "/%2e%2e/secret.txt", "/js/..%2f..%2fsecret.txt", "/.hidden.js", "/notes.txt"):
        answer = client.get(hostile)
        assert answer.status_code == 404, hostile
        assert "secret" not in answer.text
    (page / "js/app.js").unlink()
    assert client.get("/js/app.js").status_code == 404


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 70000},
        {"workers": 0},
        {"waiting": -1},
        {"body_bytes": 10},
        {"pixels": 0},
        {"seconds": 0},
        {"token": "short"},
        {"token": "with a space in it"},
        {"allow_origins": ["example.org"]},
        {"allow_origins": ["https://example.org/page"]},
        {"engine": "abacus"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ImpastoError, match=r"choose|write|needs"):
        Settings(**settings)


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box.lan", False)]
)
def test_what_is_loopback(host: str, alone: bool) -> None:
    assert Settings(host=host).loopback is alone


def test_two_models_of_one_name_are_refused(models: list[str]) -> None:
    with pytest.raises(ImpastoError, match="Two models are called tiny"):
        Shelf([models[0], models[0]], engine="onnxruntime", threads=1)
