"""A GeoParquet file as a view reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.layers.stream import translate_faults
from geoseg.view.projection import Box
from geoseg.view.source import check_crs


@dataclass(frozen=True)
class ParquetLayer:
    """A GeoParquet file; `is_indexed` where it has a bounding box column. See `ViewLayer`."""

    path: Path
    name: str

    @cached_property
    def _file(self) -> tuple[pa.Schema, int, dict[str, Any]]:
        with translate_faults(self.path):
            meta = pq.read_metadata(self.path)
            geo = json.loads((meta.metadata or {}).get(b"geo", b"null"))
            schema = meta.schema.to_arrow_schema()
        if not geo:
            raise InputError(f"{self.path} has no geometries", expected="GeoParquet", remedy="check how it was written")
        return schema, meta.num_rows, {"name": geo["primary_column"], **geo["columns"][geo["primary_column"]]}

    @property
    def _geometry(self) -> dict[str, Any]:
        return self._file[2]

    @cached_property
    def _sides(self) -> dict[str, pc.Expression] | None:
        covering = self._geometry.get("covering", {}).get("bbox")
        return {side: pc.field(*path) for side, path in covering.items()} if covering else None

    @property
    def features(self) -> int:
        """How many features it has."""
        return self._file[1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its attributes."""
        return tuple(
            field.name
            for field in self._file[0]
            if field.name != self._geometry["name"] and not pa.types.is_nested(field.type)
        )

    @property
    def crs(self) -> CRS:
        """CRS of its geometries; longitude and latitude where none is named, as the format says."""
        return check_crs(self.path, self._geometry.get("crs", "OGC:CRS84"))

    @cached_property
    def bounds(self) -> Box | None:
        """Bounds of its geometries."""
        if not self.features:
            return None
        box = self._geometry.get("bbox")
        if box is None:
            return self.find_bounds((-np.inf, -np.inf, np.inf, np.inf))
        return tuple(box) if len(box) == 4 else (box[0], box[1], box[3], box[4])

    @property
    def is_indexed(self) -> bool:
        """Whether it has a bounding box column."""
        return self._sides is not None

    def read(self) -> geopandas.GeoDataFrame:
        """All features."""
        return self._read(None)

    def read_boxes(self, boxes: Sequence[Box], *, cap: int) -> tuple[geopandas.GeoDataFrame, int]:
        """The features that meet any of the boxes, or the `cap` largest of them; and how many meet them."""
        sides = self._sides
        if sides is None:
            raise InputError(f"{self.path} has no bounding box column", expected="GeoParquet 1.1 with a covering")
        size = (sides["xmax"] - sides["xmin"]) * (sides["ymax"] - sides["ymin"])
        meets = pc.scalar(False)
        for west, south, east, north in boxes:
            inside = (sides["xmin"] <= east) & (sides["xmax"] >= west)
            meets |= inside & (sides["ymin"] <= north) & (sides["ymax"] >= south)
        with translate_faults(self.path):
            sizes = ds.dataset(self.path).to_table(columns={"size": size}, filter=meets)["size"].to_numpy()
        if len(sizes) <= cap:
            return self._read(meets), len(sizes)
        threshold = np.partition(sizes, -cap)[-cap]
        return self._read(meets & (size >= threshold)).iloc[:cap], len(sizes)

    def find_bounds(self, box: Box) -> Box | None:
        """Bounds of the features that meet a box."""
        if self._sides is None:
            sides = self.read().geometry.bounds.to_numpy()
        else:
            with translate_faults(self.path):
                table = ds.dataset(self.path).to_table(columns=self._sides)
            sides = np.stack([table[side].to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")], axis=1)
        west, south, east, north = box
        meets = (sides[:, 0] <= east) & (sides[:, 2] >= west) & (sides[:, 1] <= north) & (sides[:, 3] >= south)
        found = sides[meets]
        return (*found[:, :2].min(axis=0).tolist(), *found[:, 2:].max(axis=0).tolist()) if len(found) else None

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Attributes without geometries, a batch at a time."""
        with translate_faults(self.path), pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(columns=list(columns))

    def _read(self, keep: pc.Expression | None) -> geopandas.GeoDataFrame:
        geometry = self._geometry["name"]
        if self._geometry["encoding"] != "WKB":
            raise InputError(
                f"{self.path}: geometries encoded as {self._geometry['encoding']}",
                expected="WKB",
                remedy="write it again with geometry_encoding WKB",
            )
        with translate_faults(self.path):
            table = ds.dataset(self.path).to_table(columns=[*self.columns, geometry], filter=keep)
            geometries = shapely.from_wkb(table[geometry].to_numpy())
        attributes = table.drop_columns([geometry]).to_pandas()
        return geopandas.GeoDataFrame(attributes, geometry=geometries, crs=self.crs)
