"""The evidence of all claims in one figure: differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import fill
from typing import TYPE_CHECKING, Any

from robench.reporting.figures.style import INVALID, NOTE
from studies.findings.claims import Claim, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.155
"""The height of a difference, in inches."""
_AROUND = 0.62
"""The height of a panel's title and axis, in inches."""
_WIDE = 58
"""The longest line below a panel, in characters."""
_SAYS: dict[int | None, tuple[str, dict[str, Any]]] = {
    1: ("for the claim", {"color": "#0a4a86", "marker": ">"}),
    0: ("neither", {"color": NOTE, "marker": "o"}),
    -1: ("against the claim", {"color": "#c8571b", "marker": "<"}),
    None: ("does not count", {"color": INVALID, "marker": "o", "markerfacecolor": "white"}),
}
"""The legend and the style of a difference that says this."""
_MARGIN: dict[str, Any] = {"color": NOTE, "linewidth": 0.8, "linestyle": (0, (3, 2))}


def draw_findings(claims: Sequence[Claim]) -> Figure:
    """A panel for each claim, a row for each difference; better for FLEX is on the right."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = _columns(claims)
    height = max(sum(map(_height, column)) for column in columns)
    figure = Figure(figsize=(9.2, height + 0.7), layout="constrained")
    sides = figure.subfigures(1, len(columns), squeeze=False)[0]
    for side, column in zip(sides, columns, strict=True):
        axes = side.subplots(
            len(column), 1, squeeze=False, height_ratios=[max(len(c.evidence), 1) for c in column]
        )
        for ax, claim in zip(axes[:, 0], column, strict=True):
            _draw(ax, claim)
    figure.suptitle("further right: better for FLEX", x=0.99, ha="right", fontsize="small")
    handles = [Line2D([], [], label=text, **style) for text, style in _SAYS.values()]
    if any(claim.margin is not None for claim in claims):
        handles.append(Line2D([], [], label="margin of the claim", **_MARGIN))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
        fontsize="small",
    )  # fmt: skip
    return figure


def _height(claim: Claim) -> float:
    return _ROW * len(claim.evidence) + _AROUND


def _columns(claims: Sequence[Claim]) -> list[list[Claim]]:
    """The claims in two columns of about the same height."""
    columns: list[list[Claim]] = [[], []]
    for claim in sorted(claims, key=_height, reverse=True):
        min(columns, key=lambda column: sum(map(_height, column))).append(claim)
    place = list(claims).index
    return sorted((sorted(column, key=place) for column in columns), key=lambda c: place(c[0]))


def _draw(ax: Axes, claim: Claim) -> None:
    """The panel of a claim, each data set below the one before it."""
    signs = iter(claim.signs)
    rows = [(one, None if one.against else next(signs)) for one in claim.evidence]
    for y, (one, sign) in enumerate(rows):
        d, (_, style) = one.difference, _SAYS[sign]
        low, value, high = (claim.scale * number for number in (d.low, d.value, d.high))
        ax.plot([low, high], [y, y], color=style["color"], linewidth=1.4)
        ax.plot([value], [y], **style)
    ax.axvline(0, color=NOTE, linewidth=0.8)
    if claim.margin is not None:
        edge = -claim.better * claim.margin * claim.scale
        ax.axvline(edge, **_MARGIN)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks(range(len(rows)), _names(claim.evidence), fontsize="x-small")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="x", labelsize="x-small")
    if claim.better < 0:
        ax.invert_xaxis()
    ax.set_title(
        f"{claim.title}: {claim.verdict}", loc="left", x=-0.3, fontweight="bold", fontsize="small",
        pad=3,
    )  # fmt: skip
    ax.set_xlabel(fill(f"FLEX − other: {claim.measure}", _WIDE), fontsize="x-small")


def _names(evidence: Sequence[Evidence]) -> list[str]:
    """The names of the rows; that of a data set stands at its first one."""
    return [
        f"{data}   {one.what}" if first else one.what
        for data, rows in groupby(evidence, key=lambda one: one.data)
        for first, one in zip([True, *[False] * len(evidence)], rows, strict=False)
    ]
