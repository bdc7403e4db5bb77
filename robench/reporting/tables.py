"""From the store to tables: what the comparable cells say, and who ranks where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robench.datasets import Dataset, find_dataset
from robench.epsilon import Epsilon
from robench.errors import RobenchError
from robench.reporting.comparable import Candidate, choose, differences, other_run, read_candidate
from robench.reporting.report import (
    NORM,
    Entry,
    Estimate,
    OtherRun,
    Report,
    Row,
    Table,
    protocol_grid,
)
from robench.results import ROBUST, CellResult, CurvePoint, Damaged, ResultStore
from robench.results.metrics import area, bootstrap, curve, sample_areas, wilson

BASELINE = "noise"
"""An attack without gradient: it counts in ``worst``, but a rank does not ask for it."""

FGSM_MARGIN = 0.01
"""How far PGD's robust accuracy may lie above FGSM's at equal ε (Athalye et al., ICML 2018)."""

ABOVE_FGSM = "pgd-above-fgsm"
_ORDER = ("fgsm", "pgd", "spgd")


def build_report(store: ResultStore) -> Report:
    """Sort the cells of a store into tables and other runs.

    A table is about one data set and one norm. It holds done cells of registered models, at
    their card's own T, under the data set's protocol and the attacks' own parameters. Within a
    table all cells saw the same data, all cells of an attack have the same settings and all cells
    of a model the same weights; where runs differ the newest decides.
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
    """The smallest break position of each sample over several cells.

    Args:
        positions: of each cell, ``(N,)``.
        points: number of ε in the grid.

    Returns:
        ``(N,)``, again with −1 for a sample that never breaks.
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
                if not c.outcome.control and c.identity.eot is None  # others are drawn anew
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
    grid = protocol_grid(dataset, identity.norm)
    values = [epsilon.value for epsilon in grid]
    limit_text = dataset.protocol.auc_limits[identity.norm][0]
    limit = Epsilon.parse(limit_text).value
    headline = Epsilon.parse(dataset.protocol.headline[identity.norm]).value

    positions = worst_positions([c.positions for c in group.values()], len(grid))
    worst_curve = curve(positions, grid)
    accuracies = np.array([point.accuracy for point in worst_curve])
    interval = bootstrap(sample_areas(positions, values, limit))
    at_headline = worst_curve[values.index(headline)]
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
        entries={a: _entry(group, a, limit_text) for a in attacks if a in group},
        not_applicable=tuple(a for a in absent if a in not_applicable),
        missing=tuple(a for a in absent if a not in not_applicable and a != BASELINE),
        worst_auc=Estimate(area(accuracies, values, limit), interval.low, interval.high),
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
