"""What a run prints: its plan, its progress and its results."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

import typer

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
from robench.reporting.terminal.estimates import Estimates
from robench.reporting.terminal.lines import check_lines, heading, result_line
from robench.reporting.terminal.progress import RunProgress, Work, duration
from robench.results import CellResult, Check, Damaged, ResultStore, worst_verdict
from robench.text import aligned, counted


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


def plan_lines(plan: Plan, units: Sequence[Unit], estimates: Estimates) -> Iterator[str]:
    """A line for each unit: its images, ε, what it will take, and the state of its cell."""
    cells = {planned.digest: planned for planned in plan.cells}

    def rows() -> Iterator[Sequence[str]]:
        yield "cell", "images", "ε", "passes", "time", "state"
        for unit in units:
            planned = cells[unit.digest]
            cell, share = planned.cell, unit.samples / unit.images
            passes = f"{estimates.passes(cell) * unit.samples:,.0f}"
            seconds = estimates.seconds(cell)
            took = "?" if seconds is None else duration(seconds * share)
            images = str(unit.samples) if unit.whole else f"{unit.samples} of {unit.images}"
            name = f"{cell.model.id}  {cell.attack.name}"
            yield name, images, str(len(cell.settings.grid)), passes, took, _state(planned)

    if units:
        yield from aligned(rows(), numbers=True)
    yield Work.of(plan, units, estimates).line()


def require_yes(question: str) -> None:
    """Ask on a terminal, and end the command unless the answer is yes; elsewhere go on."""
    if sys.stdin.isatty() and sys.stdout.isatty() and not typer.confirm(question):
        raise typer.Exit(0)


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
    """One bar with the time left on a terminal, and lines for the finished cells.

    The cells of a model are printed together, since each changes the verdicts of the others.
    Models of which nothing is computed are left out, unless that is so for all.
    """

    def __init__(
        self, bar: RunProgress, cells: Sequence[Planned], store: ResultStore, *, quiet: bool
    ) -> None:
        """For cells of which all are to come."""
        self.bar, self.store, self.quiet = bar, store, quiet
        self.order = [planned.digest for planned in cells]
        self.to_come = Counter(str(planned.cell.model.id) for planned in cells)
        self.all_kept = all(planned.done for planned in cells)
        self.finished: dict[str, list[tuple[CellResult, bool]]] = {}
        self.explained: set[tuple[str, str]] = set()

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
        if not self.quiet and self._unknown(cell.model.id, without_hope or found):
            self._print([f"{cell.model.id}  {verdict} before any attack"])
            self._print(self._reasons(cell.model.id, without_hope or found))
        if strict:
            refuse_hopeless(found)

    def finish(self, result: CellResult, computed: bool) -> None:
        """Count a cell, and print its model's if it is the last; not ``computed`` were stored."""
        if computed:
            self.bar.learn(result)
        found = self.finished.setdefault(result.model, [])
        found.append((result, computed))
        if len(found) == self.to_come[result.model]:
            self._show(result.model)

    def finish_all(self) -> None:
        """Print the cells of models that were left unfinished."""
        for model in list(self.finished):
            self._show(model)

    def _show(self, model: str) -> None:
        found = self.finished.pop(model)
        computed = {result.hash for result, computed in found if computed}
        if self.quiet or not (computed or self.all_kept):
            return
        cells = sorted((result for result, _ in found), key=lambda r: self.order.index(r.hash))
        compared = comparisons(cells, self.store)
        self._print(heading(cells[0]))
        for result in cells:
            checks = compared.get(result.hash, ())
            took = f"{result.run.seconds:.1f} s" if result.hash in computed else "kept"
            self._print([result_line(result, checks, took)])
            if result.outcome is not None:
                self._print(self._reasons(model, [*result.outcome.checks, *checks]))

    def _unknown(self, model: str, found: Sequence[Check]) -> bool:
        return any(check.reason and (model, check.reason) not in self.explained for check in found)

    def _reasons(self, model: str, found: Sequence[Check]) -> list[str]:
        """Why a verdict is not valid, with advice where it was not given before."""
        lines: list[str] = []
        again: list[str] = []
        for check in found:
            if check.reason and (model, check.reason) in self.explained:
                again.append(check.reason)
            elif check.reason:
                self.explained.add((model, check.reason))
                lines += check_lines(check)
        return [*lines, *([f"      as above: {', '.join(again)}"] if again else [])]

    def _print(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.bar.bar.say(line)


def carry_out(
    plan: Plan,
    store: ResultStore,
    *,
    quiet: bool = False,
    force: bool = False,
    fail_fast: bool = False,
    executor: Executor | None = None,
    units: Sequence[Unit] | None = None,
    estimates: Estimates | None = None,
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
        estimates: of the work, by default from the store.

    Returns:
        The results, in the order of the cells.
    """
    results = []
    bar = RunProgress(
        plan, estimates or Estimates.of(plan, store), sys.stdout,
        units=units, force=force, shown=not quiet,
    )  # fmt: skip
    here = {planned.digest for planned in plan.cells if units is None}
    here |= {unit.digest for unit in units or ()}
    chosen = [planned for planned in plan.cells if planned.digest in here]
    progress = Progress(bar, chosen, store, quiet=quiet)
    with bar:
        checked = partial(progress.checked, strict=fail_fast)
        executor = executor or LocalExecutor(progress=bar.update, checked=checked)
        cells = run_plan(
            plan, store, executor=executor, units=units, force=force, finished=bar.count
        )
        with closing(cells):
            for result, computed in cells:
                results.append(result)
                progress.finish(result, computed)
                if fail_fast and result.status == "failed":
                    break
        progress.finish_all()
    order = {planned.digest: k for k, planned in enumerate(plan.cells)}
    return sorted(results, key=lambda result: order[result.hash])


def left_lines(results: Sequence[CellResult], cells: int, *, fail_fast: bool) -> Iterator[str]:
    """Why some cells of a run have no result."""
    if missing := cells - len(results):
        left = counted(missing, "cell")
        if fail_fast and any(result.status == "failed" for result in results):
            yield f"{left} not computed, because --fail-fast stops at a failure"
        else:
            yield f"{left} waiting for other shards; the last that ends completes them"
