"""Whether the gradient of an image depends on the other images of its batch."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.attacks.primitives.per_sample import magnitude
from robench.checks.verdicts import at_most
from robench.engine.gradient import take
from robench.isolation import same_numbers
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import is_out_of_memory

BATCH_GRADIENT = "batch-gradient"
ROWS = 4
TOLERANCE, SINGLE_TOLERANCE = 1e-4, 1e-2
"""Of the difference of gradients, relative to the largest one, in float64 and in float32."""


def batch_gradient(model: Model, x: Tensor, y: Tensor) -> Check | None:
    """Suspect if the network's own gradient of an image is another one in a batch than alone.

    A surrogate whose width is the batch's standard deviation does that. The gradients of such a
    network are taken row by row, so its outcomes do not depend on the batch; but its training did.
    The figure is the median over the images, since rounding in float32, in which a network computes
    that cannot run in float64, may flip a spike of one. None for a checkpoint and for a stochastic
    network.

    Args:
        model: the model.
        x: images, ``(N, C, H, W)``.
        y: labels, ``(N,)``.
    """
    if model.checkpoint or model.stochastic:
        return None
    x, y = x[:ROWS], y[:ROWS]
    ways = ((model.in_double, x.double(), TOLERANCE), (lambda: model, x, SINGLE_TOLERANCE))
    for way, images, threshold in ways:
        try:
            value, again = _differences(way(), images, y)
        except Exception as error:  # it refuses float64, or a backward pass is not implemented
            if is_out_of_memory(error):
                raise
            continue
        if not again <= threshold:
            return None  # random in every batch, which another check finds
        reason = "gradient-depends-on-the-batch"
        return at_most(BATCH_GRADIENT, value, threshold, reason, "suspect")
    return None


def _differences(model: Model, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Differences of gradients: in a batch and alone, the median, and of two calls, the largest."""
    again = _gradient(model, x, y)
    with same_numbers():
        together = _gradient(model, x, y)
    rows = []
    for i in range(len(x)):
        with same_numbers():
            rows.append(_gradient(model, x[i : i + 1], y[i : i + 1]))
    alone = torch.cat(rows)
    size = max(float(alone.abs().max()), torch.finfo(torch.float32).tiny)
    of_batch, of_call = (magnitude(together - other) / size for other in (alone, again))
    return float(of_batch.median()), float(of_call.max())


def _gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    found = take(model.call, model.device, x, y, "cross-entropy", [None] * len(x), rescale=False)
    return found.gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
