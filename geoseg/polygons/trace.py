"""One tile of classes into finished polygons and the loose ends that neighbours will continue."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.polygons.corners import collect_chains, link_corners
from geoseg.polygons.marks import MAX_SIDE
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, Uint8, gather_slices
from geoseg.polygons.runs import count_runs, encode_runs, label_runs, list_border, sum_components
from geoseg.tiles.sealed import read_sealed, write_sealed

MAX_TILE_PIXELS = 2**29


@dataclass(frozen=True, eq=False)
class TileTrace:
    """What tracing leaves of a tile of h x w pixels: flat arrays only.

    A component is open when it touches the tile's border. Its boundary is kept in chains; a chain is closed on itself
    (`chain_next` is itself), is continued by another chain of the tile, or leaves through a port (-1). Where the last
    corner of two chains may turn out to be a point at which one polygon touches itself, `chain_twin` of one of them is
    the other.

    Args:
        window: the tile in global pixels.
        grid_shape: (rows, cols) of the whole raster.
        finished: the polygons that do not touch the border, ordered by key.
        open_class: (k,) uint8, class of each open component.
        open_pixels: (k,) int64.
        open_confidence_sum: (k,) int64.
        open_confidence_min: (k,) uint8.
        border_component: (2 w + 2 h,) int32, open component of the border pixels or -1: top row, bottom row, left
            column, right column.
        port_chain: (4 w + 4 h,) int32, chain that starts or ends at each port or -1; see `corners.link_corners`.
        chain_component: (m,) int32 into the open components.
        chain_next: (m,) int32.
        chain_twin: (m,) int32, -1 where there is none.
        chain_offsets: (m + 1,) int64 into `chain_coords`.
        chain_coords: (vertices, 2) int32, (row, col) of global pixel corners.
        marked: whether all columns carry marks (see `marks`) and polygons have vertices at straight junctions.
    """

    window: Window
    grid_shape: tuple[int, int]
    finished: PolygonBatch
    open_class: Uint8
    open_pixels: Int64
    open_confidence_sum: Int64
    open_confidence_min: Uint8
    border_component: Int32
    port_chain: Int32
    chain_component: Int32
    chain_next: Int32
    chain_twin: Int32
    chain_offsets: Int64
    chain_coords: Int32
    marked: bool = False

    @classmethod
    def blank(cls, window: Window, grid_shape: tuple[int, int]) -> TileTrace:
        """The trace of a tile of which every pixel is skipped."""
        none = np.zeros(0, np.int32)
        sums = np.zeros(0, np.int64)
        return cls(
            window,
            grid_shape,
            PolygonBatch.empty(),
            np.zeros(0, np.uint8),
            sums,
            sums,
            np.zeros(0, np.uint8),
            np.full(2 * (window.rows + window.cols), -1, np.int32),
            np.full(4 * (window.rows + window.cols), -1, np.int32),
            none,
            none,
            none,
            np.zeros(1, np.int64),
            np.zeros((0, 2), np.int32),
        )

    def to_bytes(self) -> bytes:
        """The trace as the content of a safetensors file."""
        window = self.window
        place = [window.row, window.col, window.rows, window.cols, *self.grid_shape, self.marked]
        arrays: dict[str, NDArray[np.generic]] = {"place": np.array(place, np.int64)}
        for field in fields(self)[3:-1]:
            arrays[field.name] = getattr(self, field.name)
        for name, array in self.finished.arrays().items():
            arrays[f"finished.{name}"] = array
        return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    @classmethod
    def from_bytes(cls, content: bytes) -> TileTrace:
        """The trace that `to_bytes` wrote.

        Raises:
            InputError: the bytes are not a trace.
        """
        try:
            arrays = {name: array.copy() for name, array in load(content).items()}
            place = [int(value) for value in arrays.pop("place")]
            finished = {name: arrays.pop(f"finished.{name}") for name in PolygonBatch.__dataclass_fields__}
            finished_batch = PolygonBatch(**finished)
            return cls(Window(*place[:4]), (place[4], place[5]), finished_batch, **arrays, marked=bool(place[6]))
        except (SafetensorError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"bytes that are no tile trace ({error})",
                expected="the content of a file written by TileTrace.save",
                remedy="delete the file and trace the tile again",
            ) from error

    def save(self, path: Path) -> None:
        """Write the trace as a sealed safetensors file."""
        write_sealed(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> TileTrace:
        """Read a file that `save` wrote.

        Raises:
            InputError: the file is not a trace, or was damaged.
        """
        return cls.from_bytes(read_sealed(path))


def trace_tile(
    classes: Uint8,
    confidence: Uint8 | None = None,
    *,
    window: Window,
    grid_shape: tuple[int, int],
    skip: Collection[int] = (),
    marked: bool = False,
) -> TileTrace:
    """Trace the 4-connected components of one tile.

    Args:
        classes: (h, w) uint8.
        confidence: (h, w) uint8, 0 to 255, or None where there is none (sums and minima are then 0).
        window: the tile in global pixels, of h x w pixels.
        grid_shape: (rows, cols) of the whole raster.
        skip: class ids that leave no polygons (nodata, background).
        marked: whether vertices carry marks, as generalisation needs them; see `marks`.

    Raises:
        OptionError: shapes do not fit one another, or the tile is empty, too large or not inside the raster, or the
            raster is too large for marks.
    """
    _check_tile(classes, confidence, window, grid_shape)
    if marked and max(grid_shape) > MAX_SIDE:
        raise OptionError(f"a raster of {grid_shape} pixels", expected=f"at most {MAX_SIDE} pixels a side with marks")
    skipped = np.zeros(256, np.uint8)
    skipped[list(skip)] = 1
    classes = np.ascontiguousarray(classes)
    confidence = np.zeros((0, 0), np.uint8) if confidence is None else np.ascontiguousarray(confidence)

    runs = encode_runs(classes, confidence, count_runs(classes))
    component, components = label_runs(runs, skipped)
    class_id, pixels, confidence_sum, confidence_min, is_open = sum_components(runs, component, components)
    nodes, deferred, opposite = link_corners(runs, component, is_open, (window.row, window.col), marked)
    coords, offsets, piece_component, following, twin, port_chain, heads = collect_chains(
        nodes, 4 * (window.rows + window.cols), deferred, opposite
    )

    # Numbers of open components start at 0 among the open ones; -1 stands for closed ones and for skipped pixels.
    open_number = np.append(np.where(is_open, np.cumsum(is_open, dtype=np.int32) - 1, -1), -1).astype(np.int32)
    ring_is_open = is_open[piece_component[heads:]] == 1
    chains = np.concatenate([np.arange(heads), heads + np.flatnonzero(ring_is_open)])
    rings = heads + np.flatnonzero(~ring_is_open)
    chain_coords, chain_offsets = gather_slices(coords, offsets, chains)
    chain_numbers = np.arange(heads, len(chains), dtype=np.int32)
    closed = np.flatnonzero(is_open == 0)
    polygon_number = np.cumsum(is_open == 0) - 1
    ragged = _group_rings(coords, offsets, rings, owner=polygon_number[piece_component[rings]], polygons=len(closed))
    return TileTrace(
        window,
        grid_shape,
        PolygonBatch(class_id[closed], pixels[closed], confidence_sum[closed], confidence_min[closed], *ragged),
        open_class=class_id[is_open == 1],
        open_pixels=pixels[is_open == 1],
        open_confidence_sum=confidence_sum[is_open == 1],
        open_confidence_min=confidence_min[is_open == 1],
        border_component=open_number[list_border(runs, component)],
        port_chain=port_chain,
        chain_component=open_number[piece_component[chains]],
        chain_next=np.concatenate([following, chain_numbers]),
        chain_twin=np.concatenate([twin, np.full(len(chain_numbers), -1, np.int32)]),
        chain_offsets=chain_offsets,
        chain_coords=chain_coords,
        marked=marked,
    )


def _group_rings(
    coords: Int32, offsets: Int64, rings: Int64, *, owner: Int64, polygons: int
) -> tuple[Int32, Int64, Int64]:
    # Rings are in reading order of their first corners: a stable sort leaves the outer ring first and holes in order.
    ring_coords, ring_offsets = gather_slices(coords, offsets, rings[np.argsort(owner, kind="stable")])
    polygon_offsets = np.zeros(polygons + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=polygons), out=polygon_offsets[1:])
    return ring_coords, ring_offsets, polygon_offsets


def _check_tile(classes: Uint8, confidence: Uint8 | None, window: Window, grid_shape: tuple[int, int]) -> None:
    raster = Window(0, 0, *grid_shape)
    if classes.dtype != np.uint8 or (confidence is not None and confidence.dtype != np.uint8):
        raise OptionError("a tile that is not uint8", expected="uint8 classes and uint8 confidence")
    if classes.shape != window.shape or (confidence is not None and confidence.shape != window.shape):
        raise OptionError(
            f"a tile of shape {classes.shape} for a window of {window.shape} pixels",
            expected="classes and confidence of exactly the window's shape",
        )
    if window.is_empty or window.intersect(raster) != window:
        raise OptionError(f"a tile at {window} in a raster of {grid_shape} pixels", expected="a window inside it")
    if classes.size > MAX_TILE_PIXELS:
        raise OptionError(
            f"a tile of {classes.size} pixels", expected=f"at most {MAX_TILE_PIXELS}", remedy="use smaller tiles"
        )
