"""Lines of points in a file, and what must be known of each without reading it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel

Bool = NDArray[np.bool_]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Spans = NDArray[np.void]

BATCH_POINTS = 2**15

POINT = np.dtype([("place", np.int32, 2), ("width_m", np.float32), ("confidence", np.int16)])
"""A point as it lies in the file."""

SPAN = np.dtype(
    [
        ("start", np.int64),
        ("size", np.int64),
        ("tips", np.int32, (4, 2)),
        ("rows", np.int32, 2),
        ("tip_width_m", np.float32, 2),
        ("widest_m", np.float32),
        ("length_m", np.float64),
        ("width_m", np.float64),
    ]
)
"""A line in a file: its first point and how many; its first two and last two points; its least and greatest row; the
width at both ends, and the greatest; how long it is from point to point; its mean width."""


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of points in memory.

    Args:
        offsets: (n + 1,) int64, where each of the n lines starts in the arrays of points.
        points: (k, 2) int32 (row, col) in half cells of the whole raster.
        width_m: (k,) float32, width of the road there.
        confidence: (k,) int16, 0 to 255, -1 where unknown.
    """

    offsets: Int64
    points: Int32
    width_m: Float32
    confidence: Int16


class LineFile:
    """Lines one behind the other; what is written stays as it is.

    Plain reads, no memory maps: what was mapped would count as the process's memory.

    Args:
        file: an empty one, open for writing and reading.
        cell_m: (height, width) of a cell in ground metres.
        batch_points: about how many points are held in memory, if no line has more.
    """

    def __init__(self, file: IO[bytes], cell_m: tuple[float, float], batch_points: int = BATCH_POINTS) -> None:
        self._file, self._cell_m, self._length = file, cell_m, 0
        self.batch_points = batch_points

    def append(self, lines: Lines) -> Spans:
        """(n,) spans of lines that are written behind all others."""
        records = np.empty(len(lines.points), POINT)
        records["place"], records["width_m"], records["confidence"] = lines.points, lines.width_m, lines.confidence
        self._file.write(records.tobytes())
        self._file.flush()
        spans = self._measure(lines, self._length + lines.offsets[:-1])
        self._length += len(records)
        return spans

    def cut(self, spans: Spans, first: Int64, last: Int64) -> Spans:
        """(n,) parts of lines, each from its `first` (n,) point to its `last` (n,) one; nothing is written."""
        parts = spans.copy()
        parts["start"] += first
        parts["size"] = last - first + 1
        for part, lines in self.read_batches(parts):
            parts[part] = self._measure(lines, parts["start"][part])
        return parts

    def read(self, spans: Spans) -> Lines:
        """Lines from the file."""
        size = POINT.itemsize
        where = zip((spans["start"] * size).tolist(), (spans["size"] * size).tolist(), strict=True)
        records = np.frombuffer(b"".join(os.pread(self._file.fileno(), length, at) for at, length in where), POINT)
        points, width, confidence = (np.ascontiguousarray(records[name]) for name in ("place", "width_m", "confidence"))
        return Lines(np.concatenate([[0], np.cumsum(spans["size"])]), points, width, confidence)

    def read_batches(self, spans: Spans) -> Iterator[tuple[slice, Lines]]:
        """Lines from the file, some at a time, and which these are."""
        for part in cut_batches(spans["size"], self.batch_points):
            yield part, self.read(spans[part])

    def _measure(self, lines: Lines, start: Int64) -> Spans:
        first, last = lines.offsets[:-1], lines.offsets[1:] - 1
        spans = np.empty(len(first), SPAN)
        spans["start"], spans["size"] = start, last - first + 1
        spans["tips"] = lines.points[np.stack([first, first + 1, last - 1, last], axis=1)]
        spans["tip_width_m"] = lines.width_m[np.stack([first, last], axis=1)]
        sides_m = self._cell_m[0] / 2, self._cell_m[1] / 2
        measured = _measure(lines.offsets, lines.points, lines.width_m, *sides_m)
        spans["length_m"], spans["rows"], spans["widest_m"] = measured
        total = np.concatenate([[0.0], np.cumsum(lines.width_m, dtype=np.float64)])[lines.offsets]
        spans["width_m"] = np.diff(total) / spans["size"]
        return spans


def to_key(places: NDArray[np.integer]) -> Int64:
    """(n,) int64 in the order of places (n, 2)."""
    return (places[..., 0].astype(np.int64) << 32) + places[..., 1]


def cut_batches(sizes: Int64, most: int) -> Iterator[slice]:
    """Which of things of some sizes (n,), in turn, come to no more than `most` together, if a single one does not."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(total):
        before = int(total[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + most, side="right")))
        yield slice(first, last)
        first = last


@kernel
def _measure(
    offsets: Int64, points: Int32, width: Float32, row_m: float, col_m: float
) -> tuple[Float64, Int32, Float32]:
    length = np.zeros(len(offsets) - 1)
    extent = np.empty((len(length), 2), np.int32)
    widest = np.empty(len(length), np.float32)
    for edge in range(len(length)):
        first = offsets[edge]
        low = high = points[first, 0]
        most = width[first]
        for i in range(first + 1, offsets[edge + 1]):
            rows, cols = points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1]
            length[edge] += np.hypot(rows * row_m, cols * col_m)
            low, high, most = min(low, points[i, 0]), max(high, points[i, 0]), max(most, width[i])
        extent[edge, 0], extent[edge, 1], widest[edge] = low, high, most
    return length, extent, widest
