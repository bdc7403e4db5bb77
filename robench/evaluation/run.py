"""Evaluating the cells of a plan."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from robench.evaluation.executors.base import Executor
from robench.evaluation.executors.local import LocalExecutor
from robench.evaluation.plan import Plan
from robench.evaluation.units import Unit, split_units
from robench.results import CellResult, ResultStore


def run_plan(
    plan: Plan,
    store: ResultStore,
    *,
    executor: Executor | None = None,
    units: Sequence[Unit] | None = None,
    force: bool = False,
    finished: Callable[[Unit], None] = lambda unit: None,
) -> Generator[tuple[CellResult, bool]]:
    """Evaluate the missing cells of a plan.

    A cell that raises is stored as failed, with its traceback, and the next one follows.

    Args:
        plan: the cells.
        store: for the results.
        executor: computes them; by default one by one in this process.
        units: the part of the work to do, None for all of it; see
            :class:`~robench.evaluation.units.Shard`.
        force: whether finished cells are evaluated again.
        finished: called with each unit that was computed, before the result of its cell is
            yielded.

    Yields:
        The result of each cell, and whether it was computed after the plan, here or by another run
        on the same store: first those that are kept, then the others as they are finished. A cell
        of which some chunks are left to other units, as in a part of the work, has no result.
    """
    executor = executor or LocalExecutor()
    cells = {planned.digest: planned for planned in plan.cells}
    chosen = [Unit.of(planned) for planned in plan.cells] if units is None else list(units)
    for planned in cells.values():
        if planned.done or force:  # a run killed between a cell and its clean-up leaves chunks
            store.chunks(planned.cell.model.id, planned.cell.attack.name, planned.digest).drop()
    todo = [unit for unit in chosen if force or not cells[unit.digest].done]
    for digest in dict.fromkeys(unit.digest for unit in chosen):
        planned = cells[digest]
        if planned.done and not force:
            assert isinstance(planned.stored, CellResult)
            yield planned.stored, False
    results: set[str] = set()

    def run(parts: Sequence[Unit]) -> Iterator[tuple[CellResult, bool]]:
        for unit, result in executor.run(parts, cells, store):
            finished(unit)
            if result is not None and unit.digest not in results:
                results.add(unit.digest)
                yield result, True

    yield from run(split_units(todo, executor.workers))
    # of two shards that end at the same time, each may miss the chunks of the other
    if missed := [unit for unit in todo if unit.whole and unit.digest not in results]:
        yield from run(missed)
