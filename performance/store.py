"""How the store serves many cells: start-up, leaderboard and memory for folders of two sizes.

The cells are made up, and valid: models of digits under the attacks of a table, of which all but
the newest are older runs, as in a folder that has been in use for long.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from performance.options import Options
from performance.timing import isolated
from robench.datasets import DIGITS
from robench.results import (
    PROTOCOL,
    ROBUST,
    SCHEMA,
    CellResult,
    Check,
    Identity,
    Outcome,
    ResultStore,
    RunRecord,
)
from robench.results.metrics import area, bootstrap, curve, sample_areas

MODELS, ATTACKS = 40, ("fgsm", "pgd", "spgd", "noise", "apgd")
PLACES = MODELS * len(ATTACKS)
SAMPLES = 50
GRID = DIGITS.protocol.grids["linf"]
LIMIT = DIGITS.protocol.auc_limits["linf"][0]
STORE = ("cells", "", "s", "s of the processor", "MiB more")
RUN = RunRecord(
    created="", seconds=1, host="h", device="cpu", threads=1, peak_memory_mb=1, versions={}
)


def made_up(cells: int) -> Iterator[tuple[CellResult, pd.DataFrame]]:
    """Cells with their rows."""
    rng = np.random.default_rng(0)
    values = np.array([epsilon.value for epsilon in GRID])
    for number in range(cells):
        positions = rng.integers(ROBUST, len(GRID), SAMPLES)
        created = f"run {number // PLACES:05d}"
        yield _cell(_identity(number), created, positions), _rows(positions, values)


def _identity(number: int) -> Identity:
    """The identity of a cell: model by model, attack by attack, again for other weights."""
    run, place = divmod(number, PLACES)
    return Identity(
        schema_version=SCHEMA, protocol=PROTOCOL, model=f"digits/net-{place // len(ATTACKS)}",
        model_config={"architecture": "vgg16", "mode": "ann", "width": 0.25},
        fingerprint=f"{run:064x}", architecture_version="1", timesteps=None, dataset="digits",
        data_sha256="d" * 64, samples=SAMPLES, attack=ATTACKS[place % len(ATTACKS)],
        implementation=ATTACKS[place % len(ATTACKS)], attack_version="1",
        parameters={"steps": 20, "loss": "cross-entropy"}, norm="linf",
        grid=tuple(repr(epsilon.value) for epsilon in GRID), seed=0, sweep="fast",
    )  # fmt: skip


def _rows(positions: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    attacked = positions > 0
    distance = np.where(attacked, values[positions], np.nan)
    return pd.DataFrame(
        {
            "index": np.arange(len(positions)),
            "label": 0,
            "clean_prediction": (positions == 0).astype(np.int64),
            "minimal_position": positions,
            "minimal_epsilon": np.where(positions == ROBUST, np.nan, values[positions]),
            "linf": distance,
            "l2": distance,
            "found_by": pd.array(["pgd" if found else None for found in attacked], dtype="string"),
            "forwards": 20,
            "backwards": 20,
            "reverified": True,
        }
    )


def _cell(who: Identity, created: str, positions: np.ndarray) -> CellResult:
    points = curve(positions, GRID)
    values = [epsilon.value for epsilon in GRID]
    accuracies = np.array([point.accuracy for point in points])
    areas = sample_areas(positions, values, LIMIT.value)
    outcome = Outcome(
        identity=who, hash=who.digest(), mode="ann", control=False, registered=False,
        clean_accuracy=points[0].accuracy, curve=points, reverified=1.0,
        auc={LIMIT.text: area(accuracies, values, LIMIT.value)},
        auc_interval={LIMIT.text: bootstrap(areas)}, forwards=20, backwards=20,
        checks=(Check(name="made-up", value=0, threshold=1, verdict="valid"),),
        verdict="valid", reasons=(),
    )  # fmt: skip
    return CellResult(
        status="done", model=who.model, attack=who.attack, dataset="digits", hash=outcome.hash,
        outcome=outcome, run=RUN.model_copy(update={"created": created}),
    )  # fmt: skip


def fill(folder: Path, cells: int) -> None:
    """Write cells into a folder."""
    store = ResultStore(folder)
    for cell, rows in made_up(cells):
        store.write(cell, rows)


def look_up(folder: Path) -> None:
    """What a run does before its first cell: a new run of all models under all attacks."""
    store = ResultStore(folder)
    store.require_writable()
    for who in map(_identity, range(PLACES)):
        assert isinstance(store.find(who.model, who.attack, who.digest()), CellResult)
        assert store.find(who.model, who.attack, "f" * 64) is None


def leaderboard(folder: Path) -> None:
    """The text of the page, without the figures, whose cost is that of the tables."""
    from robench.reporting import build_report, render

    render(build_report(ResultStore(folder), all_runs=False))


def frame(folder: Path) -> None:
    """All results as a frame."""
    from robench import load_results

    load_results(folder).to_frame()


TASKS: dict[str, Callable[[Path], None]] = {
    "start-up": look_up,
    "leaderboard": leaderboard,
    "load_results": frame,
}


def measured(task: str, folder: Path) -> tuple[float, float, float]:
    """Seconds of a task, those of the processor, and the growth of the peak memory in MiB.

    Call it in a fresh process.
    """
    import robench.api  # imports are no part of it
    import robench.reporting  # noqa: F401
    from performance.timing import largest, release

    leaderboard(folder / "none")
    release()
    before, start, work = largest(), time.perf_counter(), time.process_time()
    TASKS[task](folder)
    return time.perf_counter() - start, time.process_time() - work, largest() - before


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each size and task."""
    rows: list[dict[str, Any]] = []
    for cells in (200, 400) if options.quick else (2000, 20000):
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), cells)
            for task in TASKS:
                seconds, processor, memory = isolated(1, measured, task, Path(folder))
                row = {"model": "", "cells": cells, "task": task, "seconds": seconds}
                rows.append(row | {"processor_seconds": processor, "memory_mb": memory})
                yield {"rows": rows}


def store_rows(part: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The rows of the page's table."""
    for row in part["rows"]:
        numbers = row["seconds"], row["processor_seconds"], row["memory_mb"]
        yield f"{row['cells']:,}", row["task"], *(f"{number:.1f}" for number in numbers)
