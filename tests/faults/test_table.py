"""The tables of bad input and of faults name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"((?:`\w+`(?: \(slow\))?(?:, )?)+) in `([\w/]+\.py)`")


@pytest.mark.parametrize(("section", "least"), [("Bad input", 40), ("Faults", 15)])
def test_every_row_names_tests_that_exist(section: str, least: int) -> None:
    text = (ROOT / "tests" / "faults" / "README.md").read_text().split(f"## {section}")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= least
    for row in rows:
        places = TEST.findall(row)
        assert places, row
        for names, path in places:
            code = (ROOT / path).read_text()
            assert all(f"def {name}(" in code for name in re.findall(r"`(\w+)`", names)), row
