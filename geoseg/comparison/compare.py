"""Two map layers against each other: what appeared, vanished or changed."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.comparison.events import MATCHED, NOISE, Events, forgive_noise, match_objects
from geoseg.comparison.lines import Stretches, cut_lines
from geoseg.comparison.objects import BLOCK_BYTES, IntArray, Kind, Objects, Plane, Stored
from geoseg.comparison.pairs import Pairs, find_pairs
from geoseg.comparison.result import Comparison, LineChanges, PolygonChanges
from geoseg.comparison.rows import ChangedLines, ChangedPolygons, write_changes
from geoseg.errors import InputError, OptionError
from geoseg.layers.write import check_layer_path


def compare(
    a: str | Path,
    b: str | Path,
    output: str | Path | None = None,
    *,
    tolerance_m: float = 0.0,
    buffer_m: float = 3.0,
    only_class: str | None = None,
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Comparison:
    """Compare two layers of one place, such as those of two dates or two models, object by object.

    Polygons of a class belong together by intersection over union (IoU): see `match_objects`. From 0.9 on they are
    unchanged; from 0.3 on grown, shrunk or moved (both gained and lost); one object that became several is split,
    several that became one are merged; the others appeared or vanished. Lines are compared by length within a buffer,
    since networks are cut into lines at different places. `compare(b, a)` swaps what appeared and what vanished.

    Areas are those of an equal-area plane about the first object. Geometries wait in temporary files; memory holds
    about 400 bytes of each object and twice `block_bytes` of geometries, but at least the largest objects of both
    sides. Nothing depends on the blocks.

    Args:
        a: the earlier layer: .gpkg, .geojson, .fgb or .parquet, in any CRS; roads written beside it by geoseg are taken
            along.
        b: the later one, in the same or another CRS.
        output: layer of the changes to write, in the CRS of `b`; see `write_changes` for its columns.
        tolerance_m: differences narrower than this on the ground are noise: they count neither as gained nor as lost,
            an object that has no others is unchanged, and one that is so narrow neither appears nor vanishes.
        buffer_m: how far from each other two lines may lie and be the same.
        only_class: compare this class alone; a layer that does not say its classes is taken to be of it.
        overwrite: replace an existing output.
        block_bytes: geometries of a side that are looked at together, in bytes.

    Raises:
        InputError: a side is no layer that can be read and placed, or a class is polygons on one side, lines on the
            other.
        OptionError: a number cannot work, neither layer has `only_class`, or the output's suffix is not known.
        OutputError: the output exists and `overwrite` is off, or it cannot be written.
    """
    if not (math.isfinite(tolerance_m) and tolerance_m >= 0):
        raise OptionError(f"a tolerance of {tolerance_m:g} m", expected="0 m or more")
    if not (math.isfinite(buffer_m) and buffer_m > 0):
        raise OptionError(f"a buffer of {buffer_m:g} m", expected="more than 0 m")
    if output is not None:
        check_layer_path(output, overwrite=overwrite)
        if Path(output).resolve() in {Path(side).resolve() for side in (a, b)}:
            raise OptionError(f"the output {output} is one of the layers", expected="another file")
    with ExitStack() as stack:
        sides = [Stored.read(Path(side), stack, only_class=only_class) for side in (a, b)]
        others = sides[0].left_out | sides[1].left_out
        if others and not any(len(side.classes) for side in sides):
            raise OptionError(
                f"--only-class {only_class}, of which neither layer has an object",
                expected=f"one of {', '.join(sorted(others))}",
                remedy="check the name",
            )
        task = _Task(sides[0], sides[1], Plane.about(*sides), tolerance_m, buffer_m, block_bytes)
        polygons = {name: task.compare_polygons(name) for name in _list_classes(sides, "polygon")}
        lines = {name: task.compare_lines(name, stack) for name in _list_classes(sides, "line")}
        if output is not None:
            write_changes(
                Path(output),
                {name: found for name, (found, _) in polygons.items()},
                {name: found for name, (found, _) in lines.items()},
                sides=(sides[0], sides[1]),
                options={"tolerance_m": tolerance_m, "buffer_m": buffer_m},
                overwrite=overwrite,
            )
        return Comparison(
            sides[0].name,
            sides[1].name,
            tolerance_m,
            buffer_m,
            {name: counts for name, (_, counts) in polygons.items()},
            {name: counts for name, (_, counts) in lines.items()},
            None if output is None else Path(output),
        )


def _list_classes(sides: list[Stored], kind: Kind) -> list[str]:
    """Names of the classes that have objects of a kind, sorted.

    Raises:
        InputError: a class has only polygons on one side and only lines on the other.
    """
    found = [{k: set(side.classes[side.lines == (k == "line")]) for k in ("polygon", "line")} for side in sides]
    for one, other in (found, found[::-1]):
        mixed = (one["polygon"] - one["line"]) & (other["line"] - other["polygon"])
        if mixed:
            raise InputError(
                f"the class {min(mixed)} is polygons on one side and lines on the other",
                expected="the same kind of objects",
                remedy="compare layers that were made with the same options, or one class with --only-class",
            )
    return sorted(found[0][kind] | found[1][kind])


@dataclass(frozen=True)
class _Task:
    a: Stored
    b: Stored
    plane: Plane
    tolerance_m: float
    buffer_m: float
    block_bytes: int

    def compare_polygons(self, name: str) -> tuple[ChangedPolygons, PolygonChanges]:
        a, b = (Objects.of(side, self.plane, name=name, kind="polygon") for side in (self.a, self.b))
        pairs = find_pairs(a, b, block_bytes=self.block_bytes)
        events = match_objects(pairs, a, b)
        if self.tolerance_m:
            events = forgive_noise(events, a, b, tolerance_m=self.tolerance_m, block_bytes=self.block_bytes)
        return ChangedPolygons(a, b, events), _count(a, b, pairs, events)

    def compare_lines(self, name: str, stack: ExitStack) -> tuple[ChangedLines, LineChanges]:
        a, b = (Objects.of(side, self.plane, name=name, kind="line") for side in (self.a, self.b))
        before, after = (
            cut_lines(lines, others, stack, buffer_m=self.buffer_m, block_bytes=self.block_bytes)
            for lines, others in ((a, b), (b, a))
        )
        return ChangedLines(a, b, before, after), _measure(before, after)


def _count(a: Objects, b: Objects, pairs: Pairs, events: Events) -> PolygonChanges:
    names = events.name_changes().tolist()
    gone, new = events.of_a == -1, events.of_b == -1
    counts = {change: names.count(change) for change in MATCHED}
    counts |= {"appeared": int(new.sum()), "vanished": int(gone.sum())}
    counts["noise"] = int((events.of_a == NOISE).sum() + (events.of_b == NOISE).sum())
    return PolygonChanges(
        objects=counts,
        before=len(a),
        after=len(b),
        area_a_m2=float(a.size.sum()),
        area_b_m2=float(b.size.sum()),
        new_m2=_measure_rest(b, pairs.b, pairs),
        gone_m2=_measure_rest(a, pairs.a, pairs),
        appeared_m2=float(b.size[new].sum()),
        vanished_m2=float(a.size[gone].sum()),
        gained_m2=float(events.gained_m2.sum()),
        lost_m2=float(events.lost_m2.sum()),
    )


def _measure_rest(side: Objects, numbers: IntArray, pairs: Pairs) -> float:
    """Area of a side that the other one does not share."""
    shared = np.bincount(numbers, pairs.shared_m2, len(side))
    return float(np.maximum(side.size - shared, 0).sum())


def _measure(before: Stretches, after: Stretches) -> LineChanges:
    return LineChanges(
        float(np.sum(before.length_m)),
        float(np.sum(after.length_m)),
        after.total_m(near=True),
        after.total_m(near=False),
        before.total_m(near=False),
    )
