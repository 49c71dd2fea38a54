"""What is open while tiles are joined: components and their chains, in arrays that grow and are compacted."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.loops import lead_vertices
from geoseg.polygons.rings import Int32, Int64, Uint8

Records: TypeAlias = NDArray[Any]

COMPONENT = np.dtype(
    [
        ("parent", np.int32),
        ("class_id", np.int32),
        ("contacts", np.int64),  # pairs of a border pixel and a seam vertex at its corner, not yet resolved
        ("pixels", np.int64),
        ("confidence_sum", np.int64),
        ("confidence_min", np.int32),
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


@subkernel
def find_component(components: Records, k: int) -> int:
    """The root of component `k` (-1 stays -1); shortens the path on its way."""
    if k < 0:
        return -1
    while components[k].parent != k:
        components[k].parent = components[components[k].parent].parent
        k = components[k].parent
    return k


@subkernel
def is_edge(components: Records, one: int, two: int) -> bool:
    """Whether a boundary runs between pixels of two root components (-1: none)."""
    if one == two:
        return False
    return one < 0 or two < 0 or components[one].class_id != components[two].class_id


@subkernel
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


@subkernel
def unite_components(state: OpenState, one: int, two: int) -> None:
    """Make two components one if both exist and have the same class; sums add up, minima remain."""
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
    components[one].confidence_min = min(components[one].confidence_min, components[two].confidence_min)
    append_chains(state, one, components[two].head, components[two].tail)


@subkernel
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
    sums: tuple[Uint8, Int64, Int64, Uint8],
    links: tuple[Int32, Int32, Int32, Int64, Int32],
    border: Int32,
    cols: int,
) -> tuple[int, int]:
    """Take over a tile's open components and chains; returns the numbers of the first ones."""
    components, chains, coords, counts = state
    class_id, pixels, confidence_sum, confidence_min = sums
    chain_component, chain_next, chain_twin, chain_offsets, chain_coords = links
    base, chain_base = counts[COMPONENTS], counts[CHAINS]
    for k in range(len(class_id)):
        component = components[base + k]
        component.parent = base + k
        component.class_id = class_id[k]
        component.contacts = 0
        component.pixels = pixels[k]
        component.confidence_sum = confidence_sum[k]
        component.confidence_min = confidence_min[k]
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


# Twins that turn out to be corners of one component exchange what follows them, so that its rings become simple (a twin
# may be of a component that is finished already: records stay until compaction, so it is still recognised). Then chains
# are followed until their ring is closed, and the ring is turned to begin with its topmost, leftmost corner.
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
            if twin >= 0 and find_component(components, chains[twin].component) == root:
                chains[chain].next, chains[twin].next = chains[twin].next, chains[chain].next
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
                    lead_vertices(closed, begin, top, n)
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
            components[target].confidence_min = components[k].confidence_min
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


@subkernel
def renumber(numbers: Int32, k: int) -> int:
    """The new number of `k`; -1 stays -1."""
    new: int = numbers[k] if k >= 0 else -1
    return new
