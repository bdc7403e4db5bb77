"""The random numbers of a stochastic network, such as one with Poisson encoding.

A network that draws from a global generator gives different logits in different batches, so no
outcome can be reproduced. A network that draws from :class:`ModelNoise` gets per-sample numbers:
the caller binds them to the rows of each call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor, nn


class RowNumbers(Protocol):
    """Random numbers of the rows of one call."""

    def __call__(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, *shape)``; the same arguments give the same ones."""
        ...


_current: ContextVar[RowNumbers | None] = ContextVar("numbers", default=None)


@contextmanager
def bound(numbers: RowNumbers) -> Iterator[None]:
    """Inside, the networks that this thread calls draw these numbers, one set for each row."""
    token = _current.set(numbers)
    try:
        yield
    finally:
        _current.reset(token)


def without_first() -> AbstractContextManager[None]:
    """Inside, a call of all rows but the first draws the numbers that these rows have now."""
    numbers = _current.get()
    if numbers is None:
        return nullcontext()
    return bound(lambda stream, shape: numbers(stream, shape)[1:])


class ModelNoise(nn.Module):
    """The source of random numbers of a stochastic network: a submodule, ``self.noise(…)``.

    If no numbers are bound, as in training, it draws from torch's global generator.
    """

    def forward(self, stream: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, *shape)``, in type and device of ``like``.

        Args:
            stream: the name of the sequence; each place that draws has its own.
            shape: the shape of the numbers of one row.
            like: the rows of the call, ``(N, …)``.

        Raises:
            ValueError: the numbers are bound to another number of rows.
        """
        numbers = _current.get()
        if numbers is None:
            return torch.rand((len(like), *shape), dtype=like.dtype, device=like.device)
        found = numbers(stream, shape)
        if len(found) != len(like):
            raise ValueError(f"{len(like)} rows draw the numbers of {len(found)}")
        return found.to(like)
