"""What a run takes for its own: the machine's, but for what control groups keep back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoseg.run import machine
from geoseg.run.machine import available_bytes, default_workers, find_memory_limit, find_processor_limit

GIB = 2**30


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of a container on a machine with 32 GiB left: /pod limits both, /pod/task memory further."""
    inner = tmp_path / "groups/pod/task"
    inner.mkdir(parents=True)
    limit_memory(inner, str(2 * GIB), used=3 * GIB // 2, cached=GIB // 2)
    limit_memory(inner.parent, str(4 * GIB), used=2 * GIB, cached=0)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cgroup").write_text("1:name=systemd:/x\n0::/pod/task\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {32 * 2**20} kB\nHugePages_Total:       0\n")
    for name, place in (("CGROUPS", "groups"), ("MEMBERSHIP", "cgroup"), ("MEMINFO", "meminfo")):
        monkeypatch.setattr(machine, name, tmp_path / place)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return inner


def limit_memory(group: Path, limit: str, *, used: int, cached: int) -> None:
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")


def test_the_tightest_limit_counts(group: Path) -> None:
    assert find_memory_limit() == 2 * GIB
    assert available_bytes() == GIB
    limit_memory(group.parent, str(4 * GIB), used=7 * GIB // 2, cached=0)
    assert available_bytes() == GIB // 2
    limit_memory(group, str(GIB), used=2 * GIB, cached=0)
    assert available_bytes() == 0


def test_the_machine_counts_where_no_group_says_less(group: Path) -> None:
    limit_memory(group, "max", used=GIB, cached=0)
    limit_memory(group.parent, str(100 * GIB), used=GIB, cached=0)
    assert available_bytes() == 32 * GIB


@pytest.mark.parametrize(("share", "workers"), [("10000", 1), ("100000", 1), ("150000", 2), ("9900000", 8), ("max", 8)])
def test_a_share_of_a_processor_counts_as_one(group: Path, share: str, workers: int) -> None:
    (group.parent / "cpu.max").write_text(f"{share} 100000\n")
    assert default_workers() == workers


def test_a_container_sees_its_own_group_as_the_root(group: Path) -> None:
    machine.MEMBERSHIP.write_text("0::/\n")
    (machine.CGROUPS / "cpu.max").write_text("300000 100000\n")
    assert find_processor_limit() == 3


def test_a_group_that_the_container_does_not_see(group: Path) -> None:
    machine.MEMBERSHIP.write_text("0::/elsewhere\n")
    assert find_memory_limit() is find_processor_limit() is None


def test_without_control_groups(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUPS", group / "none")
    monkeypatch.setattr(machine, "MEMBERSHIP", group / "none")
    assert find_memory_limit() is find_processor_limit() is None
    assert (available_bytes(), default_workers()) == (32 * GIB, 8)
    monkeypatch.setattr(machine, "MEMINFO", group / "none")
    assert available_bytes() is None
