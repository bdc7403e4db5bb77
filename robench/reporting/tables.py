"""Tables from the store: the comparable cells, and the ranks of the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robench.datasets import Dataset, find_dataset
from robench.errors import RobenchError
from robench.reporting.comparable import Candidate, choose, differences, other_run, read_candidate
from robench.reporting.report import NORM, Entry, Estimate, OtherRun, Report, Row, Table
from robench.results import ROBUST, CellResult, CurvePoint, Damaged, ResultStore
from robench.results.metrics import area, bootstrap, curve, sample_areas, wilson

BASELINE = "noise"
"""An attack without gradients: it counts in ``worst``, but is not required for a rank."""

FGSM_MARGIN = 0.01
"""Largest valid excess of PGD's robust accuracy over FGSM's (Athalye et al., ICML 2018)."""

ABOVE_FGSM = "pgd-above-fgsm"
_ORDER = ("fgsm", "pgd", "spgd")


def build_report(store: ResultStore) -> Report:
    """Sort the cells of a store into tables and other runs.

    A table is for one data set and one norm. Its cells are done, of registered models with the T of
    their card, under the data set's protocol and with the attacks' own parameters. In a table, all
    cells have the same data, all cells of an attack the same settings, and all cells of a model the
    same weights; if runs differ, the newest is the reference.
    """
    cells, bad = store.cells()
    damaged = list(bad)
    others: list[OtherRun] = []
    tables: list[Table] = []
    for name in sorted({cell.dataset for cell in cells}, key=lambda n: (n == "digits", n)):
        here = [cell for cell in cells if cell.dataset == name]
        try:
            dataset = find_dataset(name)
        except RobenchError as error:
            others += [other_run(cell, [str(error)]) for cell in here]
            continue
        candidates: list[Candidate] = []
        for cell in here:
            differs = differences(cell, dataset)
            if differs or cell.outcome is None:
                others.append(other_run(cell, differs))
                continue
            found = read_candidate(store, cell, cell.outcome)
            (damaged if isinstance(found, Damaged) else candidates).append(found)  # type: ignore[arg-type]
        norms = {candidate.identity.norm for candidate in candidates}
        for norm in sorted(norms, key=lambda n: (n != NORM, n)):
            chosen, rest = choose([c for c in candidates if c.identity.norm == norm])
            others += rest
            tables.append(_table(dataset, norm, chosen, here))
    others.sort(key=lambda run: (run.dataset, run.model, run.attack, run.hash))
    return Report(tuple(tables), tuple(others), tuple(damaged))


def above_fgsm(pgd: Sequence[CurvePoint], fgsm: Sequence[CurvePoint], samples: int) -> bool:
    """Whether PGD's robust accuracy exceeds FGSM's by more than a point at some ε."""
    return any(p.robust - f.robust > FGSM_MARGIN * samples for p, f in zip(pgd, fgsm, strict=True))


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
    dataset: Dataset, norm: str, chosen: Sequence[Candidate], cells: Sequence[CellResult]
) -> Table:
    settings = {c.identity.attack: c.identity for c in chosen}
    attacks = tuple(sorted(settings, key=_attack_order))
    not_applicable = {(c.model, c.attack) for c in cells if c.status == "not-applicable"}
    groups: dict[tuple[str, int], dict[str, Candidate]] = {}
    for candidate in chosen:
        identity = candidate.identity
        groups.setdefault((identity.model, identity.seed), {})[identity.attack] = candidate
    rows = [
        _row(dataset, attacks, groups[key], {a for m, a in not_applicable if m == key[0]})
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
        controls=tuple(row for row in rows if row.control),
        norm=norm,
    )


def _attack_order(attack: str) -> tuple[int, str]:
    if attack == BASELINE:
        return len(_ORDER) + 1, attack
    return (_ORDER.index(attack) if attack in _ORDER else len(_ORDER)), attack


def _row(
    dataset: Dataset,
    attacks: Sequence[str],
    group: Mapping[str, Candidate],
    not_applicable: set[str],
) -> Row:
    first = next(iter(group.values()))
    identity = first.identity
    protocol, norm = dataset.protocol, identity.norm
    grid, limit, headline = (
        protocol.grids[norm],
        protocol.auc_limits[norm][0],
        protocol.headline[norm],
    )
    values = [epsilon.value for epsilon in grid]

    positions = worst_positions([c.positions for c in group.values()], len(grid))
    worst_curve = curve(positions, grid)
    accuracies = np.array([point.accuracy for point in worst_curve])
    interval = bootstrap(sample_areas(positions, values, limit.value))
    at_headline = worst_curve[values.index(headline.value)]
    clean = wilson(round(first.outcome.clean_accuracy * identity.samples), identity.samples)
    absent = [attack for attack in attacks if attack not in group]
    return Row(
        rank=None,
        model=identity.model,
        family=str(identity.model_config_.get("architecture", "other")),
        mode=first.outcome.mode,
        timesteps=identity.timesteps,
        seed=identity.seed,
        control=first.outcome.control,
        clean=Estimate(first.outcome.clean_accuracy, clean.low, clean.high),
        entries={a: _entry(group, a, limit.text) for a in attacks if a in group},
        not_applicable=tuple(a for a in absent if a in not_applicable),
        missing=tuple(a for a in absent if a not in not_applicable and a != BASELINE),
        worst_auc=Estimate(area(accuracies, values, limit.value), interval.low, interval.high),
        worst_accuracy=Estimate(
            at_headline.accuracy, at_headline.interval.low, at_headline.interval.high
        ),
        worst_curve=worst_curve,
    )


def _entry(group: Mapping[str, Candidate], attack: str, limit: str) -> Entry:
    outcome = group[attack].outcome
    verdict, reasons = outcome.verdict, outcome.reasons
    if attack == "pgd" and "fgsm" in group:
        fgsm = group["fgsm"].outcome
        if above_fgsm(outcome.curve, fgsm.curve, outcome.identity.samples):
            verdict, reasons = "invalid", (*reasons, ABOVE_FGSM)
    auc = None
    if verdict != "invalid" and limit in outcome.auc and limit in outcome.auc_interval:
        interval = outcome.auc_interval[limit]
        auc = Estimate(outcome.auc[limit], interval.low, interval.high)
    return Entry(attack, verdict, reasons, auc, outcome.curve, outcome.hash)
