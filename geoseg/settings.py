"""Settings: frozen dataclasses read from TOML, with errors that name the key."""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from geoseg.errors import OptionError

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: Path) -> Settings:
    """A dataclass from a TOML file: a table for every nested dataclass, an array of tables for a tuple of them.

    Raises:
        OptionError: the file cannot be read, or a key is unknown, missing or of the wrong type.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError as error:
        raise OptionError(f"{path}: no such file", expected="a job in TOML") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: not a text in UTF-8", expected="a job in TOML") from error
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"the job {path} cannot be read: {error}", expected="a TOML file") from error
    settings: Settings = _build(kind, table, "")
    return settings


def _build(kind: Any, value: Any, at: str) -> Any:
    """`value` as parsed from TOML, checked and turned into the annotated type `kind`; `at` names it in errors."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = _choose_kind(typing.get_args(kind), value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), value, at)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            raise OptionError(f"{at} has {len(value)} values", expected=f"{len(arguments)} values")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_build(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if isinstance(origin, type) and isinstance(value, dict) and issubclass(origin, Mapping):
        return types.MappingProxyType({k: _build(arguments[1], v, f"{at}.{k}") for k, v in value.items()})
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    expected = " or ".join(map(repr, arguments)) if origin is Literal else getattr(kind, "__name__", str(kind))
    raise OptionError(f"{at} = {value!r} is of the wrong kind", expected=expected)


def _choose_kind(kinds: tuple[Any, ...], value: Any) -> Any:
    """The one of several kinds that a value is of by its shape; where it is of none, the one that the error names."""
    shapes: dict[type, Callable[[Any], bool]] = {
        dict: lambda kind: dataclasses.is_dataclass(kind) or typing.get_origin(kind) is collections.abc.Mapping,
        list: lambda kind: typing.get_origin(kind) is tuple,
        str: lambda kind: kind is str or value in typing.get_args(kind),
        int: lambda kind: kind in (int, float),
    }
    fits = shapes.get(type(value), lambda kind: kind is type(value))
    words = [kind for kind in kinds if typing.get_origin(kind) is Literal]
    return next((kind for kind in kinds if fits(kind)), words[0] if words and not isinstance(value, dict) else kinds[0])


def _build_dataclass(kind: type, table: Any, at: str) -> Any:
    if not isinstance(table, dict):
        raise OptionError(f"{at or 'the job'} = {table!r} is of the wrong kind", expected="a table")
    hints = typing.get_type_hints(kind)
    prefix = f"{at}." if at else ""
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise OptionError(
                f"unknown key {prefix}{key}", expected=f"one of {', '.join(hints)}", remedy=f"did you mean {near[0]!r}?"
            )
    for item in dataclasses.fields(kind):
        is_required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if is_required and item.name not in table:
            raise OptionError(f"the key {prefix}{item.name} is missing", expected=str(item.type))
    return kind(**{key: _build(hints[key], value, f"{prefix}{key}") for key, value in table.items()})
