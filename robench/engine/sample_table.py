"""The rows of the store: what an attack has found on a chunk, seen once more and counted."""

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
    """The rows of the store with ``dead``, the samples without a usable gradient, beside them.

    Args:
        target: what was attacked.
        found: what was found.
        prediction: of the clean images, ``(N,)``.
        again: which witnesses broke once more, ``(N,)``.
        budgets: the ε of the grid.
        norm: in which they are measured.
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
    }
    if target.queries.elsewhere is not None:
        columns["source_passes"] = target.queries.elsewhere.backwards.sum(1).numpy()
    return pd.DataFrame(columns)


def reverify(target: Target, found: MinimalEpsilons, batch_size: int) -> Tensor:
    """Whether each witness breaks again, in another batch; a stochastic model draws anew.

    The other batch is one of another size for each thread, not for the call as a whole.
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
