"""How soon the page shows a new preview: in Chromium, with `impasto serve` and with a static site.

    python benchmarks/page.py [--photo FILE] [--count 30]

Moves the strength and waits for the 384-pixel preview: from the moment it is asked for to the picture on the page.
Needs Chromium, Playwright and npm. Prints a line of JSON for each of the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from browsing import Visit, browser, serving, static
from impasto.apps.web.site import build_site


def measure(chromium: Any, address: str, photo: Path | None, count: int) -> dict[str, Any]:
    """Milliseconds until the preview stands, over ``count`` moves of a slider."""
    visit = Visit(chromium, address, viewport={"width": 1280, "height": 860})
    page = visit.page
    if photo is None:
        page.click("#sample")
    else:
        page.set_input_files("#photo-file", photo)
    visit.painted()
    # The thumbnails are painted first, as they would be for a person.
    page.wait_for_selector("#strip [data-style]:last-child canvas:not(.waits)")
    times = []
    for step in range(count):
        visit.set("strength", 100 - step % 50 if step % 2 else 60 + step % 40)
        times.append(int(page.get_attribute("#after", "data-milliseconds")))
        page.wait_for_timeout(50)
    page.close()
    ordered = sorted(times)
    return {
        "count": count,
        "median_ms": statistics.median(times),
        "p90_ms": ordered[int(0.9 * (len(ordered) - 1))],
        "worst_ms": ordered[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="A photo; without it the sample that the page draws.")
    parser.add_argument("--count", type=int, default=30, help="How often the slider moves.")
    wanted = parser.parse_args()
    with browser() as chromium, tempfile.TemporaryDirectory() as folder:
        with serving(["anystyle"], threads=None) as address:
            print(json.dumps({"page": "served", **measure(chromium, address, wanted.photo, wanted.count)}), flush=True)
        out, _ = build_site(Path(folder) / "site", style="anystyle")
        with static(out) as address:
            print(json.dumps({"page": "static", **measure(chromium, address, wanted.photo, wanted.count)}), flush=True)


if __name__ == "__main__":
    main()
