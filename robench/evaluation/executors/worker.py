"""A worker: what computes units in another process."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from robench.datasets.files import VARIABLE
from robench.errors import EvaluationError
from robench.evaluation.checking import refuse_hopeless
from robench.evaluation.executors.local import evaluate_unit, failed, release
from robench.evaluation.executors.order import Order
from robench.evaluation.failure import full_text, short_reason
from robench.evaluation.plan import Planned
from robench.evaluation.units import Unit
from robench.results import CellResult, Check
from robench.runtime import memory


@dataclass(frozen=True)
class Place:
    """The share of a machine that a worker has.

    Attributes:
        threads: number of its threads.
        device: as ``--device`` writes it.
        share: it may use one of so many equal parts of the memory of the machine.
        gpu_share: the same of the memory of the GPU.
    """

    threads: int
    device: str
    share: int = 1
    gpu_share: int = 1


class LostWorkerError(Exception):
    """A worker has ended without an answer; its unit can be computed by another one."""


class Bench:
    """The state of a worker: the cells of the model of its last unit."""

    def __init__(self, order: Order, place: Place) -> None:
        """Take the worker's share of the machine.

        Args:
            order: the run.
            place: the share.
        """
        os.chdir(order.folder)
        if order.data:
            os.environ[VARIABLE] = order.data
        torch.set_num_threads(place.threads)
        memory.divide(place.share, place.gpu_share)
        self.order, self.request = order, replace(order.request, device=place.device)
        self.store = order.store
        self.pattern = ""
        self.cells: dict[str, Planned] = {}

    def ready(self) -> bool:
        """True, as soon as the worker can compute."""
        return True

    def compute(self, unit: Unit) -> CellResult | None:
        """See :func:`~robench.evaluation.executors.local.evaluate_unit`.

        Raises:
            RobenchError: this process cannot make the cell of the unit.
        """
        if unit.pattern != self.pattern:
            for planned in self.cells.values():
                release(planned.cell)
            self.cells, self.pattern = {}, ""
            cells = self.order.plan(unit.pattern, self.request).cells
            self.cells = {planned.digest: planned for planned in cells}
            self.pattern = unit.pattern
        if unit.digest not in self.cells:
            raise EvaluationError(
                f"the worker on {socket.gethostname()} finds another model, attack or data set "
                "under these names; all workers need the same robench and the same files"
            )
        cell, began = self.cells[unit.digest].cell, time.monotonic()
        try:
            return evaluate_unit(unit, cell, self.store, checked=self._checked)
        except KeyboardInterrupt as error:  # of the model's code: a worker gets no Ctrl-C
            reason, text = short_reason(error), full_text(error)
            return failed(cell, unit.digest, self.store, began, reason, text)

    def _checked(self, found: Sequence[Check]) -> None:
        if self.order.fail_fast:
            refuse_hopeless(found)
