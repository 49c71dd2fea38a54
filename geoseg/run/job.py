"""One run as plain data: what every task is told, and what makes two runs the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.models.engine import PatchGeometry
from geoseg.raster.aoi import AreaOfInterest
from geoseg.raster.classes import ClassRaster
from geoseg.raster.source import RasterSource
from geoseg.tiles.patches import PatchLattice
from geoseg.tiles.plan import Tile, TilePlan
from geoseg.tiles.store import TileStore

FORMAT = 1
"""Raised whenever the content of a work directory changes its meaning."""


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


@dataclass(frozen=True)
class Job:
    """What every task of a run is told; small, picklable, the same on every worker.

    `classes` is where class ids come from: a prediction, or a class raster that exists already. `skip` are the ids
    that leave no polygons.
    """

    plan: TilePlan
    classes: Prediction | ClassRaster
    legend: ClassLegend
    skip: tuple[int, ...]
    store: TileStore

    def tiles(self) -> Iterator[Tile]:
        """Row-major, the tiles that the area of interest touches."""
        area: Window | None = None
        if isinstance(self.classes, Prediction) and self.classes.aoi:
            area = self.classes.aoi.window
        return self.plan.tiles(area)

    @property
    def predicts(self) -> bool:
        """Whether classes are predicted, not read."""
        return isinstance(self.classes, Prediction)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a tile's result could."""
        return digest(
            {
                "format": FORMAT,
                "classes": self.classes.fingerprint,
                "core_px": self.plan.core_px,
                "skip": self.skip,
                "nodata": self.legend.nodata,
            }
        )


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """What happens to polygons between the join and the file.

    Args:
        min_area_m2: smaller polygons are left out.
        simplify_m: tolerance of the shared-edge simplification in metres; None keeps every pixel corner.

    Raises:
        OptionError: a limit is negative or no number, or the tolerance is 0.
    """

    min_area_m2: float = 0.0
    simplify_m: float | None = None

    def __post_init__(self) -> None:
        # Every comparison with NaN is false: it would leave out everything, or nothing, without a word.
        if not (math.isfinite(self.min_area_m2) and self.min_area_m2 >= 0):
            raise OptionError(f"--min-area {self.min_area_m2:g}", expected="square metres, 0 or more")
        if self.simplify_m is not None and not (math.isfinite(self.simplify_m) and self.simplify_m > 0):
            raise OptionError(
                f"--simplify {self.simplify_m:g}", expected="metres above 0", remedy="leave it out to keep every corner"
            )


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a run."""

    layer: Path
    classes_raster: Path | None = None
    confidence_raster: Path | None = None

    def paths(self) -> list[Path]:
        """Those that were asked for."""
        return [p for p in (self.layer, self.classes_raster, self.confidence_raster) if p is not None]


def digest(content: object) -> str:
    """SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
