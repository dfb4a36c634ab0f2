"""Load on the server: requests a second, how long they take, memory over time, and whether any is lost.

    python benchmarks/serve.py --clients 32 --seconds 60 --size 512
    python benchmarks/serve.py --clients 1 --size 384 --seconds 20     # a preview, asked by one person
    python benchmarks/serve.py --queue 4                                # most are told 429, and come back

The server is a process of its own (``impasto serve``); the clients are threads here, each with a connection that it
keeps and one request under way. A client that is told 429 waits as long as it is told and asks again; that is counted,
and is no loss. Anything else than 200 and 429, and any broken connection, is a loss. What is asked for before
``--warm`` seconds are over is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import psutil

from worker import draw

MB = 1e6


@dataclass
class Tally:
    """What the clients saw.

    Attributes:
        seconds: of each answer with a picture.
        busy: answers 429.
        lost: what else came, each in words.
        memory: of the server in bytes, once a second.
    """

    seconds: list[float] = field(default_factory=list)
    busy: int = 0
    lost: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def photo(size: int) -> bytes:
    """A JPEG with a long side of ``size`` pixels, 4:3."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        draw(path, size, max(1, round(size * 3 / 4)))
        return path.read_bytes()


def start(options: Sequence[str], cores: int) -> tuple[subprocess.Popen[str], str]:
    """A server held to so many cores, and its address."""
    code = "from impasto.apps.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", *options], stdout=subprocess.PIPE, text=True
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:cores])
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        raise SystemExit(f"impasto serve ended with code {process.wait()}.")
    return process, address


def client(place: str, path: str, data: bytes, until: float, count_from: float, tally: Tally, lock: Any) -> None:
    """Ask again and again until it is time."""
    connection = HTTPConnection(place, timeout=300)
    while time.monotonic() < until:
        begun = time.monotonic()
        pause = 0.0
        try:
            connection.request("POST", path, data, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            connection.close()
            with lock:
                tally.lost.append(f"{type(error).__name__}: {error}")
            continue
        taken = time.monotonic() - begun
        with lock:
            if answer.status == 429:
                tally.busy += begun >= count_from
                pause = float(answer.headers["Retry-After"])
            elif answer.status != 200:
                tally.lost.append(f"{answer.status}: {body[:200]!r}")
            elif begun >= count_from:
                tally.seconds.append(taken)
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
    connection.close()


def load(address: str, pid: int, path: str, data: bytes, *, clients: int, seconds: float, warm: float) -> Tally:
    """Let so many clients ask for so long."""
    tally, lock = Tally(), threading.Lock()
    count_from = time.monotonic() + warm
    until = count_from + seconds
    place = urlsplit(address).netloc
    threads = [
        threading.Thread(target=client, args=(place, path, data, until, count_from, tally, lock))
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    server = psutil.Process(pid)
    while any(thread.is_alive() for thread in threads):
        if time.monotonic() >= count_from:
            tally.memory.append(server.memory_info().rss)
        time.sleep(1.0)
    for thread in threads:
        thread.join()
    return tally


def summary(tally: Tally, seconds: float) -> dict[str, Any]:
    """Figures of a run; ``growth_mb`` is the last fifth of the time against the second: 0 where memory is flat."""
    times = np.array(tally.seconds or [np.nan])
    fifth = max(1, len(tally.memory) // 5)
    early, late = tally.memory[fifth : 2 * fifth] or tally.memory, tally.memory[-fifth:]
    known = bool(tally.memory)
    return {
        "answered": len(tally.seconds),
        "per_second": round(len(tally.seconds) / seconds, 2),
        "p50_ms": round(1000 * float(np.percentile(times, 50)), 1),
        "p99_ms": round(1000 * float(np.percentile(times, 99)), 1),
        "busy_429": tally.busy,
        "lost": len(tally.lost),
        "peak_mb": round(max(tally.memory) / MB, 1) if known else None,
        "growth_mb": round((float(np.mean(late)) - float(np.mean(early))) / MB, 1) if known else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns 1 where a request was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=5.0, help="seconds before anything is counted")
    parser.add_argument("--size", type=int, default=512, help="long side of the photo, in pixels")
    parser.add_argument("--cores", type=int, default=2, help="that the server is held to")
    parser.add_argument("--model", default="anystyle")
    parser.add_argument("--style", default="starry-night")
    parser.add_argument("--query", default="", help="more fields, such as strength=0.5&precision=int8")
    parser.add_argument("--queue", type=int, help="as of impasto serve")
    parser.add_argument("--workers", type=int, help="as of impasto serve")
    given = parser.parse_args(arguments)
    options = ["--model", given.model]
    for name in ("queue", "workers"):
        if getattr(given, name) is not None:
            options += [f"--{name}", str(getattr(given, name))]
    process, address = start(options, given.cores)
    try:
        path = f"/v1/stylize?style={quote(given.style)}" + (f"&{given.query}" if given.query else "")
        told = {"clients": given.clients, "seconds": given.seconds, "warm": given.warm}
        tally = load(address, process.pid, path, photo(given.size), **told)
    finally:
        process.terminate()
        process.communicate(timeout=120)
    for reason in sorted(set(tally.lost)):
        print(f"lost: {reason}", file=sys.stderr)
    about = {"clients": given.clients, "size": given.size, "cores": given.cores, "stopped_with": process.returncode}
    print(json.dumps(about | summary(tally, given.seconds)))
    return 1 if tally.lost or process.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
