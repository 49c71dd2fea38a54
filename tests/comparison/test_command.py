"""The command prints what the function finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from geoseg.cli.comparing import compare
from geoseg.errors import InputError, OptionError
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


def test_layers_of_two_places_are_suspected(tmp_path: Path) -> None:
    a, b, _ = make_town()
    told = "no object of one layer meets one of the other: do both show one place, in their true CRS?"
    for moved_m, expected in ((0, False), (1e5, True)):
        paths = save_both(tmp_path, a, b.set_geometry(b.translate(moved_m)))
        done = CliRunner().invoke(compare, [str(path) for path in paths], catch_exceptions=False)
        assert (told in done.output) is expected


def test_a_class_that_neither_layer_has_is_refused(tmp_path: Path) -> None:
    a, b, _ = make_town()
    a_path, b_path = save_both(tmp_path, a, b.assign(**{"class": "shed"}))
    with pytest.raises(OptionError, match=r"bogus(.|\n)*building, shed"):
        CliRunner().invoke(compare, [str(a_path), str(b_path), "--only-class", "bogus"], catch_exceptions=False)
    done = CliRunner().invoke(compare, [str(a_path), str(b_path), "--only-class", "shed"], catch_exceptions=False)
    assert done.output.splitlines()[3].split()[:3] == ["shed", "0", str(len(b))]


@pytest.mark.parametrize("options", [[], ["--only-class", "building"]])
def test_points_are_no_objects(tmp_path: Path, options: list[str]) -> None:
    a, b, _ = make_town()
    a_path, b_path = save_both(tmp_path, a, b.set_geometry(b.centroid))
    with pytest.raises(InputError, match=r"b\.fgb has no polygons or lines"):
        CliRunner().invoke(compare, [str(a_path), str(b_path), *options], catch_exceptions=False)
