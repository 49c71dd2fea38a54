"""The objects of one side of a comparison: numbers in memory, geometries in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.comparison.reading import read_features
from geoseg.comparison.spool import Spool
from geoseg.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Kind = Literal["polygon", "line"]

WGS84 = "EPSG:4326"

BLOCK_BYTES = 8 * 2**20
"""Geometries of one side, as WKB, that are looked at together."""

OBJECT_BYTES = 256
"""What an object costs beside its coordinates."""


@dataclass(frozen=True)
class Stored:
    """What was read of a layer, in the order of the file.

    Args:
        name: of the file.
        crs: as WKT; None of a layer without objects.
        shapes: WKB in that CRS.
        ids: UTF-8.
        classes: (n,) class names.
        lines: (n,) bool, whether each is a LineString.
        left_out: names of the classes that were not asked for.
    """

    name: str
    crs: str | None
    shapes: Spool
    ids: Spool
    classes: NDArray[np.object_]
    lines: NDArray[np.bool_]
    left_out: frozenset[str]

    @classmethod
    def read(cls, path: Path, stack: ExitStack, *, only_class: str | None) -> Stored:
        """Read a layer once, or the objects of one class of it; its files live as long as `stack`.

        Raises:
            InputError: see `read_features`; or its layers are in several CRSs.
        """
        shapes, ids = stack.enter_context(Spool()), stack.enter_context(Spool())
        classes: list[str] = []
        lines: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
        names: dict[str, str] = {}
        crs = None
        for features in read_features(path, only_class=only_class):
            if crs is not None and features.crs != crs:
                raise InputError(f"{path} has layers in several CRSs", expected="one CRS")
            crs = features.crs
            # One string object a class, however many objects it has.
            named = [names.setdefault(name, name) for name in features.classes]
            wanted = [i for i, name in enumerate(named) if only_class in (None, name)]
            geometries = features.geometries[wanted]
            shapes.append(shapely.to_wkb(geometries, output_dimension=2))
            ids.append(features.ids[i].encode() for i in wanted)
            classes += [named[i] for i in wanted]
            lines.append(shapely.get_type_id(geometries) == shapely.GeometryType.LINESTRING)
        left_out = frozenset(names) - set(classes)
        return cls(path.name, crs, shapes, ids, np.array(classes, object), np.concatenate(lines), left_out)

    def load(self, index: NDArray[np.integer]) -> NDArray[np.object_]:
        """Geometries in the CRS of the layer."""
        geometries: NDArray[np.object_] = shapely.from_wkb(np.array(self.shapes.read(index), object))
        return geometries

    def name_objects(self, index: NDArray[np.integer]) -> list[str]:
        """Their ids."""
        return [text.decode() for text in self.ids.read(index)]

    def locate(self) -> tuple[int, int] | None:
        """Longitude and latitude of the first object, in whole degrees; None without objects."""
        if self.crs is None or not len(self.shapes):
            return None
        first = shapely.get_coordinates(self.load(np.zeros(1, np.int64)))[0]
        lon, lat = Transformer.from_crs(self.crs, WGS84, always_xy=True).transform(*first)
        if not np.isfinite([lon, lat]).all():
            raise InputError(f"{self.name} begins nowhere on Earth", expected="coordinates in the CRS it names")
        return round(lon), round(lat)


@dataclass(frozen=True)
class Objects:
    """The objects of one side and class, by number; all measures are those of the plane.

    Args:
        stored: where they are kept.
        index: (n,) int64 their numbers in `stored`, ascending.
        plane: on which both sides are measured.
        bounds: (n, 4) float64 lowest x and y, highest x and y.
        size: (n,) float64 area in m2, or length in m of lines.
    """

    stored: Stored
    index: IntArray
    plane: Plane
    bounds: FloatArray
    size: FloatArray

    @classmethod
    def of(cls, stored: Stored, plane: Plane, *, name: str, kind: Kind) -> Objects:
        """Those of a class and kind.

        Raises:
            InputError: one has coordinates that are nowhere on Earth.
        """
        index = np.flatnonzero((stored.classes == name) & (stored.lines == (kind == "line")))
        objects = cls(stored, index, plane, np.zeros((0, 4)), np.zeros(0))
        bounds, size = [np.zeros((0, 4))], [np.zeros(0)]
        for numbers in objects.cut(np.arange(len(index))):
            geometries = objects.load(numbers)
            bounds.append(shapely.bounds(geometries))
            size.append(shapely.length(geometries) if kind == "line" else shapely.area(geometries))
        return cls(stored, index, plane, np.concatenate(bounds), np.concatenate(size))

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def _to_plane(self) -> Transformer:
        return Transformer.from_crs(self.stored.crs or WGS84, self.plane.crs, always_xy=True)

    def load(self, numbers: NDArray[np.integer]) -> NDArray[np.object_]:
        """Valid geometries on the plane."""
        stored = self.stored.load(self.index[numbers])
        flat = reproject(stored, self._to_plane)
        if not np.isfinite(shapely.bounds(flat)).all():
            raise InputError(
                f"{self.stored.name} has objects that are nowhere on Earth", expected="coordinates in the CRS it names"
            )
        broken = ~shapely.is_valid(flat)
        flat[broken] = shapely.make_valid(flat[broken])
        return flat

    def cut(self, numbers: IntArray, block_bytes: int = BLOCK_BYTES) -> Iterator[IntArray]:
        """Some numbers in pieces whose geometries take about `block_bytes`, each at least one object."""
        held = np.cumsum(self.stored.shapes.sizes[self.index[numbers]] + OBJECT_BYTES)
        yield from filter(len, np.split(numbers, np.flatnonzero(np.diff(held // block_bytes)) + 1))

    def cut_blocks(self, block_bytes: int) -> Iterator[IntArray]:
        """All numbers in such pieces of objects that lie together; the large objects come last."""
        if not len(self):
            return
        low = self.bounds[:, :2].min(axis=0)
        extent = np.maximum(self.bounds[:, 2:].max(axis=0) - low, 1.0)
        held = self.stored.shapes.sizes[self.index].sum() + OBJECT_BYTES * len(self)
        side = max(float(np.sqrt(extent.prod() * block_bytes / held)), float(extent.max()) / 2**20)
        cell = ((self.bounds[:, :2] - low) // side).astype(np.int64)
        key = cell[:, 1] * 2**21 + cell[:, 0]
        key[(self.bounds[:, 2:] - self.bounds[:, :2]).max(axis=1) > side] = 2**62
        order = np.argsort(key, kind="stable")
        for together in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            yield from self.cut(together, block_bytes)

    def find_near(self, bounds: FloatArray, block_bytes: int, *, reach_m: float = 0.0) -> Iterator[IntArray]:
        """Numbers of the objects that may come within `reach_m` of some others, given by their bounds, in pieces."""
        low, high = bounds[:, :2].min(axis=0) - reach_m, bounds[:, 2:].max(axis=0) + reach_m
        near = (self.bounds[:, :2] <= high).all(axis=1) & (self.bounds[:, 2:] >= low).all(axis=1)
        yield from self.cut(np.flatnonzero(near), block_bytes)


@dataclass(frozen=True)
class Plane:
    """Lambert's azimuthal equal-area plane about a point in degrees: areas are true, lengths to 0.3 % within 1000 km.

    Source: Snyder, Map Projections: A Working Manual (1987), chapter 24.
    """

    lon: int
    lat: int

    @classmethod
    def about(cls, *sides: Stored) -> Plane:
        """One plane for both sides, the same whichever comes first."""
        return cls(*min([place for place in (side.locate() for side in sides) if place], default=(0, 0)))

    @cached_property
    def crs(self) -> CRS:
        """Its CRS, in metres."""
        return CRS.from_dict({"proj": "laea", "lon_0": self.lon, "lat_0": self.lat, "datum": "WGS84", "units": "m"})


def reproject(geometries: NDArray[np.object_], transformer: Transformer) -> NDArray[np.object_]:
    """Geometries in another CRS, vertex by vertex."""
    moved: NDArray[np.object_] = shapely.transform(geometries, transformer.transform, interleaved=False)
    return moved
