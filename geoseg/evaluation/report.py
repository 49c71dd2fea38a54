"""A comparison on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from geoseg.page import Page, format_value

WORDS = {"iou": "IoU", "f1": "F1", "ap": "AP", "apls": "APLS", "polis": "PoLiS", "m": "(m)", "m2": "(m²)", "px": "(px)"}
"""How parts of a key are written."""

Table = Mapping[str, object]


def write_report(
    table: Table, folder: Path, *, title: str = "Evaluation", pictures: Mapping[str, NDArray[np.uint8]] | None = None
) -> Path:
    """Write `report.html` into a folder, from scores of any depth.

    A table of numbers becomes two columns; tables of one kind below one another become the rows of one; a square of
    numbers is a confusion matrix, truth by prediction, of the names that stand under "classes".

    Args:
        table: plain nested tables, lists and numbers, as JSON has them.
        folder: made where there is none.
        title: of the page.
        pictures: uint8 (H, W, 3) by what they show.

    Raises:
        OutputError: the page cannot be written.
    """
    page = Page(title)
    _add_table(page, table, (), level=2)
    if pictures:
        page.add_heading("Where it is wrong")
        page.add_pictures(pictures)
    return page.write(folder / "report.html")


def _add_table(page: Page, table: Table, names: Sequence[str], *, level: int) -> None:
    """Single values first, then lists of one value a class, then what is nested, under its own heading."""
    names = _list_names(table.get("classes")) or names
    left = {k: v for k, v in table.items() if v is not None and not (k == "classes" and _list_names(v))}
    columns = {k: left.pop(k) for k in [*left] if _is_column(left[k], names)}
    single = {k: left.pop(k) for k in [*left] if not _is_deep(left[k])}
    if single:
        page.add_table(["", "value"], [[_write_key(key), _write(value)] for key, value in single.items()])
    if columns:
        lists = [value for value in columns.values() if _is_list(value)]
        rows = [[name, *(_write(values[i]) for values in lists)] for i, name in enumerate(names)]
        page.add_table(["class", *map(_write_key, columns)], rows)
    for key, value in _join_alike(left).items():
        if key:
            page.add_heading(_write_title(key), level=min(level, 6))
        if isinstance(value, Mapping):
            if all(_is_row(row) for row in value.values()):
                _add_rows(page, value)
            else:
                _add_table(page, value, names, level=level + 1)
        elif _is_list(value):
            _add_list(page, value, names, level=level)


def _join_alike(table: Table) -> Table:
    """The same, but rows with the same keys as one table without a key, and the mean as the last of the classes."""
    left, classes, mean = dict(table), table.get("classes"), table.get("mean")
    if isinstance(classes, Mapping) and _is_row(mean) and all(_is_row(row) for row in classes.values()):
        left["classes"] = {**classes, "mean": left.pop("mean")}
    rows = {key: tuple(value) for key, value in left.items() if _is_row(value)}
    shared = next((keys for keys in rows.values() if [*rows.values()].count(keys) > 1), None)
    alike = {key: left.pop(key) for key, keys in rows.items() if keys == shared}
    return {"": alike, **left} if alike else left


def _add_rows(page: Page, table: Table) -> None:
    rows = {name: row for name, row in table.items() if _is_row(row)}
    columns = [*dict.fromkeys(key for row in rows.values() for key in row)]
    lines = [[_write_key(name), *(_write(row.get(key)) for key in columns)] for name, row in rows.items()]
    page.add_table(["", *map(_write_key, columns)], lines)


def _add_list(page: Page, values: Sequence[object], names: Sequence[str], *, level: int) -> None:
    lines = [line for line in values if _is_list(line)]
    if len(lines) == len(values) and all(len(r) == len(lines) and all(isinstance(n, int) for n in r) for r in lines):
        known = names if len(names) == len(lines) else [str(i) for i in range(len(lines))]
        caption = "Truth by prediction: share of the row, and pixels."
        page.add_matrix(known, np.array(lines, np.int64), caption=caption)
    else:
        _add_table(page, {str(i): value for i, value in enumerate(values)}, names, level=level + 1)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_deep(value: object) -> bool:
    """Whether it needs more than one line: a table, or a list of lists or tables."""
    return isinstance(value, Mapping) or (_is_list(value) and any(isinstance(v, Mapping) or _is_list(v) for v in value))


def _is_row(value: object) -> TypeGuard[Table]:
    return isinstance(value, Mapping) and not any(map(_is_deep, value.values()))


def _is_column(value: object, names: Sequence[str]) -> bool:
    """Whether it is a list with one value for every class."""
    return _is_list(value) and len(value) == len(names) and not _is_deep(value)


def _list_names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if _is_list(value) and all(isinstance(name, str) for name in value) else ()


def _write_key(key: str) -> str:
    return " ".join(WORDS.get(word, word) for word in key.split("_"))


def _write_title(key: str) -> str:
    name = _write_key(key)
    return name[:1].upper() + name[1:]


def _write(value: object) -> object:
    """Lists as text; a score that is 0 / 0 is none in JSON."""
    if _is_list(value):
        return ", ".join(format_value(_write(item)) for item in value)
    return float("nan") if value is None else value
