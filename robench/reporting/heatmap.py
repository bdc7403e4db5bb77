"""Heat maps: coloured cells with their numbers in them, alike in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

EVEN = 0.179
"""The relative luminance (WCAG 2) on which black and white stand out alike."""
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
        ax: where.
        values: what the colours tell, ``(rows, columns)``; a cell of NaN has none.
        labels: what stands in each cell, of the same shape.
        columns: their names.
        rows: their names.
        bar: options of the bar, as seaborn's ``cbar_kws``.
        colours: which value has which colour, as seaborn's ``heatmap`` takes it.
    """
    import numpy as np
    import seaborn as sns

    absent = np.isnan(values)
    ax.grid(visible=False)
    sns.heatmap(
        values, ax=ax, annot=labels, fmt="", mask=absent, linewidths=1.5, linecolor="white",
        annot_kws={"fontsize": "small"}, xticklabels=list(columns), yticklabels=list(rows),
        cbar_kws={"aspect": 12, "pad": 0.02} | bar, **colours,
    )  # fmt: skip
    colours_of = np.asarray(ax.collections[0].get_facecolor(), dtype=np.float64)
    for text, colour in zip(ax.texts, colours_of[~absent.ravel()], strict=True):
        text.set_color(DARK if luminance(colour) > EVEN else LIGHT)
    for i, j in np.argwhere(absent):
        ax.text(j + 0.5, i + 0.5, labels[i, j], ha="center", va="center", fontsize="small")
    ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.tick_params(axis="y", length=0, rotation=0)


def luminance(colour: Sequence[float]) -> float:
    """The relative luminance of an sRGB colour (WCAG 2), from 0 for black to 1 for white."""
    import numpy as np

    channels = np.asarray(colour[:3], dtype=np.float64)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
