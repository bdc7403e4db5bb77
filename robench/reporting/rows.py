"""A row of a table: what the attacks leave of one network under one seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robench.checks import compared
from robench.datasets import Dataset
from robench.epsilon import Epsilon
from robench.reporting.between import mode_of, to_compare, verdict_of
from robench.reporting.comparable import Candidate
from robench.reporting.report import PUBLISHED, YOURS, AtHeadline, Entry, Estimate, Row
from robench.results import ROBUST, Check, CurvePoint, Outcome, Verdict
from robench.results.metrics import area, bootstrap, curve, sample_areas, wilson

BASELINE = "noise"
"""An attack without gradients: it counts in ``worst``, but is not required for a rank."""

_ORDER = ("fgsm", "pgd", "spgd", "spgd-long")
_LONGER = {"spgd-long": "spgd"}
"""Attacks that are needed only where a shorter one has not converged."""


class Scale(NamedTuple):
    """The grid of a table, its headline ε and the limit of its AUC."""

    grid: tuple[Epsilon, ...]
    headline: Epsilon
    limit: Epsilon


def scale_of(dataset: Dataset, norm: str, outcome: Outcome) -> Scale:
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
    return Scale(grid, headline if headline.value in known else limit, limit)


def columns_of(cells: Sequence[Candidate]) -> tuple[str, ...]:
    """The attacks of cells, in the order of a table's columns."""
    return tuple(sorted({cell.identity.attack for cell in cells}, key=_attack_order))


def _attack_order(attack: str) -> tuple[int, str]:
    if attack == BASELINE:
        return len(_ORDER) + 1, attack
    return (_ORDER.index(attack) if attack in _ORDER else len(_ORDER)), attack


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


def make_row(
    scale: Scale,
    attacks: Sequence[str],
    group: Mapping[str, Candidate],
    alone: Mapping[str, Candidate],
    not_applicable: set[str],
    published: Path | None,
) -> Row:
    """The row of a network under one seed, without a rank.

    Args:
        scale: of the table.
        attacks: its columns.
        group: the network's cells on the whole grid, by attack; at least one.
        alone: those at the headline ε alone.
        not_applicable: attacks whose needs the network does not meet.
        published: the folder of published results, where these stand beside others.
    """
    first = next(iter(group.values()))
    identity = first.identity
    grid, headline, limit = scale
    values = [epsilon.value for epsilon in grid]

    positions = worst_positions([c.positions for c in group.values()], len(grid))
    worst_curve = curve(positions, grid)
    place = values.index(headline.value)
    # in a cell at one ε, a positive position is the last one
    moved = [np.where(c.positions > 0, place, c.positions) for c in alone.values()]
    at_headline = curve(worst_positions([positions, *moved], len(grid)), grid)[place]
    clean = wilson(round(first.outcome.clean_accuracy * identity.samples), identity.samples)
    absent = [attack for attack in attacks if attack not in group]
    spiking = mode_of(first.outcome) != "ann"
    checks = compared(
        [to_compare(c, a) for a, c in group.items()], values, limit.value, spiking=spiking
    )
    entries = {a: _entry(group[a], checks[a], limit) for a in attacks if a in group}
    converged = {attack for attack, entry in entries.items() if entry.converged}
    not_needed = {attack for attack in absent if _LONGER.get(attack) in converged}
    ends = [0, headline.value]
    checks_alone = compared(
        [to_compare(c, a) for a, c in alone.items()], ends, headline.value, spiking=spiking
    )
    beside = {a: _at_headline(c, checks_alone[a]) for a, c in alone.items()}
    areas = [(entry.auc.value, entry.verdict) for entry in entries.values()]
    left = [(entry.curve[place].accuracy, entry.verdict) for entry in entries.values()]
    left += [(result.accuracy.value, result.verdict) for result in beside.values()]
    return Row(
        rank=None,
        model=identity.model,
        family=str(identity.model_config_.get("architecture", "other")),
        mode=mode_of(first.outcome),
        fingerprint=identity.fingerprint,
        timesteps=identity.timesteps,
        seed=identity.seed,
        control=first.outcome.control,
        clean=Estimate.of(first.outcome.clean_accuracy, clean),
        entries=entries,
        not_applicable=tuple(a for a in absent if a in not_applicable),
        missing=tuple(a for a in absent if a not in {*not_applicable, *not_needed, BASELINE}),
        not_needed=tuple(sorted(not_needed - not_applicable)),
        registered=first.outcome.registered,
        worst_auc=auc_of(positions, worst_curve, limit.value),
        worst_accuracy=Estimate.of(at_headline.accuracy, at_headline.interval),
        worst_curve=worst_curve,
        auc_verdict=_of_worst(areas),
        accuracy_verdict=_of_worst(left),
        origin=_origin([c.root for c in (*group.values(), *alone.values())], published),
        at_headline=beside,
    )


def _of_worst(numbers: Sequence[tuple[float, Verdict]]) -> Verdict:
    """The verdict of what attacks leave together, by the number and the verdict of each."""
    if all(verdict == "invalid" for _, verdict in numbers):
        return "invalid"
    _, doubtful = min((number, verdict != "valid") for number, verdict in numbers)
    return "suspect" if doubtful else "valid"


def _origin(roots: Sequence[Path], published: Path | None) -> str:
    """Whose run a row is, where published rows stand beside others."""
    if published is None:
        return ""
    return PUBLISHED if all(root == published for root in roots) else YOURS


def auc_of(positions: NDArray[np.int64], points: Sequence[CurvePoint], limit: float) -> Estimate:
    """The AUC of a curve up to a limit.

    Args:
        positions: the minimal position of each sample, ``(N,)``.
        points: the curve that they give.
        limit: an ε of the curve.
    """
    values = [point.epsilon.value for point in points]
    accuracies = np.array([point.accuracy for point in points])
    interval = bootstrap(sample_areas(positions, values, limit))
    return Estimate.of(area(accuracies, values, limit), interval)


def _entry(candidate: Candidate, checks: Sequence[Check], limit: Epsilon) -> Entry:
    outcome = candidate.outcome
    auc = auc_of(candidate.positions, outcome.curve, limit.value)
    verdict, reasons = verdict_of(outcome, checks)
    steps = next((check.verdict for check in outcome.checks if check.name == "steps"), None)
    converged = None if steps is None else steps == "valid"
    attack, points = outcome.identity.attack, outcome.curve
    return Entry(attack, verdict, reasons, auc, points, outcome.hash, converged)


def _at_headline(candidate: Candidate, checks: Sequence[Check]) -> AtHeadline:
    outcome, verdict = candidate.outcome, verdict_of(candidate.outcome, checks)
    return AtHeadline.of(outcome.identity.attack, verdict, outcome.curve, outcome.hash)
