"""The figures of the leaderboard: robust accuracy against ε, and the areas under it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robench.atomic import remove_leftovers
from robench.file_names import file_name
from robench.reporting.figures import row_names, save_figure
from robench.reporting.figures.curves import draw_curves, upper_bound
from robench.reporting.figures.heatmap import heat_map
from robench.reporting.figures.style import SEQUENTIAL
from robench.reporting.report import Report, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        table = replace(table, rows=tuple(row for row in table.rows if row.entries))
        if table.rows:
            written.append(save_figure(draw_curves, table, folder / curves_name(table)))
            written.append(save_figure(draw_areas, table, folder / areas_name(table)))
    return written


def draw_areas(table: Table) -> Figure:
    """Heat map of the AUC, models × attacks; invalid cells are hatched, with their upper bound."""
    import numpy as np

    columns = (*table.attacks, "worst")
    values = np.full((len(table.rows), len(columns)), np.nan)
    labels = np.full(values.shape, "—", dtype=object)
    hatched = np.zeros(values.shape, dtype=bool)
    for i, row in enumerate(table.rows):
        for j, attack in enumerate(table.attacks):
            entry = row.entries.get(attack)
            if entry is None:
                labels[i, j] = "n/a" if attack in row.not_applicable else "—"
                continue
            invalid = hatched[i, j] = entry.verdict == "invalid"
            mark = " ?" * (entry.verdict in ("suspect", "unchecked"))
            labels[i, j] = f"{'≤ ' * invalid}{entry.auc.value:.3f}{mark}"
            values[i, j] = np.nan if invalid else entry.auc.value
        bound = upper_bound(row)
        hatched[i, -1] = bound and not row.missing
        mark = " ?" * (row.auc_verdict == "suspect" and not bound)
        labels[i, -1] = f"{'≤ ' * bound}{row.worst_auc.value:.3f}{mark}"
        values[i, -1] = np.nan if hatched[i, -1] else row.worst_auc.value
    notes = [f"AUC up to ε = {table.limit}"]
    if any(row.missing for row in table.rows):
        notes.append("— missing, so worst is an upper bound")
    if any(label.endswith("?") for label in labels.ravel()):
        notes.append("? suspect or unchecked")
    figure, ax = heat_map(
        values, labels, columns=columns, rows=row_names(table.rows), hatched=hatched,
        notes=[";  ".join(notes)], cell=(0.82, 0.3), vmin=0, vmax=1, cmap=SEQUENTIAL,
    )  # fmt: skip
    ax.axvline(len(table.attacks), color="white", linewidth=7)
    return figure
