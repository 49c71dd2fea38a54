"""What is made of all scenes together: layers, tables of a database, the STAC catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.catalog.items import COLLECTION, ITEMS, SceneItem, write_items
from geoseg.errors import OptionError
from geoseg.layers.database import parse_database
from geoseg.layers.postgis import LoadedLayer, check_database, load_layer
from geoseg.layers.read import ROADS, is_layer_path, split_name
from geoseg.layers.stream import describe_map
from geoseg.layers.style import is_own_style
from geoseg.progress import Progress
from geoseg.raster import categories
from geoseg.raster.aoi import read_area
from geoseg.region.grid import LONLAT, choose_grid, find_farthest
from geoseg.region.layers import RegionMember, check_layout, cut_to_area, write_region
from geoseg.region.scenes import Look, SceneSetting
from geoseg.region.settings import BatchJob
from geoseg.region.state import (
    CLASSES,
    CONFIDENCE,
    PAGE_FILE,
    REPORT_FILE,
    THUMBNAIL,
    SceneState,
    Stamp,
    is_same_file,
    read_json,
    remove_folder,
    stamp_file,
    write_json,
)
from geoseg.run.execute import TooLargeError, check_plan
from geoseg.run.job import digest
from geoseg.tiles.plan import TilePlan

ACCOUNT_FILE, WORK = "region.json", "region"
ACCOUNT = 2
"""Changes with what the account tells: layers that another one tells of are written again."""

KEEPS = (
    "what an earlier run loaded stays in the tables beside what is drawn otherwise now; "
    "?replace=source in the URL (with --split none) takes it away"
)

Done = Sequence[tuple[Look, SceneState]]


@dataclass(frozen=True, slots=True)
class RegionOutputs:
    """What there is of a region; `made` by this run or by an earlier one."""

    layers: tuple[Path, ...]
    tables: tuple[str, ...]
    catalog: Path
    polygons: Mapping[str, int] = field(default_factory=dict)
    area_m2: Mapping[str, float] = field(default_factory=dict)
    road_segments: int = 0
    road_length_m: float = 0.0
    made: bool = False

    @classmethod
    def nothing(cls, directory: Path) -> RegionOutputs:
        """Of a region without a scene."""
        return cls((), (), directory / COLLECTION)


def check_database_url(job: BatchJob) -> None:
    """Refuse a database that would not be what is meant, before anything is done.

    Raises:
        OptionError: the URL cannot be read, the parts of the map would remove each other from the tables or are of
            several CRSs, or the format keeps no whole features.
    """
    if job.postgis is None:
        return
    if parse_database(job.postgis).replace != "none" and job.split != "none":
        raise OptionError(
            f"a map of parts (--split {job.split}) into tables of which each load removes other rows",
            expected="--split none, or a URL without ?replace=",
            remedy="leave out one of them",
        )
    if job.split == "utm":
        raise OptionError(
            "a map in the CRS of each UTM zone (--split utm) into tables of one CRS",
            expected="--split none, scene or sheet:SIZE_M",
            remedy="leave out one of both; --crs names the CRS of the tables",
        )
    if job.format == ".pmtiles":
        raise OptionError(
            "--format .pmtiles, which holds features in pieces, and --postgis",
            expected="another format",
            remedy="leave out one of both",
        )


def check_region(looks: Sequence[Look], setting: SceneSetting) -> None:
    """What would fail at the end of hours of work fails now: the grid of the map, its division, the database.

    Raises:
        GeosegError: scenes have no common place, the map would be too large, sheets have no lengths, or the database
            would not take the layers.
    """
    job = setting.job
    if not looks or job.split == "utm":
        return
    scenes = [look.grid for look in looks]
    grid = cut_to_area(choose_grid(scenes, crs=job.crs, resolution_m=job.resolution_m), job.aoi)
    check_layout(job.split, grid.crs)
    options = job.finish.options(setting.package.legend, pixel_m=max(grid.ground_resolution_m()))
    try:
        check_plan(TilePlan(grid, (job.tile_px, job.tile_px)), options, Path(f"region{job.format}"))
    except TooLargeError as error:
        one, two, distance_m = find_farthest(scenes, grid)
        raise TooLargeError(
            f"{error.found}: a region that spans so much at {max(grid.ground_resolution_m()):.2g} m; "
            f"{looks[one].ref.id} and {looks[two].ref.id} lie {distance_m / 1e3:,.0f} km apart",
            expected=f"{error.expected}, whatever lies between the scenes",
            remedy="--split utm, a batch for each place, or a coarser --resolution",
        ) from None
    if job.postgis is not None:
        written = LONLAT if job.format.startswith(".geojson") else grid.crs
        check_database(job.postgis, describe_map(roads=job.finish.roads), written)


def make_outputs(done: Done, setting: SceneSetting, progress: Progress) -> RegionOutputs:
    """Write the layers of the scenes that are done, unless they are there already, and what goes with them.

    Raises:
        GeosegError: an option cannot work for these scenes, or something cannot be written.
    """
    directory, job = setting.folder.directory, setting.job
    account_path = setting.folder.work / ACCOUNT_FILE
    known, wanted = read_json(account_path), _find_key(done, setting)
    files: dict[str, Stamp] = known.get("files", {})
    whole = known.get("key") == wanted and all(is_same_file(directory / name, stamp) for name, stamp in files.items())
    if setting.fresh or not whole:
        # Before: of another format, but the same name, the new layer's style takes the old one's place.
        for name in files:
            _remove_style(directory / name)
        known = {"key": wanted, "filled": known.get("filled", []), **_write_layers(done, setting, progress)}
        # Those that an earlier run wrote under other names show another state of the region.
        for name in set(files) - set(known["files"]):
            _remove_layer(directory / name)
        write_json(account_path, known)
        remove_folder(setting.folder.work / WORK)
    layers = tuple(directory / name for name in known["files"])
    tables: list[str] = []
    if job.postgis is not None:
        tables, filled = _load_tables(known, job.postgis, directory, progress)
        write_json(account_path, known | {"filled": filled})
    return RegionOutputs(
        layers=layers,
        tables=tuple(dict.fromkeys(tables)),
        catalog=_write_catalog(done, setting, layers),
        polygons=known["polygons"],
        area_m2=known["area_m2"],
        road_segments=known["road_segments"],
        road_length_m=known["road_length_m"],
        made=setting.fresh or not whole,
    )


def _load_tables(known: dict[str, Any], url: str, directory: Path, progress: Progress) -> tuple[list[str], list[str]]:
    """Load the layers into a database: the tables, and all that this region has ever filled, with their places."""
    loads: list[LoadedLayer] = []
    # Roads that lie beside a layer go with it.
    for names in known["parts"].values():
        loads += load_layer(directory / names[0], url, progress=progress)
    database, tables = parse_database(url), [load.table for load in loads]
    filled = {f"{database.place} {table}" for table in tables}
    is_drawn_anew = any(load.inserted for load in loads) and not filled.isdisjoint(known["filled"])
    if is_drawn_anew and database.replace == "none":
        progress.note(KEEPS)
    return tables, sorted(filled.union(known["filled"]))


def _find_key(done: Done, setting: SceneSetting) -> str:
    """Changes whenever the layers could."""
    job = setting.job
    members = [(look.ref.id, look.date, look.name, state.key, state.files) for look, state in done]
    checksums = [(*facts, {name: stamp[2] for name, stamp in files.items()}) for *facts, files in members]
    ways = [job.crs, job.resolution_m, job.precedence, job.split, job.format, asdict(job.finish)]
    area = None if job.aoi is None else list(map(str, read_area(job.aoi)))
    return digest([__version__, ACCOUNT, checksums, ways, area, job.classes_raster, job.confidence_raster])


def _write_layers(done: Done, setting: SceneSetting, progress: Progress) -> dict[str, Any]:
    job, directory, package = setting.job, setting.folder.directory, setting.package
    output = directory / ("" if job.split == "none" else "layers") / f"region{job.format}"
    rasters = {key: output.with_name(f"region_{key}.tif") for key in ("classes", "confidence")}
    if not job.finish.roads:
        # Those of an earlier run would be taken for the new layer's.
        for path in output.parent.glob(f"region*_{ROADS}{job.format}"):
            _remove_layer(path)
            _remove_style(path)
    result = write_region(
        [_make_member(look, setting) for look, _ in done],
        output,
        crs=job.crs,
        resolution_m=job.resolution_m,
        precedence=job.precedence,
        split=job.split,
        finish=job.finish,
        aoi=job.aoi,
        classes_raster=rasters["classes"] if job.classes_raster else None,
        confidence_raster=rasters["confidence"] if job.confidence_raster else None,
        model_pixel_m=package.ground_resolution_m,
        made_by={"model": package.name, "model_checksum": package.fingerprint},
        scheduler=job.scheduler,
        workers=job.workers,
        tile_px=job.tile_px,
        memory=job.memory,
        # Of zones each has a folder of its own in it, which no other run would take for its own.
        work_dir=setting.folder.work / WORK / ("zones" if job.split == "utm" else "whole"),
        fresh=setting.fresh,
        overwrite=True,
        progress=progress,
    )
    files = (*result.layers, *result.rasters)
    return {
        "parts": {part: [_relate(path, directory) for path in paths] for part, paths in result.parts.items()},
        "files": {_relate(path, directory): stamp_file(path) for path in files},
        "polygons": dict(result.polygons),
        "area_m2": dict(result.area_m2),
        "road_segments": result.road_segments,
        "road_length_m": result.road_length_m,
    }


def _relate(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _remove_layer(path: Path) -> None:
    for beside in (path, path.with_name(f"{path.name}.aux.xml")):
        beside.unlink(missing_ok=True)


def _remove_style(path: Path) -> None:
    stem = split_name(path)[0] if is_layer_path(path) else path.stem
    style = path.with_name(f"{stem}.qml")
    if is_own_style(style) or categories.is_own_style(style):
        style.unlink()


def _make_member(look: Look, setting: SceneSetting) -> RegionMember:
    place = setting.folder.scene(look.ref.id)
    return RegionMember(look.ref.id, place / CLASSES, place / CONFIDENCE, look.date, look.name)


def _name_asset(path: Path) -> str:
    """layer, roads, layer_37S; classes, confidence, classes_37S."""
    stem = split_name(path)[0].removeprefix("region").removeprefix("_")
    is_own = not is_layer_path(path) or stem == "roads"
    return stem if is_own else f"layer_{stem}".rstrip("_")


def _write_catalog(done: Done, setting: SceneSetting, outputs: Sequence[Path]) -> Path:
    directory, job = setting.folder.directory, setting.job
    about = {"geoseg:model": setting.package.name, "geoseg:model_checksum": setting.package.fingerprint}
    items = []
    for look, _ in done:
        place = setting.folder.scene(look.ref.id)
        assets = {"classes": CLASSES, "confidence": CONFIDENCE, "thumbnail": THUMBNAIL, "report": REPORT_FILE}
        files = {key: place / name for key, name in assets.items()}
        items.append(SceneItem(look.ref.id, look.grid, files, look.date, look.ref.item, about))
    # Scenes of several zones have a common place in degrees only.
    is_whole = job.split != "utm"
    grids = [look.grid for look, _ in done]
    grid = choose_grid(grids, crs=job.crs if is_whole else LONLAT, resolution_m=job.resolution_m)
    grid = cut_to_area(grid, job.aoi if is_whole else None)
    files = {_name_asset(path): path for path in outputs} | {"report": directory / PAGE_FILE}
    region = SceneItem("region", grid, files, properties=about)  # no scene's id
    kept = {item.id for item in (*items, region)}
    for path in (directory / ITEMS).glob("*.json"):
        if path.stem not in kept:
            path.unlink()
    title = f"Map of {directory.name}"
    return write_items(directory, items, region=region, legend=setting.package.legend, title=title)
