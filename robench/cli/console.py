"""What a run prints: its plan, its progress and its results."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any, Self

from robench.checks import worst_verdict
from robench.errors import UsageError
from robench.evaluation import (
    Cell,
    Executor,
    LocalExecutor,
    Plan,
    Planned,
    Unit,
    hopeless,
    refuse_hopeless,
    run_plan,
)
from robench.reporting.between import comparisons
from robench.reporting.cells import quoted
from robench.reporting.progress import ProgressBar
from robench.reporting.report import verdict_text
from robench.results import CellResult, Check, Damaged, ResultStore
from robench.text import counted


def trouble_lines(plan: Plan) -> Iterator[str]:
    """A line for each reason to skip models, for each damaged result, and for lacking examples."""
    left_out: dict[str, list[str]] = {}
    for skipped in plan.skipped:
        left_out.setdefault(skipped.reason, []).append(skipped.model)
    for reason, models in left_out.items():
        yield f"skipped {', '.join(models)}: {reason}"
    for planned in plan.cells:
        if isinstance(planned.stored, Damaged):
            yield (
                f"damaged result, computed again: {planned.stored.path}: {planned.stored.reason}"
            )
    lacking = Counter(planned.lacks for planned in plan.cells if planned.lacks)
    for what, count in lacking.items():
        cells = counted(count, "cell")
        yield f"done without the {what} that were asked for, computed again: {cells}"


def print_troubles(plan: Plan) -> None:
    """Print :func:`trouble_lines` on stderr."""
    for line in trouble_lines(plan):
        print(line, file=sys.stderr)


def require_cells(plan: Plan) -> None:
    """Refuse a plan in which every model is skipped.

    Raises:
        UsageError: there is nothing to do; the text has the reason if the models share one.
    """
    if plan.cells:
        return
    reasons = {skipped.reason for skipped in plan.skipped}
    if len(reasons) != 1:
        print_troubles(plan)
        raise UsageError("no model can run: each is skipped for the reason above")
    raise UsageError(f"no model can run: {reasons.pop()}")


def plan_lines(plan: Plan, units: Sequence[Unit]) -> Iterator[str]:
    """A line for each unit, with the state of its cell."""
    cells = {planned.digest: planned for planned in plan.cells}
    for unit in units:
        planned = cells[unit.digest]
        part = "" if unit.whole else f"  {unit.samples} of {unit.images} samples"
        yield f"{planned.cell.model.id}  {planned.cell.attack.name}  {_state(planned)}{part}"


def plan_data(plan: Plan, units: Sequence[Unit]) -> dict[str, list[dict[str, Any]]]:
    """The units of a plan and the skipped models as plain data."""
    planned = {planned.digest: planned for planned in plan.cells}
    cells = [
        {
            "model": planned[unit.digest].cell.model.id,
            "attack": planned[unit.digest].cell.attack.name,
            "dataset": planned[unit.digest].cell.dataset.name,
            "samples": unit.samples,
            "hash": unit.digest,
            "state": _state(planned[unit.digest]),
        }
        for unit in units
    ]
    return {"cells": cells, "skipped": [asdict(skipped) for skipped in plan.skipped]}


def _state(planned: Planned) -> str:
    if planned.done:
        return "done"
    return "not applicable" if planned.cell.unmet() else "to do"


class Progress:
    """One bar with the time left on a terminal, a line for each finished cell elsewhere."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self.quiet = quiet
        self.out = sys.stdout  # what is printed in a cell goes to stderr, as a network's prints do
        self.shown: set[str] = set()
        self.said: set[tuple[str, str]] = set()
        names = [len(planned.cell.attack.name) for planned in plan.cells]
        self.width = min(max((12, *names)), 40)
        todo = sum(len(planned.cell.images) for planned in plan.cells if not planned.done)
        self.bar = ProgressBar(todo, sys.stdout, shown=not quiet)

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)

    def update(self, cell: Cell, finished: int) -> None:
        """Show how many samples of a unit of a cell are finished."""
        self.bar.update(f"{cell.model.id} {cell.attack.name}", finished)

    def checked(self, cell: Cell, found: Sequence[Check], *, strict: bool) -> None:
        """Print once what the checks of a model say before its sweep.

        Args:
            cell: of the model.
            found: the checks.
            strict: whether a cell that they make invalid is not computed.

        Raises:
            EvaluationError: so that the cell fails.
        """
        without_hope = hopeless(found)
        verdict = "invalid" if without_hope else worst_verdict(found)
        reasons = [check.reason for check in without_hope or found if check.reason]
        if reasons and not self.quiet and (cell.model.id, verdict) not in self.said:
            self.said.add((cell.model.id, verdict))
            said = verdict_text(verdict, reasons)
            print(f"{cell.model.id:32} {said} before any attack", file=self.out, flush=True)
        if strict:
            refuse_hopeless(found)

    def count(self, unit: Unit) -> None:
        """Count the samples of a finished unit."""
        self.bar.next_cell(unit.samples)

    def finish(self, result: CellResult, computed: bool) -> None:
        """Print a cell's result; ``computed`` is False if it was stored already."""
        if self.quiet:
            return
        spikes = result.outcome.spikes if result.outcome else ""
        if spikes and result.model not in self.shown:
            self.shown.add(result.model)
            print(f"{result.model:32} {spikes}", flush=True)
        print(result_line(result, computed, self.width), flush=True)


