"""Places too wide for a road: lines from road to road through their middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.roads.lines import Bool, Int64, Lines, to_key
from geoseg.roads.mask import STEP_COLS, STEP_ROWS
from geoseg.roads.scale import BLOCK, RoadScale
from geoseg.roads.thin import LINKS, THIN, thin_list
from geoseg.roads.trace import RoadTile, to_points

MIRRORED_BLOCKS = 64
"""So far from the border of the raster places are mirrored at it, enough for those twice as wide."""


def link_places(blocks: NDArray[np.int32], points: NDArray[np.int32], scale: RoadScale) -> Lines:
    """Thin blocks until they are lines that join all the points where roads lead into them.

    Args:
        blocks: (n, 2) int32, (row, col) of blocks; some may be there twice.
        points: (k, 2) int32 in half cells, centres of blocks.
        scale: of the raster.

    Returns:
        Pieces of two points each.
    """
    if not len(blocks):
        return RoadTile.blank()
    inner = _count_blocks(scale)
    blocks, neighbours = _find_neighbours(blocks, inner)
    n = len(blocks)
    fixed = np.zeros(n + 1, np.uint8)
    fixed[_find(to_key(blocks), to_key(points // (2 * BLOCK)))] = 1
    alive, depth = thin_list(neighbours, fixed[:n], THIN)
    left = np.append(alive, 0)
    links = LINKS[np.packbits(left[neighbours], axis=1, bitorder="little")]
    own, towards = np.nonzero(np.unpackbits(links, axis=1, bitorder="little") * left[:n, None])
    other = neighbours[own, towards]
    inside = np.append(((blocks >= 0) & (blocks < inner)).all(axis=1), False)
    pairs = np.stack([own, other], axis=1)[(own < other) & (inside[own] | inside[other])]
    width = 2 * (scale.iterations + (depth - 0.5) * BLOCK) * min(scale.cell_m)
    return Lines(
        np.arange(len(pairs) + 1) * 2,
        to_points(blocks[pairs.ravel()]),
        width[pairs.ravel()].astype(np.float32),
        np.full(pairs.size, -1, np.int16),
    )


def is_before(blocks: NDArray[np.int32], stop: float, scale: RoadScale) -> Bool:
    """(n,) which of blocks (n, 2) belong to places that no block in or behind row `stop`, in half cells, is part of."""
    if not len(blocks):
        return np.zeros(0, bool)
    every, neighbours = _find_neighbours(blocks, _count_blocks(scale))
    own, side = np.nonzero(neighbours < len(every))
    pairs = coo_array((np.ones(len(own), np.int8), (own, neighbours[own, side])), shape=(len(every),) * 2)
    count, place = connected_components(pairs, directed=False)
    last = np.full(count, np.iinfo(np.int32).min)
    np.maximum.at(last, place, every[:, 0])
    return np.asarray((to_points(last + 1) < stop)[place[_find(to_key(every), to_key(blocks))]], bool)


def leads_to(points: NDArray[np.int32], blocks: NDArray[np.int32], scale: RoadScale) -> Bool:
    """(n,) whether points (n, 2) in half cells are centres of blocks or of what the raster's border mirrors of them."""
    is_centre = (points % 2 != 0).all(axis=1)
    known = to_key(_mirror(blocks, _count_blocks(scale)))
    return np.asarray(is_centre & np.isin(to_key(points // (2 * BLOCK)), known), bool)


def _count_blocks(scale: RoadScale) -> Int64:
    return np.asarray(-(-np.array(scale.shape) // BLOCK), np.int64)


def _find_neighbours(blocks: NDArray[np.int32], inner: Int64) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(n, 2) blocks, mirrored ones included, in order; (n, 8) the number of each neighbour, n where there is none."""
    blocks = np.unique(_mirror(blocks, inner), axis=0)
    key = to_key(blocks)
    neighbours = np.empty((len(blocks), 8), np.int32)
    for side in range(8):
        neighbours[:, side] = _find(key, to_key(blocks + np.array([STEP_ROWS[side], STEP_COLS[side]])))
    return blocks, neighbours


def _mirror(blocks: NDArray[np.int32], inner: Int64) -> NDArray[np.int32]:
    """Blocks and what the border of the raster mirrors of them, so that a place goes on there, as roads do."""
    for axis in (0, 1):
        at = blocks[:, axis]
        near, far = blocks[at < MIRRORED_BLOCKS].copy(), blocks[at >= inner[axis] - MIRRORED_BLOCKS].copy()
        near[:, axis] = -1 - near[:, axis]
        far[:, axis] = 2 * inner[axis] - 1 - far[:, axis]
        blocks = np.concatenate([blocks, near, far])
    return blocks


def _find(key: Int64, wanted: Int64) -> Int64:
    """Where each wanted key is among the sorted ones, their number where it is not."""
    at = np.searchsorted(key, wanted)
    return np.where(key[np.minimum(at, len(key) - 1)] == wanted, at, len(key))
