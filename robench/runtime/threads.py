"""Threads that share the rows of one call of a model.

On a CPU, each thread computes some rows of the batch through the whole network. That is faster than
threads within each operation, which wait for each other at its end, also on a machine that other
programs use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from typing import Self, TypeVar

import torch

from robench.runtime.allocator import keep_freed_memory
from robench.runtime.batch_size import require_smaller

S = TypeVar("S")
T = TypeVar("T")
LARGEST, SMALLEST = 32, 8
"""Rows of a part: more exceed the caches for most models, fewer are not worth a thread."""


class Workers:
    """As many threads as torch may use, or none if the model keeps state between calls.

    A context manager. Inside, torch's own operations use one thread if there are workers, and
    denormal numbers are flushed, since the tail of a surrogate is denormal, and slow. Freed memory
    is not returned to the system; the caller does that.

    Attributes:
        threads: number of parts that are computed at the same time.
        smallest: fewest rows of a part, if the call has so many.
        largest: most rows of a part.
        most: rows of a part that fit into memory; it is reduced when memory runs out.
    """

    def __init__(self, *, shared: bool, largest: int = LARGEST) -> None:
        """Prepare.

        Args:
            shared: whether threads may call the model at the same time.
            largest: most rows that a thread computes at a time.
        """
        self.smallest, self.largest = SMALLEST, largest
        self.threads = torch.get_num_threads() if shared else 1
        self.most = sys.maxsize
        self._pool: ThreadPoolExecutor | None = None
        self._before = (self.threads, False)

    @property
    def at_once(self) -> int:
        """The number of rows that can be computed at the same time."""
        return self.most * (1 if self._pool is None else self.threads)

    def __enter__(self) -> Self:
        self._before = torch.get_num_threads(), _flushes()
        torch.set_flush_denormal(True)
        keep_freed_memory()
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads, initializer=_prepare)
            torch.set_num_threads(1)
        return self

    def __exit__(self, *_: object) -> None:
        threads, flushes = self._before
        torch.set_flush_denormal(flushes)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            torch.set_num_threads(threads)

    def allow(self, rows: int) -> None:
        """Limit the number of rows that are computed at the same time."""
        self.most = min(self.most, max(1, rows // self.threads))

    def part(self, rows: int) -> int:
        """The number of rows of a part, in a call with a number of rows."""
        if self._pool is None:
            return rows
        return min(max(-(-rows // self.threads), self.smallest), self.largest)

    def in_parts_of(self, rows: int) -> Self:
        """The same threads, with parts of a number of rows."""
        other = copy(self)
        other.smallest = other.largest = rows
        return other

    def map(
        self, function: Callable[[slice], T], rows: int, *, one_by_one: bool = False
    ) -> list[T]:
        """The results of ``function`` for each part of a call, in order.

        The parts depend only on the number of rows and the settings, unless memory runs out: such
        a part is computed in two halves.

        Args:
            function: computes some rows.
            rows: their number.
            one_by_one: whether each part is one row.

        Raises:
            EvaluationError: memory runs out at one row.
        """
        size = 1 if one_by_one else max(self.part(rows), 1)
        firsts = range(0, max(rows, 1), size)  # a call without rows is one empty part
        parts = [slice(first, min(first + size, rows)) for first in firsts]
        found = self.each(partial(self._halved, function), parts)
        return [result for part in found for result in part]

    def each(self, function: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """The results of ``function`` for each item, in order; no item is split."""
        return list((map if self._pool is None else self._pool.map)(function, items))

    def _halved(self, function: Callable[[slice], T], rows: slice) -> list[T]:
        """The results of ``function`` for some rows, halved while memory runs out."""
        count = rows.stop - rows.start
        if count <= self.most:
            try:
                return [function(rows)]
            except Exception as error:
                require_smaller(error, count)
            # outside the handler, since the error keeps the memory of the failed call alive
            self.most = min(self.most, count // 2)
        middle = rows.start + count // 2
        halves = slice(rows.start, middle), slice(middle, rows.stop)
        return [result for half in halves for result in self._halved(function, half)]


def _flushes() -> bool:
    """Whether denormal numbers are flushed; torch has no function for that."""
    smallest = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    return float(smallest / 2) == 0


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
