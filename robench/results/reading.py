"""The reading of a record: it is compared with its digests and its rows before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowException

from robench.epsilon import Epsilon
from robench.errors import RobenchError
from robench.results.consistency import (
    Columns,
    contradiction,
    grid_of,
    other_numbers,
    positions_of,
    record_faults,
)
from robench.results.files import (
    NUMBERS,
    Damaged,
    columns_of,
    kept_at,
    read_kept,
    read_table,
    why,
)
from robench.results.schema import CellResult

ERRORS = (
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    RecursionError,
    RobenchError,
    ArrowException,
)
"""What the reading of a damaged file may raise, beside an OSError."""


@dataclass(frozen=True)
class Sound:
    """A record that could be read, with its rows if it is done.

    Attributes:
        cell: the record.
        columns: the rows in data order; empty without rows.
        positions: the minimal positions ``(N,)``.
        grid: the ε of the curve.
    """

    cell: CellResult
    columns: Columns
    positions: NDArray[np.int64]
    grid: tuple[Epsilon, ...]


class _UnreadableError(Exception):
    """Nothing more of a cell can be read."""

    def __init__(self, found: Damaged) -> None:
        self.found = found


def inspect(cell: CellResult, path: Path) -> Iterator[Damaged | Sound]:
    """Everything that is wrong with a cell at its place; at last the cell, if it could be read.

    Args:
        cell: the record.
        path: of its JSON.
    """
    try:
        yield from _inspect(cell, path)
    except _UnreadableError as error:
        yield error.found


@contextmanager
def _rule(rule: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, *ERRORS) as error:
        raise _UnreadableError(Damaged(path, why(error), rule)) from None


def _inspect(cell: CellResult, path: Path) -> Iterator[Damaged | Sound]:
    with _rule("result-damaged", path):
        faults = [Damaged(path, fault.what, fault.rule) for fault in record_faults(cell)]
    yield from faults
    outcome = cell.outcome
    if outcome is None:
        if not faults:
            yield Sound(cell, {}, np.empty(0, np.int64), ())
        return
    parquet = kept_at(path.with_suffix(".parquet"), cell.rows_sha256)
    samples, points = outcome.identity.samples, len(outcome.curve)
    with _rule("result-grid", path):
        grid = grid_of(outcome)
    with _rule("rows-damaged", parquet):
        data = read_kept(parquet, cell.rows_sha256)
    with _rule("rows-invalid", parquet):
        columns = columns_of(read_table(data, samples, NUMBERS))
        positions = positions_of(columns, samples, points)
    values = np.array([epsilon.value for epsilon in grid])
    with _rule("rows-inconsistent", parquet):
        if what := contradiction(columns, positions, values):
            yield Damaged(parquet, what, "rows-inconsistent")
    with _rule("result-numbers", path):
        if what := other_numbers(outcome, columns, positions, grid):
            yield Damaged(path, what, "result-numbers")
    yield Sound(cell, columns, positions, grid)
