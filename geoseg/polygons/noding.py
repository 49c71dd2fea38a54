"""Straight edges with all the corners that lie on them."""

from __future__ import annotations

import numpy as np

from geoseg.polygons.rings import Int32, Int64, pack_keys


def insert_touching_corners(coords: Int32, offsets: Int64) -> tuple[Int32, Int64]:
    """Give every straight edge the corners that lie on it, so that common boundaries have common vertices.

    Args:
        coords: (vertices, 2) int32 (row, col) of rings without a repeated last vertex, edges along rows or columns.
        offsets: (rings + 1,) int64.

    Returns:
        The coordinates and offsets of the same rings with these vertices.
    """
    ends = np.roll(coords, -1, axis=0)
    ends[offsets[1:] - 1] = coords[offsets[:-1]]
    along_row = coords[:, 0] == ends[:, 0]
    # An edge along a row is a run of keys of corners sorted by (row, col), one along a column by (col, row).
    by_row, by_col = _sort_keys(pack_keys(coords)), _sort_keys(pack_keys(coords[:, ::-1]))
    first, count = np.empty(len(coords), np.int64), np.empty(len(coords), np.int64)
    for edges, keys, flip in ((along_row, by_row, 1), (~along_row, by_col, -1)):
        one, two = pack_keys(coords[edges][:, ::flip]), pack_keys(ends[edges][:, ::flip])
        first[edges] = np.searchsorted(keys, np.minimum(one, two), side="right")
        count[edges] = np.searchsorted(keys, np.maximum(one, two), side="left") - first[edges]
    backward = (ends[:, 0] < coords[:, 0]) | (ends[:, 1] < coords[:, 1])
    edge = np.repeat(np.arange(len(coords)), count + 1)
    before = np.cumsum(count + 1) - (count + 1)
    step = np.arange(len(edge)) - before[edge]
    inserted = step > 0
    place = first[edge] + np.where(backward[edge], count[edge] - step, step - 1)
    filled = coords[edge]
    for edges, keys, flip in ((along_row, by_row, 1), (~along_row, by_col, -1)):
        here = inserted & edges[edge]
        key = keys[place[here]]
        filled[here] = np.stack([key >> 32, key & 0xFFFFFFFF], axis=1).astype(np.int32)[:, ::flip]
    return filled, np.append(before, len(edge))[offsets]


# np.unique hashes, and packed keys collide.
def _sort_keys(keys: Int64) -> Int64:
    ordered = np.sort(keys)
    distinct: Int64 = ordered[np.diff(ordered, prepend=-1) != 0]
    return distinct
