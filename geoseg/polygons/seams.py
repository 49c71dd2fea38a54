"""The kernels that link a tile to its neighbours.

Every grid vertex on a seam belongs to the tile of its south-east pixel: when that tile arrives, all four pixels around
the vertex are known. Quadrants and edges are numbered as in `corners`. Chains that wait for a tile hang on two fronts:
for each column the pixel above the tile and the chains along the edge at its left side (`front`); for each vertex on
the tile's left side the pixel north-west of it and the chains along the edge that leads to it (`side`).
"""

from __future__ import annotations

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.marks import mark_column
from geoseg.polygons.pending import (
    CHAINS,
    VERTICES,
    Fronts,
    OpenState,
    Records,
    add_chain,
    find_component,
    is_edge,
    unite_components,
)
from geoseg.polygons.rings import Int32


# The same rule as inside a tile: keep to your own pixel, turn right, else go straight, else turn left.
# Every corner becomes a chain of one vertex. Corners of one class that face each other become twins;
# whether they are corners of one component is decided when it is finished.
@subkernel
def link_vertex(  # noqa: PLR0912 - four ways in and four ways out
    state: OpenState,
    vertex: tuple[int, int],
    quadrants: tuple[int, int, int, int],
    waiting: tuple[int, int, int, int],
    raster: tuple[int, int, bool],
) -> tuple[int, int, int, int]:
    """Link the boundaries that meet in a seam vertex; returns what waits beyond it: (down, up, east, west).

    Args:
        state: what is open; corners are added.
        vertex: (row, col) of the pixel corner.
        quadrants: root components of the NW, NE, SE, SW pixel, -1 where there is none.
        waiting: chains that wait on the north edge (down, up) and on the west edge (east, west).
        raster: (rows, cols, whether vertices are marked).
    """
    components, chains, coords, counts = state
    edges = 0
    for i in range(4):
        one, two = quadrants[i], quadrants[(i + 1) & 3]
        if is_edge(components, one, two):
            edges |= 1 << i
    is_junction = raster[2] and meet_at(vertex, quadrants, edges, raster)
    down, up, east, west = waiting
    n_in, n_out, w_in, w_out = waiting
    first = counts[CHAINS]
    for i in range(4):
        owner = quadrants[i]
        if owner < 0 or not edges >> i & 1:
            continue
        out = (i + 3) & 3
        if not edges >> out & 1:
            out = (i + 1) & 3
            if edges >> (i + 2 & 3) & 1:
                if not is_junction:
                    continue
                out = (i + 2) & 3
        coords[counts[VERTICES], 0], coords[counts[VERTICES], 1] = vertex
        if raster[2]:
            left = quadrants[(i + 1) & 3]
            beyond = components[left if left >= 0 else owner].class_id
            coords[counts[VERTICES], 1] = mark_column(vertex[1], beyond, is_junction)
        chain = add_chain(state, owner, 1)
        if i == 0:
            chains[n_in].next = chain
        elif i == 1:
            west = chain
        elif i == 2:
            up = chain
        else:
            chains[w_in].next = chain
        if out == 0:
            chains[chain].next = n_out
        elif out == 1:
            east = chain
        elif out == 2:
            down = chain
        else:
            chains[chain].next = w_out
        if edges == 0b1111 and i >= 2:
            other = quadrants[i ^ 2]
            if other >= 0 and components[other].class_id == components[owner].class_id:
                for earlier in range(first, chain):
                    if chains[earlier].component == other:
                        chains[chain].twin = earlier
                        break
    return down, up, east, west


# What lies outside the raster differs from what is skipped inside; no component tells the two apart.
@subkernel
def meet_at(
    vertex: tuple[int, int], quadrants: tuple[int, int, int, int], edges: int, raster: tuple[int, int, bool]
) -> bool:
    """Whether a seam vertex with the boundaries `edges` is a junction; arguments as for `link_vertex`."""
    north, south = vertex[0] == 0, vertex[0] == raster[0]
    west, east = vertex[1] == 0, vertex[1] == raster[1]
    outside = (north or west, north or east, south or east, south or west)
    meeting = 0
    for i in range(4):
        j = (i + 1) & 3
        if edges >> i & 1 or (quadrants[i] < 0 and quadrants[j] < 0 and outside[i] != outside[j]):
            meeting += 1
    return meeting > 2 or ((north or south) and (west or east))


