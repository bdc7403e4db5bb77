"""Arithmetic on rows: what attacks and engine compute for each sample of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(eps: Tensor, x: Tensor) -> Tensor:
    """ε of each row, ``(N,)``, with the axes that broadcast against ``x``."""
    return eps.view(-1, *([1] * (x.dim() - 1)))


def magnitude(values: Tensor) -> Tensor:
    """The largest absolute value of each row, ``(N,)``; NaN where one of them is."""
    return values.flatten(1).abs().amax(1)


def same(some: Tensor, others: Tensor) -> Tensor:
    """Which rows are equal in every number, ``(N,)``."""
    # as small integers: on truth values the reduction takes 20 times as long
    return (some == others).flatten(1).view(torch.uint8).amin(1).bool()


def vanished(gradient: Tensor) -> Tensor:
    """Which rows have a gradient that is zero everywhere, ``(N,)``."""
    return magnitude(gradient) == 0
