"""The figure of the differences between models: a heat map of all pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robench.analysis.robustness.differences import LEVEL, WORST, Differences, pair_frame
from robench.file_names import file_name
from robench.reporting import write
from robench.reporting.figures import FigureFormat, save_figure
from robench.reporting.figures.heatmap import heat_map
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
    ranks = ["–" if rank is None else str(rank) for rank in found.ranks]
    names = [one.name for one in found.contenders]
    attack = "worst of all attacks" if found.attack == WORST else found.attack
    notes = [
        f"{found.table.title}, {attack}, {found.table.samples:,} images: AUC up to ε = "
        f"{found.table.limit} of the row − that of the column, in points of 100",
        "before a name: its rank, 1 + the number of models that are significantly better",
        f"in brackets: not significant (Holm's adjusted p ≥ {LEVEL:g})",
    ]
    figure, ax = heat_map(
        shown, labels, columns=names,
        rows=[f"{rank}   {name}" for name, rank in zip(names, ranks, strict=True)],
        notes=notes, hatched=hatched,
        hatched_note="one of the two is invalid or lacks an attack; it has no rank",
        vmin=-largest, vmax=largest, cmap=DIVERGING,
    )  # fmt: skip
    for k in range(n):
        ax.add_patch(Rectangle((k, k), 1, 1, facecolor="0.8", linewidth=0, zorder=0.5))
    return figure
