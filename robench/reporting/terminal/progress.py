"""A progress bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import NamedTuple, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from robench.evaluation import Cell, Plan, Unit
from robench.reporting.terminal.estimates import Estimates
from robench.results import CellResult
from robench.text import counted, terminal, visible

_AGAIN = 1.0
"""Seconds until the work that is left is added up again."""
_SURE = 3.0
"""Seconds until a time left is shown."""
_OPEN = 0.97
"""A cell is not finished while its passes are more than estimated."""


class ProgressBar:
    """One bar on a terminal or in a notebook, nothing elsewhere; a context manager."""

    def __init__(self, total: float, stream: TextIO, *, shown: bool = True) -> None:
        """Prepare.

        Args:
            total: the work, in any unit.
            stream: where it is drawn; what a user's code prints meanwhile is sent to stderr.
            shown: whether to draw it.
        """
        self._stream = stream
        notebook = Console().is_jupyter
        console = Console(  # a notebook draws text as a terminal does, and needs no widgets
            file=terminal(stream),
            force_jupyter=False,
            force_terminal=True if notebook else None,
            width=100 if notebook else None,
            highlight=False,
            soft_wrap=True,
        )
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
            console=console,
            disable=not shown or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, note="")
        self.total, self._before, self._began = total, 0.0, time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, name: str, finished: float, note: str = "") -> None:
        """Show how much of the present part of the work is finished."""
        done = self._before + finished
        note = "  ".join(filter(None, [note, self._left(done)]))
        self._bar.update(
            self._task, description=visible(name), completed=done, total=self.total, note=note
        )

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._bar.disable:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.console.print(visible(line), markup=False, soft_wrap=True)

    def next_cell(self, work: float) -> None:
        """Count a finished part."""
        self._before += work

    def restart(self, done: float, total: float) -> None:
        """Correct the work that is done, without the present part, and that of all parts."""
        self._before, self.total = done, total

    def _left(self, done: float) -> str:
        """The time left, if the rest is as fast as what is done."""
        elapsed = time.monotonic() - self._began
        if elapsed < _SURE or done <= 0:
            return ""
        return f"{duration(elapsed * max(0.0, self.total - done) / done)} left"


class RunProgress:
    """The bar of a run: which cell, its images, passes a second, and the time left.

    The time left follows from the passes that the cells are expected to take, and from the time of
    a pass of each model, as far as they are known.
    """

    def __init__(
        self,
        plan: Plan,
        estimates: Estimates,
        stream: TextIO,
        *,
        units: Sequence[Unit] | None = None,
        force: bool = False,
        shown: bool = True,
    ) -> None:
        """Prepare.

        Args:
            plan: the cells of the run.
            estimates: of their work; those that are finished are added.
            stream: where the bar is drawn.
            units: the part of the work to do, None for all of it.
            force: whether finished cells are computed again.
            shown: whether to draw it.
        """
        cells = {planned.digest: planned for planned in plan.cells}
        parts = [Unit.of(planned) for planned in plan.cells] if units is None else units
        self._estimates = estimates
        self._cells: dict[str, Cell] = {}
        self._samples: dict[str, int] = {}
        for unit in parts:
            if force or not cells[unit.digest].done:
                self._cells[unit.digest] = cells[unit.digest].cell
                self._samples[unit.digest] = self._samples.get(unit.digest, 0) + unit.samples
        self._done: dict[str, int] = dict.fromkeys(self._cells, 0)
        self._passes, self._since = 0, time.monotonic()
        self._present: Cell | None = None
        self._added, self._number = -inf, 0
        self.bar = ProgressBar(1.0, stream, shown=shown)
        self._add_up()

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)

    def update(self, cell: Cell, finished: int, passes: int) -> None:
        """Show the samples and passes of a unit of a cell that are finished."""
        now = time.monotonic()
        if cell is not self._present:
            self._present, self._since, self._number = cell, now, self._number + 1
        if now - self._added > _AGAIN:
            self._add_up()
        images = len(cell.images)
        expected = self._estimates.passes(cell) * images
        share = max(finished / images, min(passes / expected, _OPEN) if expected else 0)
        rate = passes / (now - self._since) if now - self._since > 1 else 0
        note = f"{finished} of {images} images" if finished < images else "checks"
        note += f"  {rate:,.0f} passes/s" if rate and finished < images else ""
        name = f"cell {min(self._number, len(self._cells))} of {len(self._cells)}"
        work = self._estimates.work(cell) * share
        self.bar.update(f"{name}  {cell.model.id} {cell.attack.name}", work, note)

    def count(self, unit: Unit) -> None:
        """Count a finished unit."""
        self._done[unit.digest] = self._done.get(unit.digest, 0) + unit.samples
        self._add_up()

    def learn(self, result: CellResult) -> None:
        """Estimate the cells that follow from one that is finished."""
        self._estimates.learn([result])

    def _add_up(self) -> None:
        done = total = 0.0
        for digest, cell in self._cells.items():
            work = self._estimates.work(cell) / len(cell.images)
            total += work * self._samples[digest]
            done += work * min(self._done[digest], self._samples[digest])
        self.bar.restart(done, total or 1.0)
        self._added = time.monotonic()


def duration(seconds: float) -> str:
    """A time as ``4 s``, ``2:05 min`` or ``3:20 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


class Work(NamedTuple):
    """What is to do, as far as it can be estimated.

    Attributes:
        units: the units.
        passes: of all images.
        seconds: of those units whose time is known.
        unknown: the number of the others.
    """

    units: list[Unit]
    passes: float
    seconds: float
    unknown: int

    @classmethod
    def of(
        cls, plan: Plan, units: Sequence[Unit], estimates: Estimates, *, force: bool = False
    ) -> Self:
        """The work of those units whose cells are not done, or of all with ``force``."""
        cells = {planned.digest: planned for planned in plan.cells}
        todo = [unit for unit in units if force or not cells[unit.digest].done]
        passes, seconds, unknown = 0.0, 0.0, 0
        for unit in todo:
            cell = cells[unit.digest].cell
            passes += estimates.passes(cell) * unit.samples
            known = estimates.seconds(cell)
            unknown += known is None
            seconds += (known or 0.0) * unit.samples / unit.images
        return cls(todo, passes, seconds, unknown)

    def line(self) -> str:
        """The work on one line."""
        if not self.units:
            return "nothing to do"
        number = counted(len({unit.digest for unit in self.units}), "cell")
        known = self.unknown < len(self.units)
        took = f", {duration(self.seconds)} by stored times" if known else ""
        if self.unknown:
            of = "of its model" if self.unknown == 1 else f"of {counted(self.unknown, 'cell')}"
            took += f"; that {of} is not known yet"
        return f"to do: {number}, about {self.passes:,.0f} passes{took}"
