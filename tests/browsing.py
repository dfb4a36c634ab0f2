"""A browser for the tests of the page: Debian's Chromium by Playwright, and servers for it to look at."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000  # milliseconds: the machines of CI are small

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None, reason="npm is not installed, which fetches onnxruntime-web"
)

# As root there is no sandbox; the others keep the browser from asking for anything that the page did not.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, closed afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield launched
        finally:
            launched.close()


Form = list[tuple[str, str]]

# What Chromium tells of a request leaves out forms with files in them.
_NOTE_FORMS = """
window.forms = [];
window.most = 0; // of those that somebody waited for at one time
const real = window.fetch;
let waiting = 0;
window.fetch = (address, how) => {
  if (!(how?.body instanceof FormData) || !String(address).endsWith('v1/stylize') || how.signal?.aborted)
    return real(address, how);
  window.forms.push([...how.body].map(([name, value]) => [name, typeof value === 'string' ? value : '(file)']));
  window.most = Math.max(window.most, ++waiting);
  return real(address, how).finally(() => { waiting -= 1; });
};
"""


class Visit:
    """A page that was opened, and what happened meanwhile.

    Attributes:
        page: Playwright's.
        errors: what was written on the console as an error, or thrown.
        requests: their addresses.
    """

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**settings)
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(_NOTE_FORMS)
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready]")

    @property
    def forms(self) -> list[Form]:
        """The fields of each ``/v1/stylize`` so far."""
        return [[(name, value) for name, value in form] for form in self.page.evaluate("window.forms")]

    def painted(self, side: int = 384) -> None:
        """Wait for a preview of this size."""
        self.page.wait_for_selector(f'#after[data-side="{side}"]')

    def again(self, change: Any) -> None:
        """Do something, and wait for the preview that it brings."""
        before = self.page.get_attribute("#after", "data-asked")
        change()
        self.page.wait_for_selector(f'#after:not([data-asked="{before}"])')
        asked = self.page.get_attribute("#after", "data-asked")
        self.page.wait_for_selector(f'#after[data-shown="{asked}"]')

    def set(self, id: str, value: int | str) -> None:
        """Move a slider, and wait for the preview."""
        self.again(lambda: self.page.locator(f"#{id}").fill(str(value)))

    def pixels(self, id: str = "after", size: tuple[int, int] = (200, 150)) -> Any:
        """RGB of a canvas, brought to one size (width, height): float [h,w,3], 0..255."""
        import numpy as np

        found = self.page.evaluate(
            """([id, width, height]) => {
            const canvas = Object.assign(document.createElement('canvas'), { width, height });
            const pen = canvas.getContext('2d');
            pen.imageSmoothingQuality = 'high';
            pen.drawImage(document.getElementById(id), 0, 0, width, height);
            return Array.from(pen.getImageData(0, 0, width, height).data); }""",
            [id, *size],
        )
        return np.array(found, float).reshape(size[1], size[0], 4)[..., :3]


def field(form: Form, name: str) -> list[str]:
    """The values of a field of a form; of a file ``(file)``."""
    return [value for key, value in form if key == name]


@contextmanager
def serving(models: Sequence[str], *, threads: int | None = 1) -> Iterator[str]:
    """``impasto serve`` in a process of its own; gives its address."""
    command = [sys.executable, "-c", "from impasto.apps.cli import main; main()", "serve", "--port", "0"]
    command += [] if threads is None else ["--threads", str(threads)]
    command += [part for model in models for part in ("--model", model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), "the server did not start"
        yield address
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the page was closed
            super().copyfile(source, outputfile)


@contextmanager
def static(folder: Path) -> Iterator[str]:
    """A plain static host; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
