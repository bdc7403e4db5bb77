"""Threads that share the rows of one call of a model.

On a CPU each thread computes some rows of the batch through the whole network. That is faster
than sharing out every single operation, whose threads wait for each other at each end, and it
stays so where other programs use the processor too.
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
"""Rows of a part: more do not fit the caches of most models, fewer are not worth a thread."""


class Workers:
    """As many threads as torch may use, or none where the model keeps state between calls.

    A context manager. Inside, torch's own operations use one thread each where there are workers,
    and denormal numbers are flushed: a surrogate's tail is denormal, and slow, long before it is 0.
    Memory that is freed inside is kept: who calls hands it back.

    Attributes:
        threads: how many parts are computed at the same time.
        smallest: rows that a part has at least, where there are so many.
        largest: and at most.
        most: rows that a part may have; it falls where memory runs out, and stays so.
    """

    def __init__(self, *, shared: bool, largest: int = LARGEST) -> None:
        """Prepare.

        Args:
            shared: whether threads may call the model at the same time.
            largest: rows that a thread computes at a time.
        """
        self.smallest, self.largest = SMALLEST, largest
        self.threads = torch.get_num_threads() if shared else 1
        self.most = sys.maxsize
        self._pool: ThreadPoolExecutor | None = None
        self._before = (self.threads, False)

    @property
    def at_once(self) -> int:
        """The most rows that are computed at the same time, after memory ran out."""
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
        """Compute no more than so many rows at the same time from now on."""
        self.most = min(self.most, max(1, rows // self.threads))

    def part(self, rows: int) -> int:
        """How many rows of a call of so many are computed as one batch."""
        if self._pool is None:
            return rows
        return min(max(-(-rows // self.threads), self.smallest), self.largest)

    def in_parts_of(self, rows: int) -> Self:
        """The same threads, which compute so many rows at a time."""
        other = copy(self)
        other.smallest = other.largest = rows
        return other

    def map(self, function: Callable[[slice], T], rows: int) -> list[T]:
        """What ``function`` returns for each part of a call of so many rows, in order.

        The parts depend on the number of rows and on the settings alone, until memory runs out: a
        part for which it does is computed in two halves.

        Raises:
            EvaluationError: memory runs out at one row.
        """
        if self._pool is None:
            return self._halved(function, slice(0, rows))
        size = self.part(rows)
        firsts = range(0, max(rows, 1), size)  # a call of no rows is one empty part
        parts = [slice(first, min(first + size, rows)) for first in firsts]
        found = list(self._pool.map(partial(self._halved, function), parts))
        return [result for part in found for result in part]

    def each(self, function: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """What ``function`` returns for each item, in order; memory that runs out is an error."""
        return list((map if self._pool is None else self._pool.map)(function, items))

    def _halved(self, function: Callable[[slice], T], rows: slice) -> list[T]:
        """What ``function`` returns for some rows, in as many parts as memory asks for."""
        count = rows.stop - rows.start
        if count <= self.most:
            try:
                return [function(rows)]
            except Exception as error:
                require_smaller(error, count)
            # past the handler: the error no longer holds what the failed call had allocated
            self.most = min(self.most, count // 2)
        middle = rows.start + count // 2
        halves = slice(rows.start, middle), slice(middle, rows.stop)
        return [result for half in halves for result in self._halved(function, half)]


def _flushes() -> bool:
    """Whether denormal numbers are flushed; torch has no function that tells."""
    smallest = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    return float(smallest / 2) == 0


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
