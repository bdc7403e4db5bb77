"""Whether the gradient of an image depends on the other images of its batch."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.engine.gradient import take
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import is_out_of_memory

BATCH_GRADIENT = "batch-gradient"
ROWS = 4
TOLERANCE = 1e-4
"""Of the largest difference, relative to the largest magnitude of a gradient, in float64."""


def batch_gradient(model: Model, x: Tensor, y: Tensor) -> Check | None:
    """Suspect if the network's own gradient of an image is another one in a batch than alone.

    A surrogate whose width is the batch's standard deviation does that. The gradients of such a
    network are taken row by row, so its outcomes do not depend on the batch; but its training did.
    None for a checkpoint, for a stochastic network, and if float64 is impossible.

    Args:
        model: the model.
        x: images, ``(N, C, H, W)``.
        y: labels, ``(N,)``.
    """
    if model.checkpoint or model.stochastic:
        return None
    x, y = x[:ROWS].double(), y[:ROWS]
    try:
        exact = model.in_double()
        together = _gradient(exact, x, y)
        alone = torch.cat([_gradient(exact, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        return None
    size = max(float(alone.abs().max()), torch.finfo(torch.float32).tiny)
    value = float((together - alone).abs().max()) / size
    bad = value > TOLERANCE
    return Check(
        name=BATCH_GRADIENT, value=value, threshold=TOLERANCE,
        verdict="suspect" if bad else "valid",
        reason="gradient-depends-on-the-batch" if bad else "",
    )  # fmt: skip


def _gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    found = take(model.call, model.device, x, y, "cross-entropy", [None] * len(x), rescale=False)
    return found.gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
