"""The evidence of all claims in one figure: differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import fill
from typing import TYPE_CHECKING, Any

from robench.reporting.figures.style import NOTE
from studies.findings.claims import Claim, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.155
"""The height of a difference, in inches."""
_AROUND = 0.62
"""The height of a panel's title and axis, in inches."""
_LETTER = 0.0117
"""The width of a letter of a row's name, in widths of a panel."""
_WIDE = 58
"""The longest line below a panel, in characters."""
_SAYS: dict[int, tuple[str, dict[str, Any]]] = {
    1: ("for the claim", {"color": "#0a4a86", "marker": ">"}),
    0: ("neither", {"color": NOTE, "marker": "o"}),
    -1: ("against the claim", {"color": "#c8571b", "marker": "<"}),
}
"""The legend and the style of a difference that says this."""
_MARGIN: dict[str, Any] = {"color": NOTE, "linewidth": 0.8, "linestyle": (0, (3, 2))}


def draw_findings(claims: Sequence[Claim]) -> Figure:
    """A panel for each claim, a row for each difference that counts."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = _columns(claims)
    height = max(sum(map(_height, column)) for column in columns)
    figure = Figure(figsize=(9.2, height + 0.4), layout="constrained")
    sides = figure.subfigures(1, len(columns), squeeze=False)[0]
    for side, column in zip(sides, columns, strict=True):
        ratios = [max(len(claim.counted), 1) for claim in column]
        axes = side.subplots(len(column), 1, squeeze=False, height_ratios=ratios)
        names = [name for claim in column for name in _names(claim.counted)]
        left = -_LETTER * max(map(len, names), default=0)
        for ax, claim in zip(axes[:, 0], column, strict=True):
            _draw(ax, claim, left)
    handles = [Line2D([], [], label=text, **style) for text, style in _SAYS.values()]
    if any(claim.margin is not None for claim in claims):
        handles.append(Line2D([], [], label="margin of the claim", **_MARGIN))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
        fontsize="small",
    )  # fmt: skip
    return figure


def _height(claim: Claim) -> float:
    return _ROW * max(len(claim.counted), 1) + _AROUND


def _columns(claims: Sequence[Claim]) -> list[list[Claim]]:
    """The claims in their order, in two columns of about the same height."""
    heights = [_height(claim) for claim in claims]
    cuts = range(1, len(claims)) or [1]
    cut = min(cuts, key=lambda at: max(sum(heights[:at]), sum(heights[at:])))
    return [list(part) for part in (claims[:cut], claims[cut:]) if part]


def _draw(ax: Axes, claim: Claim, left: float) -> None:
    """The panel of a claim, each data set below the one before it; better for FLEX is right.

    Its title begins at ``left``, in widths of the panel.
    """
    for y, (one, sign) in enumerate(zip(claim.counted, claim.signs, strict=True)):
        d, (_, style) = one.difference, _SAYS[sign]
        low, value, high = (claim.scale * number for number in (d.low, d.value, d.high))
        ax.plot([low, high], [y, y], color=style["color"], linewidth=1.4)
        ax.plot([value], [y], **style)
    ax.axvline(0, color=NOTE, linewidth=0.8)
    if claim.margin is not None:
        edge = -claim.better * claim.margin * claim.scale
        ax.axvline(edge, **_MARGIN)
    rows = len(claim.counted)
    ax.set_ylim(max(rows, 1) - 0.4, -0.6)
    ax.set_yticks(range(rows), _names(claim.counted), fontsize="x-small")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="x", labelsize="x-small")
    if claim.better < 0:
        ax.invert_xaxis()
    ax.set_title(
        f"{claim.title}: {claim.verdict}", loc="left", x=left, fontweight="bold",
        fontsize="small", pad=3,
    )  # fmt: skip
    ax.set_title("FLEX better →", loc="right", fontsize="x-small", color=NOTE, pad=3)
    left_out = len(claim.evidence) - rows
    note = f"; {left_out} more do not count" if left_out else ""
    ax.set_xlabel(fill(f"FLEX − other: {claim.measure}{note}", _WIDE), fontsize="x-small")


def _names(evidence: Sequence[Evidence]) -> list[str]:
    """The names of the rows; that of a data set stands at its first one."""
    return [
        f"{data}   {one.what}" if first else one.what
        for data, rows in groupby(evidence, key=lambda one: one.data)
        for first, one in zip([True, *[False] * len(evidence)], rows, strict=False)
    ]
