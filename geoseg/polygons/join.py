"""Traced tiles joined across their seams, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.polygons.pending import (
    CHAIN,
    CHAINS,
    COMPONENT,
    COMPONENTS,
    FRONT,
    SIDE,
    VERTICES,
    Fronts,
    OpenState,
    Records,
    close_components,
    compact_state,
    import_tile,
)
from geoseg.polygons.rings import Int32, PolygonBatch, gather_slices, pack_keys
from geoseg.polygons.seams import sew_tile
from geoseg.polygons.trace import TileTrace

MIN_GARBAGE = 4096


class TileJoiner:
    """What is open while the tiles of one raster arrive in row-major order.

    A tile may be absent when all its pixels are skipped. Memory is bounded by the boundaries of components that are
    not finished, plus one row of pixels.

    Args:
        grid_shape: (rows, cols) of the raster.
        marked: whether the traces are marked.
    """

    def __init__(self, grid_shape: tuple[int, int], *, marked: bool = False) -> None:
        self.grid_shape, self.marked = grid_shape, marked
        self._state = OpenState(
            np.empty(0, COMPONENT), np.empty(0, CHAIN), np.empty((0, 2), np.int32), np.zeros(3, np.int64)
        )
        self._live = np.zeros(3, np.int64)  # of components: how many the last compaction left
        self._fronts = Fronts(_no_front(grid_shape[1] + 1, FRONT), _no_front(1, SIDE))
        self._band = Window(0, 0, 0, 0)

    @property
    def nbytes(self) -> int:
        """Memory of the open state in bytes."""
        return sum(array.nbytes for array in (*self._state, *self._fronts))

    def add(self, trace: TileTrace) -> PolygonBatch:
        """Link the next tile and return, ordered by key, what is finished by it beyond what was finished within it.

        Raises:
            InputError: the tile does not follow the ones before it in row-major order.
        """
        window = trace.window
        if trace.grid_shape != self.grid_shape:
            raise InputError(
                f"a tile of a raster of {trace.grid_shape} pixels", expected=f"one of {self.grid_shape} pixels"
            )
        if trace.marked != self.marked:
            raise InputError("marked and unmarked traces of one raster", expected="one or the other")
        closed = []
        if window.row != self._band.row or self._band.is_empty:
            closed.append(self._end_band())
            closed.append(self._skip_rows(window.row))
            self._start_band(window.row, window.rows)
        if window.rows != self._band.rows or window.col < self._band.col_stop:
            raise InputError(
                f"a tile at {window} after {self._band}",
                expected="tiles in row-major order, all of one row equally high, none twice",
            )
        closed.append(self._skip_cols(window.col))
        closed.append(self._sew(trace))
        return PolygonBatch.concatenate(closed).sort()

    def finish(self) -> PolygonBatch:
        """Close what touches the raster's lower or right border; no tile can be added afterwards."""
        rows, cols = self.grid_shape
        closed = [self._end_band(), self._skip_rows(rows)]
        self._start_band(rows, 1)
        closed.append(self._skip_cols(cols + 1))
        return PolygonBatch.concatenate(closed).sort()

    def _start_band(self, row: int, rows: int) -> None:
        if row < self._band.row_stop:
            raise InputError(f"a tile in row {row} after {self._band}", expected="tiles in row-major order")
        self._band = Window(row, 0, rows, 0)
        self._fronts = Fronts(self._fronts.front, _no_front(rows + 1, SIDE))

    def _end_band(self) -> PolygonBatch:
        return PolygonBatch.empty() if self._band.is_empty else self._skip_cols(self.grid_shape[1] + 1)

    def _skip_rows(self, row: int) -> PolygonBatch:
        if row <= self._band.row_stop:
            return PolygonBatch.empty()
        self._start_band(self._band.row_stop, row - self._band.row_stop)
        return self._skip_cols(self.grid_shape[1] + 1)

    def _skip_cols(self, col: int) -> PolygonBatch:
        band = self._band
        if col <= band.col_stop:
            return PolygonBatch.empty()
        gap = Window(band.row, band.col_stop, band.rows, col - band.col_stop)
        return self._sew(TileTrace.blank(gap, self.grid_shape))

    def _sew(self, trace: TileTrace) -> PolygonBatch:
        window = trace.window
        self._reserve(trace)
        sums = (trace.open_class, trace.open_pixels, trace.open_confidence_sum, trace.open_confidence_min)
        links = (
            trace.chain_component,
            trace.chain_next,
            trace.chain_twin,
            trace.chain_offsets,
            trace.chain_coords,
        )
        state = self._state
        before = state.counts.copy()
        base, chain_base = import_tile(state, sums, links, trace.border_component, window.cols)
        border = np.where(trace.border_component >= 0, trace.border_component + np.int32(base), np.int32(-1))
        ports = np.where(trace.port_chain >= 0, trace.port_chain + np.int32(chain_base), np.int32(-1))
        place = (window.row, window.col, window.rows, window.cols, *self.grid_shape, self.marked)
        done = sew_tile(state, self._fronts, border, ports, place)
        self._band = Window(self._band.row, 0, self._band.rows, window.col_stop)
        self._live[CHAINS:] += (state.counts - before)[CHAINS:]
        return self._close(done) if len(done) else PolygonBatch.empty()

    def _close(self, done: Int32) -> PolygonBatch:
        coords, offsets, owner, freed = close_components(self._state, done)
        self._live -= freed
        sums = self._state.components[done]
        keys = pack_keys(coords[offsets[:-1]])
        first = np.full(len(done), np.iinfo(np.int64).max)
        np.minimum.at(first, owner, keys)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        ring_coords, ring_offsets = gather_slices(coords, offsets, np.lexsort((keys, rank[owner])))
        counts = np.bincount(rank[owner], minlength=len(done))
        return PolygonBatch(
            sums["class_id"][order].astype(np.uint8),
            sums["pixels"][order],
            sums["confidence_sum"][order],
            sums["confidence_min"][order].astype(np.uint8),
            ring_coords,
            ring_offsets,
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        )

    def _reserve(self, trace: TileTrace) -> None:
        components, chains, coords, counts = self._state
        # Compacting when half is garbage costs each record a constant number of moves in all.
        if (counts > 2 * self._live + MIN_GARBAGE).any():
            compact_state(self._state, self._fronts)
            self._live[:] = counts
        corners = 4 * (trace.window.rows + trace.window.cols)
        self._state = OpenState(
            _grow(components, counts[COMPONENTS] + len(trace.open_class)),
            _grow(chains, counts[CHAINS] + len(trace.chain_component) + corners),
            _grow(coords, counts[VERTICES] + len(trace.chain_coords) + corners),
            counts,
        )


def join_tiles(traces: Iterable[TileTrace]) -> Iterator[PolygonBatch]:
    """Join the tiles of one raster; what is finished leaves at once.

    Args:
        traces: tiles in row-major order, consumed one at a time; tiles of which every pixel is skipped may be absent.

    Yields:
        Batches ordered by key within themselves, none of them empty.

    Raises:
        InputError: the tiles are not in row-major order or belong to different rasters.
    """
    joiner: TileJoiner | None = None
    for trace in traces:
        joiner = joiner or TileJoiner(trace.grid_shape, marked=trace.marked)
        for batch in (trace.finished, joiner.add(trace)):
            if len(batch):
                yield batch
    if joiner is not None:
        batch = joiner.finish()
        if len(batch):
            yield batch


def _no_front(length: int, dtype: np.dtype[np.void]) -> Records:
    front: Records = np.empty(length, dtype)
    for name in dtype.names or ():
        front[name] = -1
    return front


def _grow(array: Records, needed: int) -> Records:
    if needed <= len(array):
        return array
    grown = np.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
