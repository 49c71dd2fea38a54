"""The kernels that decide which neighbour takes a component that is too small.

The smallest component goes first. What it becomes depends on the classes of its neighbours alone, and a larger one
keeps its class, and stays larger, until it goes itself. So a component that is smaller than all its neighbours may go
at any time: whatever is not yet known elsewhere, the result is the same. Only one that may still grow, and one that
has a smaller neighbour that waits, must wait.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.rings import Int64, Uint8
from geoseg.polygons.touching import LARGEST_AREA

NOTHING = -1
_FIRST_CLASS = -2


def code_of_class(class_id: Uint8) -> NDArray[np.int64]:
    """The codes that stand for neighbours of these classes which are large enough: -2, -3 and so on."""
    return _FIRST_CLASS - class_id.astype(np.int64)


def class_of_code(codes: Int64) -> Uint8:
    """The classes that codes of `code_of_class` stand for."""
    return (_FIRST_CLASS - codes).astype(np.uint8)


class Regions(NamedTuple):
    """Components that may join one another; all arrays change as they do.

    Args:
        parent: (n,) int64, the component that each is part of by now.
        class_id: (n,) uint8.
        area: (n,) int64.
        first: (n,) int64, the order among components of equal area.
        is_large: (n,) bool, whether it is part of one that is large enough and not listed here.
        is_open: (n,) bool, whether it may still grow.
        waits: (n,) bool, whether it cannot go yet.
    """

    parent: Int64
    class_id: Uint8
    area: Int64
    first: Int64
    is_large: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    waits: NDArray[np.bool_]


class Contacts(NamedTuple):
    """What each component touches.

    Args:
        offsets: (n + 1,) int64 into the others.
        codes: (m,) int64, a component, or the code of a class.
        lengths: (m,) int64, of the common boundary.
    """

    offsets: Int64
    codes: Int64
    lengths: Int64


@subkernel
def find_component(parent: Int64, k: np.int64) -> np.int64:
    """The number under which the component `k` is kept now; shortens the path on its way."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@kernel
def unite(regions: Regions, links: Int64) -> None:
    """Make one component of those that `links` ((l, 2) codes) join."""
    for k in range(len(links)):
        one, two = max(links[k, 0], links[k, 1]), min(links[k, 0], links[k, 1])
        a = find_component(regions.parent, one)
        if two < 0:
            regions.is_large[a] = True
            continue
        b = find_component(regions.parent, two)
        if a != b:
            _join(regions, a, b)


@subkernel
def _join(regions: Regions, kept: np.int64, gone: np.int64) -> None:
    regions.parent[gone] = kept
    regions.area[kept] = min(regions.area[kept] + regions.area[gone], LARGEST_AREA)
    regions.first[kept] = min(regions.first[kept], regions.first[gone])
    regions.is_large[kept] |= regions.is_large[gone]
    regions.is_open[kept] |= regions.is_open[gone]


class Members(NamedTuple):
    """Which components each is made of, as lists: (n,) int64 member after member (-1 at the end), and the end."""

    following: Int64
    last: Int64


# A heap entry is out of date when its component has gone into another one or has grown since.
@kernel
def merge_small(regions: Regions, contacts: Contacts, minimum: Int64) -> None:
    """Let the components below their class's minimum ((256,) int64) join neighbours, where that can be decided.

    Then `parent` is what each component is part of, `class_id` its class, and `waits` whether either may still change.
    """
    parent, current, area, first, is_large, is_open, waits = regions
    count = len(parent)
    following, last = np.empty(count, np.int64), np.empty(count, np.int64)
    for k in range(count):
        following[k], last[k] = -1, k
    members = Members(following, last)
    heap = [(np.int64(0), np.int64(0), np.int64(0))]
    heap.clear()
    for k in range(count):
        root = find_component(parent, np.int64(k))
        if root != k:
            _append(members, root, np.int64(k))
    for k in range(count):
        if parent[k] == k and not is_large[k] and area[k] < minimum[current[k]]:
            heap.append((area[k], first[k], np.int64(k)))
    heapq.heapify(heap)
    shared = np.zeros(256, np.int64)
    touches_large = np.zeros(256, np.bool_)
    while heap:
        size, _, small = heapq.heappop(heap)
        if parent[small] != small or area[small] != size or is_large[small] or size >= minimum[current[small]]:
            continue
        # Those that are smaller have had their turn: where one waits, it goes first.
        if is_open[small] or _measure_neighbours(regions, contacts, members, small, (shared, touches_large)):
            waits[small] = True
            continue
        new = np.argmax(shared)
        if shared[new] == 0:
            continue
        current[small] = new
        is_large[small] = touches_large[new]
        _absorb(regions, contacts, members, small)
        if not is_large[small] and area[small] < minimum[new]:
            heapq.heappush(heap, (area[small], first[small], small))
    for k in range(count):
        root = find_component(parent, np.int64(k))
        parent[k], current[k] = root, current[root]
        waits[k] = waits[root]


@subkernel
def _append(members: Members, kept: np.int64, gone: np.int64) -> None:
    members.following[members.last[kept]] = gone
    members.last[kept] = members.last[gone]


@subkernel
def _measure_neighbours(
    regions: Regions, contacts: Contacts, members: Members, k: np.int64, found: tuple[Int64, NDArray[np.bool_]]
) -> bool:
    """The length that a component shares with each class, in which of them it has a large neighbour; does one wait?"""
    shared, touches_large = found
    for class_id in range(len(shared)):
        shared[class_id], touches_large[class_id] = 0, False
    member = k
    while member >= 0:
        for i in range(contacts.offsets[member], contacts.offsets[member + 1]):
            code = contacts.codes[i]
            if code < 0:
                touches_large[_FIRST_CLASS - code] = True
                shared[_FIRST_CLASS - code] += contacts.lengths[i]
            else:
                other = find_component(regions.parent, code)
                if other != k:
                    if regions.waits[other]:
                        return True
                    shared[regions.class_id[other]] += contacts.lengths[i]
        member = members.following[member]
    return False


@subkernel
def _absorb(regions: Regions, contacts: Contacts, members: Members, k: np.int64) -> None:
    """Make every neighbour of a component's class part of it."""
    end, member = members.last[k], k
    while True:
        for i in range(contacts.offsets[member], contacts.offsets[member + 1]):
            if contacts.codes[i] >= 0:
                other = find_component(regions.parent, contacts.codes[i])
                if other != k and regions.class_id[other] == regions.class_id[k]:
                    _join(regions, k, other)
                    _append(members, k, other)
        if member == end:
            break
        member = members.following[member]
