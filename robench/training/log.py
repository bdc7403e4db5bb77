"""The log of a training: ``training.csv``, and TensorBoard on request."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path

from robench.atomic import replacing
from robench.errors import UsageError

LOG = "training.csv"


@dataclass(frozen=True)
class Row:
    """One line of ``training.csv``: an epoch, or a later step such as the conversion.

    Attributes:
        phase: ``ann``, ``counterpart``, ``T=4`` …, followed by ε in adversarial training;
            ``converted``, ``calibrated``, ``norms re-estimated``, ``init``.
        epoch: the number of completed epochs, over all phases.
        train_loss: the mean over the epoch; None for a step without training.
        train_accuracy: the accuracy of the same forward passes.
        test_loss: the cross-entropy on the protocol slice, at the T of the phase.
        test_accuracy: the accuracy on the same images.
        learning_rate: that of the last step of the epoch.
        seconds: the time of the epoch and its evaluation.
        firing_rate: spikes per neuron and time step on the slice; None without spikes.
    """

    phase: str
    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float
    test_accuracy: float
    learning_rate: float | None
    seconds: float
    firing_rate: float | None


def write_log(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV; the file is replaced atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        names = [field.name for field in fields(Row)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row).items()
            writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values})


@contextmanager
def tensorboard(folder: Path | None, epochs_done: int) -> Iterator[Callable[[Row], None]]:
    """A function that writes rows for TensorBoard; it does nothing if ``folder`` is None.

    Each row is a step: the epochs first, then the steps after the last epoch.

    Args:
        folder: the folder of the event files.
        epochs_done: completed epochs; later steps of an interrupted training are hidden.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    if folder is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs: pip install 'robench[tensorboard]'") from None

    writer = SummaryWriter(folder, purge_step=epochs_done + 1)

    steps = count(epochs_done + 1)

    def write(row: Row) -> None:
        step = next(steps)
        for name, value in asdict(row).items():
            if isinstance(value, float):
                writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        writer.close()
