"""Robust accuracy against wall time, as a table and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.targets import AUTHORS, FOOLBOX_PGD, SCALED
from robench.results.metrics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FIGURE = "strength.png"
SPAN = 5
"""The smallest ratio of the ends of the time axis, which always has two of its ticks inside."""
_STYLES: dict[str, tuple[str, Any, str]] = {
    "spgd": ("#0173b2", "-", "o"),
    AUTHORS: ("#d55e00", (0, (5, 2)), "s"),
    SCALED: ("#cc78bc", (0, (1, 1.5)), "^"),
    "apgd-ce": ("#029e73", (0, (6, 2, 1, 2)), "D"),
    FOOLBOX_PGD: ("0.1", (0, (3, 1, 1, 1, 1, 1)), "v"),
}
"""Of each line the colour, of seaborn's colour-blind palette, the dashes and the marker."""


def strength_title(part: dict[str, Any]) -> str:
    """A model with its ε and its images."""
    stand_in = "" if part["model"] == part["asked"] else f", in place of {part['asked']}"
    return f"{part['model']}{stand_in}, ε = {part['epsilon']}, {part['images']} images"


def strength_rows(part: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the lines of a model's table, attack by attack."""
    header = (
        "", "steps", "s", "of it checks", "gradients", "forwards", "robust accuracy, %", "95 %",
    )  # fmt: skip
    lines: list[tuple[str, ...]] = []
    for runs in _curves(part).values():
        for run in runs:
            robust = run["accuracy"][-1]
            interval = wilson(round(robust * part["images"]), part["images"])
            version = f", version {run['version']}" if "version" in run else ""
            lines.append(
                (
                    run["label"] + version,
                    f"**{run['steps']}**" if run["default"] else str(run["steps"]),
                    f"{run['seconds']:.1f}",
                    f"{run['check_seconds']:.1f}" if "check_seconds" in run else "",
                    f"{run['gradients']:.1f}",
                    f"{run['forwards']:.1f}",
                    f"{100 * robust:.1f}",
                    f"{100 * interval.low:.0f} to {100 * interval.high:.0f}",
                )
            )
    return header, lines


def draw(part: dict[str, Any]) -> Figure:
    """Robust accuracy against seconds: a panel for each model, a line for each attack."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    tables = part["tables"]
    columns = min(len(tables), 2)
    bands = -(-len(tables) // columns)
    figure = Figure(figsize=(8, 3.4 * bands + 1.0), layout="constrained")
    axes = figure.subplots(bands, columns, sharey=True, squeeze=False).ravel()
    handles: dict[str, Any] = {}
    for ax, table in zip(axes, tables, strict=False):
        for label, runs in _curves(table).items():
            handles.setdefault(label, _draw_line(ax, runs, *_STYLES[label]))
        ax.set_title(table["model"], loc="left", fontweight="bold")
        ax.set_title(f"ε = {table['epsilon']}, {table['images']} images", loc="right")
        ax.set_xlabel("seconds of the whole evaluation")
        _scale_time(ax)
    for ax in axes[len(tables) :]:
        ax.remove()
    for ax in axes[::columns]:
        ax.set_ylabel("robust accuracy")
    axes[0].yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=2, frameon=False,
        handlelength=4, title="filled marker: the default number of steps",
    )  # fmt: skip
    return figure


def _curves(part: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each attack, from the shortest to the longest."""
    labels = dict.fromkeys(row["label"] for row in part["rows"])
    return {
        label: sorted(
            (row for row in part["rows"] if row["label"] == label), key=lambda row: row["steps"]
        )
        for label in labels
    }


def _draw_line(
    ax: Axes, runs: list[dict[str, Any]], colour: str, dashes: Any, marker: str
) -> Line2D:
    """A line through the runs of an attack; the default number of steps has a filled marker."""
    style = {"color": colour, "linestyle": dashes, "marker": marker, "linewidth": 1.7}
    style |= {"markersize": 6.5, "markeredgewidth": 1.4}
    seconds = [run["seconds"] for run in runs]
    accuracies = [run["accuracy"][-1] for run in runs]
    (line,) = ax.plot(seconds, accuracies, markerfacecolor="white", **style)
    for run, x, y in zip(runs, seconds, accuracies, strict=True):
        if run["default"]:
            ax.plot(x, y, **style)
    return line


def _scale_time(ax: Axes) -> None:
    """Seconds on a logarithmic axis, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    wider = max(1, SPAN * low / high) ** 0.5
    ax.set_xlim(low / wider, high * wider)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
