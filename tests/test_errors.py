"""Every error says what was found, and what was expected or what helps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import geoseg

PACKAGE = Path(geoseg.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def list_kinds() -> set[str]:
    """Names of GeosegError and of every class below it, wherever it is defined."""
    bases = {
        node.name: {b.id for b in node.bases if isinstance(b, ast.Name)}
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"GeosegError"}
    while more := {name for name, of in bases.items() if of & kinds} - kinds:
        kinds |= more
    return kinds


KINDS = list_kinds()


def test_the_kinds_are_found() -> None:
    assert {"GeosegError", "InputError", "OptionError", "OutputError", "ModelError", "BudgetError"} <= KINDS


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_every_error_brings_more_than_what_was_found(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in KINDS:
            given = {keyword.arg for keyword in node.keywords}
            assert given & {"expected", "remedy"}, f"line {node.lineno}: {ast.unparse(node)[:200]}"
