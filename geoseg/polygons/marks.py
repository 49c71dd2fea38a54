"""What a vertex of a marked trace says besides its place: whether it is a junction, and which class is on the left.

Generalisation needs to know where boundaries meet and what lies beyond a boundary. Both are known while tracing only,
and travel in the low bits of a vertex's column, so that columns sort as before: column * 512 + class * 2 + junction.

A junction is a grid vertex where at least three of the four edges are boundaries between different values; all skipped
classes are one value, what lies outside the raster is another. The corners of the raster are junctions. A polygon has
a vertex at every junction, also where it goes straight past it.

The class is that on the other side of the edge that leads to the vertex; the polygon's own where nothing is there.
"""

from __future__ import annotations

from geoseg.kernel import subkernel
from geoseg.polygons.rings import Int32

MARK_BITS = 9
MAX_SIDE = 2**22 - 1


@subkernel
def mark_column(col: int, beyond: int, is_junction: bool) -> int:
    """A column with its marks."""
    return col << MARK_BITS | beyond << 1 | is_junction


def strip_marks(coords: Int32) -> Int32:
    """(n, 2) int32 (row, col) without marks of (n, 2) int32 coordinates with marks."""
    plain = coords.copy()
    plain[:, 1] >>= MARK_BITS
    return plain
