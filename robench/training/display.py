"""Output of a training: a progress bar on a terminal, elsewhere a line for each row of the log."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from robench.text import terminal, visible
from robench.training.log import Row


class Display:
    """The display of one training; a context manager.

    Attributes:
        name: the name of the model.
        epochs: the number of epochs.
    """

    def __init__(self, name: str, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.name = visible(name)
        self.epochs = epochs
        self.console = Console(file=terminal(sys.stdout), highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.completed:.1f} of {task.total:.0f}, left:"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
            speed_estimate_period=600,  # an epoch of a spiking network takes minutes
        )
        self.task = self.bar.add_task(self.name, total=max(epochs, 1))

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def advance(self, epochs: float) -> None:
        """Set the bar to ``epochs`` completed epochs, which may be fractional."""
        self.bar.update(self.task, completed=epochs)

    def row(self, row: Row) -> None:
        """Print a row of the log."""
        if not self.console.is_terminal:
            print(f"{self.name}  {line(row, self.epochs)}", flush=True)
        self.bar.update(self.task, description=f"{self.name} {row.test_accuracy:.1%}")


def line(row: Row, epochs: int) -> str:
    """A row of the log as text."""
    parts = [f"epoch {row.epoch}/{epochs}", row.phase]
    if row.train_loss is not None and row.train_accuracy is not None:
        parts.append(f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.1%}")
    parts.append(f"test loss {row.test_loss:.4f} accuracy {row.test_accuracy:.1%}")
    if row.learning_rate is not None:
        parts.append(f"learning rate {row.learning_rate:.4f}")
    if row.firing_rate is not None:
        parts.append(f"firing rate {row.firing_rate:.3f}")
    return "  ".join([*parts, f"{row.seconds:.1f} s"])
