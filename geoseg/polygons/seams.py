"""The kernels that link tiles along their seams, close finished components and keep the open ones compact.

Every grid vertex on a seam belongs to the tile of its south-east pixel: when that tile arrives, all four pixels around
the vertex are known. Quadrants and edges are numbered as in `corners`. Chains that wait for a tile hang on two fronts:
for each column the pixel above the tile and the chains along the edge at its left side (`front`); for each vertex on
the tile's left side the pixel north-west of it and the chains along the edge that leads to it (`side`).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.kernel import kernel
from geoseg.polygons.rings import Int32, Int64, Uint8

Records: TypeAlias = NDArray[Any]

COMPONENT = np.dtype(
    [
        ("parent", np.int32),
        ("class_id", np.int32),
        ("contacts", np.int64),  # pairs of a border pixel and a seam vertex at its corner, not yet resolved
        ("pixels", np.int64),
        ("confidence_sum", np.int64),
        ("head", np.int32),  # first and last of its chains
        ("tail", np.int32),
    ]
)
CHAIN = np.dtype(
    [
        ("next", np.int32),
        ("component", np.int32),
        ("twin", np.int32),
        ("sibling", np.int32),
        ("start", np.int64),
        ("length", np.int64),
    ]
)
FRONT = np.dtype([("component", np.int64), ("down", np.int64), ("up", np.int64)])
SIDE = np.dtype([("component", np.int64), ("east", np.int64), ("west", np.int64)])
COMPONENTS, CHAINS, VERTICES = 0, 1, 2


class OpenState(NamedTuple):
    """What is open: growing arrays, of which the first `counts` records are in use.

    Args:
        components: COMPONENT records; a forest, the roots of which are components.
        chains: CHAIN records.
        coords: (vertices, 2) int32, of the chains one after the other.
        counts: (3,) int64, records in use.
    """

    components: Records
    chains: Records
    coords: Int32
    counts: Int64


class Fronts(NamedTuple):
    """Where the next tile will be linked: (raster cols + 1,) FRONT records and (band rows + 1,) SIDE records."""

    front: Records
    side: Records


@kernel
def find_component(components: Records, k: int) -> int:
    """The root of component `k` (-1 stays -1); shortens the path on its way."""
    if k < 0:
        return -1
    while components[k].parent != k:
        components[k].parent = components[components[k].parent].parent
        k = components[k].parent
    return k


@kernel
def is_edge(components: Records, one: int, two: int) -> bool:
    """Whether a boundary runs between pixels of two root components (-1: none)."""
    if one == two:
        return False
    return one < 0 or two < 0 or components[one].class_id != components[two].class_id


@kernel
def append_chains(state: OpenState, root: int, head: int, tail: int) -> None:
    """Put the list of chains from `head` to `tail` (-1: none) behind those of a component."""
    components, chains, _, _ = state
    if head < 0:
        return
    if components[root].head < 0:
        components[root].head = head
    else:
        chains[components[root].tail].sibling = head
    components[root].tail = tail


@kernel
def unite_components(state: OpenState, one: int, two: int) -> None:
    """Make two components one if both exist and have the same class; sums add up."""
    components = state.components
    one, two = find_component(components, one), find_component(components, two)
    if one == two or one < 0 or two < 0 or components[one].class_id != components[two].class_id:
        return
    if components[one].contacts < components[two].contacts:
        one, two = two, one
    components[two].parent = one
    components[one].contacts += components[two].contacts
    components[one].pixels += components[two].pixels
    components[one].confidence_sum += components[two].confidence_sum
    append_chains(state, one, components[two].head, components[two].tail)


@kernel
def add_chain(state: OpenState, owner: int, length: int) -> int:
    """A new open chain of a component whose vertices are the next `length` ones of the pool."""
    _, chains, _, counts = state
    chain: int = counts[CHAINS]
    counts[CHAINS] += 1
    chains[chain].next = -1
    chains[chain].component = owner
    chains[chain].twin = -1
    chains[chain].sibling = -1
    chains[chain].start = counts[VERTICES]
    chains[chain].length = length
    counts[VERTICES] += length
    append_chains(state, owner, chain, chain)
    return chain


# A tile's components and chains are appended; their numbers shift by what is there already.
# A border pixel meets two seam vertices on each side it lies on; a tile's four corner vertices are counted twice.
# When a component has no contact left, every vertex around its pixels has been resolved: it is finished.
@kernel
def import_tile(
    state: OpenState,
    sums: tuple[Uint8, Int64, Int64],
    links: tuple[Int32, Int32, Int32, Int64, Int32],
    border: Int32,
    cols: int,
) -> tuple[int, int]:
    """Take over a tile's open components and chains; returns the numbers of the first ones."""
    components, chains, coords, counts = state
    class_id, pixels, confidence_sum = sums
    chain_component, chain_next, chain_twin, chain_offsets, chain_coords = links
    base, chain_base = counts[COMPONENTS], counts[CHAINS]
    for k in range(len(class_id)):
        component = components[base + k]
        component.parent = base + k
        component.class_id = class_id[k]
        component.contacts = 0
        component.pixels = pixels[k]
        component.confidence_sum = confidence_sum[k]
        component.head = -1
        component.tail = -1
    counts[COMPONENTS] += len(class_id)
    for k in range(len(border)):
        if border[k] >= 0:
            components[base + border[k]].contacts += 2
    for k in (0, cols - 1, cols, 2 * cols - 1):
        if border[k] >= 0:
            components[base + border[k]].contacts -= 1
    pool = counts[VERTICES]
    for k in range(len(chain_coords)):
        coords[pool + k, 0], coords[pool + k, 1] = chain_coords[k, 0], chain_coords[k, 1]
    for k in range(len(chain_component)):
        length = chain_offsets[k + 1] - chain_offsets[k]
        chain = add_chain(state, base + chain_component[k], length)
        if chain_next[k] >= 0:
            chains[chain].next = chain_base + chain_next[k]
        if chain_twin[k] >= 0:
            chains[chain].twin = chain_base + chain_twin[k]
    return base, chain_base


