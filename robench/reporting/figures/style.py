"""The colours, lines and markers of all figures.

The colour and the marker name the architecture, the line's style names the mode. The colours can be
distinguished with a colour-vision deficiency, and differ in lightness, so that they can be
distinguished in grey too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

SEQUENTIAL = "crest"
"""The colour map of numbers from low, light, to high, dark; registered by seaborn."""
DIVERGING = "vlag"
"""The colour map of numbers below and above 0, which is white; registered by seaborn."""
INVALID = "0.55"
"""The grey of what is no evidence of robustness."""
NOTE = "0.35"
"""The grey of notes and of lines that are no results."""

_FAMILIES = {"vgg": ("#0a4a86", "o"), "flex": ("#e07b12", "D")}
_NUMBERED = (
    ("#12355b", "s"),
    ("#f2b134", "^"),
    ("#b5446e", "v"),
    ("#9ad9c0", "P"),
    ("#6a2c91", "X"),
    ("#4fb3a5", "*"),
    ("#2b1a10", "<"),
    ("#a9c6f0", ">"),
    ("#5f7d1e", "p"),
)
"""Dark and light in turn."""
STYLES = len(_NUMBERED)
"""So many things of a figure can have a style of their own."""
_LINES: dict[str, Any] = {"ann": "-", "hybrid": (0, (5, 2)), "stbp": (0, (1, 1.2))}
_OTHER_LINE = (0, (6, 2, 1, 2))
_KEPT = 0.45
"""Share of the colour's distance from white that each further model of a style keeps."""

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
        further: number of models before it in the figure that would have the same style. Each makes
            the colour lighter; an architecture that robench does not have takes the next style.
    """
    line = _LINES.get(mode, _OTHER_LINE)
    known = next((style for name, style in _FAMILIES.items() if family.startswith(name)), None)
    if known is None:
        return numbered_style(further) | {"linestyle": line}
    colour, marker = known
    return {"color": _lighter(colour, _KEPT**further), "linestyle": line, "marker": marker}


def numbered_style(number: int) -> dict[str, Any]:
    """The style of a thing that is no model, such as an attack, by its number in the figure.

    The keys are those of :func:`line_style`. The styles repeat after ``STYLES``.
    """
    colour, marker = _NUMBERED[number % STYLES]
    return {"color": _lighter(colour, 1), "linestyle": "-", "marker": marker}


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
