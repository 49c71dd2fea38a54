"""Groups of what shares a place, against scipy's components."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geoseg.polygons.unions import group_owners


@settings(deadline=None)  # the kernel may have to be compiled
@given(st.integers(1, 30), st.data())
def test_groups_and_their_numbers_are_those_of_scipy(owners: int, data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, owners - 1), st.integers(0, 30))
    pairs = np.array(data.draw(st.lists(pair, max_size=60)), np.int64).reshape(-1, 2)
    owner, place = np.ascontiguousarray(pairs.T)
    ones, size = np.ones(len(pairs), np.int8), owners + 31
    meet = sparse.csr_array((ones, (owner, owners + place)), shape=(size, size))
    wanted = connected_components(meet, directed=False)[1][:owners]
    np.testing.assert_array_equal(group_owners(owner, place, owners), wanted)
