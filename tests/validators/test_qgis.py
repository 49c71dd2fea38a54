"""Every format in QGIS itself, without a window."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoseg.layers.write import SUFFIXES, WrittenLayer
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from tests.validators.conftest import SYSTEM_PYTHON, UTM, Map

MapFile = Callable[[str], list[WrittenLayer]]
PROBE = Path(__file__).with_name("qgis_probe.py")
COLORS = {c.name: list(c.color) for c in LAND_COVER.classes if c.kind != "background"}
DRIVERS = {".parquet": "Parquet", ".pmtiles": "PMTiles"}

pytestmark = pytest.mark.qgis


@pytest.fixture(scope="session")
def ask_qgis(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Ask QGIS about files: (path, ...) gives what it found; the picture lies at `picture`."""
    check = [SYSTEM_PYTHON, "-c", "import qgis.core"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip(f"{SYSTEM_PYTHON} has no QGIS")
    home = tmp_path_factory.mktemp("qgis")

    def ask(*paths: Path) -> dict[str, Any]:
        picture = home / f"{len(list(home.glob('*.png')))}_{paths[0].name}.png"
        environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": "/usr/bin", "LC_ALL": "C.UTF-8"}
        command = [SYSTEM_PYTHON, PROBE, picture, "800", *paths]
        done = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, env=environment, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]) | {"path": picture}

    return ask


def count_colors(picture: Path, alpha: int) -> dict[str, float]:
    """Share of the picture's pixels that are nearest to black, white and to each class drawn over white."""
    pixels = np.asarray(Image.open(picture).convert("RGB"), float)
    names = ["black", "white", *COLORS]
    drawn = np.array(
        [[0.0] * 3, [255.0] * 3, *([255 + (c - 255) * alpha / 255 for c in color] for color in COLORS.values())]
    )
    nearest = ((pixels[..., None, :] - drawn) ** 2).sum(-1).argmin(-1)
    return {name: float((nearest == i).mean()) for i, name in enumerate(names)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vector_layers(map_file: MapFile, ask_qgis: Callable[..., dict[str, Any]], small_map: Map, suffix: str) -> None:
    written = map_file(suffix)
    found = ask_qgis(*dict.fromkeys(layer.path for layer in reversed(written)))
    driver = DRIVERS.get(suffix)
    if driver and driver not in found["drivers"]:
        pytest.skip(f"the GDAL {found['gdal']} of this QGIS has no driver {driver}")
    assert found["messages"] == []
    assert found["picture"]["errors"] == []
    layers = {layer["geometry"]: layer for layer in found["layers"]}
    roads, polygons = layers[1], layers[2]
    for layer, geometries in ((polygons, small_map.polygons), (roads, small_map.roads)):
        assert layer["features"] == layer["read"] == len(geometries)
        assert 0 < layer["quarter"] < layer["features"]
        assert layer["crs"] == ("EPSG:32737" if suffix in (".gpkg", ".fgb", ".parquet") else "EPSG:4326")
        assert layer["renderer"] == "categorizedSymbol"
        assert layer["attribute"] == "class"
        assert {name: color for name, color in layer["top"].items() if name} == COLORS
    if suffix in (".gpkg", ".fgb"):
        assert polygons["index"] == roads["index"] == 2
    shares = count_colors(found["path"], alpha=150)
    for one in LAND_COVER.classes[1:]:  # outlines and roads cover something of each
        assert shares[one.name] == pytest.approx(float((small_map.classes == one.id).mean()), abs=0.08)


def test_class_raster(tmp_path: Path, ask_qgis: Callable[..., dict[str, Any]], small_map: Map) -> None:
    blocks = [(UTM.window, small_map.classes)]
    write_class_raster(tmp_path / "classes.tif", UTM, blocks, legend=LAND_COVER)
    found = ask_qgis(tmp_path / "classes.tif")
    (layer,) = found["layers"]
    assert (layer["crs"], layer["nodata"], layer["renderer"]) == ("EPSG:32737", LAND_COVER.nodata, "paletted")
    assert layer["classes"] == {
        str(c.id): [c.name, list(c.color), 0 if c.kind == "background" else 255] for c in LAND_COVER.classes
    }
    assert found["messages"] == found["picture"]["errors"] == []
    shares = count_colors(found["path"], alpha=255)
    assert shares["black"] == 0
    for one in LAND_COVER.classes[1:]:
        assert shares[one.name] == pytest.approx(float((small_map.classes == one.id).mean()), abs=0.01)


def test_class_raster_without_its_style(
    tmp_path: Path, ask_qgis: Callable[..., dict[str, Any]], small_map: Map
) -> None:
    """Names and colours come out of the raster and its side file, too."""
    write_class_raster(tmp_path / "classes.tif", UTM, [(UTM.window, small_map.classes)], legend=LAND_COVER)
    (tmp_path / "classes.qml").unlink()
    (layer,) = ask_qgis(tmp_path / "classes.tif")["layers"]
    assert {number: found[:2] for number, found in layer["classes"].items() if int(number) < len(LAND_COVER)} == {
        str(c.id): [c.name, list(c.color)] for c in LAND_COVER.classes
    }


def test_confidence_raster(tmp_path: Path, ask_qgis: Callable[..., dict[str, Any]]) -> None:
    values = np.random.default_rng(0).integers(1, 256, UTM.window.shape).astype(np.uint8)
    write_confidence_raster(tmp_path / "confidence.tif", UTM, [(UTM.window, values)])
    found = ask_qgis(tmp_path / "confidence.tif")
    (layer,) = found["layers"]
    assert (layer["crs"], layer["nodata"], layer["renderer"]) == ("EPSG:32737", 0, "singlebandgray")
    assert found["picture"]["colors"] > 50
