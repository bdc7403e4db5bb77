"""The tables of a store with the rows of their cells, as the leaderboard chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.errors import UsageError, nearest
from robench.registry.patterns import is_glob, match
from robench.reporting import build_report
from robench.reporting.report import Table
from robench.results import CellResult, Damaged, ResultStore


@dataclass(frozen=True)
class StoredTables:
    """The newest tables of a store with the models of interest.

    Attributes:
        store: the results.
        tables: with rows, without older runs.
        cells: those of the tables, by hash.
        damaged: files that cannot be read.
    """

    store: ResultStore
    tables: tuple[Table, ...]
    cells: dict[str, CellResult]
    damaged: tuple[Damaged, ...]

    def rows(self, digest: str) -> pd.DataFrame:
        """The rows of the cell of an entry, in data order."""
        return self.store.rows(self.cells[digest])

    def positions(self, digest: str) -> NDArray[np.int64]:
        """The minimal positions of the cell of an entry, ``(N,)``, in data order."""
        return self.rows(digest)["minimal_position"].to_numpy(np.int64)


def read_tables(
    store: ResultStore,
    patterns: Sequence[str] = ("all",),
    dataset: str | None = None,
    *,
    merge: bool = False,
) -> StoredTables:
    """The tables of a store.

    Args:
        store: the results.
        patterns: ``all``, ids or globs of models that are stored; controls are left out.
        dataset: keep the tables of this data set.
        merge: whether cells at the headline ε alone stand in the tables of the sweeps.

    Raises:
        UsageError: there is no finished cell, or a pattern matches no model of one.
    """
    report = build_report(store, all_runs=False, merge=merge).newest()
    of_dataset = [table for table in report.tables if dataset in (None, table.dataset.name)]
    known = sorted({row.model for table in of_dataset for row in table.rows})
    if not known:
        where = f"{store.root}" if dataset is None else f"{store.root} for {dataset}"
        raise UsageError(f"no finished cell in {where}; make one with: robench run")
    chosen = matching(patterns, known, store)
    tables = [
        replace(table, rows=tuple(row for row in table.rows if row.model in chosen))
        for table in of_dataset
    ]
    shown = tuple(table for table in tables if table.rows)
    found = (
        store.find(row.model, result.attack, result.hash)
        for table in shown
        for row in table.rows
        for result in row.results
    )
    cells = {cell.hash: cell for cell in found if isinstance(cell, CellResult)}
    return StoredTables(store, shown, cells, report.damaged)


def matching(patterns: Sequence[str], known: Sequence[str], store: ResultStore) -> set[str]:
    """The models of a store that the user asked for.

    Args:
        patterns: ``all``, ids or globs.
        known: the models.
        store: in which they are, for the message.

    Raises:
        UsageError: there is no pattern, or one matches nothing.
    """
    if not patterns:
        raise UsageError("--models is empty; name models that are stored, or write all")
    return {model for pattern in patterns for model in _matching(pattern, known, store)}


def _matching(pattern: str, known: Sequence[str], store: ResultStore) -> Sequence[str]:
    if pattern == "all":
        return known
    found = match(pattern, known) if is_glob(pattern) else [m for m in known if m == pattern]
    if not found:
        raise UsageError(
            f"--models {pattern!r}: no such model has a finished cell in {store.root}"
            f"{nearest(pattern, known)}; make one with: robench run --models {pattern}"
        )
    return found
