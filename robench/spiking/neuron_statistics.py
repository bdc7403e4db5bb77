"""Statistics of the neurons of an attacked sample, kept from one gradient to the next.

Adaptive surrogates follow statistics of the membrane over the steps of an attack. The statistics
belong to the attacked row, not to the network. The attack keeps them in its state and passes them
to the view with each gradient. The neurons find those of the current rows through
:func:`recorder`.
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
    """The statistics of each row, None before its first gradient; a field of an attack's state.

    A row has as many numbers as the network has neurons and time steps, times the number of
    statistics. Only rows in a run have any. The rows of a call are views of one tensor, which is
    freed with the last of them.

    Attributes:
        entries: one vector for each row, in the layout of :class:`Recorder`.
    """

    def __init__(self, entries: Sequence[Tensor | None]) -> None:
        self.entries = list(entries)

    @classmethod
    def empty(cls, n: int) -> Self:
        """The statistics of ``n`` rows before their first gradient."""
        return cls([None] * n)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Tensor) -> NeuronStatistics:
        assert index.dtype != torch.bool, "rows are given by their numbers"
        return NeuronStatistics([self.entries[i] for i in index.tolist()])

    def __setitem__(self, index: Tensor, part: NeuronStatistics) -> None:
        for i, entry in zip(index.tolist(), part.entries, strict=True):
            self.entries[i] = entry

    def forget(self, rows: Tensor) -> None:
        """Free the statistics of some rows, given as a mask ``(N,)``."""
        for i in rows.nonzero().squeeze(1).tolist():
            self.entries[i] = None


class Recorder:
    """The statistics of the rows of one call, which the call updates.

    Layers are identified by the order of their calls. The vector of a row is the concatenation of
    the layers' parts; a part is the concatenation of the statistics of the layer, each over all
    of its time steps and neurons. Where images leave a user's network early, calls of different
    length have the same beginning, and what comes behind it starts as in a first gradient.

    Attributes:
        frozen: whether the call leaves the statistics unchanged.
        new: the rows without statistics before the call, ``(N,)``.
    """

    def __init__(self, before: Sequence[Tensor | None], *, frozen: bool = False) -> None:
        """Start a call on rows with these statistics."""
        self.frozen = frozen
        self._before = list(before)
        found = [entry for entry in before if entry is not None]
        if len({len(entry) for entry in found}) > 1:
            found = [entry[: min(map(len, found))] for entry in found]
        self.new = torch.tensor([entry is None for entry in before], dtype=torch.bool)
        self._whole: Tensor | None = None  # (N, ·), unless no row has statistics
        if len(found) == len(before) > 0:
            self._whole = torch.stack(found)  # a copy: the entries before the call stay unchanged
        elif found:
            self._whole = found[0].new_empty(len(before), len(found[0]))
            self._whole[~self.new] = torch.stack(found)
        self._parts: list[Tensor] = []

    @contextmanager
    def recording(self) -> Iterator[Self]:
        """Inside, the neurons that this thread calls find their statistics here."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def statistics(
        self, like: Tensor, start: Sequence[float], *, strict: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The statistics of the next layer, and which rows have none yet, ``(N,)``.

        They are ``(N, len(start), T·neurons)``, to update in place.

        Args:
            like: a tensor of the layer, ``(T, N, …)``.
            start: the first value of each statistic.
            strict: whether each call has the same layers.

        Raises:
            ValueError: the entries are those of another network or of another T.
        """
        n, size = len(self._before), like[:, 0].numel()
        first = sum(part[0].numel() for part in self._parts)
        whole = self._whole
        known = None if whole is None else whole[:, first : first + len(start) * size]
        if known is not None and known.shape[1] == len(start) * size:
            part, new = known.view(n, len(start), size), self.new
        elif known is not None and strict:
            raise ValueError("the statistics are those of another network or another T")
        else:
            part, new = like.new_empty(n, len(start), size), torch.ones_like(self.new)
        if new.any():
            rows = new.to(like.device)[:, None]
            for statistic, value in zip(part.unbind(1), start, strict=True):
                statistic.masked_fill_(rows, value)
        self._parts.append(part)
        return part, new

    def entries(self) -> list[Tensor | None]:
        """The vector of each row after the call; None if no layer has statistics."""
        if self.frozen:
            return self._before
        if not self._parts:
            return [None] * len(self._before)
        whole, size = self._whole, sum(part[0].numel() for part in self._parts)
        if whole is None or whole.shape[1] != size:
            whole = torch.cat([part.flatten(1) for part in self._parts], 1)
        return list(whole)


def recorder() -> Recorder | None:
    """The recorder of the call that this thread computes; None outside of a recording."""
    return _current.get()
