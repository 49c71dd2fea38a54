"""What a region run says of itself: JSON for programs, a page for people, a STAC catalogue of the outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg import __version__
from geoseg.page import Page
from geoseg.redact import redact
from geoseg.region.making import MadeScene
from geoseg.region.result import BatchResult
from geoseg.region.scenes import SceneSetting
from geoseg.region.state import PAGE_FILE, REPORT_FILE, THUMBNAIL, RegionFolder, write_json

PICTURE_PX, LEAST_PX = 320, 48
PICTURES_PX = 150 * PICTURE_PX**2
"""Of all pictures together: a page of thousands of scenes opens too."""

PICTURES_AT_A_TIME = 40


def write_reports(
    result: BatchResult, scenes: Sequence[MadeScene], setting: SceneSetting, account: dict[str, Any]
) -> None:
    """Write the region's `report.html` and, last of all, `report.json`.

    Raises:
        OutputError: they cannot be written.
    """
    folder = setting.folder
    _make_page(result, scenes, setting, account).write(result.directory / PAGE_FILE)
    told = [
        {
            "id": scene.ref.id,
            "source": redact(scene.ref.path),
            "state": scene.state.state,
            "reason": scene.state.reason,
            "datetime": scene.date,
            "pixels": scene.state.pixels,
            "seconds": scene.state.seconds,
            "attempts": scene.state.attempts,
            "report": str(folder.scene(scene.ref.id).relative_to(folder.directory) / REPORT_FILE),
        }
        for scene in scenes
    ]
    facts = {key: account[key] for key in ("run", "started", "finished", "asked")}
    package = {"name": setting.package.name, "checksum": setting.package.fingerprint}
    content = {"geoseg": __version__, **facts, "model": package, **result.to_dict(), "scenes": told}
    write_json(result.directory / REPORT_FILE, content)


def _make_page(
    result: BatchResult, scenes: Sequence[MadeScene], setting: SceneSetting, account: dict[str, Any]
) -> Page:
    page = Page(f"Region {result.directory.name}")
    page.add_text(
        f"{len(result.done)} of {len(scenes)} scenes are done, {len(result.computed) or 'none'} of them by the run "
        f"that began {account['started']}; {len(result.failed)} failed, {len(result.skipped)} are left out."
    )
    this_run = {"Mpx": result.pixels_computed / 1e6, "seconds": result.seconds, "Mpx/s": result.mpx_per_s}
    rows: list[tuple[str, object]] = [
        ("model", setting.package.name),
        ("Mpx", result.pixels / 1e6),
        *((f"{name} of this run", value) for name, value in this_run.items() if result.computed),
        *((path.relative_to(result.directory).as_posix(), _size(path.stat().st_size)) for path in result.layers),
        *((table, "table") for table in result.tables),
    ]
    page.add_table(["", ""], [(name, str(value) if isinstance(value, str) else value) for name, value in rows])
    page.add_heading("Classes")
    counts = sorted(result.polygons.items())
    page.add_table(
        ["class", "polygons", "hectares"], [(name, count, result.area_m2[name] / 1e4) for name, count in counts]
    )
    if result.road_segments:
        page.add_text(f"Roads: {result.road_segments:,} segments, {result.road_length_m / 1e3:,.2f} km.")
    if result.failed:
        page.add_heading("Failed")
        page.add_table(["scene", "reason"], result.failed.items())
    if result.skipped:
        page.add_heading("Left out")
        page.add_table(["scene", "reason"], result.skipped.items())
    page.add_heading("Scenes")
    page.add_table(["scene", "state", "acquired", "Mpx", "seconds", "attempts"], [_row(scene) for scene in scenes])
    page.add_key({entry.name: entry.color for entry in setting.package.legend.classes if entry.kind != "background"})
    _add_pictures(page, result, setting.folder)
    return page


def _row(scene: MadeScene) -> tuple[object, ...]:
    state = scene.state
    return scene.ref.id, state.state, scene.date or "-", state.pixels / 1e6, state.seconds, state.attempts


def _add_pictures(page: Page, result: BatchResult, folder: RegionFolder) -> None:
    side = min(PICTURE_PX, max(LEAST_PX, math.isqrt(PICTURES_PX // max(len(result.done), 1))))
    for first in range(0, len(result.done), PICTURES_AT_A_TIME):
        names = result.done[first : first + PICTURES_AT_A_TIME]
        pictures = {name: _read_picture(folder.scene(name) / THUMBNAIL, side) for name in names}
        page.add_pictures({name: picture for name, picture in pictures.items() if picture is not None})


def _read_picture(path: Path, side_px: int) -> NDArray[np.uint8] | None:
    """A small copy; None where somebody took the picture away."""
    try:
        with Image.open(path) as picture:
            picture.thumbnail((side_px, side_px))
            return np.asarray(picture.convert("RGB"), np.uint8)
    except OSError:
        return None


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
