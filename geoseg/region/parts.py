"""What a region is made of, and what is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.run.execute import SegmentResult


@dataclass(frozen=True, slots=True)
class RegionMember:
    """A scene of a region whose classes are predicted.

    Args:
        id: unique, and fit for a file name.
        classes: class raster.
        confidence: confidence raster on the same grid.
        datetime: ISO 8601; None where unknown.
        name: what features say of their source; default: the id.
    """

    id: str
    classes: Path
    confidence: Path
    datetime: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class RegionResult:
    """The account of a region's layers.

    Attributes:
        layers: all vector files.
        rasters: all rasters.
        parts: the vector files of each scene, zone or sheet; of a whole under "".
        polygons: number of polygons by class name.
        area_m2: geodesic area by class name.
        road_segments: lines of the network between two nodes.
        road_length_m: their geodesic length.
        pixels: pixels of the region's grids.
        seconds: wall-clock time of the runs.
        tiles: tiles that scenes touch.
        tiles_computed: tiles that this run computed.
    """

    layers: tuple[Path, ...]
    rasters: tuple[Path, ...]
    parts: Mapping[str, tuple[Path, ...]]
    polygons: Mapping[str, int]
    area_m2: Mapping[str, float]
    road_segments: int
    road_length_m: float
    pixels: int
    seconds: float
    tiles: int
    tiles_computed: int


def sum_up(parts: Mapping[str, tuple[Path, ...]], results: Sequence[SegmentResult]) -> RegionResult:
    """The account of the runs that made the parts."""
    polygons: Counter[str] = Counter()
    area_m2: Counter[str] = Counter()
    for result in results:
        polygons.update(result.polygons)
        area_m2.update(result.area_m2)
    return RegionResult(
        layers=tuple(path for files in parts.values() for path in files),
        rasters=tuple(p for r in results for p in (r.classes_raster, r.confidence_raster) if p is not None),
        parts=parts,
        polygons=dict(polygons),
        area_m2=dict(area_m2),
        road_segments=sum(result.road_segments for result in results),
        road_length_m=sum(result.road_length_m for result in results),
        pixels=sum(result.pixels for result in results),
        seconds=sum(result.seconds for result in results),
        tiles=sum(result.tiles for result in results),
        tiles_computed=sum(result.tiles_computed for result in results),
    )
