"""Kernels are compiled once per installation, and a user hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KERNEL = """
from geoseg.kernel import announce_compiling, kernel

@kernel
def double(number: int) -> int:
    return 2 * number

@kernel
def halve(number: int) -> float:
    return number / 2

with announce_compiling(print):
    print(double(21), halve(8))
print(double(2.5))
"""


def run_kernel(folder: Path, **environment: str) -> list[str]:
    script = folder / "kernels.py"
    if not script.exists():
        script.write_text(KERNEL)
    command = [sys.executable, str(script)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_a_first_compile_is_announced_once_and_then_never_again(tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    results = ["42 4.0", "5.0"]
    assert run_kernel(tmp_path, **cache) == ["compiling kernels, once per installation", *results]
    assert run_kernel(tmp_path, **cache) == results


def test_without_a_folder_for_the_cache_kernels_still_run(tmp_path: Path) -> None:
    """As in a container whose files are read-only and whose user has no home."""
    script = tmp_path / "kernels.py"
    script.write_text(f"from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n{KERNEL}")
    for _ in range(2):
        said, *results = run_kernel(tmp_path)
        assert "NUMBA_CACHE_DIR" in said
        assert results == ["42 4.0", "5.0"]
