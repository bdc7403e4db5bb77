"""The executor of this process, and the evaluation of one unit in any process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest

from robench.engine.sweep import Progress, silent
from robench.evaluation.cell import Cell
from robench.evaluation.evaluate import evaluate_chunks
from robench.evaluation.failure import full_text, short_reason
from robench.evaluation.plan import Planned, stored_since
from robench.evaluation.provenance import record
from robench.evaluation.units import Unit
from robench.results import CellResult, Check, ResultStore


class LocalExecutor:
    """Computes unit after unit in this process; the engine uses the threads that torch has.

    The network of a checkpoint is loaded for its units and freed after them.
    """

    workers = 1

    def __init__(
        self,
        *,
        strict: bool = False,
        progress: Callable[[Cell, int, int], None] = lambda cell, finished, passes: None,
        checked: Callable[[Cell, Sequence[Check]], None] = lambda cell, found: None,
    ) -> None:
        """Prepare.

        Args:
            strict: whether an exception of a cell is raised, rather than stored.
            progress: called with a cell, and the samples and passes of the unit that are finished.
            checked: called with a cell and the checks of its model, before the sweep; it may raise.
        """
        self.strict, self.progress, self.checked = strict, progress, checked

    def run(
        self, units: Sequence[Unit], cells: Mapping[str, Planned], store: ResultStore
    ) -> Iterator[tuple[Unit, CellResult | None]]:
        """Compute the units in the given order, see :class:`~.base.Executor`."""
        following = [cells[unit.digest].cell.model for unit in units[1:]]
        for unit, next_model in zip_longest(units, following):
            cell = cells[unit.digest].cell
            progress, checked = partial(self.progress, cell), partial(self.checked, cell)
            result = stored_since(cells[unit.digest], store) or evaluate_unit(
                unit, cell, store, strict=self.strict, progress=progress, checked=checked
            )
            if next_model is not cell.model:
                release(cell)
            yield unit, result


def evaluate_unit(
    unit: Unit,
    cell: Cell,
    store: ResultStore,
    *,
    strict: bool = False,
    progress: Progress = silent,
    checked: Callable[[Sequence[Check]], None] = lambda found: None,
) -> CellResult | None:
    """Evaluate a unit of a cell; if it raises, the cell is stored as failed.

    Args:
        unit: the work.
        cell: its cell.
        store: for chunks and results.
        strict: whether an exception is raised instead.
        progress: see :func:`~robench.evaluation.evaluate.evaluate_chunks`.
        checked: like ``progress``.

    Returns:
        The result of the cell; None if some of its chunks are left to other units.
    """
    started = time.monotonic()
    chunks = None if unit.whole else unit.chunks
    try:
        return evaluate_chunks(cell, store, chunks, progress, checked)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of the model or the attack: only this cell fails
        if strict:
            raise
        return failed(cell, unit.digest, store, started, short_reason(error), full_text(error))


def failed(
    cell: Cell, digest: str, store: ResultStore, started: float, reason: str, text: str
) -> CellResult:
    """The stored record of a cell that failed; the arguments are those of ``record``."""
    result = record(cell, digest, "failed", started, reason=reason, error=text)
    with suppress(OSError):  # if it cannot be stored, the reason is still returned
        store.write(result)
    return result


def release(cell: Cell) -> None:
    """Free the networks of the checkpoints of a cell."""
    for model in (cell.model, *cell.sources):
        model.release()
