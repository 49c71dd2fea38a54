"""Small things done for real: polygons, a prediction, and every format written and read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.doctor.findings import Finding
from geoseg.errors import GeosegError
from geoseg.progress import Progress

SECTION = "self-test"
ROWS, COLS, TILE_PX, PATCH_PX = 40, 56, 16, 128
PIXEL_M = 0.5
MAX_DIFFERENCE = 1e-3
AGAIN = "install geoseg anew, in an empty environment"


def try_geoseg(progress: Progress) -> Iterator[Finding]:
    """Trace a class raster, run the default model, write and read a layer in every format."""
    with tempfile.TemporaryDirectory(prefix="geoseg-doctor-") as name:
        folder = Path(name)
        try:
            classes = _make_classes(folder)
        except Exception as error:
            yield _fail("class raster", error)
            return
        yield Finding(SECTION, "class raster", f"{ROWS} x {COLS} pixels written")
        yield _try("polygons", partial(_compare_polygons, folder, classes, progress))
        yield _try("prediction", _predict)
        for suffix in _list_suffixes():
            yield _try(f"layer {suffix}", partial(_write_and_read, folder, classes, suffix))


def _try(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(SECTION, name, attempt())
    # A fault of any kind is the finding, and must not hide the next one.
    except Exception as error:
        return _fail(name, error)


def _fail(name: str, error: Exception) -> Finding:
    if isinstance(error, GeosegError):
        return Finding(SECTION, name, error.found, "failed", error.remedy or AGAIN)
    return Finding(SECTION, name, f"{type(error).__name__}: {error}", "failed", AGAIN)


def _list_suffixes() -> tuple[str, ...]:
    from geoseg.layers.read import SUFFIXES

    return SUFFIXES


def _make_classes(folder: Path) -> Path:
    import numpy as np
    import rasterio
    from affine import Affine

    from geoseg.grid import GeoGrid
    from geoseg.legend import LAND_COVER
    from geoseg.raster.cog import write_class_raster

    transform = Affine(PIXEL_M, 0, 530_000, 0, -PIXEL_M, 9_330_000)
    grid = GeoGrid(rasterio.CRS.from_epsg(32737).to_wkt(), transform, ROWS, COLS)
    coarse = np.random.default_rng(5).integers(0, 4, (ROWS // 4, COLS // 4)).astype(np.uint8)
    classes = coarse.repeat(4, axis=0).repeat(4, axis=1)
    path = folder / "classes.tif"
    write_class_raster(path, grid, [(grid.window, classes)], legend=LAND_COVER)
    return path


def _compare_polygons(folder: Path, classes: Path, progress: Progress) -> str:
    import rasterio
    import shapely
    from rasterio.features import shapes

    from geoseg.kernel import announce_compiling
    from geoseg.layers.read import open_layer
    from geoseg.run.polygonize import polygonize

    with announce_compiling(progress.note):
        result = polygonize(classes, folder / "polygons.fgb", tile_px=TILE_PX, workers=1)
    frame = open_layer(result.output)
    with rasterio.open(classes) as raster:
        wanted = [(int(v), shapely.geometry.shape(s)) for s, v in shapes(raster.read(1), transform=raster.transform)]
    found = list(zip(frame["class_id"], frame.geometry, strict=True))
    if _normalize(found) != _normalize(wanted):
        raise ArithmeticError(f"{len(found)} polygons differ from the {len(wanted)} of rasterio.features.shapes")
    return f"{len(found)}, the same as those of rasterio.features.shapes"


def _normalize(polygons: list[tuple[int, Any]]) -> list[tuple[int, bytes]]:
    import shapely

    return sorted((int(value), shapely.to_wkb(shapely.normalize(polygon))) for value, polygon in polygons)


def _predict() -> str:
    import numpy as np

    from geoseg.models.engine import PatchGeometry
    from geoseg.models.generated import generate_image
    from geoseg.models.onnx_engine import OnnxEngine
    from geoseg.models.package import load_package
    from geoseg.run.segment import DEFAULT_MODEL

    package = load_package(DEFAULT_MODEL)
    engine = OnnxEngine(package, PatchGeometry(PATCH_PX, 0, PATCH_PX, PATCH_PX))
    found = engine.predict_probabilities(generate_image(engine.bands, PATCH_PX)[None])
    is_sound = found.shape == (1, len(package.legend), PATCH_PX, PATCH_PX) and np.isfinite(found).all()
    if not is_sound or np.abs(found.sum(axis=1) - 1).max() > MAX_DIFFERENCE:
        raise ArithmeticError(f"{DEFAULT_MODEL} gives no probabilities")
    return f"{PATCH_PX} x {PATCH_PX} pixels through {DEFAULT_MODEL}"


def _write_and_read(folder: Path, classes: Path, suffix: str) -> str:
    from geoseg.layers.read import open_layer
    from geoseg.run.polygonize import polygonize

    result = polygonize(classes, folder / f"map{suffix}", workers=1)
    written, read = sum(result.polygons.values()), len(open_layer(result.output))
    # PMTiles hold features cut along the tiles.
    if read < written or (read > written and suffix != ".pmtiles"):
        raise ArithmeticError(f"{written} polygons written, {read} read")
    return f"{written} polygons written and read"
