"""What the numbers of a class raster mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GeometryKind = Literal["background", "building", "network", "area"]


@dataclass(frozen=True, slots=True)
class LegendClass:
    """One class: its id in the raster, its name, its colour (R, G, B; 0 to 255) and what its polygons are."""

    id: int
    name: str
    color: tuple[int, int, int]
    kind: GeometryKind


@dataclass(frozen=True, slots=True)
class ClassLegend:
    """The classes of a raster or a model, and the id of pixels about which nothing is known.

    Class `i` of a model's output is `classes[i]`; kind "background" leaves no polygons.
    """

    classes: tuple[LegendClass, ...]
    nodata: int = 255

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> dict[int, str]:
        """Class id to name."""
        return {c.id: c.name for c in self.classes}

    @property
    def background_ids(self) -> frozenset[int]:
        """Ids of the classes that leave no polygons."""
        return frozenset(c.id for c in self.classes if c.kind == "background")

    @classmethod
    def unnamed(cls, nodata: int = 255) -> ClassLegend:
        """A legend that knows no names, for class rasters of unknown origin."""
        return cls((), nodata)


LAND_COVER = ClassLegend(
    (
        LegendClass(0, "background", (0, 0, 0), "background"),
        LegendClass(1, "building", (214, 69, 65), "building"),
        LegendClass(2, "road", (245, 215, 110), "network"),
        LegendClass(3, "vegetation", (63, 153, 84), "area"),
    )
)
"""The legend of the shipped models."""
