"""Which object of one side lies on which object of the other one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.comparison.objects import BLOCK_BYTES, FloatArray, IntArray, Objects


@dataclass(frozen=True, slots=True)
class Pairs:
    """Overlapping objects, ordered by a, then b.

    Args:
        a: (k,) int64 numbers of side A.
        b: (k,) int64 numbers of side B.
        shared_m2: (k,) float64 area of the intersection, above 0.
    """

    a: IntArray
    b: IntArray
    shared_m2: FloatArray

    def take(self, wanted: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(self.a[wanted], self.b[wanted], self.shared_m2[wanted])


def find_pairs(a: Objects, b: Objects, *, block_bytes: int = BLOCK_BYTES) -> Pairs:
    """All overlaps between the polygons of two sides, block by block; no result depends on the blocks."""
    found: list[tuple[IntArray, IntArray, FloatArray]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for mine in a.cut_blocks(block_bytes):
        shapes = a.load(mine)
        for theirs in b.find_near(a.bounds[mine], block_bytes):
            others = b.load(theirs)
            left, right = shapely.STRtree(others).query(shapes, predicate="intersects")
            shared = shapely.area(shapely.intersection(shapes[left], others[right]))
            real = shared > 0
            found.append((mine[left[real]], theirs[right[real]], shared[real]))
    a_numbers, b_numbers, shared = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((b_numbers, a_numbers))
    return Pairs(a_numbers[order], b_numbers[order], shared[order])
