"""Figures in one style, as small files of the same bytes for the same picture.

Labels beside the ends of lines take the place of a legend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from robench.atomic import replacing
from robench.errors import UsageError
from robench.reporting.figures.style import NOTE, text_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
FigureFormat = Literal["png", "svg", "pdf"]
DPI = 150
LINE = 0.135
"""The height of a label, in inches."""
_LEAD, _TEXT = 1.075, 1.11
"""Where the marker and the text of a label are, in widths of the panel."""
_NO_DATE: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_figure(
    draw: Callable[[T], Figure], data: T, path: Path, *, photographs: bool = False
) -> Path:
    """Draw a figure in the common style and write it atomically; returns the path.

    Equal data gives equal bytes under one version of matplotlib.

    Args:
        draw: makes the figure.
        data: what it shows.
        path: whose ending is the format: ``.png``, a small one, ``.svg`` or ``.pdf``.
        photographs: whether it shows images, which need more colours than a small PNG has.

    Raises:
        UsageError: the folder cannot be written to.
    """
    import seaborn as sns
    from matplotlib import rc_context

    style = sns.axes_style("whitegrid") | sns.plotting_context("paper")
    style |= {"font.family": "DejaVu Sans", "grid.color": "0.92", "hatch.linewidth": 0.6}
    style |= {"svg.hashsalt": "robench", "pdf.fonttype": 42}
    form = path.suffix.removeprefix(".")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(style):
            figure = draw(data)
            with replacing(path) as temporary:
                if form == "png":
                    _save_png(figure, temporary, palette=not photographs)
                else:
                    figure.savefig(temporary, format=form, metadata=_NO_DATE[form])
    except OSError as error:
        raise UsageError(f"cannot write figures to {path.parent}: {error.strerror}") from None
    return path


def _save_png(figure: Figure, path: Path, *, palette: bool) -> None:
    from PIL import Image

    with BytesIO() as drawn:
        figure.savefig(drawn, format="png", dpi=DPI)
        # no metadata, so that the bytes depend on the picture alone
        picture = Image.open(drawn).convert("RGB")
        if palette:  # a third of the size, and this kind keeps the bands smooth
            picture = picture.quantize(
                256, method=Image.Quantize.MAXCOVERAGE, kmeans=5, dither=Image.Dither.NONE
            )
        picture.info.clear()
        picture.save(path, format="PNG", optimize=True, dpi=(DPI, DPI))


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


def label_ends(ax: Axes, labels: Sequence[Label], height: float) -> None:
    """Write labels to the right of a panel, each with the marker of its line.

    Args:
        ax: the panel, whose limits are set.
        labels: of its lines, which end at its right edge.
        height: of the panel, in inches.
    """
    low, high = ax.get_ylim()
    gap = LINE / height * (high - low)
    labels = sorted(labels, key=lambda label: label.y)
    places = spread([label.y for label in labels], gap, low + gap / 3, high - gap / 3)
    across = ax.get_yaxis_transform()
    for label, y in zip(labels, places, strict=True):
        colour = NOTE if label.style is None else text_colour(label.style)
        ax.text(_TEXT, y, label.text, transform=across, color=colour, fontsize="small",
                va="center_baseline")  # fmt: skip
        if label.style is not None:
            ax.plot(
                [1, _LEAD], [label.y, y], transform=across, clip_on=False,
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


def shortened(name: str, width: int = 18) -> str:
    """A name of at most ``width`` characters; the middle of a longer one is left out."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[-end:]}"


def wrapped(name: str, width: int) -> str:
    """A name on lines of at most ``width`` characters, split after commas where possible."""
    lines = [""]
    for part in re.split(r"(?<=,)", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)
