"""The rows of the store: what an attack has found on a chunk, seen once more and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.attacks.norms import tolerance
from robench.evaluation.breaks import ChunkBreaks
from robench.evaluation.chunk import batches
from robench.evaluation.ledger import Ledger
from robench.evaluation.target import Target


def table(
    target: Target,
    breaks: ChunkBreaks,
    prediction: Tensor,
    again: Tensor,
    budgets: NDArray[np.float64],
    norm: str,
) -> pd.DataFrame:
    """The rows of the store with ``dead``, the samples without a usable gradient, beside them.

    Args:
        target: what was attacked.
        breaks: what was found.
        prediction: of the clean images, ``(N,)``.
        again: which witnesses broke once more, ``(N,)``.
        budgets: the ε of the grid.
        norm: in which they are measured.
    """
    delta = target.perturbation(breaks.witness)
    slack = target.scale * tolerance(target.x, norm)
    columns = {
        "index": np.asarray(target.chunk.indices, dtype=np.int64),
        "label": target.chunk.y.numpy(),
        "clean_prediction": prediction.numpy(),
        **breaks.columns(delta, budgets, norm, slack),
        "forwards": target.ledger.forwards.numpy(),
        "backwards": target.ledger.backwards.sum(1).numpy(),
        "reverified": (again | ~breaks.attacked).numpy(),
        "dead": target.ledger.blind().numpy(),
    }
    if target.ledger.elsewhere is not None:
        columns["source_passes"] = target.ledger.elsewhere.backwards.sum(1).numpy()
    return pd.DataFrame(columns)


def reverify(target: Target, breaks: ChunkBreaks, batch_size: int) -> Tensor:
    """Whether each witness breaks again, in another batch; a stochastic model draws anew.

    The other batch is one of another size for each thread, not for the call as a whole.
    """
    again = torch.zeros(len(target.x), dtype=torch.bool)
    attacked = breaks.attacked.nonzero().squeeze(1)
    size = target.workers.part(batch_size)
    workers = target.workers.in_parts_of(size // 2 + 1 if size > 2 else size + 1)
    for rows in batches(attacked, workers.largest * workers.threads):
        view = target.view(rows, 0)
        view = replace(view, ledger=Ledger.empty(len(again)), judge="again", workers=workers)
        again[rows] = view.logits(breaks.witness[rows]).argmax(1) != target.chunk.y[rows]
    return again
