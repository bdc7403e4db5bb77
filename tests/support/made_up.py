"""A store of made-up cells, for the tests of what is made from a store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.datasets import DIGITS
from robench.epsilon import Epsilon
from robench.results import (
    PROTOCOL,
    ROBUST,
    SCHEMA,
    AdversarialExamples,
    CellResult,
    Check,
    Identity,
    Outcome,
    ResultStore,
    RunRecord,
    Thoroughness,
    Verdict,
)
from robench.results.metrics import area, bootstrap, curve, sample_areas

GRID = DIGITS.protocol.grids["linf"]
N = DIGITS.protocol.slice
LIMIT = DIGITS.protocol.auc_limits["linf"][0].text


def fall(scale: float, seed: int = 0) -> np.ndarray:
    """Minimal positions of a model that is robust up to about ``scale`` percent of the grid."""
    rng = np.random.default_rng(seed)
    radius = np.where(
        rng.random(N) < 0.03, -1.0, rng.weibull(1.7, N) * scale / 100 * GRID[-1].value
    )
    values = np.array([epsilon.value for epsilon in GRID])
    positions = np.searchsorted(values, radius)
    positions[radius < 0] = 0
    positions[positions == 0] = np.where(radius[positions == 0] < 0, 0, 1)
    return np.where(positions >= len(GRID), ROBUST, positions)


def rows_of(
    positions: np.ndarray, grid: tuple[Epsilon, ...], forwards: float, backwards: float
) -> pd.DataFrame:
    """Rows whose means are the given numbers of passes."""
    n, values = len(positions), np.array([epsilon.value for epsilon in grid])
    distance = np.where(positions > 0, values[positions], np.nan)
    finder = np.where(positions > 0, "made-up", None)
    return pd.DataFrame(
        {
            "index": np.arange(n),
            "label": 0,
            "clean_prediction": (positions == 0).astype(np.int64),
            "minimal_position": positions,
            "minimal_epsilon": np.where(positions == ROBUST, np.nan, values[positions]),
            "linf": distance,
            "l2": distance,
            "found_by": pd.array(finder, dtype="string"),
            "forwards": spread(forwards, n),
            "backwards": spread(backwards, n),
            "reverified": True,
        }
    )


def spread(mean: float, n: int) -> np.ndarray:
    """Whole numbers with a mean."""
    total = round(mean * n)
    assert total == pytest.approx(mean * n)
    return np.full(n, total // n) + (np.arange(n) < total % n)


def checks_for(verdict: Verdict, reasons: tuple[str, ...], name: str) -> tuple[Check, ...]:
    """Checks of a name that give a verdict with its reasons."""
    if verdict == "unchecked":
        return ()
    figure = 0 if verdict == "valid" else 2
    return tuple(
        Check(name=name, value=figure, threshold=1, verdict=verdict, reason=reason)
        for reason in reasons or ("",)
    )


def agreeing(cell: CellResult, rows: pd.DataFrame) -> tuple[CellResult, pd.DataFrame]:
    """A cell and rows that say the same as other minimal positions, passes or identity."""
    assert cell.outcome is not None
    who = cell.outcome.identity
    grid = tuple(point.epsilon for point in cell.outcome.curve)
    if who.grid != tuple(repr(epsilon.value) for epsilon in grid):
        grid = tuple(Epsilon(float(text), f"{float(text):g}") for text in who.grid)
    points = [Epsilon(epsilon.value, epsilon.text) for epsilon in grid]
    positions = rows["minimal_position"].to_numpy()
    positions = np.where(positions < len(points), positions, ROBUST)
    distances = rows_of(positions, tuple(points), 0, 0)
    for name in ("label", "clean_prediction", "minimal_position", "minimal_epsilon", "linf", "l2"):
        rows = rows.assign(**{name: distances[name]})
    found = curve(positions, points)
    values = [epsilon.value for epsilon in points]
    accuracies = np.array([point.accuracy for point in found])
    limits = {e.text: e.value for e in points if e.text in cell.outcome.auc}
    numbers = {
        "identity": who,
        "hash": who.digest(),
        "curve": found,
        "clean_accuracy": found[0].accuracy,
        "auc": {text: area(accuracies, values, limit) for text, limit in limits.items()},
        "auc_interval": {
            text: bootstrap(sample_areas(positions, values, limit))
            for text, limit in limits.items()
        },
        "reverified": float(again.mean()) if len(again := rows["reverified"][positions > 0]) else 1,
        **{name: float(rows[name].mean()) for name in ("forwards", "backwards")},
    }
    outcome = cell.outcome.model_copy(update=numbers)
    return cell.model_copy(update={"outcome": outcome, "hash": outcome.hash}), rows


class Builder:
    """A store of made-up cells."""

    def __init__(self, root: Path) -> None:
        self.store = ResultStore(root)

    def add(
        self,
        model: str,
        attack: str,
        positions: np.ndarray,
        *,
        mode: str = "stbp",
        verdict: Verdict = "valid",
        reasons: tuple[str, ...] = (),
        created: str = "2026-01-01T00:00:00+00:00",
        control: bool = False,
        registered: bool = True,
        grid: tuple[Epsilon, ...] = GRID,
        passes: float = 20,
        check: str = "made-up",
        checked: Thoroughness = "cheap",
        **identity: Any,
    ) -> CellResult:
        own = None if mode == "ann" else 10
        architecture = "flex-vgg16" if "flex" in model else "vgg16"
        facts: dict[str, Any] = {
            "schema_version": SCHEMA,
            "protocol": PROTOCOL,
            "model": model,
            "fingerprint": hashlib.sha256(model.encode()).hexdigest(),
            "model_config": {"architecture": architecture, "mode": mode, "timesteps": own},
            "architecture_version": "1",
            "timesteps": own,
            "dataset": "digits",
            "data_sha256": "d" * 64,
            "samples": len(positions),
            "attack": attack,
            "implementation": attack.partition("[")[0],
            "attack_version": "1",
            "parameters": {"steps": 20, "loss": "cross-entropy"} if attack != "fgsm" else {},
            "norm": "linf",
            "grid": tuple(repr(epsilon.value) for epsilon in grid),
            "seed": 0,
            "sweep": "fast",
        }
        who = Identity(**(facts | identity))
        points = curve(positions, grid)
        values = [epsilon.value for epsilon in grid]
        accuracies = np.array([point.accuracy for point in points])
        limits = {
            limit.text: limit.value
            for limit in DIGITS.protocol.auc_limits["linf"]
            if limit.value in values
        }
        outcome = Outcome(
            identity=who,
            hash=who.digest(),
            mode=mode,
            control=control,
            registered=registered,
            clean_accuracy=points[0].accuracy,
            curve=points,
            auc={text: area(accuracies, values, limit) for text, limit in limits.items()},
            auc_interval={
                text: bootstrap(sample_areas(positions, values, limit))
                for text, limit in limits.items()
            },
            forwards=20,
            backwards=passes,
            reverified=1.0,
            checks=checks_for(verdict, reasons, check),
            checked=checked,
            verdict=verdict,
            reasons=reasons,
        )
        cell = CellResult(
            status="done",
            model=model,
            attack=attack,
            dataset=who.dataset,
            hash=outcome.hash,
            outcome=outcome,
            run=_run(created),
        )
        return self.store.write(cell, rows_of(positions, grid, forwards=20, backwards=passes))

    def change(
        self, cell: CellResult, examples: AdversarialExamples | None = None, **columns: Any
    ) -> CellResult:
        """Store a cell again, with other columns of its rows and with adversarial examples."""
        changed, rows = agreeing(cell, self.store.rows(cell).assign(**columns))
        return self.store.write(changed, rows, examples)

    def add_without_outcome(self, model: str, attack: str, status: str, error: str) -> None:
        cell = CellResult(
            status=status, model=model, attack=attack, dataset="digits",
            hash=hashlib.sha256(f"{model}{attack}".encode()).hexdigest(),
            reason=error, error=error, run=_run("2026-01-01T00:00:00+00:00"),
        )  # fmt: skip
        self.store.write(cell)


def _run(created: str) -> RunRecord:
    return RunRecord(
        created=created, seconds=1, host="h", device="cpu", threads=2, peak_memory_mb=1, versions={}
    )
