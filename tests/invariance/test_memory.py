"""Memory does not grow with the raster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster

SMALL_PX, LARGE_PX = 4096, 16384
MOTIF_PX = 2048
ALLOWED_GROWTH = 1.15


def write_motif(path: Path, bands: np.ndarray) -> Path:
    profile = {"driver": "GTiff", "height": MOTIF_PX, "width": MOTIF_PX, "count": len(bands), "dtype": "uint8"}
    tiling = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500000, 5600000, 0.4, 0.4)}
    with rasterio.open(path, "w", **profile, **tiling, **place) as target:
        target.write(bands)
    return path


def write_classes(path: Path, classes: np.ndarray) -> Path:
    grid = GeoGrid(rasterio.CRS.from_epsg(32633).to_wkt(), from_origin(500000, 5600000, 0.4, 0.4), *classes.shape)
    write_class_raster(path, grid, [(grid.window, classes)], legend=LAND_COVER)
    return path


def repeat_motif(motif: Path, size_px: int, *, nodata: int | None = None) -> Path:
    """A VRT of `size_px` squared that repeats a raster with its legend."""
    with rasterio.open(motif) as source:
        wkt, transform, count = source.crs.to_wkt(), source.transform.to_gdal(), source.count
        tags = [source.tags(band) for band in source.indexes]
    bands = []
    for band in range(1, count + 1):
        legend = "".join(f'<MDI key="{key}">{value}</MDI>' for key, value in tags[band - 1].items())
        unknown = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{motif.name}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{MOTIF_PX}" ySize="{MOTIF_PX}"/>'
            f'<DstRect xOff="{x}" yOff="{y}" xSize="{MOTIF_PX}" ySize="{MOTIF_PX}"/></SimpleSource>'
            for y in range(0, size_px, MOTIF_PX)
            for x in range(0, size_px, MOTIF_PX)
        )
        bands.append(
            f'<VRTRasterBand dataType="Byte" band="{band}">'
            f"{unknown}<Metadata>{legend}</Metadata>{sources}</VRTRasterBand>"
        )
    vrt = motif.with_name(f"{motif.stem}_{size_px}.vrt")
    vrt.write_text(
        f'<VRTDataset rasterXSize="{size_px}" rasterYSize="{size_px}"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{', '.join(map(str, transform))}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return vrt


def make_classes(*, speck_share: float = 0.0) -> np.ndarray:
    """Blobs of three classes, specks in them, and a road net that runs through every repetition."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((MOTIF_PX, MOTIF_PX)).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, 6, mode="wrap")
    classes = np.digitize(smooth, np.quantile(smooth, [0.7, 0.9])).astype(np.uint8)
    specks = rng.random(classes.shape) < speck_share
    classes[specks] = rng.integers(0, 3, specks.sum())
    classes[::256] = classes[:, ::256] = 3
    return classes


def peak_bytes(code: str) -> int:
    script = f"{code}\nimport sys\nsys.stdout.write(str(result.peak_bytes))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=580)
    return int(done.stdout)


FINISH = {"min_unit_m2": 5.0, "simplify_m": "auto", "regularize": True, "smooth": True, "roads": True}


CASES: dict[str, tuple[float, dict[str, object]]] = {
    "exact": (0.0, {}),
    "finished": (0.0, FINISH),
    "specks": (0.01, {"min_unit_m2": 5.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_polygonize(case: str, tmp_path: Path) -> None:
    speck_share, options = CASES[case]
    motif = write_classes(tmp_path / "classes.tif", make_classes(speck_share=speck_share))
    peaks = [
        peak_bytes(
            "import geoseg\n"
            f"layer = {str(tmp_path / f'{size}.gpkg')!r}\n"
            f"result = geoseg.polygonize({str(repeat_motif(motif, size))!r}, layer, workers=2, **{options!r})"
        )
        for size in (SMALL_PX, LARGE_PX)
    ]
    assert peaks[1] <= ALLOWED_GROWTH * peaks[0]


@pytest.mark.slow
def test_segment(tmp_path: Path) -> None:
    """With an engine that costs nothing, but for the arrays that pass through it."""
    noise = np.random.default_rng(4).standard_normal((MOTIF_PX, MOTIF_PX)).astype(np.float32)
    spots = ndimage.gaussian_filter(noise, 8, mode="wrap")
    image = np.where(spots > np.quantile(spots, 0.8), 220, 0).astype(np.uint8)
    motif = write_motif(tmp_path / "image.tif", np.stack([image] * 3))
    root = str(Path(__file__).parents[2])
    peaks = [
        peak_bytes(
            f"import sys; sys.path.insert(0, {root!r})\n"
            "import geoseg, geoseg.run.graph as graph\n"
            "from tests import fakes\n"
            "graph.open_engine = lambda package, geometry, device: fakes.FakeEngine(geometry)\n"
            f"layer = {str(tmp_path / f'{size}.gpkg')!r}\n"
            f"result = geoseg.segment({str(repeat_motif(motif, size))!r}, layer, workers=2)"
        )
        for size in (SMALL_PX, LARGE_PX)
    ]
    assert peaks[1] <= ALLOWED_GROWTH * peaks[0]
