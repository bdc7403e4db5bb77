"""Tables from the store: the comparable cells, and the ranks of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import get_args

from robench.datasets import Dataset
from robench.reporting.comparable import Candidate, Listed, choose_sound, only_headline, split
from robench.reporting.listing import Listing, dataset_of
from robench.reporting.report import NORM, Report, Table
from robench.reporting.rows import BASELINE, columns_of, make_row, scale_of
from robench.reporting.work import read_work, with_work
from robench.results import AnalysisStore, Damaged, ResultStore, Thoroughness


def build_report(
    store: ResultStore,
    *,
    all_runs: bool = True,
    published: ResultStore | None = None,
    merge: bool = True,
) -> Report:
    """Sort the cells of a store into tables.

    A table is for one data set and one norm. In its first table are the cells under the data set's
    protocol, with the T of their card and with the attacks' own parameters. Cells that differ from
    it in the same way have a table of their own. In a table, all cells have the same data, all
    cells of an attack the same settings, and all cells of a model the same weights; if runs differ,
    the newest is the reference, and the older ones follow in a table of their own. Cells at the
    headline ε alone stand in the rows of the same networks.

    Args:
        store: the results. Other runs may write to it.
        all_runs: whether to make the tables of older runs. Only cells of a table are kept in memory
            and compared with their rows.
        published: other results, whose rows of the same data sets and norms stand beside them.
        merge: whether cells at the headline ε alone stand in the first table; else they have a
            table of their own.
    """
    work, bad_analyses = read_work(AnalysisStore(store.root))
    listing = Listing.of(store)
    if published is not None:
        listing.add_published(published)
        work = {**read_work(AnalysisStore(published.root))[0], **work}
    root = None if published is None else published.root
    damaged = [*listing.damaged, *bad_analyses]
    tables: list[Table] = []
    older = 0
    places = {(name, norm) for name, norm, _ in listing.groups}
    for name, norm in sorted(places, key=lambda p: (p[0] == "digits", p[0], p[1] != NORM, p[1])):
        dataset, _ = dataset_of(name)
        groups = {how: cells for (*at, how), cells in listing.groups.items() if at == [name, norm]}
        headline = only_headline(dataset, norm) if merge else None
        found: list[Table] = []
        for choice in _choices(groups, headline, damaged, all_runs=all_runs):
            older += choice.left
            if choice.cells:
                table = _table(dataset, norm, choice, listing.not_applicable, root)
                found.append(replace(table, differs=choice.differs, older=choice.older))
        found.sort(key=lambda table: table.older)
        tables += _numbered(found)
    others = sorted(listing.others, key=lambda run: (run.dataset, run.model, run.attack, run.hash))
    with_energy = (with_work(table, work) for table in tables)
    return Report(tuple(with_energy), tuple(others), tuple(damaged), older)


def _numbered(tables: Sequence[Table]) -> Iterator[Table]:
    numbers = count(1)
    for table in tables:
        yield replace(table, number=next(numbers)) if table.differs else table


@dataclass(frozen=True)
class _Choice:
    """The cells of a table.

    Attributes:
        differs: how they differ from the protocol.
        older: whether newer runs take their place.
        cells: on the grid of the table.
        alone: at its headline ε alone.
        left: how many older cells were not chosen.
    """

    differs: tuple[str, ...]
    older: bool
    cells: Sequence[Candidate]
    alone: Sequence[Candidate]
    left: int


def _choices(
    groups: dict[tuple[str, ...], list[Listed]],
    headline: tuple[str, ...] | None,
    damaged: list[Damaged],
    *,
    all_runs: bool,
) -> Iterator[_Choice]:
    """The cells of each table; those under the protocol are first.

    Args:
        groups: the cells of a data set in a norm, by how they differ from the protocol.
        headline: how those at the headline ε alone differ, if they stand in the first table.
        damaged: gets the files that are not believed.
        all_runs: whether older runs have tables, too.
    """
    for how in sorted(groups):  # under the protocol nothing differs, and () is the first
        waiting = [(how, groups[how], False)]
        while waiting:
            differs, cells, is_older = waiting.pop(0)
            chosen, rest, bad = choose_sound(cells)
            damaged += bad
            alone: list[Candidate] = []
            if headline in groups and not differs:
                same, stale, groups[headline] = split(groups[headline], chosen)
                alone, more, bad = choose_sound(same)
                damaged += bad
                for why, left in (*more.items(), *stale.items()):
                    rest.setdefault((*headline, *why), []).extend(left)
            rest = _own(rest)
            yield _Choice(differs, is_older, chosen, alone, sum(map(len, rest.values())))
            if all_runs:
                waiting = [
                    (tuple(dict.fromkeys((*differs, *why))), rest[why], True)
                    for why in sorted(rest)
                ] + waiting


def _table(
    dataset: Dataset,
    norm: str,
    choice: _Choice,
    not_applicable: set[tuple[str, str, str]],
    published: Path | None,
) -> Table:
    chosen, alone = choice.cells, choice.alone
    settings, at_headline = (
        {attack: next(c.identity for c in cells if c.identity.attack == attack)
         for attack in columns_of(cells)}
        for cells in (chosen, alone)
    )  # fmt: skip
    groups, beside = _by_network(chosen), _by_network(alone)
    scale = scale_of(dataset, norm, chosen[0].outcome)
    rows = []
    for key in sorted(groups):
        unmet = {a for d, m, a in not_applicable if (d, m) == (dataset.name, key[0])}
        here = beside.get(key, {})
        row = make_row(scale, tuple(settings), groups[key], here, unmet, published)
        absent = tuple(a for a in at_headline if a not in {*here, *unmet, BASELINE})
        rows.append(replace(row, missing_at_headline=absent))
    public = sorted(
        (row for row in rows if not row.control),
        key=lambda row: (bool(row.missing), -row.worst_auc.value, row.model, row.seed),
    )
    ranked = [
        replace(row, rank=None if row.missing else number)
        for number, row in enumerate(public, start=1)
    ]
    return Table(
        dataset=dataset,
        attacks=tuple(settings),
        settings=settings,
        data_sha256=chosen[0].identity.data_sha256,
        reverified=min(
            (
                c.outcome.reverified
                for c in (*chosen, *alone)
                if not c.outcome.control and c.identity.eot is None  # others have new draws
            ),
            default=1.0,
        ),
        checked=min(
            (c.outcome.checked for c in (*chosen, *alone) if not c.outcome.control),
            key=get_args(Thoroughness).index,
            default="cheap",
        ),
        rows=tuple(ranked),
        controls=tuple(row for row in rows if row.control and not row.published),
        **scale._asdict(),
        norm=norm,
        at_headline=at_headline,
    )


def _by_network(cells: Sequence[Candidate]) -> dict[tuple[str, int], dict[str, Candidate]]:
    """Cells by model and seed, then by attack in the order of the columns."""
    groups: dict[tuple[str, int], dict[str, Candidate]] = {}
    order = columns_of(cells)
    for candidate in sorted(cells, key=lambda c: order.index(c.identity.attack)):
        identity = candidate.identity
        groups.setdefault((identity.model, identity.seed), {})[identity.attack] = candidate
    return groups


def _own(rest: Mapping[tuple[str, ...], list[Listed]]) -> dict[tuple[str, ...], list[Listed]]:
    """Only a user's own cells: published rows that are not comparable with them are left out."""
    own = {why: [cell for cell in cells if not cell.published] for why, cells in rest.items()}
    return {why: cells for why, cells in own.items() if cells}
