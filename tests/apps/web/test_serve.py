"""``impasto serve`` as people run it: a process of its own that is asked, overrun, left and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from drawing import sample
from impasto.apps.cli import run
from impasto.apps.web.settings import Settings

SLOW = """
# A server whose painting lasts until somebody leaves or lets it go: the file {gate} is there.
import sys, time
from pathlib import Path
from impasto.apps.web import painting
from impasto.runtime.stopping import heeded_stop

inner = painting.Painting.stylize

def held(self, *given, **named):
    Path({begun!r}).open("a").write("x")
    while not Path({gate!r}).exists():
        heeded_stop().check()
        time.sleep(0.01)
    return inner(self, *given, **named)

painting.Painting.stylize = held
from impasto.apps.cli import main
main()
"""


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self.place = urlsplit(address).netloc

    def connect(self) -> HTTPConnection:
        return HTTPConnection(self.place, timeout=120)

    def get(self, path: str) -> Any:
        connection = self.connect()
        connection.request("GET", path)
        answer = read(connection)
        return answer.status, answer.body  # type: ignore[attr-defined]

    def begin(self, more: int = 0) -> HTTPConnection:
        """A connection on which a photo was sent, and ``more`` bytes, and whose answer nobody has read yet."""
        connection, body = self.connect(), sample("PNG") + bytes(more)
        connection.request("POST", "/v1/stylize?style=starry-night", body, {"Content-Type": "image/png"})
        return connection

    def until(self, **counts: int) -> None:
        end = time.monotonic() + 120
        while True:
            health = json.loads(self.get("/v1/health")[1])
            if {name: health[name] for name in counts} == counts:
                return
            assert time.monotonic() < end, (health, counts)
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


@contextmanager
def serving(models: list[str], *options: str, code: str | None = None, **environment: str) -> Iterator[Served]:
    start = ["-c", "from impasto.apps.cli import main; main()" if code is None else code]
    named = [word for model in models for word in ("--model", model)]
    command = [sys.executable, *start, "serve", "--port", "0", "--threads", "1", *named, *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.communicate(timeout=60)
        yield Served(process, address)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read(connection: HTTPConnection) -> HTTPResponse:
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def test_it_paints_and_stops_when_it_is_told(models: list[str]) -> None:
    with serving(models, "--max-body", "1MB") as served:
        large = read(served.begin(more=4_000_000))
        assert large.status == 413 and large.headers["connection"] == "close"
        answer = read(served.begin())
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert "server" not in answer.headers
        status, problem = served.get("/v1/nowhere")
        assert status == 404 and json.loads(problem)["status"] == 404
        code, said = served.stop()
    assert (code, said) == (0, "")  # nothing of what was asked for is logged


def test_one_that_leaves_makes_room_and_the_rest_is_finished(models: list[str], tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    begun.touch()
    code = SLOW.format(gate=str(gate), begun=str(begun))
    with serving(models, "--workers", "1", "--queue", "1", code=code) as served:
        leaver = served.begin()
        served.until(working=1)
        stayer = served.begin()
        served.until(working=1, waiting=1)
        refused = read(served.begin(more=2_000_000))  # told so, though nobody reads all that it sends
        assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1
        leaver.close()
        served.until(working=1, waiting=0)  # the one that waited has its turn
        assert len(begun.read_text()) == 2
        answers: list[HTTPResponse] = []
        reader = threading.Thread(target=lambda: answers.append(read(stayer)))
        reader.start()
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(OSError):  # it takes nothing new
            end = time.monotonic() + 60
            while time.monotonic() < end:
                socket.create_connection(_pair(served.place), timeout=5).close()
                time.sleep(0.05)
        gate.touch()
        reader.join(120)
        assert [answer.status for answer in answers] == [200]
        _, said = served.process.communicate(timeout=120)
        assert (served.process.returncode, said) == (0, "")


def _pair(place: str) -> tuple[str, int]:
    host, _, port = place.partition(":")
    return host, int(port)


def test_a_head_that_never_ends_is_not_waited_for(models: list[str]) -> None:
    code = "from impasto.apps.web import server; server.HEAD_SECONDS = 1.0; from impasto.apps.cli import main; main()"
    with serving(models, code=code) as served:
        begun = time.monotonic()
        with socket.create_connection(_pair(served.place), timeout=60) as slow:
            slow.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert slow.recv(100) == b""
        assert 0.5 < time.monotonic() - begun < 50
        connection = served.connect()
        for _ in range(2):  # one that keeps its connection is not cut off between two requests
            connection.request("GET", "/v1/health")
            assert connection.getresponse().read().startswith(b"{")
            time.sleep(0.3)
        connection.close()


def test_a_token_and_a_warning_where_others_can_reach_it(models: list[str]) -> None:
    with serving(models, "--host", "0.0.0.0", IMPASTO_TOKEN="correct-horse") as served:
        assert served.get("/v1/models")[0] == 401
        connection = served.connect()
        connection.request("GET", "/v1/models", headers={"Authorization": "Bearer correct-horse"})
        assert read(connection).status == 200
        code, said = served.stop(signal.SIGINT)
    assert code == 0
    assert said.count("\n") == 1 and "not encrypted" in said and "correct-horse" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "openvimo"], "did you mean 'openvino'?"),
        (["--model", "nosuch"], "nosuch"),
        (["--host", "203.0.113.7"], "choose another --host"),
        (["--host", "no such host"], "choose another --host"),
        (["--port", "70000"], "--port"),
        (["--max-body", "much"], "is no amount of memory"),
        (["--timeout", "0"], "choose another number of seconds"),
        (["--token", "short"], "choose another"),
        (["--allow-origin", "example.org"], "https://example.org"),
        (["--max-pixels", "0"], "--max-pixels"),
        (["--allow-host"], "--allow-host"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    options: list[str], words: str, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    port = [] if "--port" in options else ["--port", "0"]
    given = [] if "--model" in options else ["--model", models[0]]
    assert run(["serve", *port, *given, *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.count("\n") == 1


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['starlette'] = None; from impasto.apps.cli import run; sys.exit(run(['serve']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'impasto[web]'" in done.stderr and done.stderr.count("\n") == 1


def test_a_port_that_is_taken(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        assert run(["serve", "--port", taken, "--model", models[0]]) == 2
    assert "choose another --host or --port" in capsys.readouterr().err


def test_every_option_arrives(
    models: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Settings] = []
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def serve(settings: Settings, shelf: Any, bound: socket.socket, *, started: Any) -> None:
        seen.append(settings)
        started()
        bound.close()

    monkeypatch.setattr("impasto.apps.web.server.serve", serve)
    options = "--host localhost --port 0 --token correct-horse --allow-host box.lan --allow-origin https://example.org"
    options += (
        " --open --engine onnxruntime --threads 1 --workers 3 --queue 5 --max-body 3MB --max-pixels 5000 --timeout 7"
    )
    assert run(["serve", "--model", models[0], "--model", models[1], *options.split()]) == 0
    given = seen[0]
    assert (given.host, given.port, given.token, given.threads) == ("localhost", 0, "correct-horse", 1)
    assert (list(given.models), list(given.allow_hosts)) == (models, ["box.lan"])
    assert list(given.allow_origins) == ["https://example.org"]
    assert (given.workers, given.places, given.waiting) == (3, 3, 5)
    assert (given.body_bytes, given.pixels, given.seconds) == (3_000_000, 5000, 7)
    address = capsys.readouterr().out.strip()
    assert opened == [f"{address}#token=correct-horse"]
