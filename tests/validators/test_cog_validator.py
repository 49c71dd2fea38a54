"""The rasters in the hands of rio-cogeo and GDAL's own validator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from tests.validators.conftest import PROVENANCE, SYSTEM_PYTHON, make_classes, run_tool

Grids = Callable[..., GeoGrid]
SHAPES = [(1, 1), (1, 3000), (511, 513), (1400, 1100)]


@pytest.fixture(params=SHAPES, ids=str)
def rasters(request: pytest.FixtureRequest, tmp_path: Path, make_grid: Grids) -> list[Path]:
    values, grid = make_classes(request.param), make_grid(*request.param)
    classes, confidence = tmp_path / "classes.tif", tmp_path / "confidence.tif"
    write_class_raster(classes, grid, [(grid.window, values)], legend=LAND_COVER, provenance=PROVENANCE)
    write_confidence_raster(confidence, grid, [(grid.window, values)], provenance=PROVENANCE)
    return [classes, confidence]


def test_rio_cogeo_is_content(rasters: list[Path]) -> None:
    cogeo = pytest.importorskip("rio_cogeo", reason="rio-cogeo is not installed")
    for path in rasters:
        is_valid, errors, warnings = cogeo.cog_validate(path, strict=True, quiet=True)
        assert (is_valid, errors, warnings) == (True, [], [])


def test_gdal_validator_is_content(rasters: list[Path]) -> None:
    module = "osgeo_utils.samples.validate_cloud_optimized_geotiff"
    for path in rasters:
        text = run_tool([SYSTEM_PYTHON, "-m", module, "--full-check=yes", path], needs=module)
        assert "is a valid cloud optimized GeoTIFF" in text
        assert "warning" not in text.lower()


def test_gdalinfo_finds_names_colours_and_provenance(rasters: list[Path]) -> None:
    classes, confidence = (json.loads(run_tool(["gdalinfo", "-json", path])) for path in rasters)
    band = classes["bands"][0]
    names = [LAND_COVER.names[i] for i in range(len(LAND_COVER))]
    assert band["categories"] == names
    assert "GDALRasterAttributeTable" in run_tool(["gdalinfo", rasters[0]])
    assert band["noDataValue"] == LAND_COVER.nodata
    assert [tuple(band["colorTable"]["entries"][c.id][:3]) for c in LAND_COVER.classes] == [
        c.color for c in LAND_COVER.classes
    ]
    assert confidence["bands"][0]["scale"] == pytest.approx(1 / 255)
    for found in (classes, confidence):
        assert found["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
        assert {k: found["metadata"][""][f"GEOSEG_{k.upper()}"] for k in PROVENANCE} == {
            k: str(v) for k, v in PROVENANCE.items()
        }


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_validator_can_fail(tmp_path: Path) -> None:
    cogeo = pytest.importorskip("rio_cogeo", reason="rio-cogeo is not installed")
    path = tmp_path / "strips.tif"
    with rasterio.open(path, "w", driver="GTiff", width=2000, height=2000, count=1, dtype="uint8") as raster:
        raster.write(np.zeros((1, 2000, 2000), np.uint8))
    assert not cogeo.cog_validate(path, strict=True, quiet=True)[0]
