"""Fusion of convolution and batch norm in a frozen network.

In evaluation and with frozen parameters a batch norm can be folded into the convolution before it.
The backward pass then computes only the gradient of the input, so the input is not saved. Layers
use these functions if :func:`is_frozen`, and else their plain modules; both compute the same
function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robench.spiking import kernels

VECTOR = 32
"""The size of a vector in the kernels, in bytes."""
SPARSE_CHANNELS, SPARSE_DENSITY = 32, 0.25
"""The least outputs and the largest share of non-zero inputs of a sparse convolution."""


def is_frozen(layer: nn.Module) -> bool:
    """Whether a layer is in evaluation, has no trainable parameter and may use kernels."""
    return not (
        any(part.training for part in layer.modules())
        or kernels.is_reference()
        or any(p.requires_grad for p in layer.parameters())
    )


@dataclass(frozen=True)
class Folded:
    """A 3×3 convolution with a folded batch norm.

    Attributes:
        weight: ``(C_out, C_in, 3, 3)``, channels last.
        bias: ``(C_out,)``.
        back: the weight of the convolution of the backward pass.
        rows: the weight in the layout of the kernels, ``(3, 3, C_in, padded)``.
        row_bias: ``(padded,)``.
        back_rows: ``back`` in that layout, ``(3, 3, C_out, padded)``; None on the CPU.
        sources: the tensors that were folded, kept so that their memory is not reused.
        key: addresses, versions and types of the sources.
        statistics: the running mean and variance that were folded.
    """

    weight: Tensor
    bias: Tensor
    back: Tensor
    rows: Tensor
    row_bias: Tensor
    back_rows: Tensor | None
    sources: tuple[Tensor, ...]
    key: tuple[object, ...]
    statistics: tuple[Tensor, Tensor]


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, known: Folded | None = None) -> Folded:
    """Fold a batch norm into the convolution before it.

    Args:
        conv: 3×3, padding 1, without a bias.
        norm: the batch norm, with running statistics.
        known: an earlier result, which is returned if neither layer has changed since. Running
            statistics are compared by value, since torch does not track their updates in training.
            Of the weights, a change that torch does not track, as ``weight.data.mul_(2)``, is not
            detected.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    sources = (conv.weight, norm.weight, norm.bias, mean, variance)
    key = tuple((x.data_ptr(), x._version, x.dtype) for x in sources)
    if known is not None and known.key == key:
        statistics = zip(known.statistics, (mean, variance), strict=True)
        if all(torch.equal(before, now) for before, now in statistics):
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
            (mean.clone(), variance.clone()),
        )


def _rows(weight: Tensor) -> Tensor:
    """A weight ``(C_out, C_in, 3, 3)`` as rows of C_out numbers, padded to vectors."""
    vector = VECTOR // weight.element_size()
    return F.pad(weight.permute(2, 3, 1, 0), (0, -len(weight) % vector)).contiguous()


def prefers_sparse(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the sparse convolution is faster than the dense one.

    This is a rule and not a timing, so that equal runs use equal code. Its constants were measured
    on a processor with 256-bit vectors: at the limit both are about as fast.

    Args:
        conv: the layer.
        x: typical inputs of the layer, ``(T, N, C, H, W)``.
    """
    if conv.out_channels < SPARSE_CHANNELS or x.device.type != "cpu" or not kernels.usable(x):
        return False
    return int(x.count_nonzero()) <= SPARSE_DENSITY * x.numel()


def convolve(x: Tensor, folded: Folded, *, sparse: bool) -> Tensor:
    """The folded convolution of a channels-last ``(N, C_in, H, W)``."""
    dense = x.device.type == "cuda"
    if not ((sparse or dense) and kernels.usable(x, folded.weight)):
        return F.conv2d(x, folded.weight, folded.bias, padding=1)
    kernel = "conv" if dense else "sparse_conv"
    return _by_rows(kernel, x, folded.rows, folded.row_bias, len(folded.bias))


def convolve_back(gradient: Tensor, folded: Folded) -> Tensor:
    """The gradient at the input of the folded convolution, for ``(N, C_out, H, W)``."""
    rows = folded.back_rows
    twice = gradient.requires_grad  # for a second derivative autograd must record the operation
    if rows is not None and not twice and kernels.usable(gradient, rows):
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _by_rows("conv", gradient, rows, None, len(folded.back))
    return F.conv2d(gradient.to(folded.back.dtype), folded.back, padding=1)


def _by_rows(kernel: str, x: Tensor, rows: Tensor, bias: Tensor | None, out: int) -> Tensor:
    n, channels, height, width = x.shape
    y = empty_channels_last(x, (n, out, height, width))
    kernels.call(kernel, x, rows, bias, y, n, height, width, channels, out, rows.shape[-1])
    return y


def empty_channels_last(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An empty channels-last tensor ``(N, C, H, W)`` with the type and device of another."""
    order = torch.channels_last
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, folded: Folded, sparse: bool) -> Tensor:
        ctx.folded = folded
        ctx.set_materialize_grads(False)
        return convolve(x.contiguous(memory_format=torch.channels_last), folded, sparse=sparse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        gradient = grads[0]
        return None if gradient is None else convolve_back(gradient, ctx.folded), None, None


def conv(x: Tensor, folded: Folded, *, sparse: bool = False) -> Tensor:
    """The folded convolution of ``(N, C_in, H, W)``; ``sparse`` skips inputs that are zero."""
    out: Tensor = _Conv.apply(x, folded, sparse)  # type: ignore[no-untyped-call]
    return out
