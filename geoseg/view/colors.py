"""The colours of a layer's classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from xml.etree import ElementTree

from geoseg.layers.read import split_name
from geoseg.legend import LAND_COVER
from geoseg.view.source import ViewLayer

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8c8c8c")
"""For classes of which no colour is known, in the order of their names.

Source: Okabe and Ito, Color Universal Design (2008): told apart also by the colour-blind; grey instead of black.
"""


@dataclass(frozen=True, slots=True)
class LayerStyle:
    """The column that a layer is coloured by, and a colour "#rrggbb" for each of its values."""

    column: str
    colors: dict[str, str]


def choose_colors(names: Sequence[str], styles: Sequence[LayerStyle]) -> dict[str, str]:
    """A colour "#rrggbb" for every class: a style's, else that of the shipped models' legend, else one of `PALETTE`.

    Args:
        names: of the classes.
        styles: of the layers; the first one that knows a class decides.
    """
    known = {c.name: "#{:02x}{:02x}{:02x}".format(*c.color) for c in LAND_COVER.classes if c.kind != "background"}
    for style in reversed(styles):
        known |= style.colors
    unknown = sorted(set(names) - set(known))
    return {n: known[n] if n in known else PALETTE[unknown.index(n) % len(PALETTE)] for n in names}


def read_style(layer: ViewLayer) -> LayerStyle | None:
    """A layer's QGIS style, out of the GeoPackage or the `.qml` beside it; None where it has none with categories.

    Source: QGIS 3, QgsCategorizedSymbolRenderer's XML: categories name a symbol, whose uppermost layer has its colour.
    """
    try:
        text = _read_document(layer)
        renderer = ElementTree.fromstring(text).find(".//renderer-v2[@type='categorizedSymbol']") if text else None
    except (OSError, UnicodeDecodeError, sqlite3.Error, ElementTree.ParseError):
        # No table of styles, or a document that is not QGIS's: the layer is drawn all the same.
        return None
    return None if renderer is None else LayerStyle(renderer.get("attr", ""), _read_categories(renderer))


def _read_document(layer: ViewLayer) -> str | None:
    path = layer.path
    if path.suffix.lower() != ".gpkg":
        style = path.with_name(f"{split_name(path)[0]}.qml")
        return style.read_text(encoding="utf-8") if style.is_file() else None
    query = "SELECT styleQML FROM layer_styles WHERE f_table_name = ? ORDER BY useAsDefault DESC, id"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        row = database.execute(query, (layer.name,)).fetchone()
    return row[0] if row else None


def _read_categories(renderer: ElementTree.Element) -> dict[str, str]:
    colors = {}
    for symbol in renderer.iterfind("./symbols/symbol"):
        options = {o.get("name"): o.get("value", "") for o in symbol.iterfind("./layer/Option/Option")}
        options |= {p.get("k"): p.get("v", "") for p in symbol.iterfind("./layer/prop")}
        parts = (options.get("color") or options.get("line_color") or "").split(",")[:3]
        if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
            colors[symbol.get("name")] = "#{:02x}{:02x}{:02x}".format(*map(int, parts))
    categories = renderer.iterfind("./categories/category")
    pairs = ((c.get("value"), colors.get(c.get("symbol"))) for c in categories)
    return {name: color for name, color in pairs if name and color}
