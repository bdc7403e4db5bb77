"""The fast search against the full ascending sweep: is its curve higher anywhere?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from performance.checkpoints import load_model
from performance.options import Options
from performance.timing import isolated
from robench import find_attack
from robench.datasets import find_dataset
from robench.engine.chunk import Chunk
from robench.engine.search import SweepName
from robench.engine.sweep import ChunkSweep
from robench.evaluation.chunks import spans
from robench.evaluation.preparation import PREPARED
from robench.model_id import ModelId
from robench.results.metrics import robust_matrix
from robench.runtime.threads import Workers

DRAWS = 2000


def positions(
    model_id: str, attack: str, images: int, order: SweepName, batch: int
) -> tuple[NDArray[np.int64], float]:
    """Minimal positions ``(N,)`` on training images, and gradient passes for each sample."""
    model, dataset = load_model(model_id), find_dataset(ModelId(model_id).dataset)
    data = dataset.load("train").first(images)
    x, y = data.tensor(), data.targets()
    found, passes = [], 0.0
    with Workers(shared=model.shareable) as workers:
        model.prepare(x[:PREPARED])
        for span in spans(len(x)):
            rows = slice(span.start, span.stop)
            table = ChunkSweep(
                model,
                find_attack(attack).attack,
                Chunk(x[rows], y[rows], span),
                dataset.protocol.grids["linf"],
                seed=0,
                batch_size=batch,
                sweep=order,
                workers=workers,
            ).run()
            found.append(table["minimal_position"].to_numpy(np.int64))
            passes += float(table["backwards"].sum())
    return np.concatenate(found), passes / len(x)


def compare(model_id: str, attack: str, images: int, batch: int) -> dict[str, Any]:
    """Compare the fast curve with the ascending one; call it in a fresh process.

    Returns:
        ``above``: at each ε the difference in robust accuracy, with its paired 95 % interval.
    """
    points = len(find_dataset(ModelId(model_id).dataset).protocol.grids["linf"])
    fast, fast_passes = positions(model_id, attack, images, "fast", batch)
    full, full_passes = positions(model_id, attack, images, "ascending", batch)
    fast_robust, full_robust = (
        robust_matrix(found, points).astype(float) for found in (fast, full)
    )
    difference = fast_robust - full_robust
    draws = np.random.default_rng(0).integers(0, len(fast), size=(DRAWS, len(fast)))
    means = np.stack([difference[draw].mean(0) for draw in draws])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {
        "model": model_id,
        "version": find_attack(attack).version,
        "attack": attack,
        "images": len(fast),
        "accuracy": {
            "fast": fast_robust.mean(0).tolist(),
            "ascending": full_robust.mean(0).tolist(),
        },
        "above": difference.mean(0).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "gradients": {"fast": fast_passes, "ascending": full_passes},
    }


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each model and attack."""
    rows: list[dict[str, Any]] = []
    for pair in options.search:
        model_id, _, attack = pair.partition(":")
        arguments = model_id, attack, options.search_images, options.batch
        rows.append(isolated(options.threads, compare, *arguments))
        yield {"rows": rows}
