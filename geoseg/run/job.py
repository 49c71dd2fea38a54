"""One run as plain data: what every task is told, and what makes two runs the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.models.engine import PatchGeometry
from geoseg.raster.aoi import AreaOfInterest
from geoseg.raster.classes import ClassRaster
from geoseg.raster.mosaic import ClassMosaic
from geoseg.raster.scene import SceneInfo
from geoseg.raster.source import RasterSource
from geoseg.tiles.patches import PatchLattice
from geoseg.tiles.plan import Tile, TilePlan
from geoseg.tiles.store import CHANGES, COMPONENTS, PARTS, ROADS, TRACES, TileStore

FORMAT = 4
"""Raised whenever the content of a work directory changes its meaning."""

MAX_PARTS = 16
"""How many ids the parts of one class may have; those that touch have different ones, four or five as a rule."""


@dataclass(frozen=True)
class Prediction:
    """How the classes of a segment run come about."""

    source: RasterSource
    model: str
    model_fingerprint: str
    refine: bool
    device: Literal["cpu", "cuda"]
    lattice: PatchLattice
    aoi: AreaOfInterest | None

    @property
    def geometry(self) -> PatchGeometry:
        """The patch as the engine sees it."""
        return PatchGeometry(self.lattice.patch_px, self.lattice.halo_px, *self.lattice.core_px)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Everything that a class depends on."""
        return {
            "source": self.source.fingerprint,
            "model": self.model_fingerprint,
            "device": self.device,
            "lattice": [self.lattice.patch_px, self.lattice.halo_px, *self.lattice.unit_px],
            "aoi": self.aoi.fingerprint if self.aoi else None,
        }


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """What makes a map of the classes; nothing of it by default.

    Args:
        min_unit_m2: pairs of class id and area: smaller components become part of a neighbour.
        simplify_m: tolerance of the shared-edge simplification in metres; None keeps every pixel corner.
        separate: class ids whose polygons are cut where the model was less sure between their parts.
        regularize: class ids whose outlines become straight walls.
        detail_m: size of the smallest thing that the classes show, by which walls are judged.
        smooth: class ids whose outlines become smooth.
        roads: class ids that leave a network of centrelines.
        min_area_m2: smaller polygons are left out at the very end.

    Raises:
        OptionError: a limit is negative or no number, or the tolerance is 0.
    """

    min_unit_m2: tuple[tuple[int, float], ...] = ()
    simplify_m: float | None = None
    separate: tuple[int, ...] = ()
    regularize: tuple[int, ...] = ()
    detail_m: float = 0.0
    smooth: tuple[int, ...] = ()
    roads: tuple[int, ...] = ()
    min_area_m2: float = 0.0

    def __post_init__(self) -> None:
        # Every comparison with NaN is false: it would leave out everything, or nothing, without a word.
        if not (math.isfinite(self.min_area_m2) and self.min_area_m2 >= 0):
            raise OptionError(f"--min-area {self.min_area_m2:g}", expected="square metres, 0 or more")
        for _, area in self.min_unit_m2:
            if not (math.isfinite(area) and area >= 0):
                raise OptionError(f"--min-unit {area:g}", expected="square metres, 0 or more")
        if self.simplify_m is not None and not (math.isfinite(self.simplify_m) and self.simplify_m > 0):
            raise OptionError(
                f"--simplify {self.simplify_m:g}", expected="metres above 0", remedy="leave it out to keep every corner"
            )

    @property
    def generalises(self) -> bool:
        """Whether outlines become other than the pixels'."""
        return self.simplify_m is not None

    def describe(self, legend: ClassLegend) -> dict[str, str | float]:
        """What is not left as it is, for people."""
        names = legend.names
        classes = {"separate": self.separate, "regularize": self.regularize, "smooth": self.smooth, "roads": self.roads}
        said: dict[str, str | float] = {
            option: ", ".join(names[number] for number in ids) for option, ids in classes.items() if ids
        }
        areas = {area for _, area in self.min_unit_m2}
        if len(self.min_unit_m2) == 256 and len(areas) == 1:
            said["min_unit_m2"] = areas.pop()
        elif self.min_unit_m2:
            units = (f"{names.get(number, number)} {area:g}" for number, area in self.min_unit_m2)
            said["min_unit_m2"] = ", ".join(units)
        if self.simplify_m is not None:
            said["simplify_m"] = self.simplify_m
        return said | ({"min_area_m2": self.min_area_m2} if self.min_area_m2 else {})


