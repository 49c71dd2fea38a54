"""Thinned cells into pieces of line, and how wide the road is at each of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel

Uint8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

LINE, PLACE = 1, 2
# Beside the bits of its links: a cell is a node; it ends all lines that come to it; it has been walked over.
_NODE, _STOP, _SEEN = 256, 512, 1024


@kernel
def mark_places(cells: Uint8) -> Uint8:
    """Tell what is still thick after thinning from lines: 3 x 3 squares and what they cover.

    Args:
        cells: (h, w) uint8, 0 or 1.

    Returns:
        (h, w) uint8, LINE, PLACE or 0; the two outermost rows and columns are not exact.
    """
    h, w = cells.shape
    marks = cells.copy()
    for r in range(1, h - 1):
        for c in range(1, w - 1):
            if cells[r, c] and cells[r - 1 : r + 2, c - 1 : c + 2].all():
                marks[r - 1 : r + 2, c - 1 : c + 2] = 2
    return marks


def order_offsets(cell_m: tuple[float, float], reach_m: float) -> tuple[Int64, Float64]:
    """All steps to cells within `reach_m`, nearest first: (n, 2) int64 rows, cols and (n,) float64 metres."""
    rows, cols = (int(reach_m / side) for side in cell_m)
    steps = np.argwhere(np.ones((2 * rows + 1, 2 * cols + 1), bool)) - np.array([rows, cols])
    metres = np.hypot(*(steps * cell_m).T)
    order = np.lexsort((*steps.T, metres))
    order = order[(metres[order] > 0) & (metres[order] <= reach_m)]
    return steps[order].astype(np.int64), metres[order]


@kernel
def measure_width(mask: Uint8, places: Int64, steps: Int64, metres: Float64, cell_m: tuple[float, float]) -> Float32:
    """Width of the road at cells, from the nearest edge straight to the opposite one.

    The opposite edge counts up to one and a half cells further than the near one, since a line one cell wide is at
    most that far from the middle; where it is further there is a side road or a bend.

    Args:
        mask: (h, w) uint8, 1 on roads.
        places: (n, 2) int64 rows and columns of cells.
        steps: (k, 2) int64 from `order_offsets`.
        metres: (k,) float64 from `order_offsets`.
        cell_m: (height, width) of a cell.

    Returns:
        (n,) float32 metres.
    """
    h, w = mask.shape
    width = np.empty(len(places), np.float32)
    for i in range(len(places)):
        r, c = places[i, 0], places[i, 1]
        near = metres[-1]
        far = near
        edge = 0.0
        for k in range(len(steps)):
            y, x = r + steps[k, 0], c + steps[k, 1]
            if y < 0 or y >= h or x < 0 or x >= w or mask[y, x]:
                continue
            near = metres[k]
            length = max(abs(steps[k, 0]), abs(steps[k, 1]))
            share = near / length
            # The edge lies before the first cell beyond it, by half of what cells are apart across the road.
            edge = max(abs(steps[k, 0]) * cell_m[0], abs(steps[k, 1]) * cell_m[1]) / length
            edge *= max(abs(steps[k, 0]) * cell_m[0], abs(steps[k, 1]) * cell_m[1]) / near
            for more in range(2):
                count = length + more
                y, x = r - round(steps[k, 0] * count / length), c - round(steps[k, 1] * count / length)
                far = count * share
                if y < 0 or y >= h or x < 0 or x >= w or not mask[y, x]:
                    break
            break
        width[i] = near + far - edge
    return width


@kernel
def trace_pieces(marks: Uint8, links: Uint8, core: tuple[int, int, int, int]) -> tuple[Int64, Int64]:
    """Follow the lines of a tile from node to node, to the tile's border, or to a place.

    A node is a cell that is not joined to just two others, or is joined to a cell beyond the border or of a place. Of
    two neighbouring tiles that see a step over their border, the one with its upper, or else its left cell takes it.

    Args:
        marks: (h, w) uint8 from `mark_places`, at least one cell more than the core on each side.
        links: (256,) uint8, `LINKS`.
        core: first and last + 1 row, first and last + 1 column of the tile in `marks`.

    Returns:
        (n + 1,) offsets; (cells,) int64 indices of `marks`, flat; the last cell of a piece may lie in a place.
    """
    joined = _join_cells(marks, links, core)
    cells, state = marks.ravel(), joined.ravel()
    w = marks.shape[1]
    around = np.array([1, 1 - w, -w, -w - 1, -1, w - 1, w, w + 1])
    nodes = np.flatnonzero(state & _NODE)
    lines = (state != _STOP).sum()
    ends = 0
    for start in nodes:
        for k in range(8):
            ends += state[start] >> k & 1
    offsets = np.zeros(ends + lines // 3 + 2, np.int64)
    # Room for all pieces and for one that is met for the second time.
    path = np.empty(2 * lines + 2 * ends + lines // 3 + 4, np.int64)
    pieces = 0
    used = 0
    for start in nodes:
        for k in range(8):
            if state[start] >> k & 1:
                stop, last = _follow(state, around, path[used:], int(start), k)
                here = path[used + stop - 1]
                # Between two nodes the piece is met from both ends; across the border it is seen by two tiles.
                if cells[here] == PLACE or start < here or (start == here and k < last):
                    used += stop
                    pieces += 1
                    offsets[pieces] = used
    for i in path[:used]:
        state[i] |= _SEEN
    for start in np.flatnonzero(state & (_NODE | _STOP | _SEEN) == 0):
        if not state[start] & _SEEN:
            stop, _ = _follow(state, around, path[used:], int(start), _lowest(state[start]))
            for i in path[used : used + stop]:
                state[i] |= _SEEN
            used += stop
            pieces += 1
            offsets[pieces] = used
    return offsets[: pieces + 1], path[:used]


@subkernel
def _join_cells(marks: Uint8, links: Uint8, core: tuple[int, int, int, int]) -> NDArray[np.int16]:
    """(h, w) int16: links, of those to a place one only, and _NODE; _STOP alone where no line of the tile is."""
    r0, r1, c0, c1 = core
    joined = np.full(marks.shape, _STOP, np.int16)
    rows, cols = np.array([0, -1, -1, -1, 0, 1, 1, 1]), np.array([1, 1, 0, -1, -1, -1, 0, 1])
    for r in range(r0, r1):
        for c in range(c0, c1):
            if marks[r, c] != LINE:
                continue
            code = 0
            for k in range(8):
                code |= (marks[r + rows[k], c + cols[k]] != 0) << k
            kept, degree, touches_place, is_node = 0, 0, False, False
            # Straight neighbours first: the nearest cell of a place.
            for k in (0, 2, 4, 6, 1, 3, 5, 7):
                if not links[code] >> k & 1:
                    continue
                y, x = r + rows[k], c + cols[k]
                in_place = marks[y, x] == PLACE
                if in_place and touches_place:
                    continue
                touches_place |= in_place
                is_node |= in_place or y < r0 or y >= r1 or x < c0 or x >= c1
                kept |= 1 << k
                degree += 1
            joined[r, c] = kept | _NODE if is_node or degree != 2 else kept
    return joined


@subkernel
def _lowest(bits: int) -> int:
    k = 0
    while not bits >> k & 1:
        k += 1
    return k


@subkernel
def _follow(state: NDArray[np.int16], around: Int64, path: Int64, start: int, k: int) -> tuple[int, int]:
    """Walk from a cell in direction `k`, into `path`; the number of cells, and the direction back from the last one."""
    path[0] = start
    count = 1
    here = start
    while True:
        here = here + around[k]
        path[count] = here
        count += 1
        back = (k + 4) % 8
        if here == start or state[here] & (_NODE | _STOP):
            return count, back
        k = _lowest(state[here] & 255 & ~(1 << back))
