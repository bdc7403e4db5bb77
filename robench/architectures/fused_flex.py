"""The flexible layer of a frozen network over all time steps, with its convolution folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.architectures.fusion import Folded, convolve, convolve_back
from robench.architectures.pooling import Window, pool, pool_back
from robench.spiking import full_precision, kernels

ETA_LIMIT = 3.0
"""The bound of the adaptation η, at which the hard sigmoid saturates."""


@dataclass(frozen=True)
class Flex:
    """A flexible layer with a hard mask, folded: ``m = σ(gain·P + offset + η(t))``.

    Attributes:
        conv: the selective part.
        gain: ``(C,)``.
        offset: ``(C,)``.
        eta: η(1), ``(C,)``.
        plasticity: λ.
        through_plasticity: whether gradient flows through η.
        sparse: whether the convolution skips inputs that are zero.
    """

    conv: Folded
    gain: Tensor
    offset: Tensor
    eta: Tensor
    plasticity: float
    through_plasticity: bool
    sparse: bool


NINE = Window(3, 1, 1)


class _Flex(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Flex, timesteps: int) -> Tensor:
        steps, n = x.shape[:2]
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        selective = full_precision(convolve(images, layer.conv, sparse=layer.sparse))
        selective = selective.contiguous(memory_format=torch.channels_last)
        pooled, which = pool(images, NINE)
        wide, height, width = selective.shape[1:]
        eta = x.new_empty(timesteps, n, wide)
        u = x.new_empty(timesteps * n, height, width, wide)
        kernels.call(
            "flex_forward", selective, pooled, layer.gain, layer.offset, layer.eta, eta,
            u, timesteps, n, height * width, wide, pooled.shape[1], layer.plasticity, ETA_LIMIT,
            steps < timesteps,
        )  # fmt: skip
        ctx.save_for_backward(selective, pooled, which, eta)
        ctx.layer, ctx.shape = layer, x.shape
        ctx.set_materialize_grads(False)
        return u.view(timesteps, n, height, width, wide).permute(0, 1, 4, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        if grads[0] is None:
            return None, None, None
        selective, pooled, which, eta = ctx.saved_tensors
        layer: Flex = ctx.layer
        timesteps, n, wide = eta.shape
        gradient = grads[0].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        to_selective, to_pooled = torch.empty_like(selective), torch.empty_like(pooled)
        kernels.call(
            "flex_backward", gradient, selective, pooled, layer.gain, layer.offset, eta,
            to_selective, to_pooled, timesteps, n, selective.shape[-1] * selective.shape[-2], wide,
            pooled.shape[1], layer.plasticity, ETA_LIMIT, layer.through_plasticity,
            len(selective) < timesteps * n,
        )  # fmt: skip
        into = full_precision(convolve_back(to_selective, layer.conv))
        into = into.contiguous(memory_format=torch.channels_last)
        pool_back(to_pooled, which, into, NINE)
        return into.view(ctx.shape), None, None


def flex(x: Tensor, layer: Flex, timesteps: int) -> Tensor:
    """The flexible layer over time.

    Args:
        x: ``(T, N, C_in, H, W)``, or ``(1, N, …)`` if the input is constant.
        layer: the folded layer.
        timesteps: T.

    Returns:
        Mixed responses ``(T, N, C, H, W)``.
    """
    out: Tensor = _Flex.apply(x, layer, timesteps)  # type: ignore[no-untyped-call]
    return out
