"""Which scene of a mosaic a feature is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geoseg.errors import InputError
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.stored import RecordFile
from geoseg.raster.mosaic import NONE, ClassMosaic
from geoseg.run.job import Job
from geoseg.tiles.sealed import read_sealed, write_sealed
from geoseg.tiles.store import SOURCES

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

SUFFIX = ".safetensors"
KEPT_BYTES = 64 * 1024 * 1024
# A line's vertex may lie on the border of the pixels that it is of.
_AROUND = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))


@dataclass(frozen=True, eq=False)
class SourceRuns:
    """The members that a tile's pixels are of, as runs along its rows laid end to end.

    Args:
        starts: (n,) int64, pixels at which another member begins; the first one is 0.
        members: (n,) int32.
    """

    starts: Int64
    members: Int32

    @classmethod
    def of(cls, members: Int32) -> SourceRuns:
        """The runs of a tile, int32 (rows, cols)."""
        flat = members.ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        return cls(starts, flat[starts])

    def find(self, positions: Int64) -> Int32:
        """(n,) members of pixels at positions (n,) in the rows laid end to end."""
        found: Int32 = self.members[np.searchsorted(self.starts, positions, side="right") - 1]
        return found

    def save(self, path: Path) -> None:
        """Write them as a safetensors file."""
        write_sealed(path, save({"starts": self.starts, "members": self.members}))

    @classmethod
    def load(cls, path: Path) -> SourceRuns:
        """Read what `save` wrote.

        Raises:
            InputError: the file was damaged after it was written.
        """
        try:
            return cls(**load(read_sealed(path)))
        except (SafetensorError, TypeError) as error:
            raise InputError(
                f"the finished tile {path} cannot be read: {error}",
                expected="the file as geoseg wrote it",
                remedy="run again with --fresh",
            ) from error


class SourceIndex:
    """The members of any pixels of a job on a mosaic whose tiles are done; a few tiles are held."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._kept: dict[tuple[int, int], SourceRuns | None] = {}

    def find(self, rows: Int64, cols: Int64) -> Int32:
        """(n,) int32 members of pixels at rows and columns (n,); -1 where the grid or the mosaic has none."""
        plan = self._job.plan
        found = np.full(len(rows), NONE, np.int32)
        inside = np.flatnonzero((rows >= 0) & (rows < plan.grid.rows) & (cols >= 0) & (cols < plan.grid.cols))
        tiles = rows[inside] // plan.core_px[0] * plan.shape[1] + cols[inside] // plan.core_px[1]
        order = np.argsort(tiles, kind="stable")
        numbers, first = np.unique(tiles[order], return_index=True)
        for number, mine in zip(numbers.tolist(), np.split(inside[order], first[1:]), strict=False):
            tile = plan.tile(*divmod(number, plan.shape[1]))
            runs = self._open(tile.id)
            if runs is not None:
                place = (rows[mine] - tile.core.row) * tile.core.cols + cols[mine] - tile.core.col
                found[mine] = runs.find(place)
        return found

    def _open(self, tile: tuple[int, int]) -> SourceRuns | None:
        if tile not in self._kept:
            path = self._job.store.path(SOURCES, self._job.plan.tile(*tile), SUFFIX)
            self._kept[tile] = SourceRuns.load(path) if path.exists() else None
        runs = self._kept[tile] = self._kept.pop(tile)  # the last one: the one used longest ago goes first
        while (
            len(self._kept) > 1
            and sum(r.starts.nbytes + r.members.nbytes for r in self._kept.values() if r) > KEPT_BYTES
        ):
            del self._kept[next(iter(self._kept))]
        return runs


def note_members(batches: Iterable[PolygonBatch], job: Job, record: RecordFile) -> Iterator[PolygonBatch]:
    """The same batches, after the member of the first pixel of each polygon, int32 (n,), went into the record."""
    index = SourceIndex(job)
    for batch in batches:
        cols = batch.keys & 0xFFFFFFFF
        record.append([index.find(batch.keys >> 32, cols >> MARK_BITS if job.options.generalises else cols)])
        yield batch


def find_line_members(lines: NDArray[np.object_], job: Job, index: SourceIndex) -> Int32:
    """(n,) int32 members of lines in the CRS: of the first vertex that lies on one, or beside it."""
    xy, owner = shapely.get_coordinates(lines, return_index=True)
    t = ~job.plan.grid.transform
    cols = np.floor(t.a * xy[:, 0] + t.b * xy[:, 1] + t.c).astype(np.int64)
    rows = np.floor(t.d * xy[:, 0] + t.e * xy[:, 1] + t.f).astype(np.int64)
    members = np.full(len(lines), NONE, np.int32)
    for down, right in _AROUND:
        open_ = members[owner] == NONE
        found = index.find(rows[open_] + down, cols[open_] + right)
        hits, first = np.unique(owner[open_][found != NONE], return_index=True)
        members[hits] = found[found != NONE][first]
    return members


def name_members(mosaic: ClassMosaic, numbers: Int32) -> dict[str, NDArray[np.object_]]:
    """The columns `source` and `date`, (n,) objects, of features by the members (n,) that they are of."""
    told = [(member.scene.name, member.scene.date) for member in mosaic.members] + [(None, None)]
    table = np.array(told, object)[numbers]  # NONE is the last one
    return {"source": table[:, 0], "date": table[:, 1]}