@subkernel
def resolve_contacts(components: Records, quadrants: tuple[int, int, int, int], done: Int32, n_done: int) -> int:
    """Count a resolved vertex for its four pixels; appends to `done` what has become finished, returns its length."""
    for k in quadrants:
        if k >= 0:
            components[k].contacts -= 1
            if components[k].contacts == 0:
                done[n_done] = k
                n_done += 1
    return n_done


# First the vertices along the tile's upper side, from west to east, then those down its left side. Beyond each
# vertex an edge leads into the tile, where the port at the same place continues it.
# At the end the tile's lower and right side become the fronts.
@kernel
def sew_tile(
    state: OpenState,
    fronts: Fronts,
    border: Int32,
    ports: Int32,
    place: tuple[int, int, int, int, int, int, bool],
) -> Int32:
    """Link a tile to its northern and western neighbours.

    Args:
        state: what is open, with the tile imported.
        fronts: where the tile is linked; its lower and right side replace them.
        border: (2 w + 2 h,) int32, the tile's components as in `TileTrace`, in the open state's numbers.
        ports: (4 w + 4 h,) int32, the tile's chains as in `TileTrace`, in the open state's numbers.
        place: row, col, rows, cols of the tile, rows and cols of the raster, and whether vertices are marked.

    Returns:
        The components that are now finished.
    """
    components, chains, _, _ = state
    front, side = fronts
    row, col, rows, cols = place[:4]
    raster = place[4:]
    bottom, left, right = 2 * cols, 4 * cols, 4 * cols + 2 * rows
    done = np.empty(4 * (rows + cols) + 4, np.int32)
    n_done = 0

    nw, sw = side[0].component, side[1].component
    east, west = side[0].east, side[0].west
    for k in range(cols):
        at = front[col + k]
        ne, se = at.component, border[k]
        unite_components(state, ne, se)
        unite_components(state, sw, se)
        quadrants = (
            find_component(components, nw),
            find_component(components, ne),
            find_component(components, se),
            find_component(components, sw),
        )
        waiting = (at.down, at.up, east, west)
        down, up, east, west = link_vertex(state, (row, col + k), quadrants, waiting, raster)
        at.down, at.up = down, up
        if k > 0 and is_edge(components, quadrants[3], quadrants[2]):
            if quadrants[3] >= 0:
                chains[down].next = ports[2 * k]
            if quadrants[2] >= 0:
                chains[ports[2 * k + 1]].next = up
        n_done = resolve_contacts(components, quadrants, done, n_done)
        nw, sw = ne, se
    side[0].east, side[0].west = east, west

    nw, ne = side[1].component, border[2 * cols]
    at = front[col]
    for k in range(1, rows):
        sw, se = side[k + 1].component, border[2 * cols + k]
        unite_components(state, sw, se)
        quadrants = (
            find_component(components, nw),
            find_component(components, ne),
            find_component(components, se),
            find_component(components, sw),
        )
        waiting = (at.down, at.up, side[k].east, side[k].west)
        down, up, east, west = link_vertex(state, (row + k, col), quadrants, waiting, raster)
        at.down, at.up = down, up
        if is_edge(components, quadrants[1], quadrants[2]):
            if quadrants[2] >= 0:
                chains[east].next = ports[left + 2 * k]
            if quadrants[1] >= 0:
                chains[ports[left + 2 * k + 1]].next = west
        n_done = resolve_contacts(components, quadrants, done, n_done)
        nw, ne = sw, se

    side[0].component = front[col + cols - 1].component
    for k in range(cols):
        front[col + k].component = border[cols + k]
        if k > 0:
            front[col + k].down = ports[bottom + 2 * k]
            front[col + k].up = ports[bottom + 2 * k + 1]
    for k in range(rows):
        side[k + 1].component = border[2 * cols + rows + k]
        if k > 0:
            side[k].east = ports[right + 2 * k]
            side[k].west = ports[right + 2 * k + 1]
    return done[:n_done]
