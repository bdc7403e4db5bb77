"""The layers of a frozen network as an attack needs them: folded, and sparing of memory.

In evaluation and with frozen parameters a batch norm is part of the convolution before it, and
the backward pass asks for the gradient of the input alone: none of these functions keeps its
input. Layers take them where :func:`is_frozen` holds and their plain modules elsewhere; both
compute the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from robench.spiking import kernels

ETA_LIMIT = 3.0
"""Where the hard sigmoid saturates, and where the adaptation of a flexible layer stops."""
VECTOR = 32
"""Bytes of a vector in the kernels."""
SPARSE_CHANNELS, SPARSE_DENSITY = 32, 0.25
"""At least so many outputs, and at most this share of non-zero inputs, for a sparse convolution."""


def is_frozen(layer: nn.Module) -> bool:
    """Whether a layer is in evaluation, has no parameter to train and may be optimised."""
    return not (
        layer.training or kernels.is_reference() or any(p.requires_grad for p in layer.parameters())
    )


@dataclass(frozen=True)
class Folded:
    """A 3×3 convolution with its batch norm in it.

    Attributes:
        weight: ``(C_out, C_in, 3, 3)``, channels last.
        bias: ``(C_out,)``.
        back: the weight of the convolution that takes the gradient back to the input.
        rows: the weight as the kernels read it, ``(3, 3, C_in, padded)``.
        row_bias: ``(padded,)``.
        back_rows: the same of ``back``, ``(3, 3, C_out, padded)``; None on the CPU.
        sources: what it was made from, kept so that nothing else comes to lie at its address.
        key: in which state that was.
    """

    weight: Tensor
    bias: Tensor
    back: Tensor
    rows: Tensor
    row_bias: Tensor
    back_rows: Tensor | None
    sources: tuple[Tensor, ...]
    key: tuple[object, ...]


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, known: Folded | None = None) -> Folded:
    """Fold a batch norm into the convolution before it.

    Args:
        conv: 3×3, padding 1, without a bias.
        norm: with its statistics of training.
        known: taken again where neither layer has changed since. A change that torch does not
            count, as in ``weight.data.mul_(2)``, is not seen.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    sources = (conv.weight, norm.weight, norm.bias, mean, variance)
    key = tuple((x.data_ptr(), x._version, x.dtype) for x in sources)
    if known is not None and known.key == key:
        return known
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        weight, bias = conv.weight * scale[:, None, None, None], norm.bias - mean * scale
        back = weight.flip(-1, -2).transpose(0, 1)
        rows = _rows(weight)
        return Folded(
            weight.contiguous(memory_format=torch.channels_last),
            bias,
            back.contiguous(memory_format=torch.channels_last),
            rows,
            F.pad(bias, (0, rows.shape[-1] - len(bias))),
            _rows(back) if back.device.type == "cuda" else None,
            tuple(x.detach() for x in sources),
            key,
        )


def _rows(weight: Tensor) -> Tensor:
    """A weight ``(C_out, C_in, 3, 3)`` as the kernels read it: rows of C_out, padded to vectors."""
    vector = VECTOR // weight.element_size()
    return F.pad(weight.permute(2, 3, 1, 0), (0, -len(weight) % vector)).contiguous()


