"""The logs of trainings: which models have one, and what it says."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from robench.errors import ContentError, UsageError, nearest
from robench.model_id import ModelId
from robench.registry import ModelCard, model_folders
from robench.registry.cards import CARD
from robench.registry.patterns import is_glob, match
from robench.training import Row
from robench.training.log import LOG


@dataclass(frozen=True)
class TrainingLog:
    """How a model was trained, epoch by epoch.

    Attributes:
        model: its id.
        family: the architecture, e.g. ``flex-vgg16``.
        mode: ``ann``, ``hybrid`` or ``stbp``.
        epochs: a row for each epoch, over all phases.
        steps: a row for each step after the last epoch, such as the conversion of a hybrid.
    """

    model: ModelId
    family: str
    mode: str
    epochs: tuple[Row, ...]
    steps: tuple[Row, ...]

    @property
    def phases(self) -> list[tuple[str, int]]:
        """Each phase of the training with its first epoch, in order."""
        found: list[tuple[str, int]] = []
        for row in self.epochs:
            if not found or found[-1][0] != row.phase:
                found.append((row.phase, row.epoch))
        return found


def find_logs(
    patterns: Sequence[str], *, dataset: str | None = None, models_dir: Path | None = None
) -> list[TrainingLog]:
    """The logs of the selected checkpoints, sorted by id.

    Args:
        patterns: ``all``, ids or globs; a control is selected only by its id.
        dataset: keep the models of this data set.
        models_dir: where checkpoints are looked for first.

    Raises:
        UsageError: a pattern matches no model with a log.
        ContentError: a card or a log is damaged.
    """
    folders = model_folders(models_dir)
    chosen: dict[str, TrainingLog] = {}
    for pattern in patterns:
        for name in _match(pattern, folders):
            if dataset in (None, ModelId(name).dataset):
                chosen[name] = chosen.get(name) or _read(name, folders[name])
    if not chosen:
        raise UsageError(f"no log to draw: nothing fits {', '.join(patterns) or 'an empty list'}")
    return [chosen[name] for name in sorted(chosen)]


def _match(pattern: str, folders: dict[str, Path]) -> list[str]:
    if pattern in folders:
        if not (folders[pattern] / LOG).is_file():
            raise UsageError(
                f"model {pattern} has no {LOG}; train it again with: "
                f"robench train {pattern} --restart"
            )
        return [pattern]
    if pattern == "all" or is_glob(pattern):
        return [
            name
            for name in match("*" if pattern == "all" else pattern, folders)
            if (folders[name] / LOG).is_file()
            and not ModelCard.read(folders[name] / CARD).about.control
        ]
    raise UsageError(
        f"unknown model {pattern!r}{nearest(pattern, folders)}; see: robench list models"
    )


def _read(name: str, folder: Path) -> TrainingLog:
    config = ModelCard.read(folder / CARD).model
    rows = read_log(folder / LOG)
    epochs = tuple(row for row in rows if row.train_loss is not None)
    steps = tuple(row for row in rows if row.train_loss is None)
    if steps and epochs and steps[0].epoch < epochs[-1].epoch:
        raise ContentError(f"{folder / LOG}: an epoch without training loss")
    return TrainingLog(ModelId(name), config.architecture, config.mode, epochs, steps)


def read_log(path: Path) -> list[Row]:
    """Read the rows of a ``training.csv``.

    Raises:
        ContentError: the file is missing, or is no such log; the message names file and line.
    """
    names = [field.name for field in fields(Row)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != names:
                raise ContentError(f"{path}: the columns are not {', '.join(names)}")
            rows = []
            for values in reader:
                try:
                    rows.append(_row(values))
                except ValueError as error:
                    raise ContentError(f"{path}: line {reader.line_num}: {error}") from None
    except OSError as error:
        raise ContentError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ContentError(f"{path}: not valid CSV: {error}") from None
    if not rows:
        raise ContentError(f"{path}: there are no epochs in it")
    return rows


def _row(values: Mapping[str, str]) -> Row:
    """A line of the log; raises ValueError if it is damaged."""
    if None in values or None in values.values():  # csv's mark of too many or too few values
        raise ValueError(f"there are not {len(fields(Row))} values")

    def number(name: str) -> float | None:
        return finite(name) if values[name] else None

    def finite(name: str) -> float:
        value = float(values[name])
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        return value

    return Row(
        phase=values["phase"],
        epoch=int(values["epoch"]),
        train_loss=number("train_loss"),
        train_accuracy=number("train_accuracy"),
        test_loss=finite("test_loss"),
        test_accuracy=finite("test_accuracy"),
        learning_rate=number("learning_rate"),
        seconds=finite("seconds"),
        firing_rate=number("firing_rate"),
    )
