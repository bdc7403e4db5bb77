"""The results of a store: whether each file is whole, and its numbers are those of its rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.attacks.primitives.norms import NORMS
from robench.checks import worst_verdict
from robench.epsilon import Epsilon, parse_grid
from robench.errors import ContentError
from robench.model_id import ModelId
from robench.registry import ModelEntry
from robench.registry.loading import facts
from robench.reporting.comparable import read_candidate
from robench.reporting.report import verdict_text
from robench.results import (
    CLEAN_WRONG,
    PROTOCOL,
    ROBUST,
    ROWS,
    CellResult,
    CurvePoint,
    Damaged,
    Identity,
    Interval,
    Outcome,
    ResultStore,
)
from robench.results.metrics import area, bootstrap, curve, sample_areas
from robench.validation.examples import CleanImages, check_examples, rounding
from robench.validation.findings import Finding, attempt, fault

CLOSE = 1e-9
"""How far a number may differ from that of its rows: libraries add in other orders."""
FLOAT32 = 1e-6
"""How far a minimal ε may be from the grid, relatively: earlier versions rounded it."""


def check_result(
    store: ResultStore, path: Path, entries: Mapping[ModelId, ModelEntry], clean: CleanImages
) -> Iterator[Finding]:
    """What is wrong with the files of a result.

    Args:
        store: of the result.
        path: of its JSON.
        entries: the registered models.
        clean: the images of the data sets.
    """
    cell = attempt("result-damaged", path, lambda: store.read(path))
    if isinstance(cell, Finding):
        yield cell
        return
    if isinstance(cell, Damaged):
        rule = "result-damaged" if cell.path == path else "rows-damaged"
        yield Finding(rule, cell.path, cell.reason)
        return
    place = store.path(cell.model, cell.attack, cell.hash)
    if place != path:
        yield Finding("result-misplaced", path, f"by its record its place is {place}")
        return
    outcome = cell.outcome
    if (cell.status == "done") != (outcome is not None):
        yield Finding("result-damaged", path, f"it is {cell.status}, and has an outcome")
    elif outcome is not None:
        yield from fault("result-hash", path, lambda: _other_identity(cell, outcome))
        yield from fault("result-verdict", path, lambda: _other_verdict(outcome))
        yield from fault("result-outdated", path, lambda: _changed(outcome, entries))
        yield from _check_rows(store, path, cell, outcome, clean)


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
    reasons = tuple(dict.fromkeys(check.reason for check in outcome.checks if check.reason))
    says = verdict_text(outcome.verdict, tuple(dict.fromkeys(outcome.reasons)))
    checks = verdict_text(worst_verdict(outcome.checks), reasons)
    return f"it is {says}, by its checks {checks}" if says != checks else ""


def _changed(outcome: Outcome, entries: Mapping[ModelId, ModelEntry]) -> str:
    """What has changed since: the registered model, or what robench computes; empty if nothing."""
    who = outcome.identity
    if who.protocol != PROTOCOL:
        return f"it is of protocol {who.protocol}, this robench computes {PROTOCOL}"
    if not outcome.registered:
        return ""
    entry = entries.get(ModelId(who.model))
    if entry is None:
        return f"no model {who.model} is registered"
    if entry.card is None:  # that of a plug-in, or damaged
        return ""
    if entry.card.weights.sha256 != who.fingerprint:
        return f"model {who.model} has other weights today"
    if _canonical(facts(entry.card)) != _canonical(who.model_config_):
        return f"the card of model {who.model} says something else today"
    return ""


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True)


def _check_rows(
    store: ResultStore, path: Path, cell: CellResult, outcome: Outcome, clean: CleanImages
) -> Iterator[Finding]:
    """What is wrong with the rows of a result, or with its numbers by them."""
    parquet = path.with_suffix(".parquet")
    grid = attempt("result-grid", path, lambda: _grid(outcome))
    if isinstance(grid, Finding):
        yield grid
        return
    found = attempt("rows-invalid", parquet, lambda: _read_rows(store, cell, outcome))
    if isinstance(found, Finding):
        yield found
        return
    rows, positions = found
    who, values = outcome.identity, np.array([epsilon.value for epsilon in grid])
    yield from fault(
        "rows-inconsistent", parquet, lambda: _contradiction(who, rows, positions, values)
    )
    yield from fault("result-numbers", path, lambda: _other_numbers(outcome, rows, positions, grid))
    yield from check_examples(store, cell, who, positions, values, clean)


def _read_rows(
    store: ResultStore, cell: CellResult, outcome: Outcome
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The rows of a cell in data order, and their minimal positions ``(N,)``.

    Raises:
        ContentError: a column is missing, or the rows cannot be those of the cell.
    """
    rows = store.rows(cell)
    if missing := [name for name in ROWS if name not in rows]:
        raise ContentError(f"there is no column {missing[0]}")
    found = read_candidate(store, cell, outcome)
    if isinstance(found, Damaged):
        raise ContentError(found.reason)
    return rows.sort_values("index"), found.positions


