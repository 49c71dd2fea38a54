"""What geoseg says when it cannot go on: what was found, what was expected, what helps."""

from __future__ import annotations

from geoseg.redact import redact


class GeosegError(Exception):
    """Base of every error that geoseg raises on purpose; the command line turns it into exit code 2.

    Credentials of URLs, also in what GDAL said, are hidden.

    Args:
        found: what is wrong, naming the file or the option.
        expected: what would have been right.
        remedy: what the user can do about it.
    """

    def __init__(self, found: str, *, expected: str = "", remedy: str = "") -> None:
        found, expected, remedy = redact(found), redact(expected), redact(remedy)
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found]
        if expected:
            parts.append(f"expected: {expected}")
        if remedy:
            parts.append(f"remedy: {remedy}")
        super().__init__("\n  ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.found, self.expected, self.remedy)


class InputError(GeosegError):
    """A raster, an AOI or a label file that cannot be used as it is."""


class OptionError(GeosegError):
    """An option or an argument whose value cannot work."""


class OutputError(GeosegError):
    """An output that cannot be written where it was asked for."""


class ModelError(GeosegError):
    """A model package that is missing, incomplete, altered or of a refused kind."""


class BudgetError(GeosegError):
    """The memory formula exceeds the budget that was given."""


def _rebuild(kind: type[GeosegError], found: str, expected: str, remedy: str) -> GeosegError:
    return kind(found, expected=expected, remedy=remedy)
