"""Runs under other conditions beside those under the protocol, in one table."""

from __future__ import annotations

from dataclasses import replace

from robench.reporting.comparable import settings_of
from robench.reporting.report import Report, Row, Table

Place = tuple[str, str]
"""Data set and norm."""


def beside(report: Report) -> Report:
    """The report with the rows of other runs below those under the protocol.

    A row has no rank there, and says how its run differs. Older runs keep a table of their own, and
    so do runs whose AUC or headline ε is another.
    """
    first: dict[Place, Table] = {}
    tables: list[Table] = []
    for table in report.tables:
        place = table.dataset.name, table.norm
        main = first.get(place)
        if not table.differs and not table.older:
            first[place] = table
            tables.append(table)
        elif main is None or table.older or not table.rows or not _same_scale(main, table):
            tables.append(table)
        else:
            merged = _merged(main, table)
            tables[tables.index(main)] = first[place] = merged
    return replace(report, tables=tuple(tables))


def _same_scale(one: Table, other: Table) -> bool:
    return (one.limit.value, one.headline.value) == (other.limit.value, other.headline.value)


def _merged(main: Table, other: Table) -> Table:
    """A table with the rows of another one below."""
    added = tuple(attack for attack in other.attacks if attack not in main.attacks)
    changed = [
        f"other settings of {attack}"
        for attack in main.attacks
        if attack in other.settings
        and settings_of(other.settings[attack]) != settings_of(main.settings[attack])
    ]

    def own(row: Row) -> Row:
        return replace(row, rank=None, differs=(*other.differs, *changed))

    return replace(
        main,
        attacks=main.attacks + added,
        settings={**main.settings, **{attack: other.settings[attack] for attack in added}},
        rows=main.rows + tuple(map(own, other.rows)),
        controls=main.controls + tuple(map(own, other.controls)),
    )
