"""The figure of the trainings on a data set: accuracy and loss against epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.analysis.logs import TrainingLog
from robench.datasets import find_dataset
from robench.errors import RobenchError, UsageError
from robench.reporting.plots import line_colours, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODES = ("ann", "hybrid", "stbp")
_TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 0.9, "alpha": 0.7}
_TEST: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4}
_BEHIND: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9}
_STEPS = {"init": "*", "converted": "X", "calibrated": "o", "norms re-estimated": "D"}
_OTHER_STEP = "s"
_GREY = "0.35"
_MANY = 20
"""From this quotient of the largest and the smallest loss on, their axis is logarithmic."""


def write_training_figures(logs: Sequence[TrainingLog], folder: Path) -> list[Path]:
    """Draw a figure for each data set among the logs; returns their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for dataset in sorted({log.dataset for log in logs}):
            here = [log for log in logs if log.dataset == dataset]
            written.append(save_figure(draw_training, here, folder / f"{dataset}-training.png"))
    except OSError as error:
        raise UsageError(f"cannot write figures to {folder}: {error.strerror}") from None
    return written


def draw_training(logs: Sequence[TrainingLog]) -> Figure:
    """Accuracy above, loss below, a column for each mode; the test images' lines are solid.

    Thin vertical lines divide phases, e.g. of different T. What follows the last epoch of a
    hybrid network, its conversion and calibration, are points to the right of it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    used = {log.mode for log in logs}
    modes = [*(mode for mode in _MODES if mode in used), *sorted(used.difference(_MODES))]
    figure = Figure(figsize=(2.9 * len(modes) + 2.1, 4.9), layout="constrained")
    axes = figure.subplots(2, len(modes), sharex="col", sharey="row", squeeze=False)
    colours = line_colours(logs)
    for mode, (upper, lower) in zip(modes, axes.T, strict=True):
        here = [(log, c) for log, c in zip(logs, colours, strict=True) if log.mode == mode]
        end = max(_last_epoch(log) for log, _ in here)
        for log, colour in here:
            _draw(upper, log, "accuracy", colour, end)
            _draw(lower, log, "loss", colour, end)
        _divide((upper, lower), here)
        upper.set_title(mode, loc="left", fontweight="bold")
        lower.set_xlabel("epoch")
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if end:
            lower.set_xlim(left=1 - 0.05 * end)
    losses = [value for log in logs for value in _values(log, "loss") if value > 0]
    if max(losses) > _MANY * min(losses):
        axes[1, 0].set_yscale("log")
    lowest = min(value for log in logs for value in _values(log, "accuracy"))
    axes[0, 0].set_ylim(max(0.0, lowest - 0.06), 1.02)
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("loss")
    _legend(figure, logs, colours)
    return figure


def _last_epoch(log: TrainingLog) -> int:
    return max(row.epoch for row in (*log.epochs, *log.steps))


def _values(log: TrainingLog, what: str) -> list[float]:
    rows = (*log.epochs, *log.steps)
    found = [getattr(row, f"{split}_{what}") for row in rows for split in ("train", "test")]
    return [value for value in found if value is not None]


def _draw(ax: Axes, log: TrainingLog, what: str, colour: Any, end: int) -> None:
    """One model's lines; ``end`` is the largest epoch of the column, for the distance of steps."""
    x: list[float] = [row.epoch for row in log.epochs]
    test = [getattr(row, f"test_{what}") for row in log.epochs]
    ax.plot(x, [getattr(row, f"train_{what}") for row in log.epochs], color=colour, **_TRAINING)
    ax.plot(x, test, color=colour, **_TEST)
    if not log.steps:
        return
    gap = max(end, 1) * 0.055
    x = x[-1:] + [row.epoch + gap * number for number, row in enumerate(log.steps, 1)]
    y = test[-1:] + [getattr(row, f"test_{what}") for row in log.steps]
    ax.plot(x, y, color=colour, **_BEHIND)
    points = list(zip(x, y, strict=True))[-len(log.steps) :]
    for row, (at, value) in zip(log.steps, points, strict=True):
        ax.plot([at], [value], color=colour, zorder=4, **_point(row.phase))


def _point(step: str) -> dict[str, Any]:
    return {"marker": _STEPS.get(step, _OTHER_STEP), "markersize": 6, "markeredgewidth": 0}


def _divide(axes: Sequence[Axes], logs: Sequence[tuple[TrainingLog, Any]]) -> None:
    """A line before each later phase, and the names of the phases at the foot of the upper panel.

    Models with the same phases share lines and names, which are grey then.
    """
    owners: dict[tuple[str, int], list[Any]] = {}
    for log, colour in logs:
        for phase in log.phases if len(log.phases) > 1 else ():
            owners.setdefault(phase, []).append(colour)
    for (name, first), colours in owners.items():
        colour = colours[0] if len(colours) == 1 else _GREY
        at = first - 0.5 if first > 1 else 1
        for ax in axes:
            if first > 1:
                ax.axvline(at, color=colour, linewidth=0.7, alpha=0.6, zorder=1)
        axes[0].annotate(
            name.removeprefix("ann ").replace("=", " = "), (at, 0.03),
            xycoords=axes[0].get_xaxis_transform(), xytext=(2.5, 0), textcoords="offset points",
            rotation=90, ha="left", va="bottom", color=colour, fontsize="x-small", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _legend(figure: Figure, logs: Sequence[TrainingLog], colours: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    # the column says the mode, so models that share all but that share an entry
    names = {
        (log.model.partition("/")[2].replace(f"-{log.mode}", "", 1), colour): None
        for log, colour in zip(logs, colours, strict=True)
    }
    handles = [Line2D([], [], color=colour, linewidth=1.4, label=name) for name, colour in names]
    handles += [
        Line2D([], [], color=_GREY, label="test images", **_TEST),
        Line2D([], [], color=_GREY, label="training images", **_TRAINING),
    ]
    for step in dict.fromkeys(row.phase for log in logs for row in log.steps):
        handles.append(Line2D([], [], color=_GREY, **_BEHIND, **_point(step), label=step))
    figure.legend(
        handles=handles, loc="outside right upper", frameon=False, handlelength=2.6,
        title=dataset_title(logs[0].dataset), alignment="left",
        title_fontproperties={"weight": "bold"},
    )  # fmt: skip


def dataset_title(dataset: str) -> str:
    """What people call a data set; its name where it is not installed."""
    try:
        return find_dataset(dataset).title
    except RobenchError:  # neither a log nor a result needs one that is installed
        return dataset
