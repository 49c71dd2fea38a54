"""All polygons of a coverage on disk, how their arcs are drawn, and the straight outlines proposed for some."""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.heap import return_freed_memory
from geoseg.polygons.arcs import SUBPIXELS, Arcs, cut_arcs, link_arcs, sign_rings
from geoseg.polygons.cells import PieceCells
from geoseg.polygons.drawing import draw_arcs, find_radius
from geoseg.polygons.footprints import Footprints, Frame, Hits, Walls, draw_footprints
from geoseg.polygons.groups import Groups
from geoseg.polygons.listing import list_pieces, place_arcs
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.proposals import Links, Proposals
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, Uint8
from geoseg.polygons.stored import RecordFile
from geoseg.polygons.thinning import Limits, Splits, thin_arcs

# Smooth outlines are thinned with a quarter of the tolerance, so that they still look curved.
SMOOTH_SHARE = 4
# A regular corner may be this far from its staircase, or twice the tolerance; not for pixels less square than this.
REGULAR_PX, REGULAR_SHARE, LEAST_SQUARE = 4.0, 2.0, 2.0


class Outlines:
    """Arcs drawn from polygons alone: the same for both neighbours, in whatever batch they are."""

    def __init__(
        self,
        tolerance_m: float,
        pixel_m: tuple[float, float],
        smooth: Collection[int],
        regularize: Collection[int],
        detail_m: float,
    ) -> None:
        row_m, col_m = (size / SUBPIXELS for size in pixel_m)
        self.limits = (
            Limits(float(tolerance_m), float(tolerance_m), row_m, col_m),
            Limits(float(tolerance_m), tolerance_m / SMOOTH_SHARE, row_m, col_m),
        )
        # What is drawn lies within a pixel of the staircase, which lies within the tolerance of the chord.
        self.reach = (SUBPIXELS + math.ceil(tolerance_m / row_m), SUBPIXELS + math.ceil(tolerance_m / col_m))
        self._radius = find_radius(tolerance_m, pixel_m)
        self._smooth = tuple(smooth)
        least = min(pixel_m)
        unit_m = max(least, detail_m)
        regular_px = max(REGULAR_PX, REGULAR_SHARE * tolerance_m / unit_m)
        self._regular = ((pixel_m[0] / unit_m, pixel_m[1] / unit_m), regular_px)
        self.regularize = tuple(regularize) if max(pixel_m) <= LEAST_SQUARE * least else ()

    def group(self, batches: Iterable[PolygonBatch], border: tuple[int, int, int, int]) -> Groups:
        """Which rings touch, of all batches; `border` is first row, first col, last row, last col of the raster."""
        groups = Groups(Frame(*self._regular, border))
        for batch in batches:
            groups.add(batch, self._find_wanted(batch), cut_arcs(batch, self._smooth))
        groups.settle()
        return groups

    def propose(self, batch: PolygonBatch, groups: Groups, hits: Hits) -> tuple[Footprints, Footprints | None]:
        """Straight outlines of the rings of a batch, and of the groups that it completes."""
        arcs = cut_arcs(batch, self._smooth)
        grouped, found = groups.take(batch, arcs, hits)
        alone = (self._find_wanted(batch) & ~grouped).astype(np.uint8)
        return draw_footprints(batch.coords, batch.ring_offsets, alone, arcs, groups.frame, hits), found

    def _find_wanted(self, batch: PolygonBatch) -> NDArray[np.bool_]:
        return np.isin(np.repeat(batch.class_id, np.diff(batch.polygon_offsets)), self.regularize)

    def draw(self, batch: PolygonBatch) -> Arcs:
        """The arcs of a batch, drawn through the middles of pixel edges where the tolerance has room for it."""
        arcs = cut_arcs(batch, self._smooth)
        return draw_arcs(arcs, self._radius) if self._radius > 0 else arcs

    def thin(self, arcs: Arcs, splits: Splits, links: Links) -> Uint8:
        """(vertices,) uint8, which vertices of the arcs are kept."""
        return thin_arcs(arcs, splits, self.limits, links.cuts)


