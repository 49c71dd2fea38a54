"""Names and colours of classes where GIS programs look for them, which is beside a GeoTIFF and not in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from geoseg.legend import ClassLegend

_MARK = "<!-- classes of a raster, by geoseg -->"

# Name, GDALRATFieldType (0 integer, 2 string) and GDALRATFieldUsage of a column.
_COLUMNS = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9))


def write_categories(path: Path, legend: ClassLegend) -> None:
    """Write category names and a raster attribute table; what GDAL left in the file, a CRS for one, stays there.

    Without the table, QGIS lists all 256 entries of a TIFF's colour map, and background hides what lies beneath.

    Args:
        path: the raster's `.aux.xml`.
        legend: names and colours; background is transparent.

    Source: GDAL's persistent auxiliary metadata (PAM), `gdal_pam.xsd`.
    """
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("PAMDataset")
    band = root.find("PAMRasterBand")
    if band is None:
        band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    categories = ElementTree.SubElement(band, "CategoryNames")
    for number in range(max(legend.names, default=-1) + 1):
        ElementTree.SubElement(categories, "Category").text = legend.names.get(number, "")
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
        for key, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            ElementTree.SubElement(column, key).text = str(value)
    for index, one in enumerate(legend.classes):
        row = ElementTree.SubElement(table, "Row", index=str(index))
        for value in (one.id, one.name, *one.color, _choose_alpha(legend, one.id)):
            ElementTree.SubElement(row, "F").text = str(value)
    path.write_text(_to_text(root), encoding="utf-8")


def make_raster_qml(legend: ClassLegend) -> str:
    """The style in which QGIS older than 3.30, which does not know attribute tables, shows the classes only."""
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(pipe, "rasterrenderer", type="paletted", band="1", alphaBand="-1", opacity="1")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for one in legend.classes:
        color = "#{:02x}{:02x}{:02x}".format(*one.color)
        alpha = str(_choose_alpha(legend, one.id))
        ElementTree.SubElement(palette, "paletteEntry", value=str(one.id), color=color, alpha=alpha, label=one.name)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{_MARK}\n{_to_text(root)}"


def is_own_style(path: Path) -> bool:
    """Whether the style is from `make_raster_qml`; a user's, or that of a vector layer of the same name, is not."""
    try:
        return _MARK in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _choose_alpha(legend: ClassLegend, number: int) -> int:
    return 0 if number in legend.background_ids else 255


def _to_text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
