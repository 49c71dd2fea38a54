"""The model card: what a person should know before using a package."""

from __future__ import annotations

from collections.abc import Mapping

from geoseg.models.manifest import ModelPackage

PLACES = "sources"
LISTED = 6
"""Longer lists are counted."""


def read_card(package: ModelPackage) -> str:
    """The card that lies in a package, without what a terminal would take for a command."""
    text = (package.path / "README.md").read_text(encoding="utf-8", errors="replace")
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()


def write_card(package: ModelPackage, *, summary: str, limits: str, pictures: Mapping[str, str] | None = None) -> str:
    """The text of a package's README.md, in Markdown; numbers are the package's own.

    Args:
        package: the finished description.
        summary: what the model is for, one paragraph.
        limits: where it is known to fail, one paragraph; empty for none.
        pictures: names of PNG files in the package, and what they show.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting, section 4.
    """
    network = package.network
    known = f"{network.get('architecture')} with encoder {network.get('encoder')}" if network else "made elsewhere"
    refiner = f"\n- Refiner: {network['refiner_width']} channels wide" if package.has_refiner else ""
    others = {k: v for k, v in package.metrics.items() if k != PLACES}
    parts = [
        f"# {package.name} {package.version}",
        summary,
        "## Model",
        f"- Network: {known}{refiner}\n"
        f"- Input: {', '.join(package.bands)}, 8 bits, {package.ground_resolution_m:g} m per pixel\n"
        f"- Patch: {package.patch_px} px with a halo of {package.halo_px} px\n"
        f"- Seam error: {package.seam_error:.2e} of the pixels get another class than from whole-image inference\n"
        f"- Memory: {package.workspace_bytes_per_px * package.patch_px**2 / 1e6:.0f} MB per patch on the processor",
        "## Classes",
        "| id | name | polygons | colour |\n| --- | --- | --- | --- |\n"
        + "\n".join(f"| {c.id} | {c.name} | {c.kind} | {c.color} |" for c in package.legend.classes),
        "## Held-out results",
        _tabulate_places(package.metrics.get(PLACES)),
        _list_values(others),
        *(["## Failures"] if pictures else []),
        *(f"![{text}](./{name})\n\n{text}" for name, text in (pictures or {}).items()),
        "## Training data and provenance",
        _list_values(package.provenance),
    ]
    if limits:
        parts += ["## Limits", limits]
    return "\n\n".join(filter(None, parts)) + "\n"


def _tabulate_places(places: object) -> str:
    """Intersection over union by place and class, as validation writes it."""
    if not isinstance(places, Mapping) or not all(isinstance(p, Mapping) for p in places.values()):
        return ""
    scores = {place: {"mean": p.get("mean_iou"), **p.get("iou", {})} for place, p in places.items()}
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    lines = [
        f"| IoU | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
        *(f"| {place} | {' | '.join(_tell(row.get(n)) for n in names)} |" for place, row in scores.items()),
    ]
    return "\n".join(lines)


def _list_values(table: Mapping[str, object], depth: int = 0) -> str:
    lines = []
    for key, value in table.items():
        start = f"{'  ' * depth}- {key}:"
        if isinstance(value, Mapping):
            lines.append(f"{start}\n{_list_values(value, depth + 1)}")
        elif isinstance(value, list):
            lines.append(f"{start} {', '.join(map(str, value)) if len(value) <= LISTED else f'{len(value)} entries'}")
        else:
            lines.append(f"{start} {_tell(value)}")
    return "\n".join(lines)


def _tell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
