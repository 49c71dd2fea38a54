"""Pairs of layers of which it is known what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

UTM = "EPSG:32737"
EAST, NORTH = 530_000.0, 9_330_000.0
CHANGES = ("unchanged", "grown", "shrunk", "moved", "split", "merged", "appeared", "vanished")

BEFORE = {
    "merged": [(0, 0, 9, 12), (11, 0, 20, 12)],
    "appeared": [],
}
AFTER = {
    "grown": [(0, 0, 20, 18)],
    "shrunk": [(0, 0, 13, 12)],
    "moved": [(4, 3, 24, 15)],
    "split": [(0, 0, 9, 12), (11, 0, 20, 12)],
    "vanished": [],
}
WHOLE = [(0, 0, 20, 12)]


def make_town(seed: int = 1, *, side: int = 12, spacing_m: float = 60) -> tuple[Any, Any, dict[str, int]]:
    """Layers A and B of rotated houses in UTM, each with a fate of its own, and how many have each fate."""
    rng = np.random.default_rng(seed)
    fates = rng.choice(CHANGES, side * side)
    before, after = [], []
    for i, fate in enumerate(fates):
        row, col = divmod(i, side)
        angle, x, y = rng.uniform(0, 90), EAST + col * spacing_m, NORTH + row * spacing_m
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for boxes, found in ((BEFORE.get(fate, WHOLE), before), (AFTER.get(fate, WHOLE), after)):
            for box in boxes:
                found.append(shapely.transform(shapely.box(*box), lambda xy, m=turn, at=(x, y): xy @ m.T + at))
    frames = [make_layer(shapes, "building") for shapes in (before, after)]
    return *frames, {change: int((fates == change).sum()) for change in CHANGES}


def make_layer(shapes: list[Any], name: str, crs: str = UTM) -> geopandas.GeoDataFrame:
    ids = [f"{name}-{i}" for i in range(len(shapes))]
    return geopandas.GeoDataFrame({"id": ids, "class": name}, geometry=shapes, crs=crs)


def save(frame: Any, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def save_both(folder: Path, a: Any, b: Any, suffix: str = ".fgb") -> tuple[Path, Path]:
    return save(a, folder / f"a{suffix}"), save(b, folder / f"b{suffix}")
