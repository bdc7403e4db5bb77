"""The input gradient of some rows, and gradient rescaling.

A surrogate with a thin tail shrinks the gradient in every layer and a broad one makes it grow, so
in a deep network the gradient can underflow to zero or overflow. The gradient of a saturated loss
is also zero in float32. Only the scale is lost, and an attack needs only the direction. Rows with a
zero or non-finite gradient are therefore computed again: the derivative of the loss at the logits
is normalised to −1 at the true class and multiplied by a power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robench.attacks.primitives.losses import Loss, direction_of, loss_of
from robench.attacks.primitives.per_sample import magnitude
from robench.engine.evaluation_draws import RowDraw, mean_of
from robench.errors import EvaluationError
from robench.registry import Model
from robench.spiking import (
    GradientPath,
    Recorder,
    Surrogate,
    bound,
    override,
    spiking_layers,
)
from robench.spiking.discovery import along, substituted

Network = Callable[[Tensor], Tensor]
"""From images to logits."""
_FACTORS = {torch.float16: (2.0**8, 2.0**-8)}
_WIDE = (2.0**60, 2.0**-100)
"""Factors for the cotangent of a row whose gradient is zero, and of one whose gradient is not
finite. They are powers of two, so that nothing is rounded; float16 has a narrow range."""


@dataclass
class Gradient:
    """Logits and gradients of some rows, on the device of the images.

    Attributes:
        logits: ``(N, K)``.
        gradient: of the loss of each row, of the shape of the images; rescaled where ``again``.
        again: which rows were computed a second time, ``(N,)``.
        statistics: of the neurons of each row.
        dtype: of the network's own logits; these have the type of the images.
    """

    logits: Tensor
    gradient: Tensor
    again: Tensor
    statistics: list[Tensor | None]
    dtype: torch.dtype


def take(
    network: Network,
    device: torch.device,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    *,
    rescale: bool,
    frozen: bool = False,
) -> Gradient:
    """Logits, and the gradient of the loss of each row; zero if no gradient reaches the input.

    Args:
        network: the network, on ``device``.
        device: of the network.
        x: images, ``(N, C, H, W)``, on any device.
        y: true labels, ``(N,)``.
        loss: name of the loss.
        statistics: of the neurons of each row.
        rescale: whether rows with a zero or non-finite gradient are computed again.
        frozen: whether the statistics are left unchanged.
    """
    home = x.device
    x, y = x.detach().to(device).requires_grad_(), y.to(device)
    recorder = Recorder(statistics, frozen=frozen)
    with torch.enable_grad(), recorder.recording():
        own = network(x)
        logits, gradient = own.to(x.dtype), None
        if logits.requires_grad:
            value = loss_of(logits, y, loss).sum()
            gradient = _gradient(value, x)
    if gradient is not None:
        gradient = gradient.contiguous()  # channels-last weights give another layout
    again = torch.zeros(len(x), dtype=torch.bool, device=device)
    if gradient is None:
        gradient = torch.zeros_like(x)
    elif rescale:
        again, scale = _unusable(gradient, own.dtype)
        rows = again.nonzero().squeeze(1)
        if len(rows):
            before = [statistics[row] for row in rows.cpu().tolist()]
            gradient[rows] = _scaled(network, x[rows], y[rows], loss, before, scale[rows])
    entries = recorder.entries()
    found = logits.detach().to(home), gradient.to(home), again.to(home), entries
    return Gradient(*found, own.dtype)


def _gradient(value: Tensor, x: Tensor, weights: Tensor | None = None) -> Tensor | None:
    """The gradient at ``x``; None if none reaches it, or if an operation has no backward pass."""
    try:
        (gradient,) = torch.autograd.grad(value, x, weights, allow_unused=True)
    except RuntimeError as error:  # NotImplementedError is one
        if not isinstance(error, NotImplementedError) and "not implemented" not in str(error):
            raise
        return None
    return gradient


def expected(
    network: Network,
    device: torch.device,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    draws: Sequence[RowDraw],
    *,
    rescale: bool,
) -> Gradient:
    """:func:`take` for a stochastic network: the means of logits and gradient over the draws.

    The first draw updates the neuron statistics; the others use the updated ones, as in the
    published code of ASSG. A row whose mean gradient is zero or not finite is computed again in all
    of its draws: a single rescaled draw would outweigh the others by its factor.

    Args:
        network: as in :func:`take`, like all arguments but ``draws``.
        device: of the network.
        x: images.
        y: labels.
        loss: name of the loss.
        statistics: of the neurons of each row.
        draws: the random numbers of the rows, draw by draw; at least one.
        rescale: whether rows with a zero or non-finite gradient are computed again.
    """
    parts: list[Gradient] = []
    for numbers in draws:
        with bound(numbers):
            part = take(
                network, device, x, y, loss, statistics, rescale=False, frozen=len(parts) > 0
            )
        if not parts:
            known = zip(part.statistics, statistics, strict=True)
            statistics = [old if new is None else new for new, old in known]
        parts.append(part)
    gradient = mean_of([part.gradient for part in parts])
    logits = mean_of([part.logits for part in parts])
    again, scale = _unusable(gradient, parts[0].dtype)
    rows = (again & rescale).nonzero().squeeze(1)
    if len(rows):
        some = rows.tolist()
        place = x[rows].to(device), y[rows].to(device)
        before = [statistics[row] for row in some]
        found = []
        for numbers in draws:
            with bound(numbers.rows(some)):
                part_of = _scaled(
                    network, *place, loss, before, scale[rows].to(device), frozen=True
                )
            found.append(part_of.to(x.device))
        gradient[rows] = mean_of(found)
    return Gradient(logits, gradient, again & rescale, list(statistics), parts[0].dtype)


def _unusable(gradient: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Which rows have a zero or non-finite gradient, and the factor to rescale with, ``(N,)``.

    The factor suits the type in which the network computes.
    """
    raised, lowered = _FACTORS.get(dtype, _WIDE)
    size = magnitude(gradient)
    finite = size.isfinite()
    scale = torch.where(finite, raised, lowered).to(gradient.dtype)
    return ~finite | (size == 0), scale


