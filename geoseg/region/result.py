"""The account of a region run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a region run made, and what it did not.

    Attributes:
        directory: of the region.
        done: ids of the scenes that the layers were made of, in the order of the sources.
        computed: those of them that this run predicted; the others were done before.
        failed: why, by id of the scene.
        skipped: scenes without a pixel in the area of interest, and those of earlier runs that are no longer among the
            sources: why, by id.
        layers: the region's layers and rasters.
        tables: of the database, where one was asked for.
        report: of the region, as JSON.
        page: the same as HTML, with pictures.
        catalog: the STAC collection of the outputs.
        polygons: number of polygons by class name.
        area_m2: geodesic area by class name.
        road_segments: lines of the network between two nodes.
        road_length_m: their geodesic length.
        pixels: of the scenes that are done.
        pixels_computed: of those that this run predicted.
        seconds: wall-clock time.
        layers_made: whether this run wrote the layers; else nothing had changed.
    """

    directory: Path
    done: tuple[str, ...]
    computed: tuple[str, ...]
    failed: Mapping[str, str]
    skipped: Mapping[str, str]
    layers: tuple[Path, ...]
    tables: tuple[str, ...]
    report: Path
    page: Path
    catalog: Path
    polygons: Mapping[str, int]
    area_m2: Mapping[str, float]
    road_segments: int
    road_length_m: float
    pixels: int
    pixels_computed: int
    seconds: float
    layers_made: bool

    @property
    def mpx_per_s(self) -> float:
        """Million pixels that this run predicted, per second of it; 0 where there was nothing to predict."""
        return self.pixels_computed / 1e6 / self.seconds if self.pixels_computed else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it; files relative to the directory."""
        return {
            "directory": str(self.directory),
            "done": list(self.done),
            "computed": list(self.computed),
            "failed": dict(self.failed),
            "skipped": dict(self.skipped),
            "layers": [path.relative_to(self.directory).as_posix() for path in self.layers],
            "tables": list(self.tables),
            **{name: getattr(self, name).name for name in ("report", "page", "catalog")},
            "polygons": dict(self.polygons),
            "area_m2": dict(self.area_m2),
            "road_segments": self.road_segments,
            "road_length_m": self.road_length_m,
            "pixels": self.pixels,
            "pixels_computed": self.pixels_computed,
            "seconds": self.seconds,
            "mpx_per_s": self.mpx_per_s,
            "layers_made": self.layers_made,
        }

    def format(self) -> str:
        """For people."""
        lines = [f"{name} failed: {reason.splitlines()[0]}" for name, reason in self.failed.items()]
        lines += [f"{name} left out: {reason}" for name, reason in self.skipped.items()]
        width = max((len(name) for name in self.polygons), default=0)
        lines += [
            f"{name:<{width}}  {count:>9,} polygons  {self.area_m2[name]:>14,.0f} m2"
            for name, count in sorted(self.polygons.items())
        ] or ["no polygons"]
        if self.road_segments:
            lines.append(
                f"{'roads':<{width}}  {self.road_segments:>9,} segments  {self.road_length_m / 1e3:>14,.2f} km"
            )
        plural = "" if len(self.done) == 1 else "s"
        lines.append(
            f"{len(self.done)} scene{plural} done ({len(self.computed)} by this run), {len(self.failed)} failed, "
            f"{len(self.skipped)} left out"
        )
        lines.append(
            f"{self.pixels_computed / 1e6:.1f} Mpx in {self.seconds:.1f} s, {self.mpx_per_s:.2f} Mpx/s"
            if self.computed
            else f"{self.seconds:.1f} s; all scenes had been done by an earlier run"
        )
        files = [*map(str, self.layers), *self.tables, str(self.page), str(self.catalog)]
        return "\n".join([*lines, *(f"-> {name}" for name in files)])
