"""The overhead of robench: a cell against the bare cost of its passes through the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from performance.checkpoints import available, load_model
from performance.options import Options
from performance.robench_side import repeated_passes
from performance.sweep import ROBENCH, cell_of, evaluate, request
from performance.timing import isolated, median


def overhead(model_id: str, attack: str, options: Options) -> dict[str, Any]:
    """Seconds of a cell and of its bare passes, everything compiled; call in a fresh process."""
    model = load_model(model_id)
    cell = cell_of(model, request(attack, options.steps), options)
    evaluate(cell)  # compiles
    cells, bare = [], []
    for _ in range(max(2, options.repetitions // 3)):
        with repeated_passes() as passes:
            seconds, _ = evaluate(cell)
        if not passes.calls:
            raise RuntimeError("no pass was counted: repeated_passes does not match the engine")
        cells.append(seconds - passes.seconds)
        bare.append(passes.seconds)
    return {
        "model": model_id,
        "attack": attack,
        "images": len(cell.images),
        "seconds": median(cells),
        "bare_seconds": median(bare),
        "overhead": median([a / b for a, b in zip(cells, bare, strict=True)]),
        "passes": passes.calls,
        "rows_of_a_pass": passes.rows / passes.calls,
    }


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each cell."""
    rows: list[dict[str, Any]] = []
    for _, asked in options.roles:
        model_id = available(asked)
        for attack in ROBENCH:
            rows.append(isolated(options.threads, overhead, model_id, attack, options))
            yield {"rows": rows}
