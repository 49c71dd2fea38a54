"""How QGIS draws a layer: categories of `class` in the colours of the legend, as a QML document."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from geoseg.layers.columns import GeometryType
from geoseg.legend import ClassLegend

Color = tuple[int, int, int]

_MARK = "<!-- classes of a layer, by geoseg -->"
_OTHER: Color = (150, 150, 150)
_FILL_ALPHA = 150  # the imagery beneath stays visible
_DARKER = 0.55
_LAYER_GEOMETRY = {"LineString": "1", "Polygon": "2"}


def make_qml(legend: ClassLegend, geometry_type: GeometryType, *, column: str = "class") -> str:
    """The style of a layer by the values of a column; classes outside of the legend are drawn in grey.

    Args:
        legend: names and colours; classes of kind "background" have no features and so no category.
        geometry_type: polygons are filled, lines have a casing.
        column: holds the names of the legend.
    """
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ElementTree.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=column, symbollevels="1")
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    drawn = [(c.name, c.name, c.color) for c in legend.classes if c.kind != "background"]
    for index, (value, label, color) in enumerate([*drawn, ("", "other", _OTHER)]):
        symbol = str(index)
        ElementTree.SubElement(categories, "category", value=value, label=label, symbol=symbol, render="true")
        if geometry_type == "Polygon":
            _add_fill(symbols, symbol, color)
        else:
            _add_line(symbols, symbol, color)
    ElementTree.SubElement(root, "layerGeometryType").text = _LAYER_GEOMETRY[geometry_type]
    ElementTree.indent(root)
    text = ElementTree.tostring(root, "unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{_MARK}\n{text}\n"


def is_own_style(path: Path) -> bool:
    """Whether the style is from `make_qml`; a user's, or that of a raster of the same name, is not."""
    try:
        return _MARK in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _add_fill(symbols: ElementTree.Element, name: str, color: Color) -> None:
    symbol = ElementTree.SubElement(symbols, "symbol", type="fill", name=name, alpha="1")
    options = {
        "style": "solid",
        "color": _write_color(color, _FILL_ALPHA),
        "outline_style": "solid",
        "outline_color": _write_color(_darken(color)),
        "outline_width": "0.2",
        "outline_width_unit": "MM",
    }
    _add_layer(symbol, "SimpleFill", 0, options)


def _add_line(symbols: ElementTree.Element, name: str, color: Color) -> None:
    symbol = ElementTree.SubElement(symbols, "symbol", type="line", name=name, alpha="1")
    for level, (line_color, width) in enumerate(((_darken(color), "0.9"), (color, "0.6"))):
        options = {
            "line_style": "solid",
            "line_color": _write_color(line_color),
            "line_width": width,
            "line_width_unit": "MM",
            "capstyle": "round",
            "joinstyle": "round",
        }
        _add_layer(symbol, "SimpleLine", level, options)


def _add_layer(symbol: ElementTree.Element, kind: str, level: int, options: dict[str, str]) -> None:
    layer = ElementTree.SubElement(symbol, "layer", {"class": kind, "enabled": "1", "locked": "0", "pass": str(level)})
    entries = ElementTree.SubElement(layer, "Option", type="Map")
    for name, value in options.items():
        ElementTree.SubElement(entries, "Option", type="QString", name=name, value=value)


def _darken(color: Color) -> Color:
    red, green, blue = (round(channel * _DARKER) for channel in color)
    return red, green, blue


def _write_color(color: Color, alpha: int = 255) -> str:
    return ",".join(map(str, (*color, alpha)))
