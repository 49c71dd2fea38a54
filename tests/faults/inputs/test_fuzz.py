"""Damaged GeoTIFFs: refused, or read exactly as GDAL reads them without complaint; never a crash, never a hang."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.inputs.mutants import FAULTS, LAYOUTS, make_mutant, write_layout

MUTANTS = 2000
LIMIT_S, COMPILING_S = 60, 500
"""For one mutant on a busy machine; the slowest takes below a second."""
PEAK_MIB = 1500
"""Interpreter, torch and all libraries take 300 MiB of it."""

Verdict = dict[str, object]
ROOT = Path(__file__).parents[3]


@contextmanager
def open_judge(*, run: bool) -> Iterator[subprocess.Popen[str]]:
    """The process that reads the mutants."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.inputs.judge", *(["run"] if run else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def judge(numbers: Iterable[int], *, run: bool) -> list[Verdict]:
    """What came of every mutant; the process must answer each in time and live on."""
    with open_judge(run=run) as process:
        whole = [hear(process, layout, COMPILING_S) for layout in LAYOUTS]
        assert [verdict["verdict"] for verdict in whole] == ["same"] * len(LAYOUTS)
        verdicts = []
        for number in numbers:
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            verdicts.append(hear(process, number, LIMIT_S))
    return verdicts


def hear(process: subprocess.Popen[str], what: object, limit_s: float) -> Verdict:
    """The next verdict."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit_s)
    assert ready, f"{what} hangs"
    line = process.stdout.readline()
    assert line, f"{what} ends the process: {process.wait()}"
    return json.loads(line)


def check(verdicts: list[Verdict]) -> None:
    """Every mutant is refused or the same; what is refused says why in words; memory stays bounded."""
    print(Counter(verdict["verdict"] for verdict in verdicts))
    assert not [v for v in verdicts if v["verdict"] not in ("refused", "same")]
    assert not [v for v in verdicts if v["verdict"] == "refused" and ("mutant.tif" not in v["why"] or v["whole"])]
    assert max(v["peak_mib"] for v in verdicts) < PEAK_MIB


def test_mutants_are_the_same_every_time() -> None:
    assert make_mutant(77) == make_mutant(77)
    some = [make_mutant(number) for number in range(len(LAYOUTS) * len(FAULTS))]
    assert {(m.layout, m.fault) for m in some} == {(layout, fault) for layout in LAYOUTS for fault in FAULTS}
    assert sum(m.content == write_layout(m.layout) for m in some) < 3


def test_reading_a_share_of_the_mutants() -> None:
    verdicts = judge(range(5, MUTANTS, 13), run=False)
    check(verdicts)
    assert {v["verdict"] for v in verdicts} == {"refused", "same"}


def test_running_a_share_of_the_mutants() -> None:
    check(judge(range(3, MUTANTS, 134), run=True))


@pytest.mark.slow
def test_reading_all_mutants() -> None:
    check(judge(range(MUTANTS), run=False))


@pytest.mark.slow
def test_running_a_seventh_of_the_mutants() -> None:
    check(judge(range(5, MUTANTS, 7), run=True))
