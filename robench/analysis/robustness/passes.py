"""What each attack finds against the forward and backward passes that it spends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.robustness.stored import StoredTables
from robench.file_names import file_name
from robench.reporting.figures import (
    LINE,
    FigureFormat,
    Label,
    Shown,
    add_legend,
    invalid_entry,
    label_ends,
    row_names,
    save_figure,
    shortened,
    spread,
)
from robench.reporting.figures.style import NOTE, invalid, numbered_style, text_colour
from robench.reporting.report import Entry, Row, Table
from robench.results import ROBUST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_WIDTH, _HEIGHT = 9.0, 1.75
"""Of the figure and of a panel, in inches."""
_LETTER = 0.026
"""The width of a letter, in widths of a panel."""
_NEAR = 0.13
"""Markers are beside each other within this share of the axis of passes: labels would overlap."""
_GAP = 0.11
"""The least distance of two labels, in heights of a panel."""


@dataclass(frozen=True)
class Spent:
    """The passes of one attack on one model.

    Attributes:
        entry: its result.
        mean: forward and backward passes for each sample.
        survival: for a table of one ε the passes and the robust accuracy after them, ``(points,)``
            each; None for others.
    """

    entry: Entry
    mean: float
    survival: tuple[NDArray[np.int64], NDArray[np.float64]] | None


@dataclass(frozen=True)
class Passes:
    """The passes of a table.

    Attributes:
        spent: for each row of the table, by attack.
    """

    table: Table
    spent: tuple[dict[str, Spent], ...]

    @property
    def single(self) -> bool:
        """Whether the table is of one ε beside 0."""
        return len(self.table.grid) == 2


def survival_curve(
    positions: NDArray[np.int64], passes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Robust accuracy after k passes for each sample, at each k at which it changes and at the end.

    A sample counts as robust until it has spent the passes after which its adversarial example was
    found. One that is misclassified without an attack is never robust.

    Args:
        positions: minimal positions in a grid of one ε beside 0, ``(N,)``.
        passes: forward and backward passes of each sample, ``(N,)``.

    Returns:
        The passes, ascending from 0, and the robust accuracy after them.
    """
    found = np.sort(np.where(positions == 0, 0, passes)[positions != ROBUST])
    k = np.unique(np.concatenate([[0], found, [passes.max()]]))
    return k, 1 - np.searchsorted(found, k, side="right") / len(positions)


def read_passes(stored: StoredTables) -> list[Passes]:
    """The passes of each table."""
    return [
        Passes(table, tuple(_spent(stored, table, row) for row in table.rows))
        for table in stored.tables
    ]


def _spent(stored: StoredTables, table: Table, row: Row) -> dict[str, Spent]:
    found = {}
    for attack, entry in row.entries.items():
        outcome = stored.cells[entry.hash].outcome
        assert outcome is not None
        survival = None
        if len(table.grid) == 2:
            rows = stored.rows(entry.hash)
            passes = (rows["forwards"] + rows["backwards"]).to_numpy(np.int64)
            survival = survival_curve(rows["minimal_position"].to_numpy(np.int64), passes)
        found[attack] = Spent(entry, outcome.forwards + outcome.backwards, survival)
    return found


def passes_frame(passes: Passes) -> pd.DataFrame:
    """A row for each model and attack: passes for each sample, AUC with interval, verdict."""
    records = [
        (row.model, attack, one.mean, one.entry.auc.value, one.entry.auc.low, one.entry.auc.high,
         one.entry.curve[-1].accuracy, one.entry.verdict)
        for row, spent in zip(passes.table.rows, passes.spent, strict=True)
        for attack, one in spent.items()
    ]  # fmt: skip
    last = f"at_{passes.table.grid[-1]}"
    columns = ["model", "attack", "passes", "auc", "low", "high", last, "verdict"]
    return pd.DataFrame(records, columns=columns)


def write_passes(passes: Passes, folder: Path, form: FigureFormat = "png") -> Path:
    """Draw the figure of a table; returns its path.

    Raises:
        UsageError: the folder cannot be written to.
    """
    path = folder / f"{file_name(passes.table.name)}-passes.{form}"
    return save_figure(draw_passes, passes, path)


