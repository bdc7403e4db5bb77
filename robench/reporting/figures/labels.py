"""Labels beside the ends of lines, and legends for what has no end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from robench.reporting.figures.style import NOTE, invalid, text_colour

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.135
"""The height of a label, in inches."""
LEAD, TEXT = 0.13, 0.19
"""Where the marker and the text of a label are, in inches from the edge of the panel."""


Shown = tuple["Artist | tuple[Artist, ...]", str]
"""Of a legend: one handle or several, and the text."""


class Label(NamedTuple):
    """The label of a line.

    Attributes:
        y: where the line ends.
        text: what it says.
        style: of the line; None for a note without a line.
    """

    y: float
    text: str
    style: dict[str, Any] | None


def label_ends(ax: Axes, labels: Sequence[Label], width: float, height: float) -> None:
    """Write labels to the right of a panel, each with the marker of its line.

    Args:
        ax: the panel, whose limits are set.
        labels: of its lines, which end at its right edge; of equal ends, the first is above.
        width: of the panel, in inches.
        height: of the panel, in inches.
    """
    low, high = ax.get_ylim()
    gap = LINE / height * (high - low)
    labels = sorted(reversed(labels), key=lambda label: label.y)
    places = spread([label.y for label in labels], gap, low + gap / 3, high - gap / 3)
    across = ax.get_yaxis_transform()
    for label, y in zip(labels, places, strict=True):
        colour = NOTE if label.style is None else text_colour(label.style)
        ax.text(1 + TEXT / width, y, label.text, transform=across, color=colour, fontsize="small",
                va="center_baseline")  # fmt: skip
        if label.style is not None:
            ax.plot(
                [1, 1 + LEAD / width], [label.y, y], transform=across, clip_on=False,
                markevery=[1],
                **label.style | {"linestyle": "-", "linewidth": 0.7, "markersize": 4},
            )  # fmt: skip


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending values, moved as little as needed to be a gap apart and within two bounds.

    The gap is smaller if they do not fit.
    """
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    places: list[float] = []
    for number, value in enumerate(values):
        places.append(max(value, places[-1] + gap if number else low))
    for number in range(1, len(places) + 1):
        places[-number] = min(places[-number], high - (number - 1) * gap)
    return places


def invalid_entry(styles: Sequence[Mapping[str, Any]], **options: Any) -> Shown:
    """What a legend says about lines that are invalid, as they look in the plot.

    Args:
        styles: of the lines, where they are valid.
        options: of these lines beside their style, such as the width.
    """
    from matplotlib.lines import Line2D

    lines = tuple(Line2D([], [], **options | invalid(style)) for style in styles)
    return lines, "invalid: no evidence of robustness"


def add_legend(figure: Figure, entries: Sequence[Shown], **options: Any) -> None:
    """A legend whose entries may have several handles, which stand beside each other."""
    from matplotlib.legend_handler import HandlerTuple

    handles, labels = zip(*entries, strict=True)
    figure.legend(
        handles, labels, handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)}, frameon=False,
        handlelength=3.4, **options,
    )  # fmt: skip
