"""The figures of the leaderboard: robust accuracy against ε, and the areas under it."""

from __future__ import annotations

from itertools import pairwise
from math import log2, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.atomic import remove_leftovers
from robench.attacks.primitives.norms import NORMS
from robench.file_names import file_name
from robench.model_id import ModelId
from robench.reporting.figures import LINE, Label, label_ends, save_figure, shortened, wrapped
from robench.reporting.figures.heatmap import draw_cells
from robench.reporting.figures.style import INVALID, NOTE, SEQUENTIAL, line_styles
from robench.reporting.report import Report, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = 32
"""Characters on a line of a legend."""
_MODES = {"ann": "ANN", "hybrid": "hybrid", "stbp": "STBP"}
_WORST = "worst"
_LIMIT: dict[str, Any] = {"color": NOTE, "linewidth": 0.9, "linestyle": (0, (2, 2))}
_WIDTH = 9.0
"""Of the curves, in inches: the text is readable where a page shows them 900 pixels wide."""
_APART = 0.1
"""The least distance of two ticks, in widths of the axis."""
_UNEVEN = 1.5
"""The axis of ε is linear up to this ratio of the largest to the smallest step of the grid."""


def curves_name(table: Table) -> str:
    """File name of the figure of the curves."""
    return f"{file_name(table.name)}-curves.png"


def areas_name(table: Table) -> str:
    """File name of the heat map of the areas."""
    return f"{file_name(table.name)}-auc.png"


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Draw both figures of every table that has rows, without older runs; returns their paths.

    Equal reports give equal bytes under one version of matplotlib.

    Raises:
        UsageError: the folder cannot be written to.
    """
    written: list[Path] = []
    remove_leftovers(folder)
    for table in report.newest().tables:
        if table.rows:
            written.append(save_figure(draw_curves, table, folder / curves_name(table)))
            written.append(save_figure(draw_areas, table, folder / areas_name(table)))
    return written


def draw_curves(table: Table) -> Figure:
    """Robust accuracy against ε with Wilson bands: a row of panels for each attack and the worst.

    There is a column for each mode; if there is one only, the panels of all attacks are side by
    side. The colour and the marker are the architecture, the line's style the mode; a curve whose
    verdict is invalid is grey and hollow, and has no band. The labels at the ends name the model
    and a verdict that is not valid. Where the steps of the grid are uneven, the axis shows √ε.
    """
    from matplotlib.figure import Figure

    panels = (*table.attacks, _WORST)
    lines = list(zip(table.rows, line_styles(table.rows), strict=True))
    found = {row.mode for row in table.rows}
    modes = [*(m for m in _MODES if m in found), *sorted(found - _MODES.keys())]
    if len(modes) > 1:
        shape = len(panels), len(modes)
    else:
        shape = -(-len(panels) // 3), min(len(panels), 3)
    most = max(sum(row.mode == mode for row in table.rows) for mode in modes)
    height = max(1.35, LINE * (most + 1))
    figure = Figure(figsize=(_WIDTH, (height + 0.33) * shape[0] + 0.9), layout="constrained")
    axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
    _arrange(axes[0], table)
    places = [(panel, mode) for panel in panels for mode in modes]
    for number, (ax, (panel, mode)) in enumerate(zip(axes, places, strict=False)):
        labels = [
            label
            for row, style in lines
            if row.mode == mode and (label := _draw(ax, row, panel, style, table))
        ]
        ax.axvline(table.limit.value, **_LIMIT, zorder=1)
        label_ends(ax, labels, height)
        name = "worst of all" if panel == _WORST else panel
        if len(modes) == 1:
            ax.set_title(wrapped(name, 28), loc="left", fontweight="bold")
        elif number < len(modes):
            ax.set_title(_MODES.get(mode, mode), loc="left", fontweight="bold")
        if len(modes) > 1 and number % len(modes) == 0:
            ax.set_ylabel(shortened(name), fontweight="bold")
        ax.tick_params(labelbottom=number + shape[1] >= len(places))
    for ax in axes[len(places) :]:
        ax.remove()
    figure.suptitle(f"{table.title}: robust accuracy", x=0.01, ha="left", fontweight="bold")
    unit = _axis(table)[1]
    figure.supxlabel(f"{unit}, square-root scale" if _uneven(table) else unit, fontsize="medium")
    _legend(figure, table)
    return figure


def _draw(ax: Axes, row: Row, panel: str, style: dict[str, Any], table: Table) -> Label | None:
    """Draw the curve of a model in a panel; returns its label."""
    # the column names the mode
    name = shortened(ModelId(row.model).name.replace(f"-{row.mode}", ""))
    if panel == _WORST:
        curve, notes = row.worst_curve, [f"no {attack}" for attack in row.missing]
    elif entry := row.entries.get(panel):
        curve, notes = entry.curve, [entry.verdict] * (entry.verdict != "valid")
        if entry.verdict == "invalid":
            style = style | {"color": INVALID, "markerfacecolor": "white", "linewidth": 0.9}
    else:
        absent = "not applicable" if panel in row.not_applicable else "missing"
        return Label(1, f"{name}: {absent}", None)
    x = [point.epsilon.value for point in curve]
    y = [point.accuracy for point in curve]
    if "markerfacecolor" not in style:
        low = [point.interval.low for point in curve]
        high = [point.interval.high for point in curve]
        ax.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    every = max(1, len(x) // 12)
    ax.plot(x, y, markevery=every, **{"markersize": 3.5, "linewidth": 1.3} | style)
    return Label(y[-1], ", ".join([name, *notes]), style)


def _arrange(ax: Axes, table: Table) -> None:
    """Set the limits, scales and ticks that all panels share."""
    import numpy as np
    from matplotlib.ticker import PercentFormatter

    grid = [epsilon.value for epsilon in table.grid]
    factor, _ = _axis(table)
    if _uneven(table):
        ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        kept = [0.0, table.limit.value, grid[-1]]
        # powers of two first
        rest = sorted(grid[1:], key=lambda value: (log2(value * factor) % 1 != 0, value))
        for value in rest:
            if all(abs(sqrt(value) - sqrt(k)) >= _APART * sqrt(grid[-1]) for k in kept):
                kept.append(value)
        ax.set_xticks(sorted(set(kept)), [f"{value * factor:.3g}" for value in sorted(set(kept))])
        ax.set_xticks(grid, minor=True)
    ax.set_xlim(0, grid[-1])
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _uneven(table: Table) -> bool:
    """Whether the steps of the grid differ much, so that its small part needs more room."""
    values = [epsilon.value for epsilon in table.grid]
    steps = [b - a for a, b in pairwise(values)]
    return max(steps) > _UNEVEN * min(steps)


def _legend(figure: Figure, table: Table) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], **_LIMIT, label=f"limit of the AUC, {table.limit}"),
        Patch(color=NOTE, alpha=0.25, linewidth=0, label="95 % interval"),
    ]
    if any(entry.verdict == "invalid" for row in table.rows for entry in row.entries.values()):
        hollow: dict[str, Any] = {
            "color": INVALID,
            "marker": "o",
            "markerfacecolor": "white",
            "markersize": 4,
        }
        label = "invalid: no evidence of robustness"
        handles.append(Line2D([], [], linewidth=0.9, label=label, **hollow))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)


def _axis(table: Table) -> tuple[float, str]:
    """Factor from ε to what the axis shows, and the axis's name."""
    if any(epsilon.text.endswith("/255") for epsilon in table.grid):
        return 255.0, f"ε ({NORMS[table.norm]}, in 1/255)"
    return 1.0, f"ε ({NORMS[table.norm]})"


