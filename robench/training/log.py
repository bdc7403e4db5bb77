"""The log of a training: ``training.csv``, and TensorBoard where it is asked for."""

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
    """One line of ``training.csv``: an epoch, or a step of the conversion behind the last one.

    Attributes:
        phase: ``ann``, ``twin``, ``T=4`` …, with ε where images are attacked; ``converted``,
            ``calibrated``, ``norms re-estimated``, ``init``.
        epoch: how many are done, over all phases.
        train_loss: mean over the epoch; None where nothing was trained.
        train_accuracy: of the same forward passes.
        test_loss: cross-entropy on the protocol slice, at the phase's own T.
        test_accuracy: on the same images.
        learning_rate: of the epoch's last step.
        seconds: for the epoch with its evaluation.
        firing_rate: spikes for each neuron and time step on the slice; None without spikes.
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
    """Write the rows as CSV, at once: a reader sees the old file or the new one."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        names = [field.name for field in fields(Row)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row).items()
            writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values})


@contextmanager
def tensorboard(folder: Path | None, epochs_done: int) -> Iterator[Callable[[Row], None]]:
    """Write rows for TensorBoard into ``folder``; with None they go nowhere.

    A row is a step there: the epochs first, then what follows the last of them.

    Args:
        folder: of the event files.
        epochs_done: what an interrupted training wrote beyond them is hidden.

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
