"""The checks of a run: their share of the time that fgsm, pgd and spgd take on a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from performance.checkpoints import load_model
from performance.options import Options
from performance.robench_side import timed_checks
from performance.sweep import cell_of, evaluate
from performance.timing import isolated

MODELS = ("digits/vgg16-ann", "digits/vgg16-stbp")
ATTACKS = ("fgsm", "pgd", "spgd")


def share(model_id: str, options: Options) -> dict[str, Any]:
    """Seconds of the cells of a model, and of the checks in them; call it in a fresh process."""
    model = load_model(model_id)
    evaluate(cell_of(model, "fgsm", options, images=16))  # compiles
    model.checked.clear()
    total = 0.0
    with timed_checks() as spent:
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