def _grid(outcome: Outcome) -> tuple[Epsilon, ...]:
    """The ε of a curve.

    Raises:
        ContentError: they are not those of the identity.
        UsageError: a text is not an ε.
    """
    points = [point.epsilon for point in outcome.curve]
    grid = parse_grid([point.text for point in points])
    if [epsilon.value for epsilon in grid] != [point.value for point in points]:
        raise ContentError("the ε of the curve do not ascend from 0, or are not their texts")
    if tuple(repr(point.value) for point in points) != outcome.identity.grid:
        raise ContentError("the ε of the curve are not those of the identity")
    return grid


def _contradiction(
    identity: Identity,
    rows: pd.DataFrame,
    positions: NDArray[np.int64],
    values: NDArray[np.float64],
) -> str:
    """Which columns of the rows contradict each other; empty if none do."""
    epsilon = np.where(positions == ROBUST, np.nan, values[positions])
    stored = rows["minimal_epsilon"].to_numpy(np.float64)
    if not np.allclose(stored, epsilon, rtol=FLOAT32, atol=0, equal_nan=True):
        return "a minimal ε is not the one at its position in the grid"
    wrong = rows["label"].to_numpy() != rows["clean_prediction"].to_numpy()
    if not np.array_equal(wrong, positions == CLEAN_WRONG):
        return "minimal ε is 0 for other samples than those whose clean prediction is wrong"
    slack = rounding(identity)
    if slack is not None and identity.norm in NORMS:
        attacked = positions > CLEAN_WRONG
        distance = rows[identity.norm].to_numpy(np.float64)[attacked]
        if not (distance <= epsilon[attacked] + slack).all():  # NaN is no distance
            return f"an adversarial example is further than its ε in {NORMS[identity.norm]}"
    return ""


def _other_numbers(
    outcome: Outcome,
    rows: pd.DataFrame,
    positions: NDArray[np.int64],
    grid: tuple[Epsilon, ...],
) -> str:
    """Which numbers of an outcome are not those of its rows; empty if all are."""
    values = [epsilon.value for epsilon in grid]
    points = curve(positions, grid)
    accuracies = np.array([point.accuracy for point in points])
    limits = {text: Epsilon.parse(text).value for text in outcome.auc}
    attacked = positions > CLEAN_WRONG
    means = {name: float(rows[name].mean()) for name in ("forwards", "backwards")}
    again = rows["reverified"].to_numpy(np.bool_)[attacked]
    means |= {"reverified": float(again.mean()) if len(again) else 1.0}
    computed = _numbers(
        points,
        {text: area(accuracies, values, limit) for text, limit in limits.items()},
        {t: bootstrap(sample_areas(positions, values, limit)) for t, limit in limits.items()},
        means | {"clean accuracy": points[0].accuracy},
    )
    means = {name: getattr(outcome, name) for name in means}
    means |= {"clean accuracy": outcome.clean_accuracy}
    stated = _numbers(outcome.curve, outcome.auc, outcome.auc_interval, means)
    wrong = [
        f"{name} is {stated.get(name)}, the rows give {computed.get(name)}"
        for name in computed | stated
        if not math.isclose(
            stated.get(name, math.nan), computed.get(name, math.nan), rel_tol=CLOSE, abs_tol=CLOSE
        )
    ]
    return f"{wrong[0]} (numbers that differ: {len(wrong)})" if wrong else ""


def _numbers(
    points: tuple[CurvePoint, ...],
    areas: Mapping[str, float],
    intervals: Mapping[str, Interval],
    means: Mapping[str, float],
) -> dict[str, float]:
    """All numbers of an outcome that its rows decide, by their names."""
    found: dict[str, Any] = {**means}
    for point in points:
        at = f"at ε = {point.epsilon.text}"
        found |= {f"robust {at}": point.robust, f"accuracy {at}": point.accuracy}
        found |= {f"{end} {at}": value for end, value in point.interval}
    found |= {f"AUC@{text}": value for text, value in areas.items()}
    for text, interval in intervals.items():
        found |= {f"{end} of AUC@{text}": value for end, value in interval}
    return found
