"""What happened while a network learned, in two tables that a spreadsheet opens."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError, OutputError
from geoseg.files import replace_file
from geoseg.training.validate import Score

STEPS = "steps.csv"
VALIDATIONS = "log.csv"


class History:
    """Writes `steps.csv`, a row a step, and `log.csv`, a row a validation; every row is in the file when it returns.

    A step is named by how many were made, from 1. A run that goes on drops the rows that its checkpoint knows nothing
    of, because it makes those steps and validations again. A run and its repetition differ in the column `minutes`
    only.

    Args:
        folder: of the run.
        step: how many steps the run has made, 0 for a new one.
        validated_step: the one of its last validation, 0 or less if there was none.

    Raises:
        InputError: the tables of the run that goes on cannot be read.
        OutputError: the tables cannot be written.
    """

    def __init__(self, folder: Path, *, step: int, validated_step: int) -> None:
        self._steps = _Table(folder / STEPS, step)
        self._validations = _Table(folder / VALIDATIONS, max(0, validated_step))

    def record_step(self, step: int, *, minutes: float, loss: float, gradient_norm: float, rate: float) -> None:
        """A step of the optimiser: loss of its batch, norm of the gradient before clipping, highest learning rate."""
        self._steps.append(
            {"step": step, "minutes": f"{minutes:.2f}"}
            | _format({"loss": loss, "gradient_norm": gradient_norm, "rate": rate})
        )

    def record_validation(
        self,
        step: int,
        *,
        minutes: float,
        train_loss: float,
        validation_loss: float,
        mean_iou: float,
        scores: Mapping[str, Score],
    ) -> None:
        """A validation: mean training loss since the last one, loss and scores on what is held out.

        The IoU of every class of every source gets a column "source: class", empty where the class does not occur.
        """
        row = {"step": step, "minutes": f"{minutes:.2f}"}
        row |= _format({"train_loss": train_loss, "validation_loss": validation_loss, "mean_iou": mean_iou})
        for source, score in scores.items():
            iou = score.iou
            row |= _format({f"{source}: {name}": iou.get(name, np.nan) for name in score.names})
        self._validations.append(row)

    def close(self) -> None:
        """Nothing more is to come."""
        self._steps.close()
        self._validations.close()


def read_columns(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a table by name, each float64 (rows,); not a number where a cell is empty.

    Raises:
        InputError: the file cannot be read or is no such table.
    """
    try:
        head, rows = _read_rows(path)
        values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a table that training wrote") from error
    return dict(zip(head, values.reshape(len(rows), len(head)).T, strict=True))


class _Table:
    """A CSV file that rows are appended to; its head is that of the first row."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        head, rows = _read_kept(path, step) if step and path.exists() else ([], [])
        self._head = head if rows else []
        with replace_file(path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *rows] if rows else [])
        self._file: TextIO = path.open("a", newline="")

    def append(self, row: Mapping[str, object]) -> None:
        writer = csv.writer(self._file, lineterminator="\n")
        try:
            if not self._head:
                self._head = list(row)
                writer.writerow(self._head)
            if not row.keys() <= set(self._head):
                raise OutputError(
                    f"{self._path} lacks the columns {', '.join(sorted(row.keys() - set(self._head)))}",
                    expected="a table of the same job",
                    remedy="choose another output, or remove the file",
                )
            writer.writerow([row.get(name, "") for name in self._head])
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be written: {error.strerror or error}",
                remedy="free some space, or choose another output; the same command goes on",
            ) from error

    def close(self) -> None:
        self._file.close()


def _read_kept(path: Path, step: int) -> tuple[list[str], list[list[str]]]:
    try:
        head, rows = _read_rows(path)
        return head, [row for row in rows if int(row[0]) <= step]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a table that training wrote") from error


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Head and whole rows; what a killed process or a full disk cut off after the last line end is left out."""
    with path.open(newline="") as file:
        text = file.read()
    head, *rows = [*csv.reader(StringIO(text[: text.rfind("\n") + 1], newline=""))] or [[]]
    return head, [row for row in rows if len(row) == len(head)]


def _format(values: Mapping[str, float]) -> dict[str, str]:
    return {name: "" if np.isnan(value) else f"{value:.6g}" for name, value in values.items()}
