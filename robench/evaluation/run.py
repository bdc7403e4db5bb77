"""Evaluating the cells of a plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from robench.evaluation.cell import Cell
from robench.evaluation.evaluate import evaluate_cell
from robench.evaluation.failure import full_text, short_reason
from robench.evaluation.plan import Plan
from robench.evaluation.provenance import record
from robench.results import CellResult, Check, ResultStore


def run_plan(
    plan: Plan,
    store: ResultStore,
    *,
    force: bool = False,
    strict: bool = False,
    progress: Callable[[Cell, int], None] = lambda cell, finished: None,
    checked: Callable[[Cell, Sequence[Check]], None] = lambda cell, found: None,
) -> Iterator[tuple[CellResult, bool]]:
    """Evaluate the missing cells of a plan, one by one.

    A cell that raises is stored as failed, with its traceback, and the next one follows. The
    network of a checkpoint is loaded for its cells and freed after them.

    Args:
        plan: the cells.
        store: for the results.
        force: whether finished cells are evaluated again.
        strict: whether an exception of a cell is raised instead.
        progress: called with a cell and the number of its samples that are finished.
        checked: called with a cell and the checks of its model, before the sweep; it may raise.

    Yields:
        The result of each cell, and whether it was computed now.
    """
    following = [*(planned.cell.model for planned in plan.cells[1:]), None]
    for planned, next_model in zip(plan.cells, following, strict=True):
        cell, digest = planned.cell, planned.digest
        if planned.done or force:  # a run killed between a cell and its clean-up leaves chunks
            store.drop_chunks(cell.model.id, cell.attack.name, digest)
        if planned.done and not force:
            assert isinstance(planned.stored, CellResult)
            yield planned.stored, False
            continue
        started = time.monotonic()
        try:
            result = evaluate_cell(cell, store, partial(progress, cell), partial(checked, cell))
        except (Exception, SystemExit) as error:  # of the model or the attack: only this cell fails
            if strict:
                raise
            reason, text = short_reason(error), full_text(error)
            result = record(cell, digest, "failed", started, reason=reason, error=text)
            with suppress(OSError):  # if it cannot be stored, the reason is still yielded
                store.write(result)
        if next_model is not cell.model:
            for model in (cell.model, *cell.sources):
                model.release()
        yield result, True
