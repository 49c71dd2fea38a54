"""Layers, jobs and outputs that are not what they seem."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from geoseg.errors import InputError, OptionError
from geoseg.run.polygonize import polygonize
from geoseg.training.coco import read_coco
from geoseg.training.job import read_job
from tests.test_bad_input import Run, write_image

GOOD = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"class": "building"},
                "geometry": shapely.geometry.mapping(shapely.box(15, 50.5, 15.001, 50.501)),
            }
        ],
    }
)
FRAME = geopandas.GeoDataFrame({"class": ["building"] * 9}, geometry=[shapely.box(5e5, 5e6, 5e5 + 9, 5e6 + 9)] * 9)


def write_layer(path: Path) -> bytes:
    """A whole layer of a suffix's format."""
    frame = FRAME.set_crs("EPSG:32633")
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return path.read_bytes()


def cut(path: Path) -> str:
    content = write_layer(path)
    return content[: len(content) // 3].decode("latin1")


BAD_LAYERS: dict[str, Callable[[Path], str]] = {
    "empty.geojson": lambda path: "",
    "text.gpkg": lambda path: "text",
    "text.fgb": lambda path: "fgb?",
    "text.parquet": lambda path: "PAR1",
    "cut.geojson": lambda path: GOOD[:-40],
    "deep.geojson": lambda path: "[" * 10**6,
    "cut.gpkg": cut,
    "cut.fgb": cut,
    "cut.parquet": cut,
    "text.geojson.gz": lambda path: "text",
}


@pytest.mark.parametrize("command", ["view", "compare", "evaluate", "load"])
@pytest.mark.parametrize("kind", BAD_LAYERS)
def test_layers_that_are_broken(refuse: Run, tmp_path: Path, command: str, kind: str) -> None:
    layer, good = tmp_path / kind, tmp_path / "good.geojson"
    layer.write_text(BAD_LAYERS[kind](layer), encoding="latin1")
    good.write_text(GOOD)
    others = {"view": ["-o", tmp_path / "page.html"], "load": ["postgresql://127.0.0.1:1/none"]}
    refuse(command, layer, *others.get(command, [good]), expect=kind if command != "load" else "")


@pytest.mark.parametrize("command", ["view", "compare", "evaluate", "load"])
def test_pipes_are_no_layers(refuse: Run, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe.geojson")
    (tmp_path / "good.geojson").write_text(GOOD)
    others = {"view": [], "load": ["postgresql://127.0.0.1:1/none"]}
    refuse(command, tmp_path / "pipe.geojson", *others.get(command, [tmp_path / "good.geojson"]), expect="pipe.geojson")


BAD_JOBS = {
    "empty": "",
    "no TOML": "[[[",
    "bytes": "\xff\xfe",
    "zero byte": "seed = 1\0",
    "deep": "seed = " + "[" * 100_000,
    "text for a number": 'seed = "7"',
    "number for a text": "root = 7",
    "boolean for a number": "seed = true",
    "table for a number": "[seed]\na = 1",
    "number for a table": "network = 7",
    "list for a table": "network = [1]",
    "table for a list of tables": "[source]\nname = 1",
    "date for a number": "seed = 2020-01-01",
    "unknown key": "seeed = 1",
    "key twice": "seed = 1\nseed = 2",
    "integer beyond all": "seed = " + "9" * 5000,
}


@pytest.mark.parametrize("kind", BAD_JOBS)
def test_jobs_of_wrong_types(refuse: Run, tmp_path: Path, kind: str) -> None:
    job = tmp_path / "job.toml"
    job.write_text(BAD_JOBS[kind], encoding="latin1")
    with pytest.raises(OptionError):
        read_job(job)
    refuse("train", job, "-o", tmp_path / "run", expect="")


def test_annotations_that_are_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    for text in ("[" * 100_000, "{}", "[]", '{"images": 7}', '{"images": [7]}', "\0"):
        path.write_text(text)
        with pytest.raises(InputError, match="COCO"):
            read_coco(path)


class TestOutputs:
    """A link in the way is replaced, never written through; what it leads to stays as it is."""

    @pytest.fixture
    def classes(self, tmp_path: Path) -> Path:
        return write_image(tmp_path / "classes.tif", values=np.eye(30, dtype=np.uint8)[None])

    @pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet", ".geojson.gz"])
    def test_a_link_to_a_precious_file(self, refuse: Run, tmp_path: Path, classes: Path, suffix: str) -> None:
        precious, layer = tmp_path / "precious", tmp_path / f"map{suffix}"
        precious.write_text("precious")
        layer.symlink_to(precious)
        refuse("polygonize", classes, "-o", layer, expect="--overwrite")
        assert layer.is_symlink()
        polygonize(classes, layer, overwrite=True)
        assert precious.read_text() == "precious"
        assert layer.is_file()
        assert not layer.is_symlink()

    def test_a_link_to_nowhere(self, tmp_path: Path, classes: Path) -> None:
        layer = tmp_path / "map.gpkg"
        layer.symlink_to(tmp_path / "elsewhere.gpkg")
        polygonize(classes, layer)
        assert not (tmp_path / "elsewhere.gpkg").exists()
        assert layer.is_file()
        assert not layer.is_symlink()

    def test_a_link_to_the_input(self, refuse: Run, tmp_path: Path, classes: Path) -> None:
        layer = tmp_path / "map.gpkg"
        layer.symlink_to(classes)
        before = classes.read_bytes()
        refuse("polygonize", classes, "-o", layer, "--overwrite", expect="is an input")
        assert classes.read_bytes() == before

    def test_links_that_lead_in_a_circle(self, run: Run, tmp_path: Path, classes: Path) -> None:
        (tmp_path / "a.gpkg").symlink_to(tmp_path / "b.gpkg")
        (tmp_path / "b.gpkg").symlink_to(tmp_path / "a.gpkg")
        assert "Traceback" not in run("polygonize", classes, "-o", tmp_path / "a.gpkg", code=2)
        assert "Traceback" not in run("polygonize", tmp_path / "b.gpkg", "-o", tmp_path / "c.gpkg", code=2)

    def test_a_pipe(self, refuse: Run, tmp_path: Path, classes: Path) -> None:
        os.mkfifo(tmp_path / "map.gpkg")
        refuse("polygonize", classes, "-o", tmp_path / "map.gpkg", expect="--overwrite")
        assert stat.S_ISFIFO((tmp_path / "map.gpkg").stat().st_mode)

    @pytest.mark.parametrize("name", ["/dev/null", "/dev/full"])
    def test_a_device(self, refuse: Run, classes: Path, name: str) -> None:
        refuse("polygonize", classes, "-o", name, expect=".geojson")

    @pytest.mark.parametrize("name", ["x" * 300 + ".gpkg", os.fsdecode(b"\xff.gpkg"), "a\nb.gpkg"])
    def test_names_that_cannot_be(self, run: Run, tmp_path: Path, classes: Path, name: str) -> None:
        assert "Traceback" not in run("polygonize", classes, "-o", tmp_path / name, code=2)
        assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".geoseg") == ["classes.tif"]

    def test_names_that_may_be(self, tmp_path: Path, classes: Path) -> None:
        layer = tmp_path / "日本 'quoted' \u202e.gpkg"
        polygonize(classes, layer)
        assert len(geopandas.read_file(layer)) > 30

    def test_a_linked_style_stays(self, tmp_path: Path, make_grid: Callable[..., object]) -> None:
        from geoseg.legend import LAND_COVER  # noqa: PLC0415
        from geoseg.raster.cog import write_class_raster  # noqa: PLC0415

        precious = tmp_path / "precious.txt"
        precious.write_text("precious")
        (tmp_path / "map.qml").symlink_to(precious)
        (tmp_path / "map.tif").symlink_to(precious)
        grid = make_grid(8, 8)
        blocks = [(grid.window, np.zeros((8, 8), np.uint8))]
        write_class_raster(tmp_path / "map.tif", grid, blocks, legend=LAND_COVER, overwrite=True)
        assert precious.read_text() == "precious"
        with rasterio.open(tmp_path / "map.tif") as raster:
            assert not raster.read().any()
