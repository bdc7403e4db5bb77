"""Heat maps: coloured cells with numbers in them, in the same style in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

EVEN = 0.179
"""The relative luminance (WCAG 2) on which black and white have the same contrast."""
DARK, LIGHT = ".15", "w"


def draw_cells(
    ax: Axes,
    values: NDArray[np.float64],
    labels: NDArray[np.object_],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    bar: dict[str, Any],
    **colours: Any,
) -> None:
    """Draw the cells, the names of the columns above them, and a bar of the colours.

    Args:
        ax: of the heat map.
        values: what the colours show, ``(rows, columns)``; a cell of NaN has no colour.
        labels: the text of each cell, of the same shape.
        columns: their names.
        rows: their names.
        bar: options of the colour bar, as seaborn's ``cbar_kws``.
        colours: the colour map and its range, as for seaborn's ``heatmap``.
    """
    import numpy as np
    import seaborn as sns
    from seaborn.utils import relative_luminance

    absent = np.isnan(values)
    ax.grid(visible=False)
    sns.heatmap(
        values, ax=ax, annot=labels, fmt="", mask=absent, linewidths=1.5, linecolor="white",
        annot_kws={"fontsize": "small"}, xticklabels=list(columns), yticklabels=list(rows),
        cbar_kws={"aspect": 12, "pad": 0.02} | bar, **colours,
    )  # fmt: skip
    faces = np.asarray(ax.collections[0].get_facecolor())[~absent.ravel()]
    for text, colour in zip(ax.texts, faces, strict=True):
        text.set_color(DARK if relative_luminance(colour) > EVEN else LIGHT)
    for i, j in np.argwhere(absent):
        ax.text(j + 0.5, i + 0.5, labels[i, j], ha="center", va="center", fontsize="small")
    ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.tick_params(axis="y", length=0, rotation=0)
