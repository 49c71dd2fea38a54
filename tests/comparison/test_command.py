"""The command prints what the function finds."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from geoseg.cli.comparing import compare
from tests.comparison.scenes import make_town, save_both


def test_table_and_json(tmp_path: Path) -> None:
    a, b, truth = make_town()
    paths = [str(path) for path in save_both(tmp_path, a, b)]
    table = CliRunner().invoke(compare, paths, catch_exceptions=False).output.splitlines()
    head, row = table[2].split(), table[3].split()
    assert dict(zip(head[1:], row[1:], strict=True)) == {k: str(v) for k, v in truth.items()} | {
        "A": str(len(a)),
        "B": str(len(b)),
        "noise": "0",
    }
    output = tmp_path / "changes.gpkg"
    done = CliRunner().invoke(compare, [*paths, "-o", str(output), "--json"], catch_exceptions=False)
    found = json.loads(done.output)
    assert found["polygons"]["building"]["objects"] == truth | {"noise": 0}
    assert output.exists()