# The same rule as inside a tile: keep to your own pixel, turn right, else go straight, else turn left.
# Every corner becomes a chain of one vertex. Corners of one class that face each other become twins;
# whether they are corners of one component is decided when it is finished.
@kernel
def link_vertex(  # noqa: PLR0912 - four ways in and four ways out
    state: OpenState,
    vertex: tuple[int, int],
    quadrants: tuple[int, int, int, int],
    waiting: tuple[int, int, int, int],
) -> tuple[int, int, int, int]:
    """Link the boundaries that meet in a seam vertex; returns what waits beyond it: (down, up, east, west).

    Args:
        state: what is open; corners are added.
        vertex: (row, col) of the pixel corner.
        quadrants: root components of the NW, NE, SE, SW pixel, -1 where there is none.
        waiting: chains that wait on the north edge (down, up) and on the west edge (east, west).
    """
    components, chains, coords, counts = state
    edges = 0
    for i in range(4):
        one, two = quadrants[i], quadrants[(i + 1) & 3]
        if is_edge(components, one, two):
            edges |= 1 << i
    down, up, east, west = waiting
    n_in, n_out, w_in, w_out = waiting
    first = counts[CHAINS]
    for i in range(4):
        owner = quadrants[i]
        if owner < 0 or not edges >> i & 1:
            continue
        out = (i + 3) & 3
        if not edges >> out & 1:
            if edges >> (i + 2 & 3) & 1:
                continue
            out = (i + 1) & 3
        coords[counts[VERTICES], 0], coords[counts[VERTICES], 1] = vertex
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
                        chains[earlier].twin = chain
                        chains[chain].twin = earlier
                        break
    return down, up, east, west


@kernel
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
    window: tuple[int, int, int, int],
) -> Int32:
    """Link a tile to its northern and western neighbours.

    Args:
        state: what is open, with the tile imported.
        fronts: where the tile is linked; its lower and right side replace them.
        border: (2 w + 2 h,) int32, the tile's components as in `TileTrace`, in the open state's numbers.
        ports: (4 w + 4 h,) int32, the tile's chains as in `TileTrace`, in the open state's numbers.
        window: row, col, rows, cols of the tile.

    Returns:
        The components that are now finished.
    """
    components, chains, _, _ = state
    front, side = fronts
    row, col, rows, cols = window
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
        down, up, east, west = link_vertex(state, (row, col + k), quadrants, waiting)
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
        down, up, east, west = link_vertex(state, (row + k, col), quadrants, waiting)
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