class Coverage:
    """All polygons on disk, and what is proposed for them."""

    def __init__(self, folder: Path, outlines: Outlines) -> None:
        self.folder, self.outlines = folder, outlines
        self._polygons = RecordFile(folder / "polygons")
        self._last, self._is_open = [0, 0], [False, False]
        self._hits = Hits(np.zeros(0, np.int64), np.zeros((0, 2), np.int32))

    def add(self, batch: PolygonBatch) -> None:
        """Store a batch."""
        self._polygons.append(list(batch.arrays().values()))
        if len(batch):
            for axis, values in enumerate((batch.coords[:, 0], batch.coords[:, 1] >> MARK_BITS)):
                last = int(values.max())
                is_open = bool((batch.coords[values == last, 1] & 1 == 0).any())
                if last > self._last[axis]:
                    self._last[axis], self._is_open[axis] = last, is_open
                elif last == self._last[axis]:
                    self._is_open[axis] |= is_open

    def propose(self, *, without: Int64) -> None:
        """Propose outlines, but for groups and rings `without` ((n,) int64 keys)."""
        folder = self.folder / "proposals"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        self.proposals = Proposals(folder)
        self._walls = RecordFile(self.folder / "walls")
        # Along the border of the raster all vertices are junctions. Where one is not, there is no border.
        last_row, last_col = (2**30 if free else last for last, free in zip(self._last, self._is_open, strict=True))
        batches = (PolygonBatch(*arrays) for arrays in self._polygons.read())
        groups = self.outlines.group(batches, (0, 0, last_row, last_col))
        for arrays in self._polygons.read():
            alone, together = self.outlines.propose(PolygonBatch(*arrays), groups, self._hits)
            self._walls.append(self.proposals.add(alone))
            if together is not None:
                self.proposals.add(together)
        self.proposals.settle(without)
        return_freed_memory()

    def propose_again(self) -> bool:
        """Propose all outlines once more where walls were in the way, with these moved back.

        Returns:
            Whether any was revoked for a wall.
        """
        lost, hits = self.proposals.list_revoked(), self._hits
        if not len(hits.keys):
            return False
        order = np.argsort(hits.keys, kind="stable")
        self._hits = Hits(hits.keys[order], hits.places[order])
        self.propose(without=lost[~np.isin(lost, hits.keys)])
        return True

    def revoke(self, which: Int64, hits: Int32) -> Int32:
        """Give up proposals ((n,)) for what they hit ((n, 2) places); the boxes of those that were in force."""
        keys = self.proposals.find_keys(which)
        self._hits = Hits(np.concatenate([self._hits.keys, keys]), np.concatenate([self._hits.places, hits]))
        return self.proposals.revoke(which)

    def _read(self) -> Iterator[tuple[PolygonBatch, Walls]]:
        for arrays, walls in zip(self._polygons.read(), self._walls.read(), strict=True):
            yield PolygonBatch(*arrays), Walls(*walls)

    def list_pieces(self, cells: PieceCells) -> PieceCells:
        """Hand all pieces of all arcs to the cells."""
        for batch, walls in self._read():
            arcs = self.outlines.draw(batch)
            links = self.proposals.link(arcs, walls)
            pieces = list_pieces(arcs, self.outlines.thin(arcs, Splits.none(), links), links)
            self.proposals.reach(pieces)
            cells.add(pieces)
        cells.flush()
        return cells

    def draw(self, splits: Splits) -> Iterator[PolygonBatch]:
        """The batches as they come out."""
        for batch, walls in self._read():
            yield self._draw(batch, walls, splits)[0]

    def _draw(self, batch: PolygonBatch, walls: Walls, splits: Splits) -> tuple[PolygonBatch, Links]:
        arcs = self.outlines.draw(batch)
        links = self.proposals.link(arcs, walls)
        kept = self.outlines.thin(arcs, splits, links)
        coords, ring_offsets = link_arcs(place_arcs(arcs, kept, links, self.proposals.active.view(np.uint8)))
        return replace(batch, coords=coords, ring_offsets=ring_offsets), links

    def revoke_turned(self, splits: Splits) -> Int32:
        """Give up the proposals around rings that are inside out; where that changes something.

        Conflicts do not tell: a ring that turns over although nothing has changed sides of its arcs.
        """
        turned = []
        for batch, walls in self._read() if len(self.proposals.active) else ():
            drawn, links = self._draw(batch, walls, splits)
            before = sign_rings(batch.coords >> np.array([0, MARK_BITS], np.int32), batch.ring_offsets)
            rings = np.flatnonzero(before != sign_rings(drawn.coords, drawn.ring_offsets))
            if len(rings):
                turned.append(links.find_owners(rings, cut_arcs(batch).ring_offsets))
        return self.proposals.revoke(np.concatenate([np.zeros(0, np.int64), *turned]))
