"""The figures of the leaderboard: robust accuracy against ε, and the areas under it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from robench.atomic import remove_leftovers, replacing
from robench.attacks.primitives.norms import NORMS
from robench.errors import UsageError
from robench.file_names import file_name
from robench.model_id import ModelId
from robench.reporting.heatmap import draw_cells
from robench.reporting.report import Report, Row, Table
from robench.results import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
DPI = 150
LEGEND = 32
"""Characters on a line of a legend."""
_COLOURS = {"vgg": 0, "flex": 3}
"""Positions in seaborn's colour-blind palette."""
_OTHERS = (2, 1, 4, 5, 8, 9, 6)
_STYLES: dict[str, tuple[Any, str]] = {
    "ann": ("-", "o"),
    "hybrid": ((0, (5, 2)), "s"),
    "stbp": ((0, (1, 1.2)), "^"),
}
_OTHER_STYLE: tuple[Any, str] = ((0, (6, 2, 1, 2)), "D")
_GREY = "0.55"
_LIMIT: dict[str, Any] = {"color": "0.35", "linewidth": 0.9, "linestyle": (0, (2, 2))}
_INVALID_LABEL = "invalid:\nno evidence of robustness"


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        for table in report.newest().tables:
            if table.rows:
                written.append(save_figure(draw_curves, table, folder / curves_name(table)))
                written.append(save_figure(draw_areas, table, folder / areas_name(table)))
    except OSError as error:
        raise UsageError(f"cannot write figures to {folder}: {error.strerror}") from None
    return written