def draw_areas(table: Table) -> Figure:
    """Heat map of the AUC, models × attacks; invalid cells are hatched, with their upper bound."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = (*table.attacks, "worst")
    values = np.full((len(table.rows), len(columns)), np.nan)
    labels = np.full(values.shape, "", dtype=object)
    hatched: list[tuple[int, int, str]] = []
    for i, row in enumerate(table.rows):
        for j, column in enumerate(columns):
            entry = row.entries.get(column)
            if column == "worst":
                values[i, j] = row.worst_auc.value
                labels[i, j] = f"{'≤ ' if row.missing else ''}{row.worst_auc.value:.3f}"
            elif entry is None:
                labels[i, j] = "n/a" if column in row.not_applicable else "—"
            elif entry.verdict == "invalid":
                hatched.append((i, j, f"≤ {entry.auc.value:.3f}"))
            else:
                mark = "" if entry.verdict == "valid" else " ?"
                values[i, j], labels[i, j] = entry.auc.value, f"{entry.auc.value:.3f}{mark}"
    figure = Figure(
        figsize=(1.0 * len(columns) + 3.0, 0.42 * len(table.rows) + 1.3), layout="constrained"
    )
    ax = figure.subplots()
    draw_cells(
        ax, values, labels, columns=columns, rows=[row.model for row in table.rows],
        bar={"label": "AUC", "ticks": [0, 0.25, 0.5, 0.75, 1]}, vmin=0, vmax=1, cmap=SEQUENTIAL,
    )  # fmt: skip
    for i, j, bound in hatched:
        ax.add_patch(
            Rectangle((j, i), 1, 1, facecolor="0.95", edgecolor="0.75", hatch="////",
                      linewidth=0, zorder=0.5)  # below the white lines between the cells
        )  # fmt: skip
        ax.text(j + 0.5, i + 0.5, bound, ha="center", va="center", color="0.2")
    ax.axvline(len(table.attacks), color="white", linewidth=7)
    notes = [f"AUC up to ε = {table.limit}"]
    if hatched:
        notes.append("hatched: invalid, an upper bound")
    if any(row.missing for row in table.rows):
        notes.append("— missing, so worst is an upper bound")
    if any(label.endswith("?") for label in labels.ravel()):
        notes.append("? suspect or unchecked")
    ax.set_xlabel(";  ".join(notes))
    return figure
