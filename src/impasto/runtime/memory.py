"""How much memory there is, how much of it is ours, and how a person says how much we may take."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from impasto.errors import ImpastoError
from impasto.runtime.engine import control_groups

SHARE = 0.5
"""Of what is free, what one command takes unless it is told otherwise."""

UNKNOWN = 1_000_000_000
"""Bytes taken to be free where the system does not tell."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_UNLIMITED = 1 << 60  # control groups of version 1 say "no limit" with a number near 2^63


def parse_size(text: str) -> int:
    """Bytes from what a person writes: ``"1GB"`` is 10^9, ``"1GiB"`` is 2^30, ``"800M"``, ``"1.5 gb"``.

    Raises:
        ImpastoError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if found is None or float(found[1]) == 0:
        raise ImpastoError(f"{text!r} is no amount of memory: write one like 800MB or 1.5GB.")
    return int(float(found[1]) * _UNITS[found[2] or ""])


def said_size(size: float) -> str:
    """Bytes as a person reads them: ``"1.0 GB"``, ``"250 MB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def resident(proc: Path = Path("/proc")) -> int:
    """Bytes that this process holds in memory; 0 where the system does not tell."""
    return _field(proc / "self" / "status", "VmRSS") or 0


def available(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that could be taken without pushing anything out: of the machine, and of the container around us."""
    free = _field(proc / "meminfo", "MemAvailable")
    if free is None:
        free = UNKNOWN
        with suppress(AttributeError, ValueError, OSError):
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in control_groups(proc, cgroup, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):
                most = int((folder / limit).read_text())
                if most < _UNLIMITED:
                    # Files that were read and not used since are dropped as soon as anybody wants their place.
                    idle = _stat(folder / "memory.stat", cache)
                    free = min(free, max(0, most - int((folder / used).read_text()) + idle))
    return free


def default_limit(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process should stay within: what it holds, and half of what is free."""
    return resident(proc) + int(SHARE * available(proc, cgroup))


def _field(file: Path, name: str) -> int | None:
    """A figure in kB of ``/proc``, as bytes."""
    with suppress(OSError, ValueError, IndexError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _stat(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
