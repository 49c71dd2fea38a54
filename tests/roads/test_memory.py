"""A network across a whole raster costs what its junctions and ends cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geoseg.roads.gaps import BridgeRule
from geoseg.roads.join import join_roads
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile
from tests.roads.streets import ROAD, make_grid

SCRIPT = """
import json, sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from scipy.ndimage import gaussian_filter
from geoseg.grid import Window
from geoseg.roads.gaps import BridgeRule
from geoseg.roads.join import join_roads
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import trace_road_tile
from tests.peak import peak_kib
from tests.roads.streets import ROAD, make_grid

kind, size, tile, points, pieces, lines = sys.argv[1], int(sys.argv[2]), 2048, 0, 0, 0
grid = make_grid(size, size, 0.3)
scale = RoadScale.of(grid)
noise = gaussian_filter(np.random.default_rng(1).random((2000, 2000), np.float32), 5, mode="wrap")
specks = noise > np.quantile(noise, 0.7)
def read(window):
    row = np.arange(window.row, window.row_stop)[:, None]
    col = np.arange(window.col, window.col_stop)
    if kind == "specks":
        return (specks[row % 2000, col % 2000] * ROAD).astype(np.uint8)
    # Winding streets every 250 pixels, in both directions, of one network.
    down = (row + 60 * np.sin(col / 300)) % 250 < 22
    return ((down | ((col + 60 * np.sin(row / 350)) % 250 < 22)) * ROAD).astype(np.uint8)
def tiles():
    global points, pieces
    for row in range(0, size, tile):
        for col in range(0, size, tile):
            core = Window(row, col, tile, tile).intersect(grid.window)
            window = core.pad(*scale.halo_px()).intersect(grid.window)
            traced = trace_road_tile(read(window), class_id=ROAD, window=window, core=core, scale=scale)
            points += len(traced.points)
            pieces += len(traced.offsets) - 1
            yield traced
with TemporaryDirectory() as folder:
    for part in join_roads(tiles(), scale, class_id=ROAD, folder=Path(folder), bridges=BridgeRule()):
        lines += len(part.describe(grid).geometries)
print(json.dumps({"peak": 1024 * peak_kib(), "points": points, "pieces": pieces, "lines": lines}))
"""


def measure(kind: str, size: int) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind, str(size)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_memory_follows_neither_raster_nor_lines() -> None:
    small, large = measure("streets", 4096), measure("streets", 16384)
    assert large["lines"] > 10 * small["lines"]
    # Sixteen times the points, of which the thinned lines alone have 14 bytes each.
    assert large["points"] > 10 * small["points"]
    assert large["peak"] < 1.1 * small["peak"]


@pytest.mark.slow
def test_memory_does_not_follow_what_is_pruned() -> None:
    small, large = measure("specks", 4096), measure("specks", 16384)
    assert large["pieces"] > 15 * small["pieces"]
    # A piece that waited in memory for the end of the raster would take 300 bytes.
    assert large["peak"] - small["peak"] < 50 * (large["pieces"] - small["pieces"]), (small, large)


def winding_roads(length: int) -> Iterator[RoadTile]:
    """A hundred roads of some cells, each a tile of its own, in pairs that meet end to end."""
    for number in range(100):
        col = 2 * np.arange(length) + 2 * (length - 1) * (number % 2)
        points = np.stack([100 * (number // 2) + 4 * (np.arange(length) // 20 % 2), col], axis=1).astype(np.int32)
        points[[0, -1], 0] = 100 * (number // 2)
        yield RoadTile(
            np.array([0, length]),
            points,
            np.full(length, 6, np.float32),
            np.full(length, 200, np.int16),
            np.zeros((0, 2), np.int32),
        )


def join_peak(length: int, folder: Path) -> tuple[int, int]:
    grid = make_grid(6000, 2 * length + 100)
    scale = RoadScale.of(grid)
    tracemalloc.start()
    try:
        parts = join_roads(
            winding_roads(length), scale, class_id=ROAD, folder=folder, bridges=BridgeRule(), batch_points=2**13
        )
        lines = sum(len(part) for part in parts)
        return lines, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_longer_roads_cost_nothing(tmp_path: Path) -> None:
    join_peak(100, tmp_path)
    short, long = join_peak(1000, tmp_path), join_peak(4000, tmp_path)
    assert short[0] == long[0] == 50
    assert long[1] < 1.2 * short[1], (short, long)
    assert long[1] < 14 * 100 * 4000 / 2
    assert not list(tmp_path.iterdir())
