"""The colours, lines and markers of all figures.

The marker and the colour name the architecture, the line's style names the mode. What has no
architecture, such as an attack, has a marker, a line's style and a colour by its number. The
colours can be distinguished with a colour-vision deficiency; in grey, the markers and lines remain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

COMMON: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.6, "text.color": ".15", "axes.labelsize": 9.6,
    "axes.titlesize": 9.6, "axes.labelcolor": ".15", "axes.edgecolor": ".8", "axes.linewidth": 1,
    "axes.axisbelow": True, "axes.grid": True, "grid.color": "0.92", "grid.linewidth": 0.8,
    "lines.solid_capstyle": "round", "lines.linewidth": 1.2, "lines.markersize": 4.8,
    "patch.linewidth": 0.8, "patch.edgecolor": "w", "patch.force_edgecolor": True,
    "legend.fontsize": 8.8, "legend.title_fontsize": 9.6, "hatch.linewidth": 0.6,
    "svg.hashsalt": "robench", "pdf.fonttype": 42,
} | {
    f"{axis}tick.{name}": value
    for axis, side in (("x", "bottom"), ("y", "left"))
    for name, value in (("color", ".15"), ("labelsize", 8.8), (side, False), ("major.size", 4.8))
}  # fmt: skip
"""The settings of matplotlib for all figures: a light grid, no ticks, and text to be read small."""
SEQUENTIAL = "YlGnBu"
"""The colour map of numbers from low, light, to high, dark."""
DIVERGING = "RdBu_r"
"""The colour map of numbers below and above 0, which is white."""
INVALID = "0.55"
"""The grey of what is no evidence of robustness."""
HATCHED: Mapping[str, Any] = {
    "facecolor": "0.95", "edgecolor": "0.75", "hatch": "////", "linewidth": 0
}  # fmt: skip
"""A cell of a heat map that is no evidence of robustness."""
NOTE = "0.35"
"""The grey of notes and of lines that are no results."""

_FAMILIES = {"vgg": ("#0a4a86", "o*p"), "flex": ("#e07b12", "DXd")}
"""Of an architecture the colour, and the markers of several models of one mode."""
_NUMBERED = (
    ("#12355b", "s"),
    ("#f2b134", "^"),
    ("#b5446e", "v"),
    ("#58a98a", "P"),
    ("#6a2c91", "X"),
    ("#4fb3a5", "*"),
    ("#2b1a10", "<"),
    ("#a9c6f0", ">"),
    ("#5f7d1e", "p"),
)
"""Dark and light in turn."""
STYLES = len(_NUMBERED)
"""So many things of a figure can have a colour of their own."""
_DOTTED, _DASHED, _SOLID, _MIXED = (0, (1, 1.2)), (0, (5, 2)), "-", (0, (6, 2, 1, 2))
_LINES: dict[str, Any] = {"ann": _SOLID, "hybrid": _DASHED, "stbp": _DOTTED}
_DASHES: tuple[Any, ...] = (_DOTTED, _DASHED, _SOLID, _MIXED)
"""By number: the third attack of most tables, solid, is the strongest."""
_SHADES = (1.0, 0.5, 0.28)
"""Share of the colour's distance from white that the models of a style keep in turn."""

_TEXT = 0.72
"""Share of each channel of a colour that a text in it keeps, as thin strokes look paler."""


class Drawn(Protocol):
    """The properties that select the style of a line."""

    @property
    def family(self) -> str:
        """The architecture, e.g. ``flex-vgg16``."""

    @property
    def mode(self) -> str:
        """``ann``, ``hybrid`` or ``stbp``."""


def line_style(family: str, mode: str, further: int = 0) -> dict[str, Any]:
    """The style of a model's line: matplotlib's ``color``, ``linestyle`` and ``marker``.

    Args:
        family: the architecture; those that robench does not have share a list of styles.
        mode: ``ann``, ``hybrid``, ``stbp`` or another.
        further: number of models before it in the figure that would have the same style. Each takes
            another marker and shade, up to nine; an architecture that robench does not have takes
            the next style.
    """
    line = _LINES.get(mode, _MIXED)
    known = next((style for name, style in _FAMILIES.items() if family.startswith(name)), None)
    if known is None:
        return numbered_style(further) | {"linestyle": line}
    colour, markers = known
    around, within = divmod(further, len(_SHADES))
    marker = markers[(within + around) % len(markers)]
    return {"color": _lighter(colour, _SHADES[within]), "linestyle": line, "marker": marker}


def numbered_style(number: int) -> dict[str, Any]:
    """The style of a thing that is no model, such as an attack, by its number in the figure.

    The keys are those of :func:`line_style`. Colours repeat after ``STYLES``, with other markers.
    """
    around, within = divmod(number, STYLES)
    place = (within + around) % STYLES  # each marker with another colour and line in each round
    return {
        "color": _lighter(_NUMBERED[within][0], 1),
        "linestyle": _DASHES[(place + around) % len(_DASHES)],
        "marker": _NUMBERED[place][1],
    }


def invalid(style: Mapping[str, Any]) -> dict[str, Any]:
    """The style of the same line where it is no evidence of robustness: grey and hollow."""
    return {**style, "color": INVALID, "markerfacecolor": "white"}


def text_colour(style: Mapping[str, Any]) -> tuple[float, ...]:
    """The colour of a text about a line or marker, darker than it."""
    from matplotlib.colors import to_rgb

    return tuple(_TEXT * channel for channel in to_rgb(style["color"]))


def _lighter(colour: str, kept: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(1 - kept * (1 - channel) for channel in to_rgb(colour))


def line_styles(rows: Sequence[Drawn]) -> list[dict[str, Any]]:
    """The style of each row, different for rows of one architecture and mode."""
    seen: Counter[tuple[str, str]] = Counter()
    styles = []
    for row in rows:
        known = next((name for name in _FAMILIES if row.family.startswith(name)), "")
        key = known, row.mode if known else ""
        styles.append(line_style(row.family, row.mode, seen[key]))
        seen[key] += 1
    return styles
