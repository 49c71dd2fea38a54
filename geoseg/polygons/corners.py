"""The kernels that find the corners of components in a tile and link them to rings and open chains.

Around a grid vertex the quadrants and the edges are numbered clockwise:

    NW 0 | NE 1        edges N 0, E 1, S 2, W 3;
    -----+-----        a boundary that comes in along edge i has its component
    SW 3 | SE 2        in quadrant i, on the right-hand side of its direction
"""

from __future__ import annotations

import numpy as np

from geoseg.kernel import kernel
from geoseg.polygons.marks import mark_column
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.runs import Runs

ROW, COL, NEXT, COMPONENT = 0, 1, 2, 3
CUT = -1


# Vertex row by vertex row, only columns where the row above or below changes class can hold a turn. A boundary that
# comes in along an edge keeps to its own pixel: turn right if there is an edge, else go straight (no corner), else
# turn left. `down`, `up` (a column each) and `east`, `west` hold the node that waits at the other end of the edge.
#
# Where four edges meet and opposite quadrants are one component, both turn left instead: rings stay simple. Whether
# two open components will become one is not known yet; their corners there are deferred.
@kernel
def link_corners(  # noqa: PLR0912, PLR0915 - one pass; in pieces it would hand a dozen arrays around
    runs: Runs, component: Int32, is_open: Uint8, origin: tuple[int, int], marked: bool
) -> tuple[Int32, Int32, Int32]:
    """The corners of all components, each linked to the next one of its ring.

    With `marked`, columns carry marks, and a component has a vertex too where it goes straight past a junction; see
    `marks`.

    Nodes 0 to 4 (rows + cols) - 1 are ports, the ends of edges that leave through the border: top (2 a column: down,
    up), bottom (the same), left (2 a row: east, west), right (the same). Then come the corners, in reading order.

    Returns:
        nodes (n, 4) int32: global row, global col, next node or -1, component; the deferred corners, ascending; the
        position of each one's opposite among them.
    """
    starts, run_class, _, _, row_offsets, cols = runs
    rows = len(row_offsets) - 1
    bottom, left, right, ports = 2 * cols, 4 * cols, 4 * cols + 2 * rows, 4 * cols + 4 * rows
    # A vertical edge has two ends; where others meet it, three components have a corner or go straight on there.
    corners = (6 if marked else 4) * (len(starts) - rows)
    nodes = np.empty((ports + corners, 4), np.int32)
    nodes[:ports] = -1
    deferred = np.empty(4 * (len(starts) - rows), np.int32)
    opposite = np.empty(4 * (len(starts) - rows), np.int32)
    down = np.arange(0, 2 * cols, 2).astype(np.int32)
    up = down + np.int32(1)
    n, n_deferred = ports, 0
    for k in range(1, row_offsets[1]):
        nodes[down[starts[k]], COMPONENT] = component[k - 1]
        nodes[up[starts[k]], COMPONENT] = component[k]
    for r in range(1, rows):
        p, q = row_offsets[r - 1], row_offsets[r]
        p_stop, q_stop = q, row_offsets[r + 1]
        east, west = left + 2 * r, left + 2 * r + 1
        nodes[east, COMPONENT], nodes[west, COMPONENT] = component[q], component[p]
        while True:
            nw, sw = p, q
            p_end = starts[p + 1] if p + 1 < p_stop else cols
            q_end = starts[q + 1] if q + 1 < q_stop else cols
            col = min(p_end, q_end)
            if col == cols:
                break
            if p_end == col:
                p += 1
            if q_end == col:
                q += 1
            edge_n, edge_e = nw != p, run_class[p] != run_class[q]
            edge_s, edge_w = sw != q, run_class[nw] != run_class[sw]
            edges = edge_n | edge_e << 1 | edge_s << 2 | edge_w << 3
            if edges == 0b0101:
                continue
            quadrants = (component[nw], component[p], component[q], component[sw])
            meeting = 0
            if marked:
                for i in range(4):
                    if quadrants[i] >= 0 or quadrants[(i + 1) & 3] >= 0:
                        meeting += edges >> i & 1
            n_in, n_out, w_in, w_out = down[col], up[col], east, west
            first_deferred = n_deferred
            for i in range(4):
                number = quadrants[i]
                if number < 0 or not edges >> i & 1:
                    continue
                out = (i + 3) & 3
                if not edges >> out & 1:
                    out = (i + 1) & 3
                    if edges >> (i + 2 & 3) & 1:
                        if meeting < 3:
                            continue
                        out = (i + 2) & 3
                elif edges == 0b1111:
                    other = quadrants[i ^ 2]
                    if other == number:
                        out = (i + 1) & 3
                    elif other >= 0 and is_open[number] and is_open[other]:
                        one, two = (nw, q) if i & 1 == 0 else (p, sw)
                        if run_class[one] == run_class[two]:
                            deferred[n_deferred] = n
                            n_deferred += 1
                nodes[n, ROW], nodes[n, COL], nodes[n, COMPONENT] = origin[0] + r, origin[1] + col, number
                if marked:
                    around = (nw, p, q, sw)
                    beyond = around[(i + 1) & 3] if quadrants[(i + 1) & 3] >= 0 else around[i]
                    nodes[n, COL] = mark_column(nodes[n, COL], run_class[beyond], meeting >= 3)
                if i == 0:
                    nodes[n_in, NEXT] = n
                elif i == 1:
                    west = n
                elif i == 2:
                    up[col] = n
                else:
                    nodes[w_in, NEXT] = n
                if out == 0:
                    nodes[n, NEXT] = n_out
                elif out == 1:
                    east = n
                elif out == 2:
                    down[col] = n
                else:
                    nodes[n, NEXT] = w_out
                n += 1
            pair = (n_deferred - first_deferred) // 2
            for k in range(pair):
                opposite[first_deferred + k] = first_deferred + k + pair
                opposite[first_deferred + k + pair] = first_deferred + k
        if run_class[p] != run_class[q]:
            if component[q] >= 0:
                nodes[east, NEXT] = right + 2 * r
            if component[p] >= 0:
                nodes[right + 2 * r + 1, NEXT], nodes[right + 2 * r + 1, COMPONENT] = west, component[p]
    for k in range(row_offsets[rows - 1] + 1, row_offsets[rows]):
        col = starts[k]
        if component[k - 1] >= 0:
            nodes[down[col], NEXT] = bottom + 2 * col
        if component[k] >= 0:
            nodes[bottom + 2 * col + 1, NEXT], nodes[bottom + 2 * col + 1, COMPONENT] = up[col], component[k]
    return nodes[:n], deferred[:n_deferred], opposite[:n_deferred]


