"""The norms that ε is measured in: lengths, projections and rounding tolerances."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.attacks.primitives.per_sample import magnitude, spread

TOLERANCE = 1e-6
"""How far an adversarial example may lie outside ball and box by rounding."""


def length(delta: Tensor, norm: str) -> Tensor:
    """The length of each row, ``(N,)``, summed in double precision."""
    if norm == "linf":
        return magnitude(delta)
    exact: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1, dtype=torch.float64)
    return exact.to(delta.dtype)


def in_box(images: Tensor) -> Tensor:
    """Which rows lie in the box [0, 1] up to rounding, ``(N,)``."""
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    return (low >= -TOLERANCE) & (high <= 1 + TOLERANCE)


def unit(delta: Tensor) -> Tensor:
    """Each row scaled to L2 length 1; a row of zeros is unchanged.

    The row is divided by its largest value first, so that squares neither underflow nor overflow.
    """
    tiny = torch.finfo(delta.dtype).tiny
    delta = delta / spread(length(delta, "linf").clamp_min(tiny), delta)
    return delta / spread(length(delta, "l2").clamp_min(tiny), delta)


def to_mean_one(values: Tensor) -> Tensor:
    """Each row divided by its mean magnitude; a row of zeros is unchanged."""
    scale = values.abs().flatten(1).mean(1).clamp_min(torch.finfo(values.dtype).tiny)
    return values / spread(scale, values)


def project(candidate: Tensor, x: Tensor, eps: Tensor, norm: str = "linf") -> Tensor:
    """Project onto the ball of each row and the box [0, 1].

    In L2 the perturbation is shortened to ε and then clipped. Since x lies in the box, clipping
    shortens it further, so the point is inside both, though not always the nearest such point.

    Args:
        candidate: points, ``(N, …)``.
        x: the centre of each ball, in the box, of the shape of ``candidate``.
        eps: the radius of each ball, ``(N,)``.
        norm: ``linf`` or ``l2``.
    """
    if norm == "linf":
        e = spread(eps, x)
        return torch.minimum(torch.maximum(candidate, x - e), x + e).clamp(0, 1)
    delta = candidate - x
    far = length(delta, norm)
    # a candidate inside the ball must stay bit-equal
    shorter = x + delta * spread(eps / far.clamp_min(torch.finfo(x.dtype).tiny), x)
    return torch.where(spread(far <= eps, x), candidate, shorter).clamp(0, 1)


def tolerance(x: Tensor, norm: str) -> float:
    """How much the length of a perturbation of ``x``, ``(N, …)``, may exceed ε by rounding.

    In L2 each pixel of a row adds at most half a unit in the last place.
    """
    if norm == "linf":
        return TOLERANCE
    return TOLERANCE + torch.finfo(x.dtype).eps / 2 * math.sqrt(x.shape[1:].numel())
