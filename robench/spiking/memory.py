"""What the neurons of an attacked sample remember from one gradient to the next.

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


class RowMemory:
    """Statistics of each row, None before its first gradient; a field of an attack's state.

    They are kept one by one, and not in one tensor, because they are as large as all neurons of
    the network: only rows that are under way have any.

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

    def __getitem__(self, index: Tensor) -> RowMemory:
        return RowMemory([self.entries[i] for i in index.tolist()])

    def __setitem__(self, index: Tensor, part: RowMemory) -> None:
        for i, entry in zip(index.tolist(), part.entries, strict=True):
            self.entries[i] = entry

    def forget(self, rows: Tensor) -> None:
        """Let go of the statistics of some rows, given as a mask ``(N,)``."""
        for i in rows.nonzero().squeeze(1).tolist():
            self.entries[i] = None


class Recorder:
    """The statistics of the rows of one call, layer by layer, before it and after it.

    Layers are told apart by the order in which they are called. A layer's part of a row's vector
    is its statistics one after the other, each over all of its time steps and neurons.

    Attributes:
        frozen: whether the statistics are used as they are, and not moved on by the call.
    """

    def __init__(self, before: Sequence[Tensor | None], *, frozen: bool = False) -> None:
        """Begin a call of so many rows."""
        self.frozen = frozen
        found = [entry for entry in before if entry is not None]
        self._known = torch.tensor([entry is not None for entry in before], dtype=torch.bool)
        self._before = torch.stack(found) if found else None
        self._after: list[tuple[Tensor, ...] | None] = []
        self._length = 0

    @contextmanager
    def recording(self) -> Iterator[Self]:
        """Let the neurons that this thread calls inside find their statistics here."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def place(self, like: Tensor, count: int) -> tuple[int, int]:
        """Give the next layer its place.

        Args:
            like: a tensor of the layer, ``(T, N, …)``.
            count: how many statistics it keeps, each of that shape.
        """
        self._after.append(None)
        first, self._length = self._length, self._length + count * like[:, 0].numel()
        return len(self._after) - 1, first

    def read(self, place: tuple[int, int], start: Sequence[float], like: Tensor) -> list[Tensor]:
        """A layer's statistics, ``(T, N, …)`` each.

        Args:
            place: that of the layer.
            start: the value of each statistic in a row that has none.
            like: a tensor of the layer, for shape, type and device.

        Raises:
            ValueError: the rows were computed before by another network or for another T.
        """
        size, n = like[:, 0].numel(), like.shape[1]
        whole = like.new_tensor(start)[None, :, None].repeat(n, 1, size)
        if self._before is not None:
            part = self._before[:, place[1] : place[1] + len(start) * size]
            if part.shape[1] != len(start) * size:
                raise ValueError("the statistics are those of another network or another T")
            whole[self._known.to(like.device)] = part.view(-1, len(start), size).to(whole)
        shape = (n, len(like), *like.shape[2:])
        return [part.reshape(shape).movedim(1, 0) for part in whole.unbind(1)]

    def write(self, place: tuple[int, int], statistics: tuple[Tensor, ...]) -> None:
        """Keep a layer's new statistics, ``(T, N, …)`` each."""
        self._after[place[0]] = statistics

    def entries(self) -> list[Tensor | None]:
        """The vector of each row after the call; None where no layer kept any."""
        kept = [layer for layer in self._after if layer is not None]
        if not kept:
            return [None] * len(self._known)
        return [  # each in a storage of its own, so that one row can be let go of
            torch.cat([part[:, row].flatten() for layer in kept for part in layer])
            for row in range(len(self._known))
        ]


def recorder() -> Recorder | None:
    """That of the rows that this thread computes, None where nobody records."""
    return _current.get()
