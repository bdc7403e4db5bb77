"""Arithmetic that is done separately for each row (sample) of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(eps: Tensor, x: Tensor) -> Tensor:
    """ε of each row, ``(N,)``, reshaped to broadcast against ``x``."""
    return eps.view(-1, *([1] * (x.dim() - 1)))


def magnitude(values: Tensor) -> Tensor:
    """The largest absolute value of each row, ``(N,)``; NaN if the row contains a NaN."""
    return values.flatten(1).abs().amax(1)


def same(some: Tensor, others: Tensor) -> Tensor:
    """Which rows are equal in every element, ``(N,)``."""
    # as uint8: the reduction of booleans takes 20 times as long
    return (some == others).flatten(1).view(torch.uint8).amin(1).bool()


def vanished(gradient: Tensor) -> Tensor:
    """Which rows have a gradient that is zero everywhere, ``(N,)``."""
    return magnitude(gradient) == 0
