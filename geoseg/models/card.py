"""The model card: what a person should know before using a package."""

from __future__ import annotations

from collections.abc import Mapping

from geoseg.models.manifest import ModelPackage


def write_card(package: ModelPackage, *, summary: str, limits: str) -> str:
    """The text of a package's README.md, in Markdown; numbers are the package's own.

    Args:
        package: the finished description.
        summary: what the model is for, one paragraph.
        limits: where it is known to fail, one paragraph; empty for none.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting, section 4.
    """
    network = package.network
    parts = [
        f"# {package.name} {package.version}",
        summary,
        "## Model",
        f"- Network: {network.get('architecture')} with encoder {network.get('encoder')}\n"
        f"- Input: {', '.join(package.bands)}, 8 bits, {package.ground_resolution_m:g} m per pixel\n"
        f"- Patch: {package.patch_px} px with a halo of {package.halo_px} px\n"
        f"- Seam error: {package.seam_error:.2e} of the pixels get another class than from whole-image inference\n"
        f"- Memory: {package.workspace_bytes_per_px * package.patch_px**2 / 1e6:.0f} MB per patch on the processor",
        "## Classes",
        "| id | name | polygons | colour |\n| --- | --- | --- | --- |\n"
        + "\n".join(f"| {c.id} | {c.name} | {c.kind} | {c.color} |" for c in package.legend.classes),
        "## Held-out results",
        _list_values(package.metrics),
        "## Training data and provenance",
        _list_values(package.provenance),
    ]
    if limits:
        parts += ["## Limits", limits]
    return "\n\n".join(parts) + "\n"


def _list_values(table: Mapping[str, object], depth: int = 0) -> str:
    lines = []
    for key, value in table.items():
        indent = "  " * depth
        if isinstance(value, Mapping):
            lines.append(f"{indent}- {key}:\n{_list_values(value, depth + 1)}")
        elif isinstance(value, list):
            lines.append(
                f"{indent}- {key}: {len(value)} files"
                if len(value) > 6
                else f"{indent}- {key}: {', '.join(map(str, value))}"
            )
        else:
            lines.append(f"{indent}- {key}: {value:.4g}" if isinstance(value, float) else f"{indent}- {key}: {value}")
    return "\n".join(lines)
