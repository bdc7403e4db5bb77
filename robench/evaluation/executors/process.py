"""Workers in other processes of this machine."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import joblib
import torch

from robench.errors import RobenchError
from robench.evaluation.executors.order import Order
from robench.evaluation.executors.pool import PoolExecutor
from robench.evaluation.executors.worker import Bench, LostWorkerError, Place
from robench.evaluation.units import Unit
from robench.results import CellResult
from robench.runtime import child, memory
from robench.runtime.device import find_device

NEEDED = 2 * 2**30
"""Bytes of memory that a worker should have; with less for each there are fewer workers."""


class ProcessExecutor(PoolExecutor):
    """Spawned processes, one for each core or each GPU, which divide threads and memory."""

    def __init__(
        self, order: Order, jobs: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        """Prepare.

        Args:
            order: the run.
            jobs: number of processes, None for as many as cores, or GPUs, and memory allow.
            say: see :class:`PoolExecutor`.
        """
        device = find_device(order.request.device)
        cores = joblib.cpu_count()
        given = order.request.device in ("auto", "cuda")
        gpus = torch.cuda.device_count() if device != "cpu" and given else 1
        fitting = max(1, min(cores, memory.allowed() // NEEDED))
        super().__init__(jobs or (fitting if device == "cpu" else gpus), say)
        self.order = order
        threads = max(1, min(cores // self.workers, torch.get_num_threads()))
        self.places = [
            Place(
                threads,
                f"cuda:{number % gpus}" if device != "cpu" and given else device,
                self.workers,
                -(-self.workers // gpus),
            )
            for number in range(self.workers)
        ]

    def start(self, number: int) -> ProcessWorker:
        """See :class:`~.pool.PoolExecutor`."""
        return ProcessWorker(self.order, self.places[number])


class ProcessWorker:
    """A process, and the pipe to it."""

    def __init__(self, order: Order, place: Place) -> None:
        """Start the process."""
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        call = pickle.dumps((_work, (order, place)))
        self.process = context.Process(target=child.run, args=(other, call), name="robench")
        with child.without_interrupt():
            self.process.start()
        other.close()

    def wait(self) -> None:
        """See :class:`~.pool.Worker`."""
        self._receive()

    def compute(self, unit: Unit) -> CellResult | None:
        """See :class:`~.pool.Worker`."""
        try:
            self.pipe.send(unit)
        except OSError:
            raise LostWorkerError(self._end()) from None
        return self._receive()

    def _receive(self) -> CellResult | None:
        try:
            answer: CellResult | RobenchError | None = self.pipe.recv()
        except (EOFError, OSError):
            raise LostWorkerError(self._end()) from None
        if isinstance(answer, RobenchError):
            raise answer
        return answer

    def _end(self) -> str:
        """Why the process has ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"it ended with exit code {code}"
        name = signal.Signals(-code).name
        short = "; memory may be short: give fewer --jobs" if name == "SIGKILL" else ""
        return f"it was ended by {name}{short}"

    def stop(self) -> None:
        """See :class:`~.pool.Worker`."""
        self.process.kill()
        self.process.join()


def _work(pipe: Connection, order: Order, place: Place) -> None:
    """Compute units until the pipe is closed."""
    bench = Bench(order, place)
    pipe.send(None)
    while True:
        try:
            unit = pipe.recv()
        except EOFError:
            return
        try:
            answer: CellResult | RobenchError | None = bench.compute(unit)
        except RobenchError as error:
            answer = error
        pipe.send(answer)
