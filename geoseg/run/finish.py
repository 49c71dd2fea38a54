"""What a user says about the map's finish, and what follows for a legend and a pixel size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from geoseg.errors import OptionError
from geoseg.legend import ClassLegend, GeometryKind
from geoseg.run.job import LayerOptions

MIN_UNIT_M2: dict[GeometryKind, float] = {"background": 4.0, "building": 6.0, "network": 15.0, "area": 5.0}
"""Smallest area of a polygon by what it is, where nothing else is said."""

STEP_KINDS: dict[str, GeometryKind] = {
    "regularize": "building",
    "smooth": "area",
    "roads": "network",
    "separate": "building",
}
"""The kind of class that a step is for."""

Simplification = float | Literal["auto"] | None
MinUnit = float | Mapping[str, float] | Literal["auto"]


@dataclass(frozen=True, slots=True)
class Finish:
    """What makes a map of the classes.

    Args:
        min_unit_m2: components below this area join a neighbour: one for all classes, or by name; "auto": by kind.
        simplify_m: tolerance of the outlines in ground metres; "auto": about a pixel; 0 or None: every pixel corner.
        regularize: whether buildings get straight walls and right angles.
        smooth: whether areas get smooth outlines.
        roads: whether networks leave centrelines.
        min_area_m2: leave out polygons below this area at the very end.
        separate: whether buildings that touch are told apart; needs a confidence.
    """

    min_unit_m2: MinUnit = "auto"
    simplify_m: Simplification = "auto"
    regularize: bool = True
    smooth: bool = True
    roads: bool = True
    min_area_m2: float = 0.0
    separate: bool = False

    def exact(self) -> Finish:
        """The same without all that makes polygons other than the pixels."""
        return replace(self, min_unit_m2=0.0, simplify_m=None, regularize=False, smooth=False)

    def options(self, legend: ClassLegend, *, pixel_m: float, model_pixel_m: float = 0.0) -> LayerOptions:
        """The options for the classes of a legend.

        Args:
            legend: the classes.
            pixel_m: size of the class raster's pixels in metres.
            model_pixel_m: size of the pixels that the model saw, where one did.

        Raises:
            OptionError: a class is not in the legend, or a number is out of range.
        """
        kinds: dict[GeometryKind, tuple[int, ...]] = {
            kind: tuple(c.id for c in legend.classes if c.kind == kind) for kind in MIN_UNIT_M2
        }
        simplify_m = max(pixel_m, model_pixel_m / 2) if self.simplify_m == "auto" else self.simplify_m or None
        return LayerOptions(
            min_unit_m2=_choose_units(self.min_unit_m2, legend),
            simplify_m=simplify_m,
            separate=kinds["building"] if self.separate else (),
            regularize=kinds["building"] if self.regularize and simplify_m else (),
            detail_m=max(pixel_m, model_pixel_m),
            smooth=kinds["area"] if self.smooth and simplify_m else (),
            roads=kinds["network"] if self.roads else (),
            min_area_m2=self.min_area_m2,
        )


def check_steps(legend: ClassLegend, steps: Iterable[str]) -> None:
    """Refuse steps that somebody asked for and that no class of the legend could take.

    Raises:
        OptionError: a step has no class of its kind.
    """
    for step in steps:
        if all(c.kind != STEP_KINDS[step] for c in legend.classes):
            raise OptionError(
                f"--{step}, and no class is of the kind {STEP_KINDS[step]}",
                expected="a class raster that geoseg wrote, or one with such a class in its legend",
                remedy=f"leave out --{step}",
            )


def _choose_units(wanted: MinUnit, legend: ClassLegend) -> tuple[tuple[int, float], ...]:
    if not legend.classes and (wanted == "auto" or isinstance(wanted, Mapping)):
        raise OptionError(
            "--min-unit by class for a raster without class names",
            expected="one area for all classes",
            remedy="give a number: --min-unit 10",
        )
    if wanted == "auto":
        units = {c.id: MIN_UNIT_M2[c.kind] for c in legend.classes}
    elif isinstance(wanted, Mapping):
        ids = {c.name: c.id for c in legend.classes}
        unknown = sorted(set(wanted) - set(ids))
        if unknown:
            raise OptionError(f"--min-unit for the class '{unknown[0]}'", expected=f"one of {', '.join(ids)}")
        units = {ids[name]: area for name, area in wanted.items()}
    else:
        units = {number: float(wanted) for number in range(256)}
    return tuple(sorted((number, area) for number, area in units.items() if area != 0))