@dataclass(frozen=True)
class Job:
    """What every task of a run is told; small, picklable, the same on every worker.

    `classes` is where class ids come from: a prediction, or class rasters that exist already. `skip` are the ids
    that leave no polygons, `scene` and `made_by` what the layers say of their origin.
    """

    plan: TilePlan
    classes: Prediction | ClassRaster | ClassMosaic
    legend: ClassLegend
    skip: tuple[int, ...]
    store: TileStore
    options: LayerOptions
    scene: SceneInfo
    made_by: dict[str, str]

    def tiles(self, window: Window | None = None) -> Iterator[Tile]:
        """Row-major, the tiles that the area of interest, a mosaic's scenes and the window touch, if there are any."""
        area = self.plan.grid.window if window is None else window
        if isinstance(self.classes, ClassMosaic):
            if window is None:
                return (self.plan.tile(int(row), int(col)) for row, col in np.argwhere(self._touched))
            return (tile for tile in self.plan.tiles(area) if self._touched[tile.id])
        if isinstance(self.classes, Prediction) and self.classes.aoi:
            # Any tile that both touch, also where they do not touch each other within it.
            mine = {tile.id for tile in self.plan.tiles(self.classes.aoi.window)}
            return (tile for tile in self.plan.tiles(area) if tile.id in mine)
        return self.plan.tiles(area)

    @cached_property
    def _touched(self) -> NDArray[np.bool_]:
        """Which tiles may hold a known pixel of a mosaic, bool (down, across)."""
        if isinstance(self.classes, ClassMosaic):
            return self.classes.find_tiles(self.plan.core_px)
        return np.ones(self.plan.shape, bool)

    @property
    def predicts(self) -> bool:
        """Whether classes are predicted, not read."""
        return isinstance(self.classes, Prediction)

    @property
    def sources(self) -> list[RasterSource]:
        """The rasters that the classes are of."""
        if isinstance(self.classes, ClassMosaic):
            return [raster for m in self.classes.members for raster in (m.classes.source, m.confidence)]
        return [self.classes.source]

    @property
    def has_confidence(self) -> bool:
        """Whether the classes come with a confidence."""
        return not isinstance(self.classes, ClassRaster)

    @property
    def unknown_id(self) -> int | None:
        """The id of unknown pixels; None where every pixel is known."""
        return self.classes.nodata if isinstance(self.classes, ClassRaster) else self.legend.nodata

    @cached_property
    def part_ids(self) -> dict[int, tuple[int, ...]]:
        """The ids of parts that touch, by the class that is split: its own, and some that nothing else has."""
        taken = {c.id for c in self.legend.classes} | {self.legend.nodata}
        free = [number for number in range(256) if number not in taken]
        separate = self.options.separate
        return {number: (number, *free[k :: len(separate)][: MAX_PARTS - 1]) for k, number in enumerate(separate)}

    @cached_property
    def class_of_part(self) -> NDArray[np.uint8]:
        """(256,) uint8, the class that an id is of."""
        table = np.arange(256, dtype=np.uint8)
        for number, ids in self.part_ids.items():
            table[list(ids)] = number
        return table

    @property
    def provenance(self) -> dict[str, str | float]:
        """What the outputs say of how they came about."""
        return {"version": __version__, **self.made_by, **self.options.describe(self.legend)} | (
            {"source": self.scene.name} if self.scene.name else {}
        )

    @property
    def fingerprint(self) -> str:
        """Changes whenever a tile's classes could."""
        return digest(
            {
                "format": FORMAT,
                "classes": self.classes.fingerprint,
                "core_px": self.plan.core_px,
                "nodata": self.legend.nodata,
            }
        )

    @property
    def stage_keys(self) -> dict[str, str]:
        """What changes whenever a tile of a stage behind the classes could."""
        unit, separate = self.options.min_unit_m2, self.options.separate
        return {
            COMPONENTS: digest(unit),
            CHANGES: digest(unit),
            PARTS: digest([unit, separate]),
            TRACES: digest([unit, separate, self.skip, self.options.generalises]),
            ROADS: digest([unit, self.options.roads]),
        }


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a run: a layer, or rasters only."""

    layer: Path | None
    classes_raster: Path | None = None
    confidence_raster: Path | None = None
    roads: Path | None = None
    """The network's own file, where the layer's format holds one layer only."""

    def paths(self) -> list[Path]:
        """Those that were asked for."""
        return [p for p in (self.layer, self.classes_raster, self.confidence_raster, self.roads) if p is not None]


def digest(content: object) -> str:
    """SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
