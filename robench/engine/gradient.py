"""The gradient of some rows, taken once more where it left the range of its numbers.

A surrogate with a thin tail shrinks the gradient in every layer, a broad one lets it grow, so that
in a deep network it can underflow to zero or overflow; a loss that is certain of itself has no
gradient in float32 either. All of this is a matter of scale, and an attack goes by direction: such
rows are computed again with the derivative of the loss at the logits brought to −1 at the true
class and then multiplied by a power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robench.attacks.primitives.losses import Loss, direction_of, loss_of
from robench.attacks.primitives.per_sample import magnitude
from robench.engine.evaluation_draws import Numbers, mean_of
from robench.spiking import Recorder, bound

RAISED, LOWERED = 2.0**60, 2.0**-100
"""What the cotangent of a row is multiplied by where its gradient vanished, and where it was not
finite. Powers of two, so that nothing is rounded."""


@dataclass
class Gradient:
    """What some rows gave.

    Attributes:
        logits: ``(N, K)``, where the images came from, like all others.
        gradient: of the loss of each row, of the shape of the images; rescaled where ``again``.
        again: which rows were computed once more, ``(N,)``.
        statistics: of the neurons of each row.
    """

    logits: Tensor
    gradient: Tensor
    again: Tensor
    statistics: list[Tensor | None]


def take(
    module: nn.Module,
    device: torch.device,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    *,
    rescale: bool,
    frozen: bool = False,
) -> Gradient:
    """Logits, and the gradient of the loss of each row; zero where none reaches the input.

    Args:
        module: the network, on ``device``.
        device: where it lies.
        x: images, ``(N, C, H, W)``, anywhere.
        y: true labels, ``(N,)``.
        loss: its name.
        statistics: of the neurons of each row.
        rescale: whether rows are computed again where no finite gradient other than zero came out.
        frozen: whether the statistics stay as they are.
    """
    home = x.device
    x, y = x.detach().to(device).requires_grad_(), y.to(device)
    recorder = Recorder(statistics, frozen=frozen)
    with torch.enable_grad(), recorder.recording():
        logits = module(x)
        gradient = None
        if logits.requires_grad:
            value = loss_of(logits, y, loss).sum()
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
    if gradient is not None:
        gradient = gradient.contiguous()  # of channels-last weights: what follows goes by rows
    again = torch.zeros(len(x), dtype=torch.bool, device=device)
    if gradient is None:
        gradient = torch.zeros_like(x)
    elif rescale:
        again, scale = _unusable(gradient)
        rows = again.nonzero().squeeze(1)
        if len(rows):
            before = [statistics[row] for row in rows.tolist()]
            gradient[rows] = _scaled(module, x[rows], y[rows], loss, before, scale[rows])
    entries = recorder.entries()
    return Gradient(logits.detach().to(home), gradient.to(home), again.to(home), entries)


def expected(
    module: nn.Module,
    device: torch.device,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    draws: Sequence[Numbers],
    *,
    rescale: bool,
) -> Gradient:
    """The same for a stochastic network: the mean of the logits, and of the gradient, over draws.

    The first draw moves on what the neurons remember; the others take it as it is then, as in the
    published code of ASSG. A row is computed again, in all of its draws, where the mean is
    unusable: one draw alone would outweigh the others by the factor that it is scaled by.

    Args:
        module: as in :func:`take`, like all others.
        device: where it lies.
        x: images.
        y: labels.
        loss: its name.
        statistics: as in :func:`take`.
        draws: the random numbers of the rows, draw by draw; at least one.
        rescale: as in :func:`take`.
    """
    parts: list[Gradient] = []
    for numbers in draws:
        with bound(numbers):
            part = take(
                module, device, x, y, loss, statistics, rescale=False, frozen=len(parts) > 0
            )
        if not parts:
            known = zip(part.statistics, statistics, strict=True)
            statistics = [old if new is None else new for new, old in known]
        parts.append(part)
    gradient = mean_of([part.gradient for part in parts])
    logits = mean_of([part.logits for part in parts])
    again, scale = _unusable(gradient)
    rows = (again & rescale).nonzero().squeeze(1)
    if len(rows):
        some = rows.tolist()
        place = x[rows].to(device), y[rows].to(device)
        before = [statistics[row] for row in some]
        found = []
        for numbers in draws:
            with bound(numbers.rows(some)):
                part_of = _scaled(module, *place, loss, before, scale[rows].to(device), frozen=True)
            found.append(part_of.to(x.device))
        gradient[rows] = mean_of(found)
    return Gradient(logits, gradient, again & rescale, list(statistics))


def _unusable(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows have a gradient that is zero or not finite, and the scale to try, ``(N,)``."""
    size = magnitude(gradient)
    finite = size.isfinite()
    scale = torch.where(finite, RAISED, LOWERED).to(gradient.dtype)
    return ~finite | (size == 0), scale


def _scaled(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    statistics: Sequence[Tensor | None],
    scale: Tensor,
    *,
    frozen: bool = False,
) -> Tensor:
    """The gradient of rows in direction, its size multiplied by ``scale``, ``(N,)``."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), Recorder(statistics, frozen=frozen).recording():
        logits = module(x)
        if not logits.requires_grad:
            return torch.zeros_like(x)
        weights = direction_of(logits.detach(), y, loss) * scale[:, None]
        (gradient,) = torch.autograd.grad(logits, x, weights, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
