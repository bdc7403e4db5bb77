"""The flexible layer in training, by kernels: the mask and the mix in one pass over the responses.

It computes what the plain code of :class:`robench.architectures.flex.PlasticFlexLayer` computes,
up to rounding. The convolution and its batch norm stay those of PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.architectures.fused_flex import ETA_LIMIT
from robench.spiking import kernels

TINY = 1e-12
"""Keeps the variance of a constant channel away from 0."""


@dataclass(frozen=True)
class Plasticity:
    """How the adaptation of a flexible layer moves.

    Attributes:
        start: η(1), ``(C,)``.
        rate: λ.
        through: whether gradient flows through η.
    """

    start: Tensor
    rate: float
    through: bool


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        selective: Tensor,
        pooled: Tensor,
        gain: Tensor,
        offset: Tensor,
        how: Plasticity,
        timesteps: int,
    ) -> tuple[Tensor, Tensor]:
        steps, n, wide, height, width = selective.shape
        eta = selective.new_empty(timesteps + 1, n, wide)
        u = selective.new_empty(timesteps * n, height, width, wide)
        kernels.call(
            "flex_train_forward", selective, pooled, gain, offset, how.start, eta, u,
            timesteps, n, height * width, wide, pooled.shape[2], float(how.rate), ETA_LIMIT,
            steps < timesteps,
        )  # fmt: skip
        ctx.save_for_backward(selective, pooled, gain, offset, eta)
        ctx.how = how
        ctx.mark_non_differentiable(eta)
        ctx.set_materialize_grads(False)
        return u.view(timesteps, n, height, width, wide).permute(0, 1, 4, 2, 3), eta[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * 6
        selective, pooled, gain, offset, eta = ctx.saved_tensors
        steps, n, wide, height, width = selective.shape
        timesteps = len(eta) - 1
        gradient = grads[0].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        to_selective, to_pooled = torch.empty_like(selective), torch.empty_like(pooled)
        to_gain, to_offset = (selective.new_empty(n, wide) for _ in range(2))
        kernels.call(
            "flex_train_backward", gradient, selective, pooled, gain, offset, eta, to_selective,
            to_pooled, to_gain, to_offset, timesteps, n, height * width, wide, pooled.shape[2],
            float(ctx.how.rate), ETA_LIMIT, ctx.how.through, steps < timesteps,
        )  # fmt: skip
        return to_selective, to_pooled, to_gain.sum(0), to_offset.sum(0), None, None


class _Moments(torch.autograd.Function):
    """Mean and variance of each channel of a channels-last ``(N, C, H, W)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        # faster than torch.var_mean on this layout
        _, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, TINY)
        variance = inverse.pow(-2) - TINY
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        to_mean, to_variance = (gradient / (x.numel() // x.shape[1]) for gradient in grads)
        slope = 2 * to_variance
        base = (to_mean - slope * mean)[:, None, None]
        return torch.addcmul(base, x, slope[:, None, None])


def mix(
    selective: Tensor, pooled: Tensor, gain: Tensor, offset: Tensor, how: Plasticity, timesteps: int
) -> tuple[Tensor, Tensor]:
    """``u = m·C + (1 − m)·P`` with ``m = hardsigmoid(gain·P + offset + η(t))``.

    Args:
        selective: C, ``(T, N, C, H, W)``, or one step ``(1, N, …)`` that is seen in each; each
            step channels last.
        pooled: P, ``(T, N, C_in, H, W)`` likewise; channel c of the mask reads c mod ``C_in``.
        gain: ``(C,)``.
        offset: ``(C,)``.
        how: the adaptation.
        timesteps: T.

    Returns:
        u, ``(T, N, C, H, W)``, and η behind the last step, ``(N, C)``.
    """
    found: tuple[Tensor, Tensor] = _Mix.apply(selective, pooled, gain, offset, how, timesteps)  # type: ignore[no-untyped-call]
    return found


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of the channels of a channels-last ``(N, C, H, W)``."""
    found: tuple[Tensor, Tensor] = _Moments.apply(x)  # type: ignore[no-untyped-call]
    return found