def prefers_sparse(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether going from one non-zero input to the next is faster than the dense convolution.

    A rule and not a timing, so that equal runs take equal ways. Its constants were measured on a
    processor with 256-bit vectors, where the sparse convolution at the limit is about as fast as
    the dense one.

    Args:
        conv: the layer.
        x: inputs that are typical of it, ``(T, N, C, H, W)``.
    """
    if conv.out_channels < SPARSE_CHANNELS or x.device.type != "cpu" or not kernels.usable(x):
        return False
    return int(x.count_nonzero()) <= SPARSE_DENSITY * x.numel()


def _convolved(x: Tensor, folded: Folded, *, sparse: bool) -> Tensor:
    """The folded convolution of a channels-last ``(N, C_in, H, W)``."""
    dense = x.device.type == "cuda"
    if not ((sparse or dense) and kernels.usable(x, folded.weight)):
        return F.conv2d(x, folded.weight, folded.bias, padding=1)
    kernel = "conv" if dense else "sparse_conv"
    return _by_rows(kernel, x, folded.rows, folded.row_bias, len(folded.bias))


def _convolved_back(gradient: Tensor, folded: Folded) -> Tensor:
    """The gradient at the input of the folded convolution, for ``(N, C_out, H, W)``."""
    rows = folded.back_rows
    twice = gradient.requires_grad  # a second derivative is asked for: autograd has to see it
    if rows is not None and not twice and kernels.usable(gradient, rows):
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _by_rows("conv", gradient, rows, None, len(folded.back))
    return F.conv2d(gradient, folded.back, padding=1)


def _by_rows(kernel: str, x: Tensor, rows: Tensor, bias: Tensor | None, out: int) -> Tensor:
    n, channels, height, width = x.shape
    y = _channels_last(x, (n, out, height, width))
    kernels.call(kernel, x, rows, bias, y, n, height, width, channels, out, rows.shape[-1])
    return y


def _channels_last(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An empty tensor ``(N, C, H, W)`` of the type and on the device of another."""
    order = torch.channels_last
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, folded: Folded, sparse: bool) -> Tensor:
        ctx.folded = folded
        ctx.set_materialize_grads(False)
        return _convolved(x.contiguous(memory_format=torch.channels_last), folded, sparse=sparse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        gradient = grads[0]
        return None if gradient is None else _convolved_back(gradient, ctx.folded), None, None


def conv(x: Tensor, folded: Folded, *, sparse: bool = False) -> Tensor:
    """The folded convolution of ``(N, C_in, H, W)``, by its non-zero inputs where ``sparse``."""
    out: Tensor = _Conv.apply(x, folded, sparse)  # type: ignore[no-untyped-call]
    return out


@dataclass(frozen=True)
class Window:
    """A pooling window: its size, stride and padding, in pixels."""

    size: int
    stride: int
    padding: int

    def outputs(self, length: int) -> int:
        """How many windows fit along an axis of this length."""
        return (length + 2 * self.padding - self.size) // self.stride + 1


def _pool(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The maxima and where each was found, of a channels-last ``(N, C, H, W)``."""
    n, channels, height, width = x.shape
    shape = (n, channels, window.outputs(height), window.outputs(width))
    y = _channels_last(x, shape)
    which = torch.empty_like(y, dtype=torch.uint8)
    kernels.call(
        "max_pool_forward", x, y, which, n, height, width, channels,
        window.size, window.stride, window.padding,
    )  # fmt: skip
    return y, which


def _pool_back(gradient: Tensor, which: Tensor, into: Tensor, window: Window) -> None:
    """Add the gradient of the maxima to the inputs that they were."""
    n, channels, height, width = into.shape
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    kernels.call(
        "max_pool_backward", gradient, which, into, n, height, width, channels,
        window.size, window.stride, window.padding,
    )  # fmt: skip


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        y, which = _pool(x.contiguous(memory_format=torch.channels_last), window)
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
        into = _channels_last(grads[0], ctx.shape).zero_()
        _pool_back(grads[0], which, into, ctx.window)
        return into, None


def max_pool(x: Tensor, window: Window) -> Tensor:
    """Max pooling of ``(N, C, H, W)`` that keeps one byte for each output for its way back."""
    fits = min(window.outputs(length) for length in x.shape[-2:]) > 0
    if not (fits and kernels.usable(x)):
        return F.max_pool2d(x, window.size, window.stride, window.padding)
    out: Tensor = _MaxPool.apply(x, window)  # type: ignore[no-untyped-call]
    return out


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
        sparse: whether the convolution goes by its non-zero inputs.
    """

    conv: Folded
    gain: Tensor
    offset: Tensor
    eta: Tensor
    plasticity: float
    through_plasticity: bool
    sparse: bool


_NINE = Window(3, 1, 1)


class _Flex(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Flex, timesteps: int) -> Tensor:
        steps, n = x.shape[:2]
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        selective = _convolved(images, layer.conv, sparse=layer.sparse)
        selective = selective.contiguous(memory_format=torch.channels_last)
        pooled, which = _pool(images, _NINE)
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
        into = _convolved_back(to_selective, layer.conv)
        into = into.contiguous(memory_format=torch.channels_last)
        _pool_back(to_pooled, which, into, _NINE)
        return into.view(ctx.shape), None, None


def flex(x: Tensor, layer: Flex, timesteps: int) -> Tensor:
    """The flexible layer over time.

    Args:
        x: ``(T, N, C_in, H, W)``, or one step ``(1, N, …)`` that is seen in each.
        layer: the folded layer.
        timesteps: T.

    Returns:
        Mixed responses ``(T, N, C, H, W)``.
    """
    out: Tensor = _Flex.apply(x, layer, timesteps)  # type: ignore[no-untyped-call]
    return out
