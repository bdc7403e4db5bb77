"""The figure of the curves: robust accuracy against ε, a panel for each network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import asinh, ceil, log2
from typing import TYPE_CHECKING, Any

from robench.epsilon import NORMS, scale_of
from robench.reporting.figures.labels import (
    LINE,
    TEXT,
    Label,
    Shown,
    add_legend,
    invalid_entry,
    label_ends,
)
from robench.reporting.figures.names import row_names, short_names, text_width
from robench.reporting.figures.style import NOTE, invalid, numbered_style
from robench.reporting.report import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_WIDTH, _NARROW = 9.0, 6.2
"""Of a figure and of one with a single panel, in inches: a page shows it 900 pixels wide."""
_LEAST = 1.4
"""Of a panel without its labels, in inches."""
_LEFT, _TOP, _BOTTOM, _LEGEND = 0.52, 0.52, 0.55, 0.175
_ABOVE, _BETWEEN = 0.3, 0.1
"""The room for the title of a panel, and for the gap to the next one, in inches."""
_APART = 0.14
"""The least distance of two ticks, in widths of the axis."""
_UNEVEN = 1.5
"""The axis of ε is linear up to this ratio of the largest to the smallest step of the grid."""
_LINE: dict[str, Any] = {"linewidth": 1.3, "markersize": 3.5}
_SHADE: dict[str, Any] = {"color": "#d7e3ee", "linewidth": 0}
_BAND: dict[str, Any] = {"alpha": 0.22, "linewidth": 0}
_GRID: dict[str, Any] = {"color": "0.92", "linewidth": 0.8, "zorder": 0.5}
_READABLE = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}
"""Behind a text that lies on a curve."""
_HEADLINE: dict[str, Any] = {"color": NOTE, "linewidth": 0.9, "linestyle": (0, (2, 2))}


def draw_curves(table: Table) -> Figure:
    """Robust accuracy against ε with Wilson bands: a panel for each network, the best first.

    A line is an attack. The area under the worst case over all attacks is shaded up to the limit of
    the AUC, unless it is only an upper bound. A line that is invalid is grey and hollow, without a
    band. The labels at the ends name the attacks; ``?`` marks one that is suspect or unchecked.
    Above a panel is the robust accuracy at the headline ε. Where the steps of the grid are uneven,
    the axis is logarithmic above 0.
    """
    from matplotlib import rc_context
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    rows, names = table.rows, short_names(table.attacks)
    beside = max(text_width(text) for row in rows for text in _texts(row, table, names))
    beside += TEXT + _BETWEEN
    lines = ceil(len(rows) / min(_COLUMNS, int((_WIDTH - _LEFT) / (_LEAST + beside))))
    columns = ceil(len(rows) / lines)
    total = _WIDTH if columns > 1 else _NARROW
    width = (total - _LEFT) / columns - beside
    height = max(min(max(0.68 * width, 1.25), 2.4), LINE * (len(names) + 1))
    entries = _entries(table)
    across = min(columns, 2)  # in the legend
    bottom = _BOTTOM + _LEGEND * ceil(len(entries) / across)
    tall = lines * (height + _ABOVE) - _ABOVE + _TOP + bottom
    figure = Figure(figsize=(total, tall))
    # the ticks of inner panels, and their lines of a grid one by one, would take most of the time
    with rc_context({"axes.grid": False}):
        axes = figure.subplots(
            lines, columns, sharex=True, sharey=True, squeeze=False,
            gridspec_kw={
                "left": _LEFT / total, "right": 1 - beside / total, "top": 1 - _TOP / tall,
                "bottom": bottom / tall, "wspace": beside / width, "hspace": _ABOVE / height,
            },
        ).ravel()  # fmt: skip
    _arrange(axes[0], table)
    grid = [[(x, -1), (x, 2)] for x in axes[0].get_xticks()]
    grid += [[(0, y), (table.grid[-1].value, y)] for y in axes[0].get_yticks()]
    size, titles = _titles(table, width + beside)
    for number, (ax, row, (name, left)) in enumerate(zip(axes, rows, titles, strict=False)):
        label_ends(ax, _draw(ax, row, table, names), width, height)
        ax.axvline(table.headline.value, **_HEADLINE, zorder=1)
        ax.add_collection(LineCollection(grid, **_GRID), autolim=False)
        # y=None measures all texts
        ax.set_title(name, loc="left", fontweight="bold", fontsize=size, pad=4, y=1)
        # above the labels too, where there is room
        bound = "≤ " * upper_bound(row)
        ax.text(0.03, 0.07, f"AUC {bound}{row.worst_auc.value:.3f}", transform=ax.transAxes,
                fontsize="small", color=NOTE, zorder=4, bbox=_READABLE)  # fmt: skip
        ax.text(1 + (beside - _BETWEEN) / width, 1 + 4 / 72 / height, left, ha="right",
                transform=ax.transAxes, fontsize="small", color=NOTE)  # fmt: skip
        if number + columns >= len(rows):
            ax.tick_params(labelbottom=True)
        else:
            ax.xaxis.set_visible(False)
        ax.yaxis.set_visible(number % columns == 0)
    for ax in axes[len(rows) :]:
        ax.remove()
    order = ", the largest AUC first" if len(rows) > 1 else ""
    figure.text(0.1 / total, 1 - 0.08 / tall, f"{table.title}: robust accuracy against ε{order}",
                va="top", fontweight="bold")  # fmt: skip
    middle = (_LEFT + total - beside) / 2 / total
    figure.text(middle, (bottom - 0.43) / tall, _axis(table), ha="center")
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0), "borderaxespad": 0.2}
    add_legend(figure, entries, ncols=across, fontsize="small", labelspacing=0.35, **place)
    return figure


def upper_bound(row: Row) -> bool:
    """Whether the worst case is no evidence: an attack is missing, or all are invalid."""
    return bool(row.missing) or row.auc_verdict == "invalid"


def _bounded(row: Row) -> bool:
    """The same at the headline ε, where other attacks may have been run."""
    absent = row.missing or row.missing_at_headline
    return bool(absent) or row.accuracy_verdict == "invalid"


def _titles(table: Table, width: float) -> tuple[str, list[tuple[str, str]]]:
    """The size of the titles; the name of each network, cut if need be, and what is left of it."""
    left = [
        f"{'≤ ' * _bounded(row)}{100 * row.worst_accuracy.value:.1f} % at {table.headline}"
        for row in table.rows
    ]
    room = width - 0.15 - max(map(text_width, left))
    names = row_names(table.rows)
    longest = max(names, key=len)
    size = "medium" if text_width(longest, "medium", "bold") <= room else "small"
    letters = int(room * len(longest) / text_width(longest, size, "bold"))
    return size, list(zip(short_names(names, max(8, letters)), left, strict=True))


def _texts(row: Row, table: Table, names: Sequence[str]) -> list[str]:
    """The label of each attack on a network."""
    return [_text(row, *pair) for pair in zip(table.attacks, names, strict=True)]


def _text(row: Row, attack: str, name: str) -> str:
    if entry := row.entries.get(attack):
        return f"{name} ?" if entry.verdict in ("suspect", "unchecked") else name
    if attack in row.not_applicable:
        return f"{name} n/a"
    return f"no {name}" if attack in row.missing else ""


def _draw(ax: Axes, row: Row, table: Table, names: Sequence[str]) -> list[Label]:
    """Draw the curves of a network; returns their labels."""
    from matplotlib.collections import PolyCollection

    if not upper_bound(row):
        shown = [p for p in row.worst_curve if p.epsilon.value <= table.limit.value]
        ax.fill_between(
            [p.epsilon.value for p in shown], [p.accuracy for p in shown], zorder=0.4, **_SHADE
        )
    labels: list[Label] = []
    bands: list[tuple[list[tuple[float, float]], Any]] = []
    # markers at different points, so that curves that lie on each other are both seen
    every = min(max(1, len(table.attacks)), max(1, len(table.grid) // 3))
    for number, (attack, text) in enumerate(
        zip(table.attacks, _texts(row, table, names), strict=True)
    ):
        entry = row.entries.get(attack)
        if entry is None:
            if text:
                labels.append(Label(1, text, None))
            continue
        style = numbered_style(number)
        x = [point.epsilon.value for point in entry.curve]
        y = [point.accuracy for point in entry.curve]
        if entry.verdict == "invalid":
            style = invalid(style)
        else:
            low = [point.interval.low for point in entry.curve]
            high = [point.interval.high for point in entry.curve]
            outline = [*zip(x, low, strict=True), *zip(x[::-1], high[::-1], strict=True)]
            bands.append((outline, style["color"]))
        ax.plot(x, y, markevery=(number % every, every), **_LINE | style)
        labels.append(Label(y[-1], text, style))
    if bands:
        outlines = [outline for outline, _ in bands]
        colours = [colour for _, colour in bands]  # a pair as a tuple would be (colour, alpha)
        ax.add_collection(PolyCollection(outlines, facecolors=colours, **_BAND), autolim=False)
    return labels


def _arrange(ax: Axes, table: Table) -> None:
    """Set the limits, scales and ticks that all panels share; the ticks are points of the grid."""
    from matplotlib.ticker import PercentFormatter

    grid = [epsilon.value for epsilon in table.grid]
    factor, linear = _factor(table), _linear_up_to(table)
    if linear:
        ax.set_xscale("asinh", linear_width=linear)

    def place(value: float) -> float:
        if linear:
            return asinh(value / linear) / asinh(grid[-1] / linear)
        return value / grid[-1]

    def rank(value: float) -> tuple[float, float]:
        """Powers of two first in 1/255, else numbers of few digits."""
        number = value * factor
        return (log2(number) % 1 != 0 if factor > 1 else len(f"{number:g}")), abs(log2(number))

    kept = [0.0, table.headline.value, grid[-1]]
    for value in sorted(grid[1:], key=rank):
        if all(abs(place(value) - place(other)) >= _APART for other in kept):
            kept.append(value)
    ticks = sorted(set(kept))
    ax.set_xticks(ticks, [f"{value * factor:.3g}" for value in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0, grid[-1])
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _linear_up_to(table: Table) -> float:
    """Where a logarithmic axis becomes linear; 0 if the steps of the grid are even."""
    values = [epsilon.value for epsilon in table.grid]
    steps = [b - a for a, b in pairwise(values)]
    return 2 * values[1] if max(steps) > _UNEVEN * min(steps) else 0


def _factor(table: Table) -> float:
    """From ε to what the axis shows."""
    return scale_of(epsilon.text for epsilon in table.grid)


def _axis(table: Table) -> str:
    """What the axis shows."""
    factor, linear = _factor(table), _linear_up_to(table)
    unit = f"ε ({NORMS[table.norm]}{', in 1/255' if factor > 1 else ''})"
    return f"{unit}, logarithmic above {linear * factor:.3g}" if linear else unit


def _entries(table: Table) -> list[Shown]:
    """What the legend says."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    every = [entry for row in table.rows for entry in row.entries.values()]
    entries: list[Shown] = []
    if not all(entry.verdict == "invalid" for entry in every):
        entries.append((Patch(color=NOTE, **_BAND), "95 % interval"))
    if not all(map(upper_bound, table.rows)):
        text = f"worst of all attacks, up to ε = {table.limit}, the limit of the AUC"
        entries.append((Patch(**_SHADE), text))
    found = {entry.attack for entry in every if entry.verdict == "invalid"}
    if found:
        styles = [numbered_style(k) for k, a in enumerate(table.attacks) if a in found]
        entries.append(invalid_entry(styles, **_LINE))
    if any(entry.verdict in ("suspect", "unchecked") for entry in every):
        entries.append((Line2D([], [], linestyle="none"), "?  suspect or unchecked"))
    return entries
