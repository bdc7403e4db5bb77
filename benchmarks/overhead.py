"""What the harness costs: a cell against the bare cost of its passes through the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.checkpoints import at_hand, load_model
from benchmarks.options import Options
from benchmarks.robench_side import Pass, bare_pass, recorded_passes, timesteps_of
from benchmarks.sweep import ROBENCH, cell_of, evaluate, request
from benchmarks.timing import isolated, median, seconds
from robench import Cell
from robench.evaluation.workers import Workers

BARE_REPETITIONS = 5


def overhead(model_id: str, attack: str, options: Options) -> dict[str, Any]:
    """Seconds of a cell and of its bare passes, everything compiled; call in a fresh process."""
    model = load_model(model_id)
    cell = cell_of(model, request(attack, options.steps), options)
    with recorded_passes(model) as passes:
        evaluate(cell)
    if not passes:
        raise RuntimeError("no pass was seen: recorded_passes and the engine have drifted apart")
    cells, bare = [], []
    for _ in range(max(2, options.repetitions // 3)):
        cells.append(evaluate(cell)[0])
        bare.append(_bare_seconds(cell, passes))
    return {
        "model": model_id,
        "attack": attack,
        "images": len(cell.images),
        "seconds": median(cells),
        "bare_seconds": median(bare),
        "overhead": median([a / b for a, b in zip(cells, bare, strict=True)]),
        "passes": sum(passes.values()),
        "rows_of_a_pass": sum(p.batch * n for p, n in passes.items()) / sum(passes.values()),
    }


def _bare_seconds(cell: Cell, passes: Counter[Pass]) -> float:
    x, y = cell.images.tensor(), cell.images.targets()
    total = 0.0
    with Workers(shared=cell.model.shareable) as workers:
        for kind, number in passes.items():
            rows = torch.arange(kind.batch) % len(x)
            bare = partial(bare_pass, cell.model, kind.kind, x[rows], y[rows], workers)
            with timesteps_of(cell.model, kind.timesteps):
                bare()
                times = [seconds(bare) for _ in range(min(number, BARE_REPETITIONS))]
            total += number * median(times)
    return total


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each cell."""
    rows: list[dict[str, Any]] = []
    for model_id in (at_hand(options.stbp), at_hand(options.ann)):
        for attack in ROBENCH:
            rows.append(isolated(options.threads, overhead, model_id, attack, options))
            yield {"rows": rows}
