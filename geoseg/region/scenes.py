"""The scenes of a region before they are predicted: what each is, and whether an earlier run did it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from geoseg.catalog.scene import SceneRef
from geoseg.errors import InputError
from geoseg.grid import GeoGrid
from geoseg.models.package import ModelPackage
from geoseg.progress import Progress
from geoseg.raster.aoi import parse_aoi
from geoseg.raster.positions import bound_grid
from geoseg.raster.scene import describe_source
from geoseg.raster.source import open_raster
from geoseg.redact import redact
from geoseg.region.grid import parse_crs
from geoseg.region.settings import BatchJob
from geoseg.region.state import CLASSES, CONFIDENCE, RegionFolder, SceneState, is_same_file
from geoseg.run.job import FORMAT, digest

READERS = 8
"""Scenes looked at at a time: most of the time goes by waiting for servers."""


@dataclass(frozen=True, slots=True)
class SceneSetting:
    """What is the same for all scenes."""

    job: BatchJob
    package: ModelPackage
    device: str
    folder: RegionFolder
    run: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a scene before it is predicted.

    Attributes:
        ref: where it is.
        key: changes whenever a class of it could.
        grid: of the raster.
        date: of the acquisition, as the STAC item or else the raster says; ISO 8601.
        name: of the file.
        facts: about the raster, for reports.
        outside: why nothing of it is wanted; empty where something is.
    """

    ref: SceneRef
    key: str
    grid: GeoGrid
    date: str | None
    name: str | None
    facts: dict[str, Any]
    outside: str = ""

    @property
    def pixels(self) -> int:
        """Of the raster."""
        return self.grid.rows * self.grid.cols


def look_at_scenes(refs: Sequence[SceneRef], setting: SceneSetting, progress: Progress) -> list[Look | None]:
    """Open every scene, several at a time; None where that does not succeed: it will be tried again in its turn."""
    progress.start("look at scenes", len(refs))

    def look(ref: SceneRef) -> Look | None:
        try:
            return look_at_scene(ref, setting)
        except Exception:
            return None
        finally:
            progress.advance()

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(look, refs))


def look_at_scene(ref: SceneRef, setting: SceneSetting) -> Look:
    """Check a scene as the run of it would.

    Raises:
        GeosegError: it cannot be used.
    """
    job, package = setting.job, setting.package
    if ref.fault is not None:
        raise ref.fault
    source = open_raster(ref.path, bands=len(package.bands))
    grid, scene = source.grid, describe_source(source.path)
    area, outside = None, ""
    if job.aoi is not None:
        try:
            area = parse_aoi(job.aoi, grid)
        except InputError as error:  # the area itself was read before
            outside = error.found
    if job.crs is not None and not outside:
        bound_grid(grid, parse_crs(job.crs))  # what has no place on the map must not stop the others
    key = [FORMAT, source.fingerprint, package.fingerprint, job.refine, setting.device, job.patch_px]
    facts = {
        "source": redact(ref.path),
        "item": ref.item,
        "rows": grid.rows,
        "cols": grid.cols,
        "crs": grid.crs,
        "transform": list(grid.transform)[:6],
        "ground_resolution_m": max(grid.ground_resolution_m()),
        "dtype": source.dtype,
        "bands": list(source.bands),
    }
    fingerprint = digest([*key, area.fingerprint if area else outside])
    return Look(ref, fingerprint, grid, ref.datetime or scene.date, scene.name, facts, outside)


def find_done(look: Look, known: SceneState | None, setting: SceneSetting) -> SceneState | None:
    """The state of a scene that an earlier run made from the same in the same way, all of it still there.

    A later run that could not read the scene may have said otherwise, which is put right.
    """
    if setting.fresh or known is None or known.key != look.key:
        return None
    place = setting.folder.scene(look.ref.id)
    whole = set(known.files) == {CLASSES, CONFIDENCE} and all(
        is_same_file(place / name, stamp) for name, stamp in known.files.items()
    )
    if not whole:
        return None
    done = replace(known, state="done", reason="", pixels=look.pixels, pixels_done=0)
    return done if done == known else setting.folder.write_state(look.ref.id, done)
