"""The checks of a run: their share of the time that fgsm, pgd and spgd take on a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any
from unittest import mock

from performance.checkpoints import load_model
from performance.options import Options
from performance.sweep import cell_of, evaluate
from performance.timing import isolated
from robench.evaluation import checking

MODELS = ("digits/vgg16-ann", "digits/vgg16-stbp")
CELLS = "robench.evaluation.evaluate"
ATTACKS = ("fgsm", "pgd", "spgd")


def share(model_id: str, options: Options) -> dict[str, Any]:
    """Seconds of the cells of a model, and of the checks in them; call it in a fresh process."""
    model = load_model(model_id)
    evaluate(cell_of(model, "fgsm", options, images=16))  # compiles
    model.checked.clear()
    spent = {"of_model": 0.0, "of_cell": 0.0}

    def timed(check: Callable[..., Any], into: str) -> Callable[..., Any]:
        @wraps(check)
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return check(*args)
            finally:
                spent[into] += time.perf_counter() - start

        return call

    total = 0.0
    with (
        mock.patch(f"{CELLS}.checks_of_model", timed(checking.checks_of_model, "of_model")),
        mock.patch(f"{CELLS}.checks_of_cell", timed(checking.checks_of_cell, "of_cell")),
    ):
        for attack in ATTACKS:
            cell = cell_of(model, attack, options)
            seconds, _ = evaluate(cell)
            total += seconds
    return {
        "model": model_id,
        "images": len(cell.images),
        "seconds": total,
        **spent,
        "share": sum(spent.values()) / total,
    }


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each model."""
    rows: list[dict[str, Any]] = []
    for model_id in MODELS:
        rows.append(isolated(options.threads, share, model_id, options))
        yield {"rows": rows}
