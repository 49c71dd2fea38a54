"""Thinning by rounds that look one cell far: a fixed number of them gives every tile the same lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel

Uint8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


def _may_go(code: int, step: int) -> bool:
    x = [bool(code >> i & 1) for i in range(8)]
    crossings = sum(not x[i] and (x[i + 1] or x[(i + 2) % 8]) for i in (0, 2, 4, 6))
    pairs = [sum(x[i + k] or x[(i + k + 1) % 8] for i in (0, 2, 4, 6)) for k in (0, 1)]
    blocked = [(x[1] or x[2] or not x[7]) and x[0], (x[5] or x[6] or not x[3]) and x[4]][step]
    return crossings == 1 and 2 <= min(pairs) <= 3 and not blocked


THIN = np.array([[_may_go(code, step) for code in range(256)] for step in (0, 1)], np.uint8)
"""(2, 256) whether each of the two steps takes a cell off, by the code of its neighbours (see `mask.STEP_ROWS`).

Source: Guo and Hall, Parallel thinning with two-subiteration algorithms (1989), algorithm A1.
"""


def _links(code: int) -> int:
    x = [bool(code >> i & 1) for i in range(8)]
    straight = sum(1 << i for i in (0, 2, 4, 6) if x[i])
    return straight | sum(1 << i for i in (1, 3, 5, 7) if x[i] and not x[i - 1] and not x[(i + 1) % 8])


LINKS = np.array([_links(code) for code in range(256)], np.uint8)
"""(256,) to which neighbours a cell is joined: a diagonal beside a common neighbour would close a triangle."""


@kernel
def thin_cells(mask: Uint8, table: Uint8, iterations: int) -> None:  # noqa: PLR0912 - one loop over lists of cells
    """Thin a mask in place.

    A cell can only go after a neighbour went, so each step looks at the neighbours of the cells of the last two.

    Args:
        mask: (h, w) uint8, 0 or 1; the outermost cells must be 0.
        table: (2, 256) uint8, `THIN`.
        iterations: rounds of two steps.
    """
    w = mask.shape[1]
    cells = mask.ravel()
    around = np.array([1, 1 - w, -w, -w - 1, -1, w - 1, w, w + 1])
    gone = np.empty(0, np.int64)
    before = gone
    for step in range(2 * iterations):
        if step < 2:
            found = np.flatnonzero(cells)
        else:
            found = np.empty(8 * (gone.size + before.size), np.int64)
            count = 0
            for part in (before, gone):
                for i in part:
                    for d in around:
                        if cells[i + d] == 1:
                            # Marked while listed, so that a cell is listed once.
                            cells[i + d] = 3
                            found[count] = i + d
                            count += 1
            found = found[:count]
            for i in found:
                cells[i] = 1
        before = gone
        count = 0
        for i in found:
            code = 0
            for k in range(8):
                code |= (cells[i + around[k]] & 1) << k
            if table[step & 1, code]:
                found[count] = i
                count += 1
        gone = found[:count].copy()
        for i in gone:
            cells[i] = 0
        if gone.size == 0 and before.size == 0 and step > 0:
            return


@kernel
def thin_list(neighbours: Int32, fixed: Uint8, table: Uint8) -> tuple[Uint8, Int64]:
    """Thin a list of cells until nothing changes.

    Args:
        neighbours: (n, 8) int32 number of each neighbour, n where there is none.
        fixed: (n,) uint8, 1 where a cell must stay.
        table: (2, 256) uint8, `THIN`.

    Returns:
        (n,) uint8, 1 where a cell stays; (n,) int64 how many cells each is away from the edge, 1 at the edge.
    """
    n = len(neighbours)
    alive = np.ones(n + 1, np.uint8)
    alive[n] = 0
    depth = np.zeros(n, np.int64)
    level = 0
    left = n
    inside = alive.copy()
    while left:
        level += 1
        peeled = inside.copy()
        for i in range(n):
            if inside[i]:
                for k in range(8):
                    if not inside[neighbours[i, k]]:
                        peeled[i] = 0
                        depth[i] = level
                        left -= 1
                        break
        inside = peeled
    step = 0
    quiet = 0
    gone = np.empty(n, np.int64)
    while quiet < 2:
        count = 0
        for i in range(n):
            if alive[i] and not fixed[i]:
                code = 0
                for k in range(8):
                    code |= alive[neighbours[i, k]] << k
                if table[step & 1, code]:
                    gone[count] = i
                    count += 1
        for i in gone[:count]:
            alive[i] = 0
        step += 1
        quiet = quiet + 1 if count == 0 else 0
    return alive[:n], depth
