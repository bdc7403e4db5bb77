"""The figure of the differences between models: a heat map of all pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robench.analysis.robustness.differences import LEVEL, WORST, Differences, pair_frame
from robench.file_names import file_name
from robench.reporting import write
from robench.reporting.figures import FigureFormat, save_figure
from robench.reporting.figures.heatmap import draw_cells
from robench.reporting.figures.style import DIVERGING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_differences(found: Differences, folder: Path, form: FigureFormat = "png") -> list[Path]:
    """Write figure and table of the pairs; returns their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    attack = "" if found.attack == WORST else f"-{file_name(found.attack)}"
    path = folder / f"{file_name(found.table.name)}-differences{attack}.{form}"
    table = path.with_suffix(".csv")
    write(table, pair_frame(found).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return [save_figure(draw_differences, found, path), table]


def draw_differences(found: Differences) -> Figure:
    """Heat map of the differences in points of the AUC, row minus column.

    The rank of a model is before its name. A difference that is not significant is in brackets and
    has no colour; a pair with an upper bound is hatched.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    n = len(found.contenders)
    points = 100 * found.values
    significant = found.adjusted < LEVEL
    bounds = np.array([one.bound for one in found.contenders])
    hatched = (bounds[:, None] | bounds[None, :]) & ~np.eye(n, dtype=bool)
    labels = np.full((n, n), "", dtype=object)
    for i, j in zip(*np.nonzero(~np.eye(n, dtype=bool)), strict=True):
        # 0.0 without a sign
        text = f"{points[i, j]:+.1f}".replace("-", "−") if abs(points[i, j]) >= 0.05 else "0.0"
        labels[i, j] = text if significant[i, j] else f"({text})"
    shown = np.where(significant & ~hatched, points, np.nan)
    largest = float(np.nanmax(np.abs(shown), initial=1))
    figure = Figure(figsize=(0.62 * n + 3.5, 0.42 * n + 2.0), layout="constrained")
    ax = figure.subplots()
    ranks = ["–" if rank is None else str(rank) for rank in found.ranks]
    names = [one.name for one in found.contenders]
    draw_cells(
        ax, shown, labels, columns=names,
        rows=[f"{rank}   {name}" for name, rank in zip(names, ranks, strict=True)],
        bar={"label": "AUC of the row − AUC of the column,\npoints of 100"},
        vmin=-largest, vmax=largest, cmap=DIVERGING,
    )  # fmt: skip
    for i, j in np.ndindex(n, n):
        if i == j or hatched[i, j]:
            ax.add_patch(
                Rectangle((j, i), 1, 1, facecolor="0.8" if i == j else "0.97", edgecolor="0.8",
                          hatch=None if i == j else "////", linewidth=0, zorder=0.5)
            )  # fmt: skip
    for tick in ax.get_xticklabels():
        tick.set(rotation=35, ha="left", rotation_mode="anchor")
    attack = "worst of all attacks" if found.attack == WORST else found.attack
    notes = [
        f"{found.table.title}, {attack}, {found.table.samples:,} images, "
        f"AUC up to ε = {found.table.limit}",
        "before a name: its rank, 1 + the number of models that are significantly better",
        f"in brackets: not significant (Holm's adjusted p ≥ {LEVEL:g})",
    ]
    if hatched.any():
        notes.append("hatched: one of the two is invalid or lacks an attack; it has no rank")
    ax.set_xlabel("\n".join(notes), loc="left")
    return figure
