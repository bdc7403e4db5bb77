"""Heat maps: coloured cells with numbers in them, in the same style in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians, sin
from typing import TYPE_CHECKING, Any

from robench.reporting.figures.names import short_names, text_width
from robench.reporting.figures.style import HATCHED

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

EVEN = 0.179
"""The relative luminance (WCAG 2) on which black and white have the same contrast."""
DARK, LIGHT = ".15", "w"
_LONGEST = 30
"""Characters of a name."""
_SLOPE = 35
"""Of names that are wider than a column, in degrees."""
_MARGIN, _LINE = 0.1, 0.17
"""Around the figure, and of a line of the notes, in inches."""


def heat_map(
    values: NDArray[np.float64],
    labels: NDArray[np.object_],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    notes: Sequence[str],
    hatched: NDArray[np.bool_] | None = None,
    hatched_note: str = "invalid: no evidence of robustness, an upper bound",
    side: str = "",
    bar: str = "",
    cell: tuple[float, float] = (0.66, 0.3),
    **colours: Any,
) -> tuple[Figure, Axes]:
    """Coloured cells with the names of the columns above them and notes below.

    Args:
        values: what the colours show, ``(rows, columns)``; a cell of NaN has no colour.
        labels: the text of each cell, of the same shape.
        columns: their names.
        rows: their names.
        notes: lines of text.
        hatched: cells that are no evidence of robustness, of the same shape.
        hatched_note: what the hatching says.
        side: the name of the rows.
        bar: what the colours show, if the numbers do not say it: the name of a bar of colours,
            which is the last axes of the figure.
        cell: width and height, in inches.
        colours: the colour map ``cmap``, and its range ``vmin`` and ``vmax``.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    columns, rows = short_names(columns, _LONGEST), short_names(rows, _LONGEST)
    widths = [text_width(name) for name in columns]
    slanted = max(widths) > cell[0] - 0.05
    angle = radians(_SLOPE if slanted else 0)
    across, down = cell[0] * len(columns), cell[1] * len(rows)
    hatched = np.zeros(values.shape, dtype=bool) if hatched is None else hatched
    shown = [*notes, *[hatched_note] * bool(hatched.any())]
    left = 2 * _MARGIN + max(map(text_width, rows)) + (0.2 if side else 0)
    ends = [(k + 0.5) * cell[0] + slanted * cos(angle) * w for k, w in enumerate(widths)]
    right = _MARGIN + max(0.85 if bar else 0, max(ends) - across)
    top, bottom = 0.25 + max(widths) * sin(angle), _MARGIN + _LINE * len(shown)
    longest = max(map(text_width, shown), default=0) + 0.4
    right = max(right, longest + 2 * _MARGIN - left - across)
    width, height = left + across + right, top + down + bottom
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((left / width, bottom / height, across / width, down / height))
    ax.grid(visible=False)
    ax.set_frame_on(False)
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), edgecolors="white", linewidth=1.5, **colours)
    faces = mesh.to_rgba(values)
    for (i, j), text in np.ndenumerate(labels):
        dark = np.isnan(values[i, j]) or luminance(faces[i, j]) > EVEN
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize="small",
                color=DARK if dark else LIGHT)  # fmt: skip
    for i, j in np.argwhere(hatched):
        # below the white lines between the cells
        ax.add_patch(Rectangle((j, i), 1, 1, zorder=0.5, **HATCHED))
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize="small")
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize="small")
    ax.tick_params(top=False, bottom=False, left=False, labeltop=True, labelbottom=False)
    ax.tick_params(length=0, pad=4)
    if slanted:
        for tick in ax.get_xticklabels():
            tick.set(rotation=_SLOPE, ha="left", rotation_mode="anchor")
    if bar:
        beside = figure.add_axes(
            ((left + across + 0.12) / width, bottom / height, 0.14 / width, down / height)
        )
        figure.colorbar(mesh, cax=beside, label=bar)
    if side:
        figure.text(_MARGIN / width, (bottom + down / 2) / height, side, rotation=90, va="center")
    for number, note in enumerate(notes):
        y = bottom - 0.06 - _LINE * number
        figure.text(_MARGIN / width, y / height, note, va="top", fontsize="small")
    if len(shown) > len(notes):
        figure.legend(
            [Patch(**HATCHED)], shown[-1:], loc="lower left", bbox_to_anchor=(0, 0),
            frameon=False, fontsize="small", borderpad=0.1, borderaxespad=0.4,
        )  # fmt: skip
    return figure, ax


def luminance(colour: NDArray[np.float64]) -> float:
    """The relative luminance of a colour, from 0 to 1 (WCAG 2).

    Args:
        colour: red, green and blue in sRGB, from 0 to 1, and perhaps more.
    """
    import numpy as np

    rgb = colour[:3]
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
