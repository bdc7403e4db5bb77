"""Tables from the store: the comparable cells, and the ranks of the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robench.checks import compared
from robench.datasets import Dataset
from robench.epsilon import Epsilon
from robench.reporting.between import mode_of, to_compare, verdict_of
from robench.reporting.comparable import Candidate, Listed, choose_sound
from robench.reporting.listing import Listing, dataset_of
from robench.reporting.report import (
    NORM,
    PUBLISHED,
    YOURS,
    Entry,
    Estimate,
    Report,
    Row,
    Table,
)
from robench.reporting.work import read_work, with_work
from robench.results import (
    ROBUST,
    AnalysisStore,
    Check,
    Outcome,
    ResultStore,
)
from robench.results.metrics import area, bootstrap, curve, sample_areas, wilson

BASELINE = "noise"
"""An attack without gradients: it counts in ``worst``, but is not required for a rank."""

_ORDER = ("fgsm", "pgd", "spgd")


def build_report(
    store: ResultStore, *, all_runs: bool = True, published: ResultStore | None = None
) -> Report:
    """Sort the cells of a store into tables.

    A table is for one data set and one norm. In its first table are the cells under the data set's
    protocol, with the T of their card and with the attacks' own parameters. Cells that differ from
    it in the same way have a table of their own. In a table, all cells have the same data, all
    cells of an attack the same settings, and all cells of a model the same weights; if runs differ,
    the newest is the reference, and the older ones follow in a table of their own.

    Args:
        store: the results. Other runs may write to it.
        all_runs: whether to make the tables of older runs. Only cells of a table are kept in memory
            and compared with their rows.
        published: other results, whose rows of the same data sets and norms stand beside them.
    """
    work, bad_analyses = read_work(AnalysisStore(store.root))
    listing = Listing.of(store)
    if published is not None:
        listing.add_published(published)
        work = {**read_work(AnalysisStore(published.root))[0], **work}
    damaged = [*listing.damaged, *bad_analyses]
    tables: list[Table] = []
    older = 0
    places = {(name, norm) for name, norm, _ in listing.groups}
    for name, norm in sorted(places, key=lambda p: (p[0] == "digits", p[0], p[1] != NORM, p[1])):
        dataset, _ = dataset_of(name)
        found: list[Table] = []
        for group in sorted(g for g in listing.groups if g[:2] == (name, norm)):
            waiting = [(group[2], listing.groups[group], False)]
            while waiting:
                differs, cells, is_older = waiting.pop(0)
                chosen, rest, bad = choose_sound(cells)
                damaged += bad
                if chosen:
                    root = None if published is None else published.root
                    table = _table(dataset, norm, chosen, listing.not_applicable, root)
                    found.append(replace(table, differs=differs, older=is_older))
                rest = _own(rest)
                older += sum(map(len, rest.values()))
                if all_runs:
                    waiting = [
                        (tuple(dict.fromkeys((*differs, *why))), rest[why], True)
                        for why in sorted(rest)
                    ] + waiting
        found.sort(key=lambda table: table.older)
        tables += _numbered(found)
    others = sorted(listing.others, key=lambda run: (run.dataset, run.model, run.attack, run.hash))
    with_energy = (with_work(table, work) for table in tables)
    return Report(tuple(with_energy), tuple(others), tuple(damaged), older)


def _numbered(tables: Sequence[Table]) -> Iterator[Table]:
    numbers = count(1)
    for table in tables:
        yield replace(table, number=next(numbers)) if table.differs else table


def worst_positions(positions: Iterable[NDArray[np.int64]], points: int) -> NDArray[np.int64]:
    """The smallest minimal position of each sample over several cells.

    Args:
        positions: minimal positions of each cell, ``(N,)``.
        points: number of ε in the grid.

    Returns:
        ``(N,)``, with −1 for a sample that is robust in all cells.
    """
    stacked = np.stack(list(positions))
    lowest = np.where(stacked == ROBUST, points, stacked).min(0)
    result: NDArray[np.int64] = np.where(lowest == points, ROBUST, lowest)
    return result


def _table(
    dataset: Dataset,
    norm: str,
    chosen: Sequence[Candidate],
    not_applicable: set[tuple[str, str, str]],
    published: Path | None,
) -> Table:
    settings = {c.identity.attack: c.identity for c in chosen}
    attacks = tuple(sorted(settings, key=_attack_order))
    groups: dict[tuple[str, int], dict[str, Candidate]] = {}
    for candidate in chosen:
        identity = candidate.identity
        groups.setdefault((identity.model, identity.seed), {})[identity.attack] = candidate
    scale = _scale(dataset, norm, chosen[0].outcome)
    rows = [
        _row(
            scale,
            attacks,
            groups[key],
            {a for d, m, a in not_applicable if (d, m) == (dataset.name, key[0])},
            published,
        )
        for key in sorted(groups)
    ]
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
        attacks=attacks,
        settings={attack: settings[attack] for attack in attacks},
        data_sha256=chosen[0].identity.data_sha256,
        reverified=min(
            (
                c.outcome.reverified
                for c in chosen
                if not c.outcome.control and c.identity.eot is None  # others have new draws
            ),
            default=1.0,
        ),
        rows=tuple(ranked),
        controls=tuple(row for row in rows if row.control and not row.published),
        **scale._asdict(),
        norm=norm,
    )


class _Scale(NamedTuple):
    """The grid of a table, its headline ε and the limit of its AUC."""

    grid: tuple[Epsilon, ...]
    headline: Epsilon
    limit: Epsilon


def _scale(dataset: Dataset, norm: str, outcome: Outcome) -> _Scale:
    """The scale of a table by one of its cells.

    Without those of the protocol in the grid, the headline ε is the limit, and the limit the
    largest ε.
    """
    protocol = dataset.protocol
    points = [point.epsilon for point in outcome.curve]
    grid = protocol.grids.get(norm, ())
    if [epsilon.value for epsilon in grid] != [point.value for point in points]:
        grid = tuple(Epsilon(point.value, point.text) for point in points)
    known = {epsilon.value: epsilon for epsilon in grid[1:]}
    limits = [limit for limit in protocol.auc_limits.get(norm, ()) if limit.value in known]
    limit = limits[0] if limits else grid[-1]
    headline = protocol.headline.get(norm, limit)
    return _Scale(grid, headline if headline.value in known else limit, limit)


def _attack_order(attack: str) -> tuple[int, str]:
    if attack == BASELINE:
        return len(_ORDER) + 1, attack
    return (_ORDER.index(attack) if attack in _ORDER else len(_ORDER)), attack


def _row(
    scale: _Scale,
    attacks: Sequence[str],
    group: Mapping[str, Candidate],
    not_applicable: set[str],
    published: Path | None,
) -> Row:
    first = next(iter(group.values()))
    identity = first.identity
    grid, headline, limit = scale
    values = [epsilon.value for epsilon in grid]

    positions = worst_positions([c.positions for c in group.values()], len(grid))
    worst_curve = curve(positions, grid)
    accuracies = np.array([point.accuracy for point in worst_curve])
    interval = bootstrap(sample_areas(positions, values, limit.value))
    at_headline = worst_curve[values.index(headline.value)]
    clean = wilson(round(first.outcome.clean_accuracy * identity.samples), identity.samples)
    absent = [attack for attack in attacks if attack not in group]
    spiking = mode_of(first.outcome) != "ann"
    checks = compared(
        [to_compare(c, a) for a, c in group.items()], values, limit.value, spiking=spiking
    )
    return Row(
        rank=None,
        model=identity.model,
        family=str(identity.model_config_.get("architecture", "other")),
        mode=mode_of(first.outcome),
        fingerprint=identity.fingerprint,
        timesteps=identity.timesteps,
        seed=identity.seed,
        control=first.outcome.control,
        clean=Estimate(first.outcome.clean_accuracy, clean.low, clean.high),
        entries={a: _entry(group[a], checks[a], values, limit) for a in attacks if a in group},
        not_applicable=tuple(a for a in absent if a in not_applicable),
        missing=tuple(a for a in absent if a not in not_applicable and a != BASELINE),
        registered=first.outcome.registered,
        worst_auc=Estimate(area(accuracies, values, limit.value), interval.low, interval.high),
        worst_accuracy=Estimate(
            at_headline.accuracy, at_headline.interval.low, at_headline.interval.high
        ),
        worst_curve=worst_curve,
        origin=_origin([c.root for c in group.values()], published),
    )


def _own(rest: Mapping[tuple[str, ...], list[Listed]]) -> dict[tuple[str, ...], list[Listed]]:
    """Only a user's own cells: published rows that are not comparable with them are left out."""
    own = {why: [cell for cell in cells if not cell.published] for why, cells in rest.items()}
    return {why: cells for why, cells in own.items() if cells}


def _origin(roots: Sequence[Path], published: Path | None) -> str:
    """Whose run a row is, where published rows stand beside others."""
    if published is None:
        return ""
    return PUBLISHED if all(root == published for root in roots) else YOURS


def _entry(
    candidate: Candidate, checks: Sequence[Check], values: Sequence[float], limit: Epsilon
) -> Entry:
    outcome = candidate.outcome
    accuracies = np.array([point.accuracy for point in outcome.curve])
    interval = bootstrap(sample_areas(candidate.positions, values, limit.value))
    auc = Estimate(area(accuracies, values, limit.value), interval.low, interval.high)
    verdict, reasons = verdict_of(outcome, checks)
    return Entry(outcome.identity.attack, verdict, reasons, auc, outcome.curve, outcome.hash)
