"""How much memory there is, by files as Linux has them, and by what people write."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from impasto.errors import ImpastoError
from impasto.runtime import memory
from impasto.runtime.memory import available, default_limit, parse_size, resident, said_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GB", 10**9),
        ("1g", 10**9),
        ("1GiB", 2**30),
        ("800MB", 8 * 10**8),
        (" 1.5 gb ", 15 * 10**8),
        ("512Mi", 2**29),
        ("64kB", 64_000),
        ("2TB", 2 * 10**12),
        ("123456", 123456),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1 2GB", "0", "0GB", "1e9", "half", "1.GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ImpastoError, match=r"is no amount of memory: write one like 800MB or 1\.5GB"):
        parse_size(text)


def test_sizes_are_said_in_short() -> None:
    assert [said_size(size) for size in (0, 1, 2_600_000, 999_000_000, 10**9, 15 * 10**8)] == [
        "1 MB",
        "1 MB",
        "3 MB",
        "999 MB",
        "1.0 GB",
        "1.5 GB",
    ]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:  1000 kB\nMemAvailable:  8000 kB\n")
    (folder / "self/status").write_text("Name:\tpython\nVmHWM:\t  900 kB\nVmRSS:\t  500 kB\n")
    (folder / "self/cgroup").write_text("0::/user/job\n")
    return folder


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    folder = tmp_path / "cgroup"
    (folder / "user/job").mkdir(parents=True)
    return folder


def test_without_a_container_it_is_what_the_machine_has(proc: Path, cgroup: Path) -> None:
    assert available(proc, cgroup) == 8000 * 1024
    assert resident(proc) == 500 * 1024
    assert default_limit(proc, cgroup) == 500 * 1024 + 4000 * 1024


def test_a_container_allows_less(proc: Path, cgroup: Path) -> None:
    job = cgroup / "user/job"
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("1000\n")
    assert available(proc, cgroup) == 8000 * 1024
    (job / "memory.max").write_text("5000\n")
    assert available(proc, cgroup) == 4000
    (job / "memory.stat").write_text("anon 10\ninactive_file 600\n")
    assert available(proc, cgroup) == 4600, "a cache gives way"
    (cgroup / "user/memory.max").write_text("3000\n")
    (cgroup / "user/memory.current").write_text("4000\n")
    assert available(proc, cgroup) == 0, "what holds for a parent holds here"


def test_a_container_of_the_first_version(proc: Path, cgroup: Path) -> None:
    (cgroup / "memory").mkdir()
    (cgroup / "memory/memory.usage_in_bytes").write_text("1000\n")
    (cgroup / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available(proc, cgroup) == 8000 * 1024, "no limit"
    (cgroup / "memory/memory.limit_in_bytes").write_text("7000\n")
    assert available(proc, cgroup) == 6000


def test_where_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resident(tmp_path) == 0
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    assert available(tmp_path, tmp_path) == 40960
    monkeypatch.delattr(memory.os, "sysconf")
    assert available(tmp_path, tmp_path) == memory.UNKNOWN


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_process_holds_something() -> None:
    assert 10**6 < resident() < 10**12
    assert default_limit() > resident()
