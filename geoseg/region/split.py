"""A region's layer, divided: whole features, each into one part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import OptionError, OutputError
from geoseg.layers.arrow import GEOMETRY
from geoseg.layers.columns import Layer, LayerBatch
from geoseg.layers.provenance import Provenance
from geoseg.layers.read import list_files, split_name
from geoseg.layers.stream import MAP_LAYERS, open_streams
from geoseg.layers.write import check_layer_path, write_layers
from geoseg.legend import ClassLegend
from geoseg.ragged import flatten_geometries

UNKNOWN = "unknown"
"""The part of what no scene claims."""

HELD_BYTES = 32 * 1024 * 1024
SHEET = re.compile(r"sheet:([0-9.]+)")

FindParts = Callable[[LayerBatch], NDArray[np.object_]]
"""Gives the name of the part, (n,) objects, of every feature."""


@dataclass(frozen=True, slots=True)
class Split:
    """How a region's output is divided: not at all, by scene, by UTM zone, or into map sheets of a side in metres."""

    kind: Literal["none", "scene", "utm", "sheet"]
    side_m: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Split:
        """What a user says: none, scene, utm or sheet:SIZE_M.

        Raises:
            OptionError: it is none of these.
        """
        for kind in ("none", "scene", "utm"):
            if text == kind:
                return cls(kind)
        found = SHEET.fullmatch(text)
        try:
            side_m = float(found[1]) if found else 0.0
        except ValueError:
            side_m = 0.0
        if side_m < 1:
            raise OptionError(
                f"--split {text}", expected="none, scene, utm, or sheet: and a side in metres, as sheet:1000"
            )
        return cls("sheet", side_m)


def name_part(path: Path, part: str) -> Path:
    """The file of a part: its name behind the stem."""
    stem, suffix = split_name(path)
    return path.with_name(f"{stem}_{part}{suffix}")


def check_parts(path: Path, *, overwrite: bool) -> None:
    """Refuse to go on where parts, which nobody knows the names of yet, would replace files.

    Raises:
        OptionError: the suffix names no format.
        OutputError: files that may be such parts exist.
    """
    check_layer_path(path, overwrite=True)
    stem, suffix = split_name(path)
    found = [p for p in path.parent.glob("*") if p.name.startswith(f"{stem}_") and p.name.endswith(suffix)]
    if found and not overwrite:
        raise OutputError(
            f"{min(found)} exists",
            expected="no files of parts",
            remedy="choose another name, or say that they may be overwritten",
        )


def find_sheets(crs_wkt: str, side_m: float) -> FindParts:
    """Map sheets: squares whose corners are whole multiples of their side, named by that in the south-west.

    A feature is on the sheet of the first vertex of its outline, or of its line.

    Raises:
        OptionError: the CRS has no lengths.
    """
    crs = CRS.from_wkt(crs_wkt)
    if not crs.is_projected:
        raise OptionError(
            f"sheets of {side_m:g} m in {crs.name}", expected="a projected CRS", remedy="name one with --crs"
        )
    side = side_m / crs.axis_info[0].unit_conversion_factor

    def find(batch: LayerBatch) -> NDArray[np.object_]:
        xy, parts, owners, _ = flatten_geometries(batch.geometries)
        corner = xy[parts[owners[:-1]]]
        # A corner on a border between sheets is of the one towards which its pixel lies.
        east, north = np.floor(corner[:, 0] / side) * side, (np.ceil(corner[:, 1] / side) - 1) * side
        return np.array([f"E{int(x)}_N{int(y)}" for x, y in zip(east, north, strict=True)], object)

    return find


def find_scenes(batch: LayerBatch) -> NDArray[np.object_]:
    """The scenes that features say they are of."""
    return np.array([UNKNOWN if name is None else name for name in batch.columns["source"]], object)


