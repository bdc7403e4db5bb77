"""Statistics of the neurons of an attacked sample, kept from one gradient to the next.

Some surrogates follow statistics of the membrane over the steps of an attack. These belong to the
attacked row, not to the network: the attack keeps them in its state and hands them to the view
with each gradient, and the neurons reach those of the rows that are being computed through
:func:`recording`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

import torch
from torch import Tensor

_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class NeuronStatistics:
    """Statistics of each row, None before its first gradient; a field of an attack's state.

    They are as large as all neurons of the network, and only rows whose run is not over have any.
    The rows of a call are parts of one tensor, which is freed with the last of them.

    Attributes:
        entries: one for each row, a vector that :class:`Recorder` knows how to read.
    """

    def __init__(self, entries: Sequence[Tensor | None]) -> None:
        self.entries = list(entries)

    @classmethod
    def empty(cls, n: int) -> Self:
        """Of rows that have had no gradient."""
        return cls([None] * n)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Tensor) -> NeuronStatistics:
        return NeuronStatistics([self.entries[i] for i in index.tolist()])

    def __setitem__(self, index: Tensor, part: NeuronStatistics) -> None:
        for i, entry in zip(index.tolist(), part.entries, strict=True):
            self.entries[i] = entry

    def forget(self, rows: Tensor) -> None:
        """Free the statistics of some rows, given as a mask ``(N,)``."""
        for i in rows.nonzero().squeeze(1).tolist():
            self.entries[i] = None


class Recorder:
    """The statistics of the rows of one call, which the call moves on.

    Layers are told apart by the order in which they are called. A layer's part of a row's vector
    is its statistics one after the other, each over all of its time steps and neurons.

    Attributes:
        frozen: whether the statistics are used as they are, and not moved on by the call.
        new: which rows had none before, ``(N,)``.
    """

    def __init__(self, before: Sequence[Tensor | None], *, frozen: bool = False) -> None:
        """Begin a call of so many rows."""
        self.frozen = frozen
        self._before = list(before)
        found = [entry for entry in before if entry is not None]
        self.new = torch.tensor([entry is None for entry in before], dtype=torch.bool)
        self._whole: Tensor | None = None  # of a network that was called before
        if len(found) == len(before) > 0:
            self._whole = torch.stack(found)  # a copy: what a row had before stays as it was
        elif found:
            self._whole = found[0].new_empty(len(before), len(found[0]))
            self._whole[~self.new] = torch.stack(found)
        self._parts: list[Tensor] = []

    @contextmanager
    def recording(self) -> Iterator[Self]:
        """Let the neurons that this thread calls inside find their statistics here."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def statistics(self, like: Tensor, start: Sequence[float]) -> Tensor:
        """Those of the next layer, ``(N, len(start), T·neurons)``, to be moved on in place.

        Args:
            like: a tensor of the layer, ``(T, N, …)``.
            start: the value of each statistic in a row that has none.

        Raises:
            ValueError: the rows were computed before by another network or for another T.
        """
        n, size = len(self._before), like[:, 0].numel()
        first = sum(part[0].numel() for part in self._parts)
        if self._whole is None:
            part = like.new_empty(n, len(start), size)
        else:
            flat = self._whole[:, first : first + len(start) * size]
            if flat.shape[1] != len(start) * size:
                raise ValueError("the statistics are those of another network or another T")
            part = flat.view(n, len(start), size)
        if self.new.any():
            new = self.new.to(like.device)[:, None]
            for statistic, value in zip(part.unbind(1), start, strict=True):
                statistic.masked_fill_(new, value)
        self._parts.append(part)
        return part

    def entries(self) -> list[Tensor | None]:
        """The vector of each row after the call; None where no layer keeps any."""
        if self.frozen:
            return self._before
        if not self._parts:
            return [None] * len(self._before)
        whole = self._whole
        if whole is None:
            whole = torch.cat([part.flatten(1) for part in self._parts], 1)
        return list(whole)


def recorder() -> Recorder | None:
    """That of the rows that this thread computes, None where nobody records."""
    return _current.get()
