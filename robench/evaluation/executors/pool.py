"""The executor of several workers: one thread of this process serves each of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Protocol

from robench.errors import EvaluationError, RobenchError
from robench.evaluation.executors.local import failed
from robench.evaluation.executors.queue import UnitQueue
from robench.evaluation.executors.worker import LostWorkerError
from robench.evaluation.plan import Planned, stored_since
from robench.evaluation.units import Unit
from robench.results import CellResult, ResultStore

TRIES = 3
"""How many workers a unit may cost before its cell has failed, and how many starts a worker."""

Answer = tuple[Unit, CellResult | None]


class Worker(Protocol):
    """One worker, as the pool sees it; :meth:`stop` may be called from any thread."""

    def wait(self) -> None:
        """Wait until the worker is ready.

        Raises:
            LostWorkerError: it ended before.
        """

    def compute(self, unit: Unit) -> CellResult | None:
        """Wait for the answer of the worker.

        Raises:
            LostWorkerError: it ended without one.
            RobenchError: it cannot compute the unit.
        """

    def stop(self) -> None:
        """End the worker at once; what it has stored is kept."""


class PoolExecutor(ABC):
    """Keeps its workers busy, replaces those that are lost, and repeats their units.

    Attributes:
        workers: number of workers.
        closed: whether they are ended.
    """

    def __init__(self, workers: int, say: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            workers: number of workers.
            say: called with a line about a lost worker, from any thread.
        """
        self.workers, self.say = workers, say
        self.closed = False
        self._running: dict[int, Worker] = {}
        self._lock = Lock()

    @abstractmethod
    def start(self, number: int) -> Worker:
        """Start a worker with a number, counted from 0, without waiting for it."""

    def run(
        self, units: Sequence[Unit], cells: Mapping[str, Planned], store: ResultStore
    ) -> Iterator[Answer]:
        """Compute the units, see :class:`~.base.Executor`."""
        queue, answers = UnitQueue(units), SimpleQueue[Answer | BaseException]()
        lost: Counter[Unit] = Counter()

        def compute(worker: Worker, unit: Unit) -> None:
            """Answer a unit, unless its worker is lost and another one may try."""
            try:
                result = stored_since(cells[unit.digest], store) or worker.compute(unit)
            except LostWorkerError as error:
                if self.closed:
                    raise
                lost[unit] += 1
                if lost[unit] < TRIES:
                    self.say(f"a worker was lost, and its work is repeated: {error}")
                    queue.put_back(unit)
                    raise
                result = _failed(unit, cells, store, f"{TRIES} workers were lost with it: {error}")
                answers.put((unit, result))
                queue.finish(unit)
                raise
            except RobenchError as error:
                result = _failed(unit, cells, store, str(error))
            answers.put((unit, result))
            queue.finish(unit)

        def serve(number: int) -> None:
            while not self.closed:
                try:
                    worker, last = self._started(number), ""
                    while (unit := queue.take(last)) is not None:
                        last = unit.pattern
                        compute(worker, unit)
                except LostWorkerError:
                    continue  # with a new one
                return

        def watched(number: int) -> None:
            try:
                serve(number)
            except BaseException as error:
                answers.put(error)

        self.closed, left = False, len(units)
        try:
            for number in range(min(self.workers, len(units))):
                Thread(target=watched, args=(number,), daemon=True).start()
            while left:
                answer = answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                left -= 1
                unit, result = answer
                if result is not None and result.status == "failed":
                    left -= queue.drop(unit.digest)
                yield answer
        finally:
            queue.close()
            self.close()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self.closed = True
            running, self._running = self._running, {}
        for worker in running.values():
            worker.stop()

    def _started(self, number: int) -> Worker:
        """A new worker that is ready, and which :meth:`close` ends.

        Raises:
            EvaluationError: it cannot be started.
            LostWorkerError: the run has ended.
        """
        for _ in range(TRIES):
            with self._lock:  # so that close() ends it, and not in the middle of its start
                if self.closed:
                    raise LostWorkerError("the run has ended")
                worker = self._running[number] = self.start(number)
            try:
                worker.wait()
            except LostWorkerError as error:
                reason = error
            else:
                return worker
        raise EvaluationError(f"a worker cannot start: {reason}")


def _failed(
    unit: Unit, cells: Mapping[str, Planned], store: ResultStore, reason: str
) -> CellResult:
    cell = cells[unit.digest].cell
    return failed(cell, unit.digest, store, time.monotonic(), reason, reason)
