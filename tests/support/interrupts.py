"""Runs that are interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from robench.engine.sweep import ChunkSweep


def interrupt_chunk(patch: pytest.MonkeyPatch, number: int) -> None:
    """Interrupt a run when it starts the chunk of that number, counted from 0."""
    sweep, calls = ChunkSweep.run, iter(range(99))

    def interrupted(self: ChunkSweep, *arguments: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return sweep(self, *arguments)

    patch.setattr(ChunkSweep, "run", interrupted)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children take interrupts, also if the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
