"""The floors import only downwards, and the package is quick to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import impasto

ROOT = Path(__file__).parent.parent
# What the runtime floor and the command line may need; everything else belongs to training.
CORE = ("annotated_types", "numpy", "onnxruntime", "PIL", "pydantic", "pydantic_core", "rich", "typer")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_contracts_are_kept(tmp_path: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--config", ROOT / "pyproject.toml", "--cache-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_a_broken_floor_would_be_noticed(tmp_path: Path) -> None:
    package = tmp_path / "impasto"
    for floor in ("apps", "training", "runtime"):
        (package / floor).mkdir(parents=True)
        (package / floor / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    for name in ("errors", "progress"):
        (package / f"{name}.py").write_text("")
    (package / "runtime/style.py").write_text("import torch\n")
    (package / "training/loop.py").write_text("import impasto.apps\n")
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--config", ROOT / "pyproject.toml", "--no-cache"]
    # A regular package on PYTHONPATH goes before the installed one.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1, done.stdout
    assert "2 broken" in done.stdout
    assert "impasto.runtime.style -> torch" in done.stdout


def test_import_is_quick_and_light() -> None:
    code = """
import sys, time
started = time.perf_counter()
import impasto
print(time.perf_counter() - started, [name for name in ("numpy", "PIL", "onnxruntime", "torch") if name in sys.modules])
"""
    runs = [python(code).split(" ", 1) for _ in range(3)]
    assert {loaded for _, loaded in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) < 0.15


def test_every_public_name_loads() -> None:
    for name in impasto.__all__:
        assert getattr(impasto, name) is not None
    assert dir(impasto) == sorted(impasto.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        impasto.nosuch  # type: ignore[attr-defined]  # noqa: B018


def test_the_runtime_floor_loads_nothing_of_training() -> None:
    loaded = python("""
import pkgutil, sys
import impasto.runtime
for module in pkgutil.walk_packages(impasto.runtime.__path__, "impasto.runtime."):
    __import__(module.name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
""").split()
    assert not {"torch", "onnx", "onnxscript", "safetensors", "h5py", "typer", "rich", "pydantic"} & set(loaded)
    assert {"numpy", "PIL"} <= set(loaded) & set(CORE)
