"""Whether a record agrees with itself and with its rows.

What is wrong is a :class:`Fault`: the rule of ``robench validate`` and a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robench.epsilon import Epsilon, make_grid
from robench.errors import ContentError
from robench.results import metrics
from robench.results.schema import (
    CLEAN_WRONG,
    ROBUST,
    ROUNDING,
    CellResult,
    CurvePoint,
    Interval,
    Outcome,
    reasons_of,
    worst_verdict,
)

Columns = Mapping[str, NDArray[np.generic]]
"""The columns of the rows of a cell, in data order, by name."""

FLOAT32 = 1e-6
"""How far a minimal ε may be from the grid, relatively: earlier versions rounded it."""
_parse = lru_cache(4096)(Epsilon.parse)


class Fault(NamedTuple):
    """A rule of what is stored, and what is wrong by it."""

    rule: str
    what: str


def record_faults(cell: CellResult) -> Iterator[Fault]:
    """What is wrong with a record, without its rows."""
    if cell.sha256 is not None and cell.sha256 != cell.content_digest():
        yield Fault("result-damaged", "its SHA-256 is not that of its content: it was changed")
    outcome = cell.outcome
    if (cell.status == "done") != (outcome is not None):
        with_one = "has an outcome" if outcome is not None else "has no outcome"
        yield Fault("result-damaged", f"it is {cell.status} and {with_one}")
    if outcome is None:
        return
    if what := _other_identity(cell, outcome):
        yield Fault("result-hash", what)
    if what := _other_verdict(outcome):
        yield Fault("result-verdict", what)


def _other_identity(cell: CellResult, outcome: Outcome) -> str:
    """What of a record is not that of its identity; empty if all is."""
    who = outcome.identity
    digest = who.digest()
    pairs = {
        "model": (cell.model, who.model),
        "attack": (cell.attack, who.attack),
        "data set": (cell.dataset, who.dataset),
        "hash": (cell.hash, digest),
        "outcome's hash": (outcome.hash, digest),
    }
    wrong = [f"its {what} is {a}, by its identity {b}" for what, (a, b) in pairs.items() if a != b]
    return ", ".join(wrong)


def _other_verdict(outcome: Outcome) -> str:
    """Whether the verdict and its reasons are not those of the checks on record."""
    for check in outcome.checks:
        if check.verdict == "valid" and check.value > check.threshold:
            return f"check {check.name} is valid at {check.value:g}, above {check.threshold:g}"
    says = [outcome.verdict, *dict.fromkeys(outcome.reasons)]
    checks = [worst_verdict(outcome.checks), *reasons_of(outcome.checks)]
    return f"it is {' '.join(says)}, by its checks {' '.join(checks)}" if says != checks else ""


def grid_of(outcome: Outcome) -> tuple[Epsilon, ...]:
    """The ε of a curve.

    Raises:
        ContentError: they are not those of the identity.
        UsageError: a text is not an ε.
    """
    points = [point.epsilon for point in outcome.curve]
    grid = make_grid(_parse(point.text) for point in points)
    if [epsilon.value for epsilon in grid] != [point.value for point in points]:
        raise ContentError("the ε of the curve do not ascend from 0, or are not their texts")
    if tuple(repr(point.value) for point in points) != outcome.identity.grid:
        raise ContentError("the ε of the curve are not those of the identity")
    if outcome.raw_accuracy is not None and len(outcome.raw_accuracy) != len(grid):
        raise ContentError("the accuracies at each ε alone and the grid differ in length")
    return grid


def positions_of(columns: Columns, samples: int, points: int) -> NDArray[np.int64]:
    """The minimal position of each sample, ``(N,)``.

    Args:
        columns: in data order.
        samples: the number of images, which are the first of the data set.
        points: of the grid.

    Raises:
        ContentError: the rows are those of other images, or a position lies outside the grid.
    """
    if samples < 1 or not np.array_equal(columns["index"], np.arange(samples)):
        raise ContentError(f"the rows are not those of the first {samples} images")
    positions = columns["minimal_position"].astype(np.int64)
    if positions.min() < ROBUST or positions.max() >= points:
        raise ContentError("a minimal position lies outside the grid")
    return positions


def contradiction(
    columns: Columns, positions: NDArray[np.int64], values: NDArray[np.float64]
) -> str:
    """Which columns of the rows contradict each other; empty if none do.

    Args:
        columns: in data order.
        positions: the minimal positions ``(N,)``.
        values: the ε of the grid.
    """
    epsilon = np.where(positions == ROBUST, np.nan, values[positions])
    stored = columns["minimal_epsilon"].astype(np.float64)
    if not np.allclose(stored, epsilon, rtol=FLOAT32, atol=0, equal_nan=True):
        return "a minimal ε is not the one at its position in the grid"
    wrong = columns["label"] != columns["clean_prediction"]
    if not np.array_equal(wrong, positions == CLEAN_WRONG):
        return "minimal ε is 0 for other samples than those whose clean prediction is wrong"
    attacked = positions > CLEAN_WRONG
    for name in ("linf", "l2"):
        distance = columns[name].astype(np.float64)[attacked]
        if not ((distance >= 0) & (distance < math.inf)).all():  # NaN is no distance
            return f"a distance {name} of an adversarial example is no number from 0"
    for name in ("forwards", "backwards"):
        if (columns[name].astype(np.int64) < 0).any():
            return f"a number of {name} is negative"
    return ""


def other_numbers(
    outcome: Outcome, columns: Columns, positions: NDArray[np.int64], grid: tuple[Epsilon, ...]
) -> str:
    """Which numbers of an outcome are not those of its rows; empty if all are.

    Of the interval of an area only the order is checked here: :func:`other_intervals` computes it.
    """
    values = [epsilon.value for epsilon in grid]
    points = metrics.curve(positions, grid)
    accuracies = np.array([point.accuracy for point in points])
    attacked = positions > CLEAN_WRONG
    again = columns["reverified"].astype(np.bool_)[attacked]
    means = {name: float(columns[name].mean()) for name in ("forwards", "backwards")}
    means |= {"reverified": float(again.mean()) if len(again) else 1.0}
    means |= {"clean accuracy": points[0].accuracy}
    stated = {name: float(getattr(outcome, name.replace(" ", "_"))) for name in means}
    limits = {text: _parse(text).value for text in outcome.auc}
    areas = {t: metrics.area(accuracies, values, limit) for t, limit in limits.items()}
    if what := _differing(
        _numbers(outcome.curve, outcome.auc, stated), _numbers(points, areas, means)
    ):
        return what
    if outcome.auc_interval.keys() != areas.keys():
        return "the intervals are not of the areas that there are"
    for text, interval in outcome.auc_interval.items():
        ends = (-ROUNDING, interval.low, areas[text], interval.high, 1 + ROUNDING)
        if any(b < a - ROUNDING for a, b in pairwise(ends)):
            return f"the interval of AUC@{text} does not contain it, or leaves [0, 1]"
    return ""


def other_intervals(
    outcome: Outcome, positions: NDArray[np.int64], grid: tuple[Epsilon, ...]
) -> str:
    """Which intervals of areas are not those of the rows, by bootstrap; empty if all are."""
    values = [epsilon.value for epsilon in grid]
    computed = {
        text: metrics.bootstrap(metrics.sample_areas(positions, values, _parse(text).value))
        for text in outcome.auc
    }
    return _differing(_ends(outcome.auc_interval), _ends(computed))


def _ends(intervals: Mapping[str, Interval]) -> dict[str, float]:
    return {
        f"{end} of AUC@{text}": value
        for text, interval in intervals.items()
        for end, value in interval
    }


def _numbers(
    points: tuple[CurvePoint, ...], areas: Mapping[str, float], means: Mapping[str, float]
) -> dict[str, float]:
    """The numbers of an outcome that its rows decide, by their names."""
    found = {**means, **{f"AUC@{text}": value for text, value in areas.items()}}
    for point in points:
        at = f"at ε = {point.epsilon.text}"
        found |= {f"robust {at}": point.robust, f"accuracy {at}": point.accuracy}
        found |= {f"{end} {at}": value for end, value in point.interval}
    return found


def _differing(stated: Mapping[str, float], computed: Mapping[str, float]) -> str:
    wrong = [
        f"{name} is {stated.get(name)}, the rows give {computed.get(name)}"
        for name in {**computed, **stated}
        if not math.isclose(
            stated.get(name, math.nan),
            computed.get(name, math.nan),
            rel_tol=ROUNDING,
            abs_tol=ROUNDING,
        )
    ]
    return f"{wrong[0]} (numbers that differ: {len(wrong)})" if wrong else ""
