"""What a region run is asked for, from Python, the command line or a TOML file."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from geoseg.catalog.search import StacSearch
from geoseg.errors import OptionError
from geoseg.layers.read import SUFFIXES
from geoseg.layers.write import holds_many
from geoseg.models.package import list_packages
from geoseg.raster.mosaic import Precedence
from geoseg.redact import redact
from geoseg.region.split import Split
from geoseg.run.finish import Finish
from geoseg.run.segment import DEFAULT_MODEL, TILE_PX
from geoseg.settings import read_settings


@dataclass(frozen=True, slots=True)
class BatchJob:
    """The arguments of `batch`, which says what they mean; as keys of a TOML file they have the same names."""

    sources: tuple[str, ...] = ()
    output: str | None = None
    stac: StacSearch | None = None
    asset: str | None = None
    model: str = DEFAULT_MODEL
    aoi: str | None = None
    crs: str | None = None
    resolution_m: float | None = None
    precedence: Precedence = "newest"
    split: str = "none"
    format: str = ".gpkg"
    classes_raster: bool = False
    confidence_raster: bool = False
    postgis: str | None = None
    retries: int = 1
    refine: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    scheduler: str = "threads"
    workers: int | None = None
    memory: str | int | None = None
    tile_px: int = TILE_PX
    patch_px: int | None = None
    exact: bool = False
    min_unit_m2: float | Mapping[str, float] | Literal["auto"] = "auto"
    simplify_m: float | Literal["auto"] | None = "auto"
    regularize: bool = True
    smooth: bool = True
    roads: bool | None = None
    separate: bool | None = None
    min_area_m2: float = 0.0

    def __post_init__(self) -> None:
        Split.parse(self.split)
        resolution = self.resolution_m
        faults = [
            (not self.sources and self.stac is None, "no scenes", "sources, or the search of a STAC API"),
            (self.format not in SUFFIXES, f"format {self.format}", f"one of {', '.join(SUFFIXES)}"),
            (
                self.precedence not in get_args(Precedence),
                f"precedence {self.precedence}",
                ", ".join(get_args(Precedence)),
            ),
            (resolution is not None and not 0 < resolution < math.inf, f"resolution {resolution} m", "metres above 0"),
            (self.retries < 0, f"retries {self.retries}", "0 or more"),
            (self.workers is not None and self.workers < 1, f"workers {self.workers}", "1 or more"),
        ]
        for is_fault, found, expected in faults:
            if is_fault:
                raise OptionError(found, expected=expected)

    @property
    def finish(self) -> Finish:
        """What makes the map of the classes."""
        roads = holds_many(f"region{self.format}") if self.roads is None else self.roads
        finish = Finish(self.min_unit_m2, self.simplify_m, self.regularize, self.smooth, roads)
        finish = finish.exact() if self.exact else finish
        separate = not self.exact if self.separate is None else self.separate
        return dataclasses.replace(finish, min_area_m2=self.min_area_m2, separate=separate)

    @property
    def image(self) -> str | None:
        """Key of the image in STAC items."""
        return (self.stac and self.stac.asset) or self.asset

    def describe(self) -> dict[str, Any]:
        """Everything asked for, without credentials, as JSON can say it."""
        return {item.name: _tell(getattr(self, item.name)) for item in dataclasses.fields(self)}


def read_batch_job(path: Path) -> BatchJob:
    """Read a job from TOML; its relative paths start from the file's folder.

    Raises:
        OptionError: the file cannot be read, or a key is unknown, missing or of the wrong type or range.
    """
    job = read_settings(BatchJob, path)
    root = path.absolute().parent
    places: dict[str, Any] = {
        "sources": tuple(_place(source, root) for source in job.sources),
        "output": job.output and _place(job.output, root),
        "aoi": job.aoi and (job.aoi if _is_box(job.aoi) else _place(job.aoi, root)),
        "model": job.model if job.model in list_packages() else _place(job.model, root),
        "scheduler": _place(job.scheduler, root) if os.path.exists(root / job.scheduler) else job.scheduler,
    }
    return dataclasses.replace(job, **places)


def _place(name: str, root: Path) -> str:
    # URLs, GDAL's virtual file systems and dataset names stay as they are.
    return (
        name
        if "://" in name or name.startswith("/vsi") or (":" in name and not (root / name).exists())
        else str(root / name)
    )


def _is_box(text: str) -> bool:
    return bool(re.fullmatch(r"[-+.\deE\s]+(,[-+.\deE\s]+)+", text))


def _tell(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _tell(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_tell(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _tell(item) for key, item in value.items()}
    return redact(value) if isinstance(value, str) else value
