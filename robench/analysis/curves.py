"""The figure of the trainings on a data set: accuracy and loss against epoch."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.analysis.training_logs import TrainingLog
from robench.datasets import find_dataset
from robench.errors import RobenchError
from robench.file_names import file_name
from robench.reporting.figures import FigureFormat, save_figure
from robench.reporting.figures.style import NOTE, line_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODES = ("ann", "hybrid", "stbp")
_TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 0.9, "alpha": 0.7}
_TEST: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4}
_BEHIND: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9}
_STEPS = {"init": "*", "converted": "X", "calibrated": "o", "norms re-estimated": "D"}
_OTHER_STEP = "s"
_COLUMNS = 4
"""The most models side by side."""
_LEAST = 0.06
"""The smallest range of the axis of accuracy."""
_MANY = 20
"""The axis of the loss is logarithmic above this ratio of the largest to the smallest loss."""


def write_training_figures(
    logs: Sequence[TrainingLog], folder: Path, form: FigureFormat = "png"
) -> list[Path]:
    """Draw a figure for each data set among the logs; returns their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    datasets = sorted({log.model.dataset for log in logs})
    return [
        save_figure(
            draw_training,
            [log for log in logs if log.model.dataset == dataset],
            folder / f"{file_name(dataset)}-training.{form}",
        )
        for dataset in datasets
    ]


