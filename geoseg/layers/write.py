"""Layers into files, a batch at a time, in the format that the suffix names."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geoseg.errors import OptionError, OutputError
from geoseg.files import replace_file
from geoseg.layers.columns import Layer
from geoseg.layers.geojson import RECORD_SEPARATOR, write_geojson, write_geojson_sequence
from geoseg.layers.geopackage import write_geopackage
from geoseg.layers.ogr import write_flatgeobuf
from geoseg.layers.parquet import write_geoparquet
from geoseg.layers.pmtiles import check_pmtiles, write_pmtiles
from geoseg.layers.provenance import Provenance
from geoseg.layers.read import SUFFIXES
from geoseg.layers.style import is_own_style, make_qml
from geoseg.legend import ClassLegend

_GZIP_LEVEL = 1  # the next ones cost more time than the writing of the layer


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """What was written: the layer's name, its file, its number of features, the file's size in bytes."""

    name: str
    path: Path
    features: int
    size_bytes: int


def write_layers(
    path: Path | str,
    layers: Sequence[Layer],
    *,
    crs_wkt: str,
    legend: ClassLegend,
    provenance: Provenance,
    pixel_m: float | None = None,
    overwrite: bool = False,
) -> list[WrittenLayer]:
    """Write the layers of a map, complete or not at all; old files stay until all new ones are complete.

    A GeoPackage holds all layers. Of every other format the first layer goes to `path` and each further one beside it,
    its name behind the stem (`map.fgb`, `map_roads.fgb`); formats without a place for a style get a QML file beside
    them (`map.qml`), which QGIS takes by itself. The same features in the same order give the same bytes, however they
    are cut into batches.

    Args:
        path: the file; its suffix is one of `SUFFIXES`.
        layers: at least one.
        crs_wkt: CRS of the geometries.
        legend: colours of the classes.
        provenance: what made the layers; kept in every format.
        pixel_m: ground resolution of the raster in metres, from which PMTiles take their zoom levels.
        overwrite: replace existing files; a style of somebody else's is kept.

    Raises:
        OptionError: the suffix is not known, or PMTiles lack `pixel_m`.
        OutputError: a file exists and `overwrite` is off, or it cannot be written.
    """
    path = Path(path)
    suffix = check_layer_path(path, overwrite=overwrite)
    if suffix == ".pmtiles" and (pixel_m is None or not math.isfinite(pixel_m)):
        raise OptionError(
            "PMTiles of a raster without a known ground resolution",
            expected="metres a pixel, for the zoom levels",
            remedy="choose another format, or give the raster a CRS that has longitudes and latitudes",
        )
    setting = _Setting(crs_wkt, legend, provenance, pixel_m or math.nan)
    groups: dict[Path, list[Layer]] = {}
    for place, layer in zip(place_layers(path, [layer.name for layer in layers]), layers, strict=True):
        groups.setdefault(place, []).append(layer)
    for place in groups:
        check_layer_path(place, overwrite=overwrite)
    written = []
    with ExitStack() as stack:
        # Entered first and so replaced last: where `path` is new, everything is.
        temporaries = {place: stack.enter_context(replace_file(place)) for place in groups}
        for place, own in groups.items():
            counts = _WRITERS[suffix](temporaries[place], own, setting)
            size_bytes = temporaries[place].stat().st_size
            written += [WrittenLayer(own[i].name, place, count, size_bytes) for i, count in enumerate(counts)]
            style = place.with_name(f"{_stem(place, suffix)}.qml")
            if suffix in _STYLED_BESIDE and (is_own_style(style) or not os.path.lexists(style)):
                text = make_qml(legend, own[0].geometry_type, column=own[0].colored_by)
                stack.enter_context(replace_file(style)).write_text(text, encoding="utf-8")
        for place in groups:
            _refuse_open_database(place)
    return written


def check_layer_path(path: Path | str, *, overwrite: bool = False) -> str:
    """The suffix of a path that can be written; raises what `write_layers` would before hours of work are spent.

    Raises:
        OptionError: the suffix is not known, or the name cannot be that of a file.
        OutputError: the file exists and `overwrite` is off, or it is open in another program.
    """
    path = Path(path)
    # GDAL leaves line ends out of a name and writes to another file.
    if any(character < " " or "\ud800" <= character < "\ue000" for character in str(path)):
        raise OptionError(f"a name with control characters: {str(path)!r}", expected="a name in UTF-8 on one line")
    suffix = _find_suffix(path)
    if not _stem(path, suffix):
        raise OptionError(
            f"'{path}', a suffix without a name", expected=f"a name such as map{suffix}", remedy="put a name before it"
        )
    if suffix == ".pmtiles":
        check_pmtiles()
    try:
        path.resolve().stat()
    except FileNotFoundError:
        exists = False
    except (OSError, RuntimeError) as error:  # too long, or a link to itself
        reason = getattr(error, "strerror", None) or "a link to itself"
        raise OutputError(f"{path} cannot be written: {reason}", expected="a name that a file can have") from error
    else:
        exists = True
    if exists and not overwrite:
        raise OutputError(
            f"{path} exists", expected="a new file", remedy="choose another name or allow it to be overwritten"
        )
    _refuse_open_database(path)
    return suffix


def holds_many(path: Path | str) -> bool:
    """Whether a file of this name holds several layers."""
    return str(path).lower().endswith(".gpkg")


def place_layers(path: Path, names: Sequence[str]) -> list[Path]:
    """The file of each layer: all in one GeoPackage, else the first in `path` and each other one beside it.

    Raises:
        OptionError: the suffix is not known.
    """
    if holds_many(path):
        return [path] * len(names)
    suffix = _find_suffix(path)
    stem, end = _stem(path, suffix), path.name[-len(suffix) :]
    return [path, *(path.with_name(f"{stem}_{name}{end}") for name in names[1:])]


def _find_suffix(path: Path) -> str:
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise OptionError(
            f"a layer cannot be written as '{path.name}': the suffix '{path.suffix}' is not known",
            expected=f"one of {', '.join(SUFFIXES)}",
            remedy="change the suffix of the output",
        )
    return suffix


def _stem(path: Path, suffix: str) -> str:
    return path.name[: -len(suffix)]


def _refuse_open_database(path: Path) -> None:
    """A journal that another program keeps for the old file would be played back into the new one."""
    journal = path.with_name(path.name + "-wal")
    if journal.exists():
        raise OutputError(
            f"{path} is open in another program, which keeps {journal.name}",
            expected="a layer that nobody has open",
            remedy="close the layer there, or choose another name",
        )


@dataclass(frozen=True, slots=True)
class _Setting:
    crs_wkt: str
    legend: ClassLegend
    provenance: Provenance
    pixel_m: float


def _write_geopackage(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    return write_geopackage(path, layers, crs_wkt=setting.crs_wkt, legend=setting.legend, provenance=setting.provenance)


def _write_flatgeobuf(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    return [write_flatgeobuf(path, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance)]


def _write_geoparquet(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    return [write_geoparquet(path, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance)]


def _write_pmtiles(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    return [
        write_pmtiles(path, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance, pixel_m=setting.pixel_m)
    ]


def _write_geojson(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    with path.open("wb") as file:
        return [write_geojson(file, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance)]


def _write_compressed_geojson(path: Path, layers: Sequence[Layer], setting: _Setting) -> list[int]:
    # Neither a time nor the temporary name gets into the file.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
        return [write_geojson(file, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance)]


def _write_sequence(path: Path, layers: Sequence[Layer], setting: _Setting, *, separator: bytes = b"") -> list[int]:
    with path.open("wb") as file:
        return [
            write_geojson_sequence(
                file, layers[0], crs_wkt=setting.crs_wkt, provenance=setting.provenance, separator=separator
            )
        ]


_WRITERS: dict[str, Callable[[Path, Sequence[Layer], _Setting], list[int]]] = {
    ".gpkg": _write_geopackage,
    ".geojson": _write_geojson,
    ".geojson.gz": _write_compressed_geojson,
    ".geojsonl": _write_sequence,
    ".geojsonseq": partial(_write_sequence, separator=RECORD_SEPARATOR),
    ".geojsons": partial(_write_sequence, separator=RECORD_SEPARATOR),
    ".fgb": _write_flatgeobuf,
    ".parquet": _write_geoparquet,
    ".pmtiles": _write_pmtiles,
}
_STYLED_BESIDE = frozenset(_WRITERS) - {".gpkg", ".pmtiles"}
