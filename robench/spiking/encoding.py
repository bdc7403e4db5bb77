"""Encoders from an image to a sequence of inputs over time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


def direct(x: Tensor, timesteps: int) -> Tensor:
    """The image as a constant current: ``(N, C, H, W)`` to ``(T, N, C, H, W)``, without a copy."""
    return x.unsqueeze(0).expand(timesteps, *x.shape)


def is_constant(x: Tensor) -> bool:
    """Whether a sequence ``(T, N, …)`` is one step without copies, as from :func:`direct`."""
    return x.stride(0) == 0 and x.shape[0] > 1


def over_time(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of ``(N, …)`` to every step of ``(T, N, …)``, once if it is constant."""
    if is_constant(x):
        y = function(x[0])
        return y.unsqueeze(0).expand(x.shape[0], *y.shape)
    y = function(x.flatten(0, 1))
    return y.view(*x.shape[:2], *y.shape[1:])


class _Bernoulli(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < x).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def rate(x: Tensor, uniform: Tensor) -> Tensor:
    """Poisson rate encoding: a spike with probability x in each step, straight-through backwards.

    The gradient of one draw is an unbiased estimate of the gradient of the expectation. An attack
    averages it over draws (expectation over transformations).

    Args:
        x: intensities in [0, 1], ``(N, C, H, W)``.
        uniform: the random numbers of the draw, uniform in [0, 1), ``(T, N, C, H, W)``.

    Returns:
        Spikes ``(T, N, C, H, W)``, 0 or 1 in the type of ``x``.
    """
    out: Tensor = _Bernoulli.apply(x.unsqueeze(0).expand_as(uniform), uniform)  # type: ignore[no-untyped-call]
    return out


def latency(x: Tensor, timesteps: int) -> Tensor:
    """One spike for each pixel, the earlier the brighter, ``(T, N, C, H, W)`` of 0 and 1.

    Pixel p in [0, 1] spikes in step ``floor((1 − p)·T)``; a black one in none. Each spike is the
    difference of two comparisons, which an attack can differentiate.
    """
    levels = [1 - (step + 1) / timesteps for step in range(timesteps)]
    reached = [(x > level).to(x.dtype) for level in levels]
    return torch.stack([reached[0], *(now - before for before, now in pairwise(reached))])
