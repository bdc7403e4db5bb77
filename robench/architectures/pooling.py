"""Max pooling whose backward pass needs one byte for each output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from robench.architectures.fusion import empty_channels_last
from robench.spiking import kernels


@dataclass(frozen=True)
class Window:
    """A pooling window: its size, stride and padding, in pixels."""

    size: int
    stride: int
    padding: int

    def outputs(self, length: int) -> int:
        """The number of windows along an axis of this length."""
        return (length + 2 * self.padding - self.size) // self.stride + 1


def pool(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The maxima of a channels-last ``(N, C, H, W)``, and their positions in the windows."""
    n, channels, height, width = x.shape
    shape = (n, channels, window.outputs(height), window.outputs(width))
    y = empty_channels_last(x, shape)
    which = torch.empty_like(y, dtype=torch.uint8)
    kernels.call(
        "max_pool_forward", x, y, which, n, height, width, channels,
        window.size, window.stride, window.padding,
    )  # fmt: skip
    return y, which


def pool_back(gradient: Tensor, which: Tensor, into: Tensor, window: Window) -> None:
    """Add the gradient of the maxima to that of their inputs, in place."""
    n, channels, height, width = into.shape
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    kernels.call(
        "max_pool_backward", gradient, which, into, n, height, width, channels,
        window.size, window.stride, window.padding,
    )  # fmt: skip


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        y, which = pool(x.contiguous(memory_format=torch.channels_last), window)
        ctx.save_for_backward(which)
        ctx.window, ctx.shape = window, x.shape
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        (which,) = ctx.saved_tensors
        into = empty_channels_last(grads[0], ctx.shape).zero_()
        pool_back(grads[0], which, into, ctx.window)
        return into, None


def max_pool(x: Tensor, window: Window) -> Tensor:
    """Max pooling of ``(N, C, H, W)`` that saves one byte for each output."""
    fits = min(window.outputs(length) for length in x.shape[-2:]) > 0
    if not (fits and kernels.usable(x)):
        return F.max_pool2d(x, window.size, window.stride, window.padding)
    out: Tensor = _MaxPool.apply(x, window)  # type: ignore[no-untyped-call]
    return out
