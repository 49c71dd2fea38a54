"""The kernel that finds what belongs together because it shares places."""

from __future__ import annotations

import numpy as np

from geoseg.kernel import kernel
from geoseg.polygons.rings import Int64
from geoseg.polygons.runs import find_root


# The lowest of a group is its root, so that groups are numbered in the order of their first.
@kernel
def group_owners(owner: Int64, place: Int64, owners: int) -> Int64:
    """(owners,) int64 numbers of groups from 0, in the order of the first owner of each.

    Args:
        owner: (n,) who has a place, below `owners`.
        place: (n,) which place it is, from 0: those who share one are of one group.
        owners: how many there are.
    """
    parent = np.arange(owners)
    keeper = np.full(place.max() + 1 if len(place) else 0, -1, np.int64)
    for k in range(len(owner)):
        one = find_root(parent, owner[k])
        if keeper[place[k]] >= 0:
            two = find_root(parent, keeper[place[k]])
            parent[max(one, two)] = min(one, two)
            one = min(one, two)
        keeper[place[k]] = one
    group = np.empty(owners, np.int64)
    groups = 0
    for k in range(owners):
        if parent[k] == k:
            group[k] = groups
            groups += 1
        else:
            group[k] = group[parent[k]]
    return group
