"""Whether the same input gives the same logits, alone and in a batch (C06, C07)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from robench.checks.verdicts import at_most
from robench.engine.evaluation_draws import Draws, RowDraw
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import is_out_of_memory, with_fewer
from robench.spiking import bound

SAMPLES = 16
LOGIT_TOLERANCE = 1e-6
"""In float64, in which rounding does not flip a spike."""
SINGLE_TOLERANCE = 1e-3
"""In float32, for a model that cannot run in float64."""


def deterministic(model: Model, x: Tensor) -> Check:
    """The same input twice, in another order and alone gives the same logits (B3, C06, C07).

    Measured in float64 on a copy of the model, since a rounding difference in float32 can flip a
    spike at the threshold; in float32 if the model cannot run in float64. The logits of a
    stochastic model must depend only on input and draw: with other random numbers than those of
    :class:`robench.spiking.ModelNoise`, its outcomes are not reproducible.
    """
    return with_fewer(lambda rows: _deterministic(model, x[:rows]), min(SAMPLES, len(x)))


def _deterministic(model: Model, x: Tensor) -> Check:
    x = x.to(model.device)
    numbers = None
    if model.stochastic:
        numbers = Draws(dataset=model.dataset).for_evaluation(torch.arange(len(x)))[0]
    try:
        exact = model.in_double()
        again, batch = _differences(exact, x.double(), numbers)
        threshold = LOGIT_TOLERANCE
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        again, batch = _differences(model, x, numbers)
        threshold = SINGLE_TOLERANCE
    value = again + batch  # a NaN in one of them remains
    if model.stochastic:
        return at_most("draws", value, threshold, "draws-not-bound")
    reason = "depends-on-the-batch" if again <= threshold else "not-deterministic"
    return at_most("deterministic", value, threshold, reason)


def _differences(model: Model, x: Tensor, numbers: RowDraw | None) -> tuple[float, float]:
    """The largest differences of the logits: of a second call, and of other batches."""

    def call(rows: Sequence[int], images: Tensor) -> Tensor:
        with nullcontext() if numbers is None else bound(numbers.rows(rows)):
            return model.call(images)

    order = range(len(x))
    with torch.no_grad():
        first, again = call(order, x), call(order, x)
        alone = torch.cat([call([row], x[row : row + 1]) for row in order])
        turned = call(order[::-1], x.flip(0)).flip(0)
    others = ((again - first), (alone - first), (turned - first))
    repeated, *batches = (float(other.abs().max()) for other in others)
    return repeated, max(batches)
