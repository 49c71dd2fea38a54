"""Strict JSON, and tables whose fields are taken one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from geoseg.errors import ModelError

REMEDY = "fetch the model package again, or package the model anew"

Check = Callable[[object], bool]


class Fields:
    """A JSON table whose fields are taken out one by one, so that what is left over was unknown.

    Args:
        table: the fields.
        where: names the table in messages.
    """

    def __init__(self, table: Mapping[str, object], where: str) -> None:
        self._table, self._where = dict(table), where

    # Any: the check decides what the value is, which the type system cannot see.
    def take(self, key: str, check: Check, expected: str):  # type: ignore[no-untyped-def]
        """The value of a field that must be there and pass its check.

        Raises:
            ModelError: it is missing or wrong.
        """
        if key not in self._table:
            raise ModelError(f"{self._where}: no field {key!r}", expected=expected, remedy=REMEDY)
        value = self._table.pop(key)
        if not check(value):
            raise self.fault(key, value, expected)
        return value

    def inner(self, key: str, table: object) -> Fields:
        """The fields of a table inside this one.

        Raises:
            ModelError: it is no table.
        """
        if not isinstance(table, dict):
            raise self.fault(key, table, "a table")
        return Fields(table, f"{self._where}: {key}")

    def fault(self, key: str, value: object, expected: str) -> ModelError:
        """What to raise where a field is wrong."""
        return ModelError(f"{self._where}: {key} is {shorten(value)}", expected=expected, remedy=REMEDY)

    def refuse_rest(self, expected: str) -> None:
        """Refuse what was not taken.

        Raises:
            ModelError: something is left.
        """
        if self._table:
            raise ModelError(
                f"{self._where}: unknown field {min(self._table)[:60]!r}", expected=expected, remedy=REMEDY
            )


def parse_json(text: bytes, where: str) -> dict[str, object]:
    """A JSON table without repeated fields and without numbers that JSON does not have.

    Raises:
        ModelError: it is none.
    """
    try:
        table = json.loads(text.decode(), object_pairs_hook=_pairs_to_table, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: no strict JSON ({error})"[:300], expected="a description", remedy=REMEDY) from error
    if not isinstance(table, dict):
        raise ModelError(f"{where}: {shorten(table)}", expected="a table", remedy=REMEDY)
    return table


def _pairs_to_table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a field occurs twice")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def find_difference(wanted: object, found: object, own: tuple[str, ...], at: str = "") -> str:
    """Where `found` departs from `wanted`, as a path of keys; empty where it does not.

    Tables may hold more than was wanted, except fields whose names begin with one of `own`.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        surplus = [k for k in found if k not in wanted and k.startswith(own)]
        missing = [k for k in wanted if k not in found]
        if surplus or missing:
            return f"{at}/{(surplus + missing)[0][:60]}"
        return next(filter(None, (find_difference(v, found[k], own, f"{at}/{k}") for k, v in wanted.items())), "")
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return next(filter(None, (find_difference(w, f, own, f"{at}/{i}") for i, (w, f) in pairs)), "")
    same = wanted == found and isinstance(wanted, bool) == isinstance(found, bool)
    return "" if same else at or "/"


def is_text(value: object) -> bool:
    """Whether it is one line of at most 200 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def is_table(value: object) -> bool:
    """Whether it is a JSON table."""
    return isinstance(value, dict)


def is_number(value: object) -> bool:
    """Whether it is a number that float32 can hold."""
    return type(value) in (int, float) and abs(value) <= 1e30  # type: ignore[arg-type]


def is_color(value: object) -> bool:
    """Whether it is red, green and blue, each 0 to 255."""
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def between(low: float, high: float) -> Check:
    """A check for numbers in a range, both ends included."""
    return lambda value: is_number(value) and low <= value <= high  # type: ignore[operator]


def whole_between(low: int, high: int) -> Check:
    """A check for whole numbers in a range, both ends included."""
    return lambda value: type(value) is int and low <= value <= high


def matching(pattern: str) -> Check:
    """A check for texts that match a pattern as a whole."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def shorten(value: object) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