# Twins that turn out to be corners of one component exchange what follows them, so that its rings become simple;
# the others are forgotten. Then the chains are followed from one to the next until the ring is closed, and the ring
# is turned to begin with its topmost, leftmost corner.
@kernel
def close_components(state: OpenState, done: Int32) -> tuple[Int32, Int64, Int64, Int64]:
    """The rings of the finished root components `done`; frees their chains.

    Returns:
        coords, ring offsets, the position in `done` of every ring's component, freed chains and vertices.
    """
    components, chains, coords, _ = state
    freed = np.zeros(3, np.int64)
    for root in done:
        chain = components[root].head
        while chain >= 0:
            twin = chains[chain].twin
            if twin >= 0:
                if find_component(components, chains[twin].component) == root:
                    chains[chain].next, chains[twin].next = chains[twin].next, chains[chain].next
                chains[chain].twin = -1
                chains[twin].twin = -1
            freed[CHAINS] += 1
            freed[VERTICES] += chains[chain].length
            chain = chains[chain].sibling
    closed = np.empty((freed[VERTICES], 2), np.int32)
    ring_offsets = np.zeros(freed[CHAINS] + 1, np.int64)
    owner = np.empty(freed[CHAINS], np.int64)
    n, rings = 0, 0
    for k in range(len(done)):
        first = components[done[k]].head
        while first >= 0:
            if chains[first].next >= 0:
                begin, top = n, n
                chain = first
                while chains[chain].next >= 0:
                    start = chains[chain].start
                    for vertex in range(start, start + chains[chain].length):
                        closed[n, 0], closed[n, 1] = coords[vertex, 0], coords[vertex, 1]
                        if closed[n, 0] < closed[top, 0] or (
                            closed[n, 0] == closed[top, 0] and closed[n, 1] < closed[top, 1]
                        ):
                            top = n
                        n += 1
                    following = chains[chain].next
                    chains[chain].next = -1
                    chain = following
                if top > begin:
                    lead = closed[begin:top].copy()
                    for vertex in range(top, n):
                        closed[vertex - len(lead)] = closed[vertex]
                    closed[n - len(lead) : n] = lead
                owner[rings] = k
                rings += 1
                ring_offsets[rings] = n
            first = chains[first].sibling
    return closed, ring_offsets[: rings + 1], owner[:rings], freed


# What is finished or was united with another component leaves the arrays; the rest moves together in its order.
# Whatever refers to it is renumbered; references to finished things become -1 and are never followed.
@kernel
def compact_state(state: OpenState, fronts: Fronts) -> None:
    """Remove finished components and their chains and vertices from the open state, in place."""
    components, chains, coords, counts = state
    front, side = fronts
    number = np.full(counts[COMPONENTS], -1, np.int32)
    n = 0
    for k in range(counts[COMPONENTS]):
        if components[k].parent == k and components[k].contacts > 0:
            number[k] = n
            n += 1
    renumbered = np.full(counts[COMPONENTS], -1, np.int32)
    for k in range(counts[COMPONENTS]):
        renumbered[k] = number[find_component(components, k)]
    chain_number = np.full(counts[CHAINS], -1, np.int32)
    m, vertices = 0, 0
    for k in range(counts[CHAINS]):
        if renumbered[chains[k].component] >= 0:
            chain_number[k] = m
            m += 1
    for k in range(counts[CHAINS]):
        target = chain_number[k]
        if target < 0:
            continue
        start, length = chains[k].start, chains[k].length
        chains[target].component = renumbered[chains[k].component]
        chains[target].next = renumber(chain_number, chains[k].next)
        chains[target].twin = renumber(chain_number, chains[k].twin)
        chains[target].sibling = renumber(chain_number, chains[k].sibling)
        chains[target].start = vertices
        chains[target].length = length
        for vertex in range(start, start + length):
            coords[vertices, 0], coords[vertices, 1] = coords[vertex, 0], coords[vertex, 1]
            vertices += 1
    for k in range(counts[COMPONENTS]):
        target = number[k]
        if target >= 0:
            components[target].class_id = components[k].class_id
            components[target].contacts = components[k].contacts
            components[target].pixels = components[k].pixels
            components[target].confidence_sum = components[k].confidence_sum
            components[target].head = renumber(chain_number, components[k].head)
            components[target].tail = renumber(chain_number, components[k].tail)
            components[target].parent = target
    for k in range(len(front)):
        front[k].component = renumber(renumbered, front[k].component)
        front[k].down = renumber(chain_number, front[k].down)
        front[k].up = renumber(chain_number, front[k].up)
    for k in range(len(side)):
        side[k].component = renumber(renumbered, side[k].component)
        side[k].east = renumber(chain_number, side[k].east)
        side[k].west = renumber(chain_number, side[k].west)
    counts[COMPONENTS], counts[CHAINS], counts[VERTICES] = n, m, vertices


@kernel
def renumber(numbers: Int32, k: int) -> int:
    """The new number of `k`; -1 stays -1."""
    new: int = numbers[k] if k >= 0 else -1
    return new
