"""The table of bad input names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_row_names_tests_that_exist() -> None:
    text = (ROOT / "tests" / "faults" / "README.md").read_text().split("## Bad input")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 40
    for _, _, tests in rows:
        names, _, place = tests.rpartition(" in ")
        code = (ROOT / place.strip(" |`")).read_text()
        assert all(f"def {name}(" in code for name in re.findall(r"`(\w+)`", names)), tests
