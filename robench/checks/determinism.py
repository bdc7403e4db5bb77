"""Whether the same input gives the same logits: alone, in a batch, and under attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from robench.checks.verdicts import at_most
from robench.engine.evaluation_draws import first_draw
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import is_out_of_memory, with_fewer
from robench.spiking import bound

SAMPLES = 16
EPSILON = 8 / 255
TOLERANCE = 1e-5
"""Of the logits in units of their spread, in float64, in which rounding does not flip a spike.

A part of the network may compute in float32 all the same."""
SINGLE_TOLERANCE = 1e-3
"""In float32, for a model that cannot run in float64."""
_ROUNDING = 64
"""Differences of so many units of the last place are rounding, however small the spread is."""


def deterministic(model: Model, x: Tensor, rows: int) -> Check:
    """The same input twice, in another order, alone and in a full batch gives the same logits.

    Measured in float64 on a copy of the model, since a rounding difference in float32 can flip a
    spike at the threshold; in float32 if the model cannot run in float64. Every second image has
    noise, as an attack adds it. The logits of a stochastic model must depend only on input and
    draw: with other random numbers than those of :class:`robench.ModelNoise`, its outcomes
    are not reproducible.

    Args:
        model: the model.
        x: images, ``(N, C, H, W)``.
        rows: number of images in a batch of the evaluation.
    """
    return with_fewer(lambda most: _deterministic(model, x[:most]), min(len(x), max(rows, SAMPLES)))


def same_under_attack(model: Model, x: Tensor) -> Check | None:
    """The logits are the same whether or not a gradient is asked for.

    A defence may be off, or on, only while an attack takes a gradient. None for a network whose
    logits already differ between equal calls.

    Args:
        model: the model.
        x: images, ``(N, C, H, W)``.
    """
    return with_fewer(lambda most: _same_under_attack(model, x[:most]), min(len(x), SAMPLES // 2))


def _deterministic(model: Model, x: Tensor) -> Check:
    (again, batch), threshold = _in_double(model, x, _differences)
    value = again + batch  # a NaN in one of them remains
    if model.stochastic:
        return at_most("draws", value, threshold, "draws-not-bound")
    reason = "depends-on-the-batch" if again <= threshold else "not-deterministic"
    return at_most("deterministic", value, threshold, reason)


def _same_under_attack(model: Model, x: Tensor) -> Check | None:
    (again, value), threshold = _in_double(model, x, _difference_under_attack)
    if not again <= threshold:
        return None
    return at_most("same-under-attack", value, threshold, "differs-under-attack")


Call = Callable[[Sequence[int], Tensor], Tensor]
"""Logits of images, given with their numbers, which decide the draws of a stochastic model."""


def _in_double(
    model: Model, x: Tensor, measure: Callable[[Call, Tensor], tuple[float, float]]
) -> tuple[tuple[float, float], float]:
    """Two differences, and their threshold: in float64, if the model can run in it."""
    x = _noisy(x)
    numbers = None
    if model.stochastic:
        numbers = first_draw(model.dataset, len(x))

    def call(of: Model) -> Call:
        def logits(rows: Sequence[int], images: Tensor) -> Tensor:
            with nullcontext() if numbers is None else bound(numbers.rows(rows)):
                return of.call(images.to(model.device)).cpu()

        return logits

    try:
        return measure(call(model.in_double()), x.double()), TOLERANCE
    except Exception as error:  # a network may refuse float64 in any way
        if is_out_of_memory(error):
            raise
        return measure(call(model), x), SINGLE_TOLERANCE


def _noisy(x: Tensor) -> Tensor:
    """The images, every second one with noise of ±ε."""
    x, generator = x.clone(), torch.Generator().manual_seed(0)
    noise = torch.rand(x[1::2].shape, generator=generator).sub(0.5).sign().to(x)
    x[1::2] = (x[1::2] + EPSILON * noise).clamp(0, 1)
    return x


@torch.no_grad()
def _differences(call: Call, x: Tensor) -> tuple[float, float]:
    """The largest differences of the logits: of a second call, and of other batches.

    The full batch is compared at its first and last images.
    """
    half = SAMPLES // 2
    some = [*range(min(len(x), half)), *range(max(len(x) - half, half), len(x))]
    part = torch.cat([x[:half], x[max(len(x) - half, half) :]])
    first, again = call(some, part), call(some, part)
    alone = torch.cat([call([row], x[row : row + 1]) for row in some])
    turned = call(some[::-1], part.flip(0)).flip(0)
    batches = [alone, turned]
    if len(x) > len(some):
        batches.append(call(range(len(x)), x)[some])
    return difference(again, first), sum(difference(batch, first) for batch in batches)


def _difference_under_attack(call: Call, x: Tensor) -> tuple[float, float]:
    """The largest differences of the logits: of a second call, and of calls with gradients."""
    order = range(len(x))
    with torch.no_grad():
        first, again = call(order, x), call(order, x)
    with torch.enable_grad():
        recorded, leaf = call(order, x).detach(), x.detach().clone().requires_grad_()
        attacked = call(order, leaf).detach()
    return difference(again, first), difference(recorded, first) + difference(attacked, first)


def difference(some: Tensor, others: Tensor) -> float:
    """The largest difference of logits ``(N, K)``, in units of their spread over the classes.

    Equal infinities do not differ, and neither does NaN from NaN.
    """
    info = torch.finfo(others.dtype)
    same = (some == others) | (some.isnan() & others.isnan())
    gap = (some - others).abs().masked_fill(same, 0).max()
    finite = others.masked_fill(~others.isfinite(), 0)
    spread = (finite.amax(1) - finite.amin(1)).max()
    rounding = finite.abs().max() * _ROUNDING * info.eps / TOLERANCE
    return float(gap / torch.maximum(spread, rounding).clamp(min=info.tiny))