def split_layers(
    whole: Path,
    output: Path,
    find: FindParts,
    *,
    crs_wkt: str,
    sources: Mapping[str, str | None],
    legend: ClassLegend,
    provenance: Provenance,
    pixel_m: float,
) -> dict[str, list[Path]]:
    """Write every feature of a GeoPackage into the layer of its part; features wait in files, not in memory.

    Args:
        whole: the layers.
        output: whose name, with that of the part behind its stem, the parts get; existing ones are replaced.
        find: which part a feature belongs to.
        crs_wkt: CRS of the layers.
        sources: what stands in the column `source` of the parts instead of a value.
        legend: colours of the classes.
        provenance: what made the layers.
        pixel_m: ground resolution of the raster in metres.

    Returns:
        The files of each part, in the order of their names.

    Raises:
        OutputError: a part cannot be written; those before it are complete.
    """
    streams = open_streams(whole)
    with TemporaryDirectory(dir=whole.parent, prefix="split-") as folder:
        spools = [_Spool(Path(folder) / stream.name) for stream in streams]
        for stream, spool in zip(streams, spools, strict=True):
            for record in stream.batches():
                spool.add(record, find(_to_batch(record)))
            spool.flush()
        parts: dict[str, list[Path]] = {}
        for part in sorted({name for spool in spools for name in spool.parts}):
            place = name_part(output, part)
            layers = [
                Layer(stream.name, MAP_LAYERS[stream.name][1], stream.columns, _read_part(spool, part, sources))
                for stream, spool in zip(streams, spools, strict=True)
            ]
            write_layers(
                place,
                layers,
                crs_wkt=crs_wkt,
                legend=legend,
                provenance={**provenance, "part": part},
                pixel_m=pixel_m,
                overwrite=True,
            )
            parts[part] = list_files(place) if len(layers) > 1 else [place]
    return parts


class _Spool:
    """Features of one layer, a file a part, each a series of Arrow streams with their lengths before them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.parts: dict[str, Path] = {}
        self._held: dict[str, list[pa.RecordBatch]] = {}
        self._bytes = 0

    def add(self, record: pa.RecordBatch, parts: NDArray[np.object_]) -> None:
        """Put each feature to its part (n,)."""
        names, numbers = np.unique(parts.astype(str), return_inverse=True)
        for number, name in enumerate(names.tolist()):
            taken = record.take(pa.array(np.flatnonzero(numbers == number)))
            self._held.setdefault(name, []).append(taken)
            self._bytes += taken.nbytes
        if self._bytes > HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Leave nothing in memory."""
        for name, records in self._held.items():
            path = self.parts.setdefault(name, self._folder / str(len(self.parts)))
            content = pa.BufferOutputStream()
            with pa.ipc.new_stream(content, records[0].schema) as stream:
                for record in records:
                    stream.write_batch(record)
            buffer = content.getvalue()
            with path.open("ab") as file:
                file.write(buffer.size.to_bytes(8, "little"))
                file.write(buffer)
        self._held, self._bytes = {}, 0

    def read(self, part: str) -> Iterator[pa.RecordBatch]:
        """The features of a part in the order in which they came."""
        if part not in self.parts:
            return
        with self.parts[part].open("rb") as file:
            while head := file.read(8):
                with pa.ipc.open_stream(file.read(int.from_bytes(head, "little"))) as stream:
                    yield from stream


def _read_part(spool: _Spool, part: str, sources: Mapping[str, str | None]) -> Iterator[LayerBatch]:
    for record in spool.read(part):
        batch = _to_batch(record)
        said = [sources.get(name, name) for name in batch.columns["source"]]
        yield LayerBatch(batch.geometries, batch.columns | {"source": np.array(said, object)})


def _to_batch(record: pa.RecordBatch) -> LayerBatch:
    columns = {name: record.column(name).to_numpy(zero_copy_only=False) for name in record.schema.names}
    return LayerBatch(shapely.from_wkb(columns.pop(GEOMETRY)), columns)
