"""What GDAL, PROJ and GEOS can do here; rasterio and pyogrio each bring a GDAL of their own."""

from __future__ import annotations

from collections.abc import Iterator

from geoseg.doctor.findings import Finding
from geoseg.progress import Progress

SECTION = "drivers"
WHEELS = "install {library} from its wheel: pip install --force-reinstall {library}"

RASTER = {
    "GTiff": "imagery and tiles of classes",
    "COG": "class rasters",
    "VRT": "mosaics and virtual rasters",
    "JPEG": "compressed imagery, labels",
    "PNG": "labels",
}
RASTER_EXTRA = {
    "JP2OpenJPEG": "JPEG 2000",
    "HTTP": "URLs",
    "WMTS": "tile services",
    "netCDF": "netCDF",
    "Zarr": "Zarr",
    "HFA": "Erdas Imagine",
}
"""Of these geoseg needs none, but users have such files."""

VECTOR = {
    "GPKG": ("w", ".gpkg"),
    "FlatGeobuf": ("w", ".fgb"),
    "PMTiles": ("w", ".pmtiles"),
    "GeoJSON": ("r", ".geojson, areas of interest"),
    "GeoJSONSeq": ("r", ".geojsonl, .geojsonseq"),
}
VECTOR_EXTRA = {"ESRI Shapefile": ("r", "areas of interest, labels")}

LONLAT, UTM = (39.0, -6.0), (500_000.0, 9_336_795.4)
"""One place in degrees, and in UTM zone 37 South, metres."""


def find_drivers(_: Progress) -> Iterator[Finding]:
    """Versions of the native libraries, the drivers that geoseg's formats need, and whether PROJ finds its database."""
    yield from _find_raster()
    yield from _find_vector()
    yield from _find_proj()


def _find_raster() -> Iterator[Finding]:
    import rasterio

    libraries = f"GDAL {rasterio.__gdal_version__}, PROJ {rasterio.__proj_version__}, GEOS {rasterio.__geos_version__}"
    yield Finding(SECTION, "rasterio", libraries)
    with rasterio.Env() as environment:
        there = set(environment.drivers())
    for name, use in RASTER.items():
        yield _judge(name, use, name in there, library="rasterio")
    for name, use in RASTER_EXTRA.items():
        yield _judge(name, use, name in there, library="rasterio", state="note")


def _find_vector() -> Iterator[Finding]:
    import pyogrio
    import shapely

    gdal, geos = (".".join(map(str, v)) for v in (pyogrio.__gdal_version__, pyogrio.__gdal_geos_version__ or ("none",)))
    yield Finding(SECTION, "pyogrio", f"GDAL {gdal}, GEOS {geos}")
    yield Finding(SECTION, "shapely", f"GEOS {shapely.geos_version_string}")
    there = pyogrio.list_drivers()
    for name, (mode, use) in VECTOR.items():
        yield _judge(name, use, mode in there.get(name, ""), library="pyogrio")
    for name, (mode, use) in VECTOR_EXTRA.items():
        yield _judge(name, use, mode in there.get(name, ""), library="pyogrio", state="note")


def _judge(name: str, use: str, is_there: bool, *, library: str, state: str = "failed") -> Finding:
    if is_there:
        return Finding(SECTION, name, use)
    remedy = WHEELS.format(library=library)
    return Finding(SECTION, name, f"missing: {use}", "note" if state == "note" else "failed", remedy)


def _find_proj() -> Iterator[Finding]:
    import pyproj
    from rasterio.warp import transform

    yield Finding(SECTION, "pyproj", f"PROJ {pyproj.proj_version_str}, database in {pyproj.datadir.get_data_dir()}")
    remedy = "unset PROJ_DATA and PROJ_LIB: each library brings the database that fits it"
    for name in ("rasterio", "pyproj"):
        try:
            if name == "rasterio":
                (x,), (y,) = transform("EPSG:4326", "EPSG:32737", [LONLAT[0]], [LONLAT[1]])
            else:
                x, y = pyproj.Transformer.from_crs(4326, 32737, always_xy=True).transform(*LONLAT)
        # Either library has exceptions of its own.
        except Exception as error:
            yield Finding(SECTION, f"PROJ database of {name}", f"{error}".strip(), "failed", remedy)
            continue
        is_right = max(abs(x - UTM[0]), abs(y - UTM[1])) < 1
        value = "found" if is_right else f"(39, -6) degrees became ({x:.1f}, {y:.1f}) m in EPSG:32737"
        yield Finding(
            SECTION, f"PROJ database of {name}", value, "ok" if is_right else "failed", "" if is_right else remedy
        )
