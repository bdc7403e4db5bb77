"""The per-sample rows of the store: minimal ε, passes, and whether the example is confirmed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.attacks.primitives.norms import tolerance
from robench.engine.chunk import batches
from robench.engine.minimal_epsilon import MinimalEpsilons
from robench.engine.query_counter import QueryCounter
from robench.engine.target import Target


def table(
    target: Target,
    found: MinimalEpsilons,
    prediction: Tensor,
    again: Tensor,
    budgets: NDArray[np.float64],
    norm: str,
) -> pd.DataFrame:
    """The rows of the store, with the columns ``zero_gradient``, ``not_finite``, ``source_passes``.

    ``zero_gradient`` is true for samples without a usable gradient, and ``not_finite`` if most of
    those that were not usable were not finite. ``source_passes`` exists for attacks with source
    models.

    Args:
        target: the model and the images.
        found: the adversarial examples.
        prediction: of the clean images, ``(N,)``.
        again: which adversarial examples were misclassified again, ``(N,)``.
        budgets: the ε of the grid.
        norm: of the perturbations.
    """
    delta = target.perturbation(found.example)
    slack = target.scale * tolerance(target.x, norm)
    columns = {
        "index": np.asarray(target.chunk.indices, dtype=np.int64),
        "label": target.chunk.y.numpy(),
        "clean_prediction": prediction.numpy(),
        **found.columns(delta, budgets, norm, slack),
        "forwards": target.queries.forwards.numpy(),
        "backwards": target.queries.backwards.sum(1).numpy(),
        "reverified": (again | ~found.attacked).numpy(),
        "zero_gradient": target.queries.without_gradient().numpy(),
        "not_finite": target.queries.mostly_not_finite().numpy(),
    }
    if target.queries.on_sources is not None:
        columns["source_passes"] = target.queries.on_sources.backwards.sum(1).numpy()
    return pd.DataFrame(columns)


def reverify(target: Target, found: MinimalEpsilons, batch_size: int) -> Tensor:
    """Whether each adversarial example is misclassified again in another batch, ``(N,)``.

    The number of rows that a thread computes at a time differs from that of the sweep. A
    stochastic model is evaluated with other draws.
    """
    again = torch.zeros(len(target.x), dtype=torch.bool)
    attacked = found.attacked.nonzero().squeeze(1)
    size = target.workers.part(batch_size)
    workers = target.workers.in_parts_of(size // 2 + 1 if size > 2 else size + 1)
    for rows in batches(attacked, workers.largest * workers.threads):
        view = target.view(rows, 0)
        view = replace(
            view, queries=QueryCounter.empty(len(again)), draw_set="confirmation", workers=workers
        )
        again[rows] = view.logits(found.example[rows]).argmax(1) != target.chunk.y[rows]
    return again