# A chain starts behind a port or behind a deferred corner and ends at a port or with a deferred corner. What then has
# not been visited lies on rings; as corners come in reading order, the first unvisited one is its ring's topmost,
# leftmost corner. A node's link is cut when it is visited, that of a deferred corner beforehand.
@kernel
def collect_chains(  # noqa: PLR0912, PLR0915 - as above
    nodes: Int32, ports: int, deferred: Int32, opposite: Int32
) -> tuple[Int32, Int64, Int32, Int32, Int32, Int32, int]:
    """The open chains, then the rings, as one ragged array; cuts the links of `nodes`.

    Returns:
        coords, offsets, component, next chain (-1: leaves through a port), twin chain (the earlier one that ends at
        the opposite of this one's deferred last corner, or -1), chain at every port (or -1), number of open chains.
    """
    heads = 0
    for port in range(ports):
        heads += nodes[port, NEXT] >= 0
    first_broken = heads
    heads += len(deferred)
    capacity = heads + (len(nodes) - ports) // 4
    coords = np.empty((len(nodes) - ports, 2), np.int32)
    offsets = np.empty(capacity + 1, np.int64)
    component = np.empty(capacity, np.int32)
    following = np.full(heads, -1, np.int32)
    twin = np.full(heads, -1, np.int32)
    port_chain = np.full(ports, -1, np.int32)
    ends_at = np.empty(len(deferred), np.int32)
    beyond = np.empty(len(deferred), np.int32)
    for k in range(len(deferred)):
        beyond[k] = nodes[deferred[k], NEXT]
        nodes[deferred[k], NEXT] = CUT
    n, chain, port = 0, 0, 0
    offsets[0] = 0
    while chain < heads:
        if chain >= first_broken:
            k = chain - first_broken
            component[chain] = nodes[deferred[k], COMPONENT]
            node = beyond[k]
        else:
            while nodes[port, NEXT] < 0:
                port += 1
            component[chain] = nodes[port, COMPONENT]
            node = nodes[port, NEXT]
            port_chain[port] = chain
            port += 1
        while node >= ports:
            coords[n, 0], coords[n, 1] = nodes[node, ROW], nodes[node, COL]
            n += 1
            after = nodes[node, NEXT]
            if after == CUT:
                k = np.searchsorted(deferred, node)
                following[chain] = first_broken + k
                ends_at[k] = chain
                break
            nodes[node, NEXT] = CUT
            node = after
        if node < ports:
            port_chain[node] = chain
        chain += 1
        offsets[chain] = n
    for k in range(len(deferred)):
        if opposite[k] < k:
            twin[ends_at[k]] = ends_at[opposite[k]]
    for start in range(ports, len(nodes)):
        node, after = start, nodes[start, NEXT]
        if after == CUT:
            continue
        component[chain] = nodes[start, COMPONENT]
        while after != CUT:
            coords[n, 0], coords[n, 1] = nodes[node, ROW], nodes[node, COL]
            n += 1
            nodes[node, NEXT] = CUT
            node = after
            after = nodes[node, NEXT]
        chain += 1
        offsets[chain] = n
    return coords, offsets[: chain + 1], component[:chain], following, twin, port_chain, heads
