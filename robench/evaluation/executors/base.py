"""The protocol of executors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from robench.evaluation.plan import Planned
from robench.evaluation.units import Unit
from robench.results import CellResult, ResultStore


class Executor(Protocol):
    """Computes units of work.

    Attributes:
        workers: how many units it computes at a time.
    """

    workers: int

    def run(
        self, units: Sequence[Unit], cells: Mapping[str, Planned], store: ResultStore
    ) -> Iterator[tuple[Unit, CellResult | None]]:
        """Compute units, and store chunks and results.

        A cell that another run has stored since the plan is not computed again.

        Args:
            units: the work; the executor chooses the order.
            cells: the cells of the units, by hash.
            store: for chunks and results.

        Yields:
            Each unit that is finished, with the result of its cell if nothing of the cell is
            missing. Units of a cell that has failed may be left out.
        """