def draw_training(logs: Sequence[TrainingLog]) -> Figure:
    """Accuracy above loss for each model; the test images' lines are solid.

    Thin vertical lines divide phases, e.g. of different T. Steps after the last epoch, such as the
    conversion of a hybrid, are points on a grey background to the right of the epochs.
    """
    from matplotlib.figure import Figure

    order = {mode: number for number, mode in enumerate(_MODES)}
    logs = sorted(logs, key=lambda log: (order.get(log.mode, len(order)), log.mode, log.model))
    bands = ceil(len(logs) / _COLUMNS)
    columns = ceil(len(logs) / bands)
    size = (max(2.35 * columns + 0.6, 4.2), 4.0 * bands + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    upper, lower = list(grid[0::2].flat), list(grid[1::2].flat)
    for ax in (*upper[len(logs) :], *lower[len(logs) :]):
        ax.set_axis_off()
    for log, style, above, below in zip(logs, line_styles(logs), upper, lower, strict=False):
        _draw(above, log, "accuracy", style["color"])
        _draw(below, log, "loss", style["color"])
        above.sharex(below)
        for ax in (above, below):
            _arrange(ax, log)
        _name_phases(above, log)
        above.set_title(log.model.name, loc="left", fontweight="bold")
        above.tick_params(labelbottom=False)
        below.set_xlabel("epoch")
    for axes in (upper, lower):
        for ax in axes[1 : len(logs)]:
            ax.sharey(axes[0])
    _scale(upper[0], lower[0], logs)
    for ax in grid[:, 1:].ravel():
        ax.tick_params(labelleft=False)
    for above, below in grid[:, 0].reshape(bands, 2):
        above.set_ylabel("accuracy")
        below.set_ylabel("loss")
    figure.suptitle(dataset_title(logs[0].model.dataset), x=0.01, ha="left", fontweight="bold")
    _legend(figure, logs, columns)
    return figure


def _draw(ax: Axes, log: TrainingLog, what: str, colour: Any) -> None:
    """The lines of one model."""
    x: list[float] = [row.epoch for row in log.epochs]
    test = [getattr(row, f"test_{what}") for row in log.epochs]
    ax.plot(x, [getattr(row, f"train_{what}") for row in log.epochs], color=colour, **_TRAINING)
    ax.plot(x, test, color=colour, **_TEST)
    y = test[-1:] + [getattr(row, f"test_{what}") for row in log.steps]
    ax.plot(x[-1:] + _places(log), y, color=colour, **_BEHIND)
    for row, at, value in zip(log.steps, _places(log), y[-len(log.steps) :], strict=False):
        ax.plot([at], [value], color=colour, zorder=4, **_point(row.phase))


def _last_epoch(log: TrainingLog) -> int:
    return max(row.epoch for row in (*log.epochs, *log.steps))


def _places(log: TrainingLog) -> list[float]:
    """The positions of the steps after the last epoch, which are not epochs."""
    end = _last_epoch(log)
    gap = 0.14 * max(end, 1)
    return [end + gap * number for number in range(1, len(log.steps) + 1)]


def _arrange(ax: Axes, log: TrainingLog) -> None:
    """Ticks at epochs only, a grey background for the steps, a line before each later phase."""
    from matplotlib.ticker import MaxNLocator

    end, places = _last_epoch(log), _places(log)
    margin = 0.06 * max(end, 1)
    right = places[-1] if places else end
    ax.set_xlim(min(1, end) - margin, right + margin)
    ticks = [float(tick) for tick in MaxNLocator(4, integer=True).tick_values(1, max(end, 2))]
    beside = 1 + 0.6 * (ticks[1] - ticks[0])
    ax.set_xticks([1, *(tick for tick in ticks if beside < tick <= end)] if end else [])
    if places:
        ax.axvspan((places[0] + end) / 2, right + margin, color="0.95", linewidth=0, zorder=0)
    for _, first in log.phases[1:]:
        ax.axvline(first - 0.5, color=NOTE, linewidth=0.7, alpha=0.6, zorder=1)


def _name_phases(ax: Axes, log: TrainingLog) -> None:
    """Write the names of several phases at the bottom of the panel."""
    for name, first in log.phases if len(log.phases) > 1 else ():
        ax.annotate(
            name.removeprefix("ann ").replace("=", " = "), (first - 0.5 if first > 1 else 1, 0.03),
            xycoords=ax.get_xaxis_transform(), xytext=(2.5, 0), textcoords="offset points",
            rotation=90, ha="left", va="bottom", color=NOTE, fontsize="x-small", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _scale(upper: Axes, lower: Axes, logs: Sequence[TrainingLog]) -> None:
    """Set the scale of accuracy, and of loss, that all panels share."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

    accuracies = [value for log in logs for value in _values(log, "accuracy")]
    high = max(accuracies)
    low = min(*accuracies, high - _LEAST)
    margin = 0.06 * (high - low)
    ticks = [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)]
    upper.set_ylim(low - margin, high + margin)
    upper.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick < 1.001]))
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    losses = [value for log in logs for value in _values(log, "loss") if value > 0]
    if losses and max(losses) > _MANY * min(losses):
        lower.set_yscale("log")
        lower.set_ylim(0.8 * min(losses), 1.25 * max(losses))
    elif losses:
        lower.set_ylim(0, 1.05 * max(losses))


def _values(log: TrainingLog, what: str) -> list[float]:
    rows = (*log.epochs, *log.steps)
    found = [getattr(row, f"{split}_{what}") for row in rows for split in ("train", "test")]
    return [value for value in found if value is not None]


def _point(step: str) -> dict[str, Any]:
    return {"marker": _STEPS.get(step, _OTHER_STEP), "markersize": 6, "markeredgewidth": 0}


def _legend(figure: Figure, logs: Sequence[TrainingLog], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=NOTE, label="test images", **_TEST),
        Line2D([], [], color=NOTE, label="training images", **_TRAINING),
    ]
    for step in dict.fromkeys(row.phase for log in logs for row in log.steps):
        handles.append(Line2D([], [], color=NOTE, **_BEHIND, **_point(step), label=step))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=max(2, columns + 1),
        frameon=False,
        handlelength=2.6,
    )


def dataset_title(dataset: str) -> str:
    """The title of a data set, or its name if it is not installed."""
    try:
        return find_dataset(dataset).title
    except RobenchError:  # logs and results can be read without the data set
        return dataset