def carry_out(
    plan: Plan,
    store: ResultStore,
    *,
    quiet: bool = False,
    force: bool = False,
    fail_fast: bool = False,
    executor: Executor | None = None,
    units: Sequence[Unit] | None = None,
) -> list[CellResult]:
    """Evaluate the missing cells of a plan and show the progress.

    Args:
        plan: the cells.
        store: where they go.
        quiet: print nothing.
        force: evaluate finished cells again.
        fail_fast: stop after the first cell that fails, or whose model is invalid before an attack.
        executor: computes the cells; by default this process.
        units: the part of the work to do, None for all of it.

    Returns:
        The results, in the order of the cells.
    """
    results = []
    with Progress(plan, quiet=quiet) as progress:
        checked = partial(progress.checked, strict=fail_fast)
        executor = executor or LocalExecutor(progress=progress.update, checked=checked)
        cells = run_plan(
            plan, store, executor=executor, units=units, force=force, finished=progress.count
        )
        with closing(cells):
            for result, computed in cells:
                results.append(result)
                progress.finish(result, computed)
                if fail_fast and result.status == "failed":
                    break
    order = {planned.digest: k for k, planned in enumerate(plan.cells)}
    return sorted(results, key=lambda result: order[result.hash])


def compared_lines(results: Sequence[CellResult], store: ResultStore) -> list[str]:
    """What the comparison of a model's cells says about them, one line for each."""
    checks = comparisons(results, store)
    lines = []
    for result in results:
        verdict = worst_verdict(checks.get(result.hash, ()))
        if result.outcome is not None and verdict not in ("valid", "unchecked"):
            reasons = [check.reason for check in checks[result.hash] if check.reason]
            lines.append(f"{result.model:32} {result.attack}: {verdict_text(verdict, reasons)}")
    return lines


def result_line(result: CellResult, computed: bool, width: int = 12) -> str:
    """A cell on one line: accuracy, areas and verdict, or the reason why it has none.

    Args:
        result: of the cell.
        computed: False if it was stored already.
        width: of the column of attacks.
    """
    name = f"{result.model:32} {result.attack:{width}}"
    took = f"{result.run.seconds:6.1f} s" if computed else "  kept"
    if result.outcome is None:
        return f"{name} {result.status}: {result.reason}"
    outcome = result.outcome
    point = quoted(outcome)
    bound = "≤ " if outcome.verdict == "invalid" else ""
    found = [
        f"clean {outcome.clean_accuracy:6.1%}",
        f"at {point.epsilon.text} {bound}{point.accuracy:.1%}",
        *(f"AUC@{limit} {bound}{value:.3f}" for limit, value in outcome.auc.items()),
    ]
    passes = f"{outcome.forwards + outcome.backwards:.0f} passes"
    verdict = verdict_text(outcome.verdict, outcome.reasons)
    return "  ".join([f"{name} {took}", *found, passes, verdict])
