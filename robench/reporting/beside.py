"""Runs under other conditions beside those under the protocol, in one table."""

from __future__ import annotations

from dataclasses import replace

from robench.reporting.comparable import only_headline, settings_of
from robench.reporting.report import AtHeadline, Entry, Report, Row, Table
from robench.results import Identity

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
    limits = (one.limit.value, other.limit.value)
    same = len(set(limits)) == 1 or _only_headline(other)
    return same and one.headline.value == other.headline.value


def _only_headline(table: Table) -> bool:
    return table.differs == only_headline(table.dataset, table.norm)


def _merged(main: Table, other: Table) -> Table:
    """A table with the rows of another one below."""
    alone = _only_headline(other)
    columns = main.at_headline if alone else main.settings
    changed = [
        _change(attack, columns[attack], identity)
        for attack, identity in other.settings.items()
        if attack in columns and settings_of(identity) != settings_of(columns[attack])
    ]

    def own(row: Row) -> Row:
        row = replace(row, rank=None, differs=(*other.differs, *changed))
        if not alone:
            return row
        entries = {attack: _at_headline(entry) for attack, entry in row.entries.items()}
        return replace(row, entries={}, missing=(), at_headline=entries)

    merged = {**columns, **{a: i for a, i in other.settings.items() if a not in columns}}
    settings = main.settings if alone else merged
    return replace(
        main,
        attacks=tuple(settings),
        settings=settings,
        at_headline=merged if alone else main.at_headline,
        rows=main.rows + tuple(map(own, other.rows)),
        controls=main.controls + tuple(map(own, other.controls)),
    )


def _at_headline(entry: Entry) -> AtHeadline:
    verdict = entry.verdict, entry.reasons
    return AtHeadline.of(entry.attack, verdict, entry.curve, entry.hash)


def _change(attack: str, main: Identity, other: Identity) -> str:
    """How the settings of an attack differ from those of the rows above."""
    if main.attack_version != other.attack_version:
        return f"{attack} version {other.attack_version}, not {main.attack_version}"
    return f"other settings of {attack}"
