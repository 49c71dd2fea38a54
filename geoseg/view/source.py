"""The layers of a file as a view reads them: whole, or by bounding box and no more than a cap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.files import gdal_name
from geoseg.layers.stream import translate_faults
from geoseg.view.projection import Box, unite_boxes


class ViewLayer(Protocol):
    """One layer of a file.

    Attributes:
        path: the file.
        name: of the layer.
        features: how many it has.
        columns: names of its attributes, in order.
        crs: of its geometries.
        bounds: of its geometries in `crs`; None when it is empty.
        is_indexed: whether a part of it can be read without reading all.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102 - said above
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def features(self) -> int: ...  # noqa: D102
    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def crs(self) -> CRS: ...  # noqa: D102
    @property
    def bounds(self) -> Box | None: ...  # noqa: D102
    @property
    def is_indexed(self) -> bool: ...  # noqa: D102

    def read(self) -> geopandas.GeoDataFrame:
        """All features."""

    def read_boxes(self, boxes: Sequence[Box], *, cap: int) -> tuple[geopandas.GeoDataFrame, int]:
        """The features that meet any of the boxes, or the `cap` largest of them; and how many meet them."""

    def find_bounds(self, box: Box) -> Box | None:
        """Bounds of the features that meet a box; None where there are none."""

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Attributes without geometries, a batch at a time."""


@dataclass(frozen=True)
class OgrLayer:
    """A layer that GDAL reads: GeoPackage, FlatGeobuf, GeoJSON; from an indexed copy of it, if there is one.

    See `ViewLayer`.
    """

    path: Path
    name: str
    copy: Path | None = None

    @cached_property
    def _info(self) -> dict[str, Any]:
        with translate_faults(self.path):
            return dict(
                pyogrio.read_info(self._source, layer=self.name, force_feature_count=True, force_total_bounds=True)
            )

    @property
    def _source(self) -> str:
        return gdal_name(self.copy or self.path)

    @property
    def _reading(self) -> dict[str, Any]:
        # Texts that look like dates stay texts.
        as_text = {"DATE_AS_STRING": "YES"} if ".geojson" in self._source.lower() else {}
        return {"datetime_as_string": True, **as_text}

    @property
    def features(self) -> int:
        """How many features it has."""
        return int(self._info["features"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its attributes."""
        return tuple(self._info["fields"])

    @property
    def crs(self) -> CRS:
        """CRS of its geometries."""
        return check_crs(self.path, self._info["crs"])

    @property
    def bounds(self) -> Box | None:
        """Bounds of its geometries."""
        bounds = self._info["total_bounds"]
        return tuple(bounds) if self.features and bounds is not None and np.isfinite(bounds).all() else None

    @property
    def is_indexed(self) -> bool:
        """Whether the format has a spatial index."""
        return bool(self._info["capabilities"]["fast_spatial_filter"])

    def read(self) -> geopandas.GeoDataFrame:
        """All features."""
        with translate_faults(self.path):
            return pyogrio.read_dataframe(self._source, layer=self.name, **self._reading)

    def read_boxes(self, boxes: Sequence[Box], *, cap: int) -> tuple[geopandas.GeoDataFrame, int]:
        """The features that meet any of the boxes, or the `cap` largest of them; and how many meet them."""
        with translate_faults(self.path):
            found = [pyogrio.read_bounds(self._source, layer=self.name, bbox=box) for box in boxes]
            fids, first = np.unique(np.concatenate([f for f, _ in found] or [np.zeros(0, int)]), return_index=True)
            sides = np.concatenate([s for _, s in found] or [np.zeros((4, 0))], axis=1)[:, first]
            size = (sides[2] - sides[0]) * (sides[3] - sides[1])
            chosen = np.sort(fids[np.lexsort((fids, -size))[:cap]])
            if len(fids) <= cap and len(boxes) == 1:
                return pyogrio.read_dataframe(self._source, layer=self.name, bbox=boxes[0], **self._reading), len(fids)
            # No ids at all would mean all features.
            some = {"fids": chosen} if len(chosen) else {"max_features": 1}
            frame = pyogrio.read_dataframe(self._source, layer=self.name, **some, **self._reading)
            return frame.iloc[: len(chosen)], len(fids)

    def find_bounds(self, box: Box) -> Box | None:
        """Bounds of the features that meet a box."""
        with translate_faults(self.path):
            _, sides = pyogrio.read_bounds(self._source, layer=self.name, bbox=box)
        return unite_boxes(sides[:, np.isfinite(sides).all(axis=0)].T.tolist())

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Attributes without geometries, a batch at a time."""
        options = {"layer": self.name, "columns": list(columns), "read_geometry": False, "use_pyarrow": True}
        with translate_faults(self.path), pyogrio.open_arrow(self._source, **options) as (_, reader):
            yield from reader

    def copy_indexed(self, path: Path) -> OgrLayer:
        """A copy as FlatGeobuf, a batch at a time, for formats that would be read whole for every view.

        Raises:
            InputError: it cannot be read, or has columns that have no place there.
        """
        with (
            translate_faults(self.path),
            pyogrio.open_arrow(self._source, layer=self.name, use_pyarrow=True) as (meta, reader),
        ):
            pyogrio.write_arrow(
                reader,
                path,
                driver="FlatGeobuf",
                geometry_name=meta["geometry_name"] or "wkb_geometry",
                geometry_type="Unknown",
                crs=meta["crs"],
                layer=self.name,
                layer_options={"SPATIAL_INDEX": "YES", "TEMPORARY_DIR": str(path.parent)},
            )
        return replace(self, copy=path)


def check_crs(path: Path, crs: Any) -> CRS:
    """A layer's CRS as pyproj's.

    Raises:
        InputError: it has none.
    """
    if crs is None:
        raise InputError(f"{path} has no CRS", expected="a georeferenced layer", remedy="assign the CRS it was made in")
    return CRS.from_user_input(crs)


def count_by_class(
    layer: ViewLayer, class_column: str | None, measures: Sequence[str]
) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
    """Features per class, and per measure the sum of that column per class, without holding the layer."""
    counts: dict[str, int] = {}
    sums: dict[str, dict[str, float]] = {measure: {} for measure in measures}
    if class_column is None:
        return {layer.name: layer.features} if layer.features else {}, sums
    for batch in layer.scan([class_column, *measures]):
        frame = batch.to_pandas()
        names = name_classes(frame[class_column])
        for name, rows in frame.groupby(names, sort=False):
            counts[name] = counts.get(name, 0) + len(rows)
            for measure in measures:
                sums[measure][name] = sums[measure].get(name, 0.0) + float(rows[measure].sum())
    return counts, sums


def name_classes(values: Any) -> Any:
    """Class names as text; what has none is named so."""
    return values.astype(object).where(values.notna(), "(no class)").astype(str)