def draw_passes(passes: Passes) -> Figure:
    """A panel for each model: AUC against passes for each sample, a marker for each attack.

    For a table of one ε, the robust accuracy after so many passes instead, a line for each attack.
    What is invalid is grey and hollow.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    table = passes.table
    columns = min(_COLUMNS, len(table.rows))
    lines = -(-len(table.rows) // columns)
    height = max(_HEIGHT, LINE * (len(table.attacks) + 1))
    figure = Figure(figsize=(_WIDTH, (height + 0.3) * lines + 0.7), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    styles = {attack: numbered_style(k) for k, attack in enumerate(table.attacks)}
    _arrange(axes[0], passes)
    for number, (ax, name) in enumerate(zip(axes, row_names(table.rows), strict=False)):
        spent = passes.spent[number]
        if passes.single:
            ends = [_draw_survival(ax, o, styles[a]) for a, o in spent.items()]
            label_ends(ax, ends, _WIDTH / columns, height)
        else:
            _draw_points(ax, list(spent.values()), styles)
        ax.set_title(name, loc="left", fontweight="bold")
        ax.grid(visible=True, axis="x", which="minor", linewidth=0.4)
        if number + columns >= len(table.rows):
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("passes of a sample", fontsize="small")
        if number % columns == 0:
            ax.set_ylabel("robust accuracy" if passes.single else "AUC")
    for ax in axes[len(table.rows) :]:
        ax.remove()
    if passes.single:
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        what = f"robust accuracy at ε = {table.grid[-1]} after so many forward and backward passes"
    else:
        what = f"AUC up to ε = {table.limit} against forward and backward passes"
    figure.suptitle(f"{table.title}: {what}", x=0.01, ha="left", fontweight="bold")
    entries = _entries(passes, styles)
    add_legend(figure, entries, loc="outside lower center", ncols=len(entries), fontsize="small")
    return figure


def _entries(passes: Passes, styles: dict[str, dict[str, Any]]) -> list[Shown]:
    """What the legend says."""
    from matplotlib.lines import Line2D

    entries: list[Shown] = [
        (Line2D([], [], color=NOTE, marker="|", markersize=9, linestyle="none"), "95 % interval")
    ]
    every = [one.entry for spent in passes.spent for one in spent.values()]
    found = {entry.attack for entry in every if entry.verdict == "invalid"}
    if found:
        # points have no line
        looks = [style | ({} if passes.single else {"linestyle": "none"})
                 for attack, style in styles.items() if attack in found]  # fmt: skip
        entries.append(invalid_entry(looks, markersize=5))
    if any(entry.verdict in ("suspect", "unchecked") for entry in every):
        entries.append((Line2D([], [], linestyle="none"), "?  suspect or unchecked"))
    return entries


def _arrange(ax: Axes, passes: Passes) -> None:
    """Set the limits that all panels share."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    every = [one for spent in passes.spent for one in spent.values()]
    if passes.single:
        low, high = 1.0, float(max(one.survival[0][-1] for one in every if one.survival))
        ax.set_xlim(low, 1.2 * max(2, high))
        ax.set_ylim(-0.03, 1.03)
    else:
        low, high = (end(max(one.mean, 1) for one in every) for end in (min, max))
        high = max(high, 10 * low)
        span = high / low
        ax.set_xlim(low / span**0.08, high * span**0.25)  # room for the labels
        top = max(one.entry.auc.high for one in every)
        ax.set_ylim(-0.05 * top, 1.08 * top)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _shown(one: Spent, style: dict[str, Any]) -> dict[str, Any]:
    return invalid(style) if one.entry.verdict == "invalid" else style


def _label(one: Spent) -> str:
    return shortened(one.entry.attack) + (
        " ?" if one.entry.verdict in ("suspect", "unchecked") else ""
    )


def _draw_survival(ax: Axes, one: Spent, style: dict[str, Any]) -> Label:
    """A line of steps to the right edge, with the interval at its end; returns its label."""
    assert one.survival is not None
    style = _shown(one, style)
    k, accuracy = one.survival
    right = ax.get_xlim()[1]
    line: dict[str, Any] = {"linewidth": 1.3, "drawstyle": "steps-post"}
    line |= {name: style[name] for name in ("color", "linestyle")}
    ax.plot(np.maximum(k, 1), accuracy, **line)
    # all passes are spent
    ax.plot([k[-1], right], accuracy[[-1, -1]], **line | {"linewidth": 0.6})
    point = one.entry.curve[-1]
    ax.errorbar(
        [k[-1]], [accuracy[-1]], [[accuracy[-1] - point.interval.low],
        [point.interval.high - accuracy[-1]]], markersize=5, capsize=2, elinewidth=0.9,
        zorder=3, **style,
    )  # fmt: skip
    return Label(float(accuracy[-1]), _label(one), style)


def _draw_points(ax: Axes, spent: Sequence[Spent], styles: dict[str, dict[str, Any]]) -> None:
    """A marker with its interval and its label for each attack."""
    low, high = ax.get_ylim()
    left, right = ax.get_xlim()
    gap, lead = _GAP * (high - low), (right / left) ** 0.035
    beside: list[list[Spent]] = []
    for one in sorted(spent, key=lambda one: one.mean):
        if beside and one.mean < beside[-1][-1].mean * (right / left) ** _NEAR:
            beside[-1].append(one)
        else:
            beside.append([one])
    for group in beside:
        group.sort(key=lambda one: one.entry.auc.value)
        heights = [one.entry.auc.value for one in group]
        for one, y in zip(group, spread(heights, gap, low + gap / 2, high - gap / 2), strict=True):
            style, auc, x = _shown(one, styles[one.entry.attack]), one.entry.auc, max(one.mean, 1)
            ax.errorbar(
                [x], [auc.value], [[auc.value - auc.low], [auc.high - auc.value]], markersize=5,
                capsize=2, elinewidth=0.9, zorder=3, **style | {"linestyle": "none"},
            )  # fmt: skip
            text = _label(one)
            place = log(x / left) / log(right / left)
            fits = place + _LETTER * (len(text) + 3) < 1
            beside_it = x * lead if fits else x / lead
            ax.plot([x, beside_it], [auc.value, y], color=style["color"], linewidth=0.6)
            ax.text(
                beside_it, y, f" {text} ", color=text_colour(style), fontsize="small",
                va="center_baseline", ha="left" if fits else "right", in_layout=False,
            )  # fmt: skip
