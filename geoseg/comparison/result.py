"""What a comparison found, class by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from geoseg.comparison.events import CHANGES


@dataclass(frozen=True, slots=True)
class PolygonChanges:
    """What became of the polygons of a class.

    Attributes:
        objects: how many are unchanged, grown, shrunk, moved, appeared, vanished, or on one side only and narrower
            than the tolerance (noise); split counts objects of A, merged those of B.
        before: objects of A.
        after: objects of B.
        area_a_m2: of all objects of A.
        area_b_m2: of all objects of B.
        new_m2: of B outside of all objects of A, whichever belong together and whatever the tolerance.
        gone_m2: of A outside of all objects of B.
        appeared_m2: of the objects of B that were not there.
        vanished_m2: of the objects of A that are not there.
        gained_m2: what objects of B have more than those of A they belong to.
        lost_m2: what objects of A had more than those of B they belong to.
    """

    objects: dict[str, int]
    before: int
    after: int
    area_a_m2: float
    area_b_m2: float
    new_m2: float
    gone_m2: float
    appeared_m2: float
    vanished_m2: float
    gained_m2: float
    lost_m2: float


@dataclass(frozen=True, slots=True)
class LineChanges:
    """What became of the lines of a class, in metres.

    Attributes:
        length_a_m: of A.
        length_b_m: of B.
        unchanged_m: of B where A has a line within the buffer.
        appeared_m: of B where A has none.
        vanished_m: of A where B has none.
    """

    length_a_m: float
    length_b_m: float
    unchanged_m: float
    appeared_m: float
    vanished_m: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from layer A to layer B.

    Attributes:
        a: name of the file.
        b: name of the file.
        tolerance_m: differences narrower than this were forgiven.
        buffer_m: how far lines may lie from each other and be the same.
        polygons: by class name.
        lines: by class name.
        output: the layer of changes, where asked for.
    """

    a: str
    b: str
    tolerance_m: float
    buffer_m: float
    polygons: dict[str, PolygonChanges]
    lines: dict[str, LineChanges]
    output: Path | None = None

    @property
    def meets_nowhere(self) -> bool:
        """Whether both layers have objects, and none of A has anything to do with one of B."""
        areas, lines = self.polygons.values(), self.lines.values()
        before = any(c.before for c in areas) or any(c.length_a_m for c in lines)
        after = any(c.after for c in areas) or any(c.length_b_m for c in lines)
        alone = {"appeared", "vanished"}
        met = any(c.objects[k] for c in areas for k in CHANGES if k not in alone) or any(c.unchanged_m for c in lines)
        return before and after and not met

    def to_dict(self) -> dict[str, object]:
        """As JSON can say it; metres and square metres to millimetres."""
        return _round(asdict(self))  # type: ignore[return-value]

    def format(self) -> str:
        """Tables for people."""
        parts = [f"{self.a} -> {self.b}"]
        if self.polygons:
            head = ["objects", "A", "B", *CHANGES]
            rows = [
                [n, str(c.before), str(c.after), *(str(c.objects[k]) for k in CHANGES)]
                for n, c in self.polygons.items()
            ]
            parts.append(_lay_out([head, *rows]))
            head = ["area, m2", "A", "B", "new", "gone", "appeared", "vanished", "gained", "lost"]
            rows = [
                [n, *_write(*(getattr(c, f.name) for f in fields(c) if f.name.endswith("_m2")))]
                for n, c in self.polygons.items()
            ]
            parts.append(_lay_out([head, *rows]))
        if self.lines:
            head = ["lines, m", "A", "B", "unchanged", "appeared", "vanished"]
            rows = [[n, *_write(*(getattr(c, f.name) for f in fields(c)))] for n, c in self.lines.items()]
            parts.append(_lay_out([head, *rows]))
        if not (self.polygons or self.lines):
            parts.append("neither layer has an object")
        if self.meets_nowhere:
            parts.append("no object of one layer meets one of the other: do both show one place, in their true CRS?")
        return "\n\n".join(parts)


def _write(*values: float) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _lay_out(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _round(value: object) -> object:
    if isinstance(value, dict):
        return {key: _round(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return round(value, 3)
    return str(value) if isinstance(value, Path) else value
