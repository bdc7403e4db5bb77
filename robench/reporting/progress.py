"""A progress bar with the time left."""

from __future__ import annotations

from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from robench.text import terminal, visible


class ProgressBar:
    """One bar on a terminal or in a notebook, nothing elsewhere; a context manager."""

    def __init__(self, total: int, stream: TextIO, *, shown: bool = True) -> None:
        """Prepare.

        Args:
            total: number of samples of all cells.
            stream: where it is drawn; what a user's code prints meanwhile is sent to stderr.
            shown: whether to draw it.
        """
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
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            disable=not shown or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)
        self._before = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, name: str, finished: int) -> None:
        """Show how many samples of the present cell are finished."""
        self._bar.update(self._task, description=visible(name), completed=self._before + finished)

    def next_cell(self, samples: int) -> None:
        """Count a finished cell with its samples."""
        self._before += samples
