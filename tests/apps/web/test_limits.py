"""Limits: bytes, pixels, time, places; and whoever leaves makes room."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from drawing import encoded, sample
from impasto.apps.web.app import Server, make_app, with_server
from impasto.apps.web.pool import Pool
from impasto.apps.web.problems import Problem, too_busy
from impasto.apps.web.settings import Settings
from impasto.apps.web.shelf import Shelf
from impasto.runtime.stopping import StoppedError, heeded_stop

FORM = {"content-type": "multipart/form-data; boundary=b"}
PICTURE = {"content-type": "image/png"}
END = b"--b--\r\n"


def part(name: bytes) -> bytes:
    """A part of a form, with the value 1."""
    return b"--b\r\nContent-Disposition: form-data; name=" + name + b"\r\n\r\n1\r\n"


def asked(shelf: Shelf, **settings: Any) -> TestClient:
    return TestClient(make_app(Settings(**settings), shelf), base_url="http://127.0.0.1:8017")


def refused(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_bytes(shelf: Shelf) -> None:
    client = asked(shelf, body_bytes=2000)
    announced = client.post("/v1/stylize", content=bytes(2001), headers=PICTURE)
    refused(announced, 413, "larger than the")
    sent = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1)
            yield bytes(500)

    # Nobody says how long it is: it is read as far as the limit, and a little more so that the answer is heard.
    refused(client.post("/v1/stylize", content=_first(endless(), 40), headers=PICTURE), 413, "larger than the")
    fits = client.post("/v1/stylize?style=starry-night", content=sample("PNG"), headers=PICTURE)
    assert fits.status_code == 200


def _first(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield next(chunks)


def test_pixels(shelf: Shelf) -> None:
    client = asked(shelf, pixels=400)
    bomb = encoded(Image.new("1", (21, 20)), "PNG")
    for answer in (
        client.post("/v1/stylize?style=starry-night", content=bomb, headers=PICTURE),
        client.post("/v1/stylize", files={"photo": sample("PNG", 9, 9), "style_file": bomb}),
        client.post("/v1/stylize", files={"photo": sample("PNG", 9, 9), "mask": bomb}, data={"style": "the-scream"}),
        client.post("/v1/thumbnails", content=bomb, headers=PICTURE),
    ):
        refused(answer, 413, "21x20 (420 pixels), more than the 400 that this server takes")
    small = sample("PNG", 10, 10)
    enlarged = client.post("/v1/stylize?style=starry-night&size=21", content=small, headers=PICTURE)
    refused(enlarged, 413, "The result would be 21x21")
    fine = client.post("/v1/stylize?style=starry-night&stroke=2px", content=sample("PNG", 20, 20), headers=PICTURE)
    refused(fine, 413, "For strokes so fine")
    assert client.post("/v1/stylize?style=starry-night", content=small, headers=PICTURE).status_code == 200


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_head(client: TestClient, size: tuple[int, int]) -> None:
    head = bytearray(encoded(Image.new("1", (8, 8)), "GIF"))
    head[6:10] = (size[0] % 65536).to_bytes(2, "little") + (size[1] % 65536).to_bytes(2, "little")
    answer = client.post("/v1/stylize?style=starry-night", content=bytes(head), headers={"content-type": "image/gif"})
    refused(answer, 413, "more than the 40,000,000")


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({"content-type": "text/plain"}, b"x", 415, "is not taken here"),
        ({}, b"x", 415, "send a form (curl -F photo=@photo.jpg)"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"photo=x", 415, "is not taken here"),
        (PICTURE, b"", 422, "The photo is missing"),
        ({"content-type": "multipart/form-data"}, b"--b--", 400, "no boundary"),
        ({"content-type": f"multipart/form-data; boundary={'b' * 71}"}, b"--b--", 400, "no boundary"),
        (FORM, b"", 400, "cut short"),
        (FORM, part(b'"photo"')[:-2], 400, "cut short"),
        (FORM, b"--c\r\n\r\n--c--", 400, "cannot be read"),
        (FORM, b"--b\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--b--\r\n", 400, "has no name"),
        (FORM, b"--b\r\nX: y\r\n\r\nabc\r\n--b--\r\n", 400, "has no name"),
        (FORM, b"--b\r\n" + b"X: y\r\n" * 50 + b"\r\nabc\r\n--b--\r\n", 400, "cannot be read"),
        (FORM, part(b'"size"; filename="x"') + END, 422, "no file"),
        (FORM, part(b'"photo"') + END, 422, "is a file"),
        (FORM, part(b'"weight"') * 400 + END, 422, "parts"),
        (FORM, part(b'"weight"') * 65 + END, 422, "64 times"),
    ],
)  # fmt: skip
def test_bodies_that_are_none(
    client: TestClient, headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    refused(client.post("/v1/stylize", content=body, headers=headers), status, words)


async def talk(
    app: Any, messages: AsyncIterator[dict[str, Any]] | None = None, *, body: bytes = b"", address: str = "/v1/stylize",
    query: bytes = b"style=starry-night", headers: dict[str, str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One request as ASGI has it; without messages, all of the body and then silence."""
    lines = {"host": "127.0.0.1", "content-type": "image/png", "transfer-encoding": "chunked"} | (headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": address,
        "raw_path": address.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in lines.items() if value],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8017),
    }
    sent: list[dict[str, Any]] = []

    async def all_of_it() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()

    source = messages or all_of_it()

    async def receive() -> dict[str, Any]:
        return await anext(source)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def problem(sent: list[dict[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in sent))
    assert sent[0]["status"] == fields["status"]
    return fields


def header(sent: list[dict[str, Any]], name: str) -> str | None:
    return next((value.decode() for key, value in sent[0]["headers"] if key == name.encode()), None)


def test_a_body_without_a_length_or_that_dawdles(shelf: Shelf) -> None:
    app = make_app(Settings(idle_seconds=0.05, seconds=0.3, workers=1), shelf)

    async def silent() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.Event().wait()

    async def slow() -> AsyncIterator[dict[str, Any]]:
        while True:
            await asyncio.sleep(0.01)
            yield {"type": "http.request", "body": b"x", "more_body": True}

    async def gone() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        yield {"type": "http.disconnect"}

    async def all_of_them() -> None:
        assert problem(await talk(app, headers={"transfer-encoding": ""}))["status"] == 411
        assert problem(await talk(app, headers={"content-length": "x"}))["status"] == 400
        assert problem(await talk(app, headers={"content-length": str(10**12)}))["status"] == 413
        assert problem(await talk(app, silent()))["status"] == 408
        assert problem(await talk(app, slow()))["status"] == 408
        assert (await talk(app, gone()))[0]["status"] == 499

    asyncio.run(all_of_them())


class Work:
    """In the place of painting: it holds on until it is let go, or stopped."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Semaphore(0), threading.Event()
        self.ended: list[str] = []

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.begun.release()
        stop = heeded_stop()
        assert stop is not None
        while not self.let_go.wait(0.005):
            if stop.stopped:
                self.ended.append("stopped")
                raise StoppedError
        self.ended.append("done")
        raise Problem(422, "done")


def held(shelf: Shelf, **settings: Any) -> tuple[Any, Server, Work]:
    app, server = with_server(Settings(**settings), shelf)
    work = Work()
    server.painting = type("Held", (), {"stylize": work, "thumbnails": work})()
    return app, server, work


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


def test_places_are_few_and_the_next_are_told_when_to_come_back(shelf: Shelf) -> None:
    app, server, work = held(shelf, workers=1, waiting=2)

    async def story() -> None:
        first = [asyncio.create_task(talk(app)) for _ in range(3)]
        await until(lambda: server.pool.working == 1 and server.pool.admitted == 3)
        assert server.pool.waiting == 2
        sent = await talk(app)
        assert problem(sent)["status"] == 429
        assert int(header(sent, "retry-after") or 0) >= 1
        work.let_go.set()
        assert [problem(await task)["status"] for task in first] == [422] * 3
        assert (server.pool.admitted, server.pool.working) == (0, 0)
        assert problem(await talk(app))["status"] == 422

    asyncio.run(story())
    assert work.ended == ["done"] * 4


@pytest.mark.parametrize("address", ["/v1/stylize", "/v1/thumbnails"])
def test_whoever_leaves_stops_the_work_and_makes_room(shelf: Shelf, address: str) -> None:
    app, server, work = held(shelf, workers=1, waiting=1)

    async def story() -> None:
        leave = [asyncio.Event(), asyncio.Event()]

        async def until_left(event: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": b"x", "more_body": False}
            await event.wait()
            while True:
                yield {"type": "http.disconnect"}

        query = {"query": b""} if address == "/v1/thumbnails" else {}
        working = asyncio.create_task(talk(app, until_left(leave[0]), address=address, **query))
        await until(lambda: server.pool.working == 1)
        waiting = asyncio.create_task(talk(app, until_left(leave[1]), address=address, **query))
        await until(lambda: server.pool.admitted == 2)
        leave[1].set()  # one that waits: it is never begun
        await waiting
        assert server.pool.admitted == 1
        leave[0].set()
        await working
        await until(lambda: server.pool.working == 0)
        assert server.pool.admitted == 0

    asyncio.run(story())
    assert work.ended == ["stopped"]


def test_work_that_takes_too_long_is_stopped(shelf: Shelf) -> None:
    app, server, work = held(shelf, workers=1, waiting=1, seconds=0.15)

    async def story() -> None:
        sent, behind = await asyncio.gather(talk(app), talk(app))
        for one in (sent, behind):
            assert problem(one)["status"] == 503
            assert header(one, "retry-after")
        await until(lambda: server.pool.working == 0)

    asyncio.run(story())
    assert set(work.ended) == {"stopped"}


def test_a_server_that_stops_takes_nothing_new_and_finishes_what_runs(shelf: Shelf) -> None:
    app, server, work = held(shelf, workers=1, waiting=1)

    async def story() -> None:
        running = asyncio.create_task(talk(app))
        await until(lambda: server.pool.working == 1)
        server.pool.closing = True
        assert problem(await talk(app))["status"] == 503
        work.let_go.set()
        assert problem(await running)["status"] == 422

    asyncio.run(story())


def test_no_memory_left_is_an_answer(shelf: Shelf) -> None:
    app, server, _ = held(shelf, workers=1)

    def hungry(*given: Any, **named: Any) -> Any:
        raise MemoryError

    server.painting = type("Hungry", (), {"stylize": staticmethod(hungry)})()
    sent = asyncio.run(talk(app))
    assert problem(sent)["status"] == 503 and "make it smaller" in problem(sent)["detail"]


def test_large_pictures_go_one_by_one() -> None:
    async def story() -> None:
        pool = Pool(workers=2, waiting=2, seconds=0.1)
        async with pool.alone():
            with pytest.raises(Problem, match="waited longer") as caught:
                async with pool.alone():
                    pass
        assert caught.value.status == 503
        async with pool.alone():
            assert await pool.run(lambda: 5) == 5
        pool.close()

    asyncio.run(story())


@pytest.mark.parametrize(("seconds", "said"), [(0.1, "1"), (2.2, "3"), (1e9, "3600")])
def test_when_to_come_back(seconds: float, said: str) -> None:
    assert too_busy(429, "Wait.", seconds).headers == {"Retry-After": said}