def _scaled(
    network: Network,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    scale: Tensor,
    *,
    frozen: bool = False,
) -> Tensor:
    """The direction of the gradient of rows, with its size multiplied by ``scale``, ``(N,)``."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), Recorder(statistics, frozen=frozen).recording():
        logits = network(x).to(x.dtype)
        if not logits.requires_grad:
            return torch.zeros_like(x)
        weights = direction_of(logits.detach(), y, loss) * scale[:, None]
        gradient = _gradient(logits, x, weights)
    return torch.zeros_like(x) if gradient is None else gradient


@contextmanager
def differentiated(
    model: Model, surrogate: Surrogate | None, path: GradientPath | None
) -> Iterator[tuple[Network, bool]]:
    """Inside, the network for a gradient estimator, and whether its logits are the deployed ones.

    The context has to hold during the backward pass.

    Args:
        model: the model.
        surrogate: the derivative of every spike; None for the model's own.
        path: the gradient path; None for the model's own.

    Raises:
        EvaluationError: the path needs an ANN counterpart that the model lacks.
    """
    if not model.spiking or (surrogate is None and path is None):
        yield model.call, True
        return
    if path is not None and path.counterpart:
        counterpart = model.counterpart()
        if counterpart is None:
            raise EvaluationError(
                f"gradient path {path.name}: model {model.id} has no ANN counterpart"
            )
        yield partial(model.call, counterpart=counterpart.to(model.device)), False
        return
    found = model.discovery
    with override(model.module, surrogate=surrogate, path=path):
        if found is not None and found.layers and path is not None and path.rule != "temporal":
            with along(found, model.module, model.call, surrogate, path.rule) as network:
                yield network, True
        elif found is not None and surrogate is not None:
            with substituted(found, model.call, surrogate) as network:
                yield network, True
        else:
            yield model.call, True


def derivable(model: Model, surrogate: Surrogate | None, path: GradientPath | None) -> bool:
    """Whether every spike has a derivative, so that rescaling may help a zero gradient."""
    if surrogate is not None or (path is not None and not path.takes_surrogate):
        return True
    return all(layer.surrogate is not None for layer in spiking_layers(model.module))
