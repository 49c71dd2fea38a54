"""Pieces on disk, by the square cells that they touch, so that one cell at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoseg.kernel import kernel
from geoseg.polygons.conflicts import BUCKET_BITS, Window4
from geoseg.polygons.pieces import HEAD_SIZE, Pieces, bound_pieces, take_pieces
from geoseg.polygons.rings import Int32, Int64

FLUSH_BYTES = 2**24


class PieceCells:
    """Pieces in files, one for each cell; a piece is in every cell that the box of its polyline touches.

    Args:
        folder: an existing, empty directory.
        cell_buckets: length of a cell's side in buckets (see `conflicts`).
    """

    def __init__(self, folder: Path, cell_buckets: int) -> None:
        self._folder, self._side = folder, cell_buckets
        self._waiting: list[Pieces] = []
        self._bytes = 0
        self._written: set[int] = set()

    def add(self, pieces: Pieces) -> None:
        """Take over pieces."""
        own = take_pieces(pieces, np.arange(len(pieces.keys)))
        self._waiting.append(own)
        self._bytes += sum(array.nbytes for array in own)
        if self._bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written yet."""
        pieces = join_pieces(self._waiting)
        self._waiting, self._bytes = [], 0
        owner, cells = assign_cells(bound_pieces(pieces), self._side)
        order = np.argsort(cells, kind="stable")
        numbers, starts = np.unique(cells[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(owner[order], starts[1:]), strict=False):
            mine = take_pieces(pieces, part)
            with (self._folder / f"{number}.heads").open("ab") as file:
                file.write(mine.heads.tobytes())
            with (self._folder / f"{number}.coords").open("ab") as file:
                file.write(mine.coords.tobytes())
            self._written.add(number)

    def windows(self) -> Iterator[tuple[int, Window4]]:
        """Number and window (first row, first col, rows, cols; in buckets) of each cell that holds pieces."""
        for number in sorted(self._written):
            yield number, ((number >> 32) * self._side, (number & 0xFFFFFFFF) * self._side, self._side, self._side)

    def read(self, number: int) -> Pieces:
        """The pieces of a cell."""
        heads = np.fromfile(self._folder / f"{number}.heads", np.int64).reshape(-1, HEAD_SIZE)
        coords = np.fromfile(self._folder / f"{number}.coords", np.int32).reshape(-1, 2)
        return Pieces.from_heads(coords, heads)


def join_pieces(parts: list[Pieces]) -> Pieces:
    """All pieces of all parts."""
    parts = [Pieces.from_heads(np.zeros((0, 2), np.int32), np.zeros((0, HEAD_SIZE), np.int64)), *parts]
    shifts = np.cumsum([0, *(len(part.coords) for part in parts)])
    moved = [
        part._replace(first=part.first + shift, last=part.last + shift)
        for part, shift in zip(parts, shifts.tolist(), strict=False)
    ]
    return Pieces(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))


@kernel
def assign_cells(boxes: Int32, side: int) -> tuple[Int64, Int64]:
    """Every pair of a box and a cell that it touches: positions of the boxes, row * 2^32 + col of the cells."""
    count = 0
    for is_filling in (False, True):
        if is_filling:
            owner, cells = np.empty(count, np.int64), np.empty(count, np.int64)
        n = 0
        for k in range(len(boxes)):
            top, bottom = (boxes[k, 0] >> BUCKET_BITS) // side, (boxes[k, 2] >> BUCKET_BITS) // side
            left, right = (boxes[k, 1] >> BUCKET_BITS) // side, (boxes[k, 3] >> BUCKET_BITS) // side
            for row in range(top, bottom + 1):
                for col in range(left, right + 1):
                    if is_filling:
                        owner[n], cells[n] = k, np.int64(row) << 32 | col
                    n += 1
        count = n
    return owner, cells


def clip_boxes(boxes: Int32, window: Window4) -> Int32:
    """Those of the boxes ((n, 4) int32) that touch a window."""
    row, col, rows, cols = window
    buckets = boxes >> BUCKET_BITS
    below = (buckets[:, 2] >= row) & (buckets[:, 0] < row + rows)
    return boxes[below & (buckets[:, 3] >= col) & (buckets[:, 1] < col + cols)]


@kernel
def touch_boxes(boxes: Int32, marked: Int32, window: Window4) -> Int64:
    """The positions of the `boxes` that come near one of the `marked` ones within a window, by common buckets."""
    row0, col0, rows, cols = window
    is_marked = np.zeros((rows, cols), np.uint8)
    for k in range(len(marked)):
        for row in range(
            max((marked[k, 0] >> BUCKET_BITS) - row0, 0), min((marked[k, 2] >> BUCKET_BITS) - row0 + 1, rows)
        ):
            begin, end = (
                max((marked[k, 1] >> BUCKET_BITS) - col0, 0),
                min((marked[k, 3] >> BUCKET_BITS) - col0 + 1, cols),
            )
            for col in range(begin, end):
                is_marked[row, col] = 1
    touching = np.zeros(len(boxes), np.uint8)
    for k in range(len(boxes)):
        for row in range(
            max((boxes[k, 0] >> BUCKET_BITS) - row0, 0), min((boxes[k, 2] >> BUCKET_BITS) - row0 + 1, rows)
        ):
            begin, end = max((boxes[k, 1] >> BUCKET_BITS) - col0, 0), min((boxes[k, 3] >> BUCKET_BITS) - col0 + 1, cols)
            for col in range(begin, end):
                touching[k] |= is_marked[row, col]
    found, n = np.empty(len(boxes), np.int64), 0
    for k in range(len(boxes)):
        if touching[k]:
            found[n] = k
            n += 1
    return found[:n]
