"""What a run says to the person in front of it: its plan, its progress and its result lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from robench.evaluation import Cell, Plan
from robench.results import CellResult, Damaged


def trouble_lines(plan: Plan) -> Iterator[str]:
    """A line for each model that is left out and each stored result that is damaged.

    And one for the done cells that lack the witnesses that were asked for.
    """
    for skipped in plan.skipped:
        yield f"skipped {skipped.model}: {skipped.reason}"
    for planned in plan.cells:
        if isinstance(planned.stored, Damaged):
            yield (
                f"damaged result, computed again: {planned.stored.path}: {planned.stored.reason}"
            )
    if unwitnessed := sum(planned.unwitnessed for planned in plan.cells):
        yield f"done without witnesses, computed again to keep them: {unwitnessed} cells"


def plan_lines(plan: Plan) -> Iterator[str]:
    """A line for each cell: what it is, and whether it is done."""
    for planned in plan.cells:
        state = "done" if planned.done else "to do"
        yield f"{planned.cell.model.id}  {planned.cell.attack.name}  {state}"


class Progress:
    """One bar with the time left on a terminal, a line for each finished cell elsewhere."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self.quiet = quiet
        todo = [planned.cell for planned in plan.cells if not planned.done]
        self.before = 0
        self.size = 0
        console = Console(highlight=False, soft_wrap=True)
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("", total=sum(len(cell.images) for cell in todo))

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, cell: Cell, finished: int) -> None:
        """Show that so many samples of a cell are finished."""
        self.size = len(cell.images)
        self.bar.update(
            self.task,
            completed=self.before + finished,
            description=f"{cell.model.id} {cell.attack.name}",
        )

    def finish(self, result: CellResult, computed: bool) -> None:
        """Print a cell's result; ``computed`` is False where it was there already."""
        if computed:
            self.before += self.size
        if not self.quiet:
            print(result_line(result, computed), flush=True)


def result_line(result: CellResult, computed: bool) -> str:
    """A cell on one line: accuracy, areas and verdict, or why it has none."""
    name = f"{result.model:32} {result.attack:12}"
    took = f"{result.run.seconds:6.1f} s" if computed else "  kept"
    if result.outcome is None:
        return f"{name} {result.status}: {result.reason}"
    outcome = result.outcome
    areas = "  ".join(f"AUC@{limit} {value:.3f}" for limit, value in outcome.auc.items())
    if outcome.verdict == "invalid":
        areas = "AUC withheld"
    reasons = f" ({', '.join(outcome.reasons)})" if outcome.reasons else ""
    return (
        f"{name} {took}  clean {outcome.clean_accuracy:6.1%}  {areas}  {outcome.verdict}{reasons}"
    )