def draw_curves(table: Table) -> Figure:
    """Robust accuracy against ε with Wilson bands: one panel per attack, one for the worst.

    The colour is the architecture, the line's style the mode; a curve whose verdict is invalid is
    grey and has no band. A note above each panel lists rows without a cell and rows that are not
    valid.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    panels = (*table.attacks, "worst")
    columns = len(panels) if len(panels) <= 3 else (len(panels) + 1) // 2
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns + 2.0, 2.7 * lines + 0.35), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    colours = line_colours(table.rows)
    scale, unit = _axis(table)
    limit = table.limit.value

    for ax, panel in zip(axes, panels, strict=False):
        notes: list[str] = []
        for row, colour in zip(table.rows, colours, strict=True):
            entry = row.entries.get(panel)
            if panel == "worst":
                _draw_line(ax, row, row.worst_curve, scale, colour, band=True)
                if row.missing:
                    notes.append(f"{ModelId(row.model).name}: no {', '.join(row.missing)}")
            elif entry is not None:
                invalid = entry.verdict == "invalid"
                _draw_line(ax, row, entry.curve, scale, _GREY if invalid else colour, not invalid)
                if entry.verdict not in ("valid", "invalid"):
                    notes.append(f"{ModelId(row.model).name}: {entry.verdict}")
            elif panel in row.missing:
                notes.append(f"{ModelId(row.model).name}: missing")
        ax.axvline(limit * scale, **_LIMIT, zorder=1)
        title = "worst of all attacks" if panel == "worst" else panel
        ax.set_title(title, loc="left", fontweight="bold")
        if notes:
            ax.set_title("\n".join(notes), loc="right", fontsize="x-small", color="0.3")
    for ax in axes[len(panels) :]:
        ax.remove()
    axes[0].set_ylim(-0.02, 1.02)
    end = table.grid[-1].value * scale
    axes[0].set_xlim(-0.02 * end, 1.02 * end)
    axes[0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 8, 10]))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    for index, ax in enumerate(axes[: len(panels)]):
        if index % columns == 0:
            ax.set_ylabel("robust accuracy")
        if index + columns >= len(panels):
            ax.set_xlabel(unit)
        ax.tick_params(labelbottom=True)
    _legend(figure, table, colours)
    return figure


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
        bar={"label": "AUC", "ticks": [0, 0.25, 0.5, 0.75, 1]}, vmin=0, vmax=1, cmap="crest",
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


def wrapped(name: str, width: int) -> str:
    """A name on lines of at most ``width`` characters, split after commas where possible."""
    lines = [""]
    for part in re.split(r"(?<=,)", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def save_figure(draw: Callable[[T], Figure], table: T, path: Path) -> Path:
    """Draw a figure in the common style and write it as a small PNG, atomically."""
    import seaborn as sns
    from matplotlib import rc_context
    from PIL import Image

    style = sns.axes_style("whitegrid") | sns.plotting_context("paper")
    style |= {"font.family": "DejaVu Sans", "grid.color": "0.92", "hatch.linewidth": 0.6}
    with rc_context(style):
        figure: Figure = draw(table)
        with BytesIO() as drawn, replacing(path) as temporary:
            figure.savefig(drawn, format="png", dpi=DPI)
            # a palette makes the file a third of its size, and this kind keeps the bands smooth;
            # no metadata, so that the bytes depend on the picture alone
            whole = Image.open(drawn).convert("RGB")
            picture = whole.quantize(
                256, method=Image.Quantize.MAXCOVERAGE, kmeans=5, dither=Image.Dither.NONE
            )
            picture.info.clear()
            picture.save(temporary, format="PNG", optimize=True, dpi=(DPI, DPI))
    return path


def _draw_line(
    ax: Axes, row: Row, curve: Sequence[CurvePoint], scale: float, colour: Any, band: bool
) -> None:
    style, marker = _STYLES.get(row.mode, _OTHER_STYLE)
    x = [point.epsilon.value * scale for point in curve]
    if band:
        low = [point.interval.low for point in curve]
        high = [point.interval.high for point in curve]
        ax.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        for edge in (low, high):
            ax.plot(x, edge, color=colour, alpha=0.25, linewidth=0.5)
    ax.plot(
        x, [point.accuracy for point in curve], color=colour, linestyle=style, marker=marker,
        markersize=3 if band else 2.5, linewidth=1.4 if band else 1.0, zorder=3 if band else 2,
    )  # fmt: skip


def _legend(figure: Figure, table: Table, colours: Sequence[Any]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for row, colour in zip(table.rows, colours, strict=True):
        style, marker = _STYLES.get(row.mode, _OTHER_STYLE)
        handles.append(
            Line2D([], [], color=colour, linestyle=style, marker=marker, markersize=3.5,
                   linewidth=1.4, label=ModelId(row.model).name)
        )  # fmt: skip
    entries = [entry for row in table.rows for entry in row.entries.values()]
    if any(entry.verdict == "invalid" for entry in entries):
        handles.append(Line2D([], [], color=_GREY, linewidth=1.0, label=_INVALID_LABEL))
    handles.append(Line2D([], [], **_LIMIT, label="limit of the AUC"))
    figure.legend(
        handles=handles, loc="outside right upper", frameon=False, handlelength=3.2,
        title=table.title, alignment="left", title_fontproperties={"weight": "bold"},
    )  # fmt: skip


def _axis(table: Table) -> tuple[float, str]:
    """Factor from ε to what the axis shows, and the axis's name."""
    if any(epsilon.text.endswith("/255") for epsilon in table.grid):
        return 255.0, f"ε ({NORMS[table.norm]}, in 1/255)"
    return 1.0, f"ε ({NORMS[table.norm]})"


class Drawn(Protocol):
    """The properties that select the colour of a line."""

    @property
    def family(self) -> str:
        """The architecture, e.g. ``flex-vgg16``."""

    @property
    def mode(self) -> str:
        """``ann``, ``hybrid`` or ``stbp``."""


def line_colours(rows: Sequence[Drawn]) -> list[Any]:
    """The colour of each row: that of its family, lighter for each further row of one mode.

    Rows of other families have the remaining colours in turn.
    """
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    seen: Counter[tuple[int, str]] = Counter()
    others = cycle(_OTHERS)
    colours = []
    for row in rows:
        family = next((c for name, c in _COLOURS.items() if row.family.startswith(name)), None)
        colour, mode = (next(others), "") if family is None else (family, row.mode)
        keep = 0.65 ** seen[colour, mode]
        seen[colour, mode] += 1
        colours.append(tuple(1 - keep * (1 - channel) for channel in palette[colour]))
    return colours
