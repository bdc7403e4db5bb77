"""The node that takes the place of a step in the graph of a gradient pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.spiking import adaptive_surrogates
from robench.spiking.adaptive_surrogates import Statistics
from robench.spiking.surrogate import Surrogate

Slope = Callable[[Tensor], Tensor]
"""From z to the derivative of the output, a new tensor of the same shape."""
Backward = Callable[[Tensor, Tensor], Tensor]
"""From the gradient at the output, and z, to the gradient at z."""


class _Swap(torch.autograd.Function):
    """Returns a given output, with another derivative in z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, out: Tensor, backward: Backward) -> Tensor:
        ctx.mark_dirty(out)  # it is returned itself, so that not a bit of it changes
        ctx.save_for_backward(z)
        ctx.through = backward
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return ctx.through(grad, z), None, None


def swapped(z: Tensor, out: Tensor, backward: Backward) -> Tensor:
    """``out`` with another backward pass to ``z``, in place of its own graph."""
    # a tensor without a graph gets one itself: a network may hold it, as after o[v > 1] = 1
    own = out.detach() if out.requires_grad else out
    found: Tensor = _Swap.apply(z, own, backward)  # type: ignore[no-untyped-call]
    return found


def sloped(z: Tensor, out: Tensor, slope: Slope) -> Tensor:
    """``out`` with the derivative ``slope(z)`` in ``z``, in place of its own graph."""

    def backward(grad: Tensor, at: Tensor) -> Tensor:
        slopes = slope(at).to(grad.dtype)
        # new tensors take time; this one keeps the strides that the product would have
        return torch.mul(grad, slopes, out=slopes if slopes.stride() == grad.stride() else None)

    return swapped(z, out, backward)


def sequence_of(z: Tensor, rows: int) -> Tensor:
    """``(T, N, …)``, from the same or from ``(T, N·C, …)``."""
    return z if z.shape[1] == rows else z.reshape(len(z), rows, -1, *z.shape[2:])


def straight_through(
    scale: float = 1.0, ends: tuple[float, float] = (-math.inf, math.inf)
) -> Slope:
    """The derivative of a quantiser, a constant between two ends."""
    low, high = ends
    if low == -high == -math.inf:
        return lambda z: torch.full_like(z, scale)
    return lambda z: ((z >= low) & (z <= high)).to(z.dtype).mul_(scale)


def surrogate_slope(
    surrogate: Surrogate,
    at: Tensor | float,
    unit: float,
    height: Tensor | float,
    *,
    place: Statistics | None = None,
    past: Sequence[Tensor] = (),
    rows: int = 0,
) -> Slope:
    """The derivative of a spike: the surrogate of z measured in a unit from the jump.

    Args:
        surrogate: the surrogate.
        at: the jump.
        unit: of z.
        height: of the spike, negative if the output falls.
        place: the statistics of the neurons, for ASSG.
        past: z of earlier steps of the same layer, measured alike, ``(1, N, …)`` each, for PDSG.
        rows: N, where z is ``(T, N, …)`` or ``(T, N·C)``; 0 where it is ``(N, …)``.
    """

    def slope(z: Tensor) -> Tensor:
        measured = (z - at).div_(unit)
        if surrogate.elementwise:
            found = surrogate.derivative(measured)
            if not isinstance(height, Tensor):
                return found.mul_(height / unit)
        elif rows:
            sequence = sequence_of(measured, rows)
            found = adaptive_surrogates.slopes(surrogate, sequence, 0.0, place).reshape(z.shape)
        else:
            steps = torch.cat([*past, measured[None]])
            found = adaptive_surrogates.slopes(surrogate, steps, 0.0, place)[-1]
        return found * (height / unit)

    return slope
