"""The figures of activity: firing rates of the layers, and energy of the models."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robench.analysis.activity.tables import CAVEAT, conditions
from robench.analysis.curves import dataset_title
from robench.analysis.drawn import Drawn
from robench.reporting.figures.style import NOTE, line_styles
from robench.results import E_AC, E_MAC, Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS = (("MACs", "#0a4a86", ""), ("FLEX masks, MACs", "#5fb3e4", "////"), ("ACs", "#e07b12", ""))


def draw_sparsity(analyses: Sequence[Analysis]) -> Figure:
    """Active neurons and silent neurons of each layer, a line for each model.

    In a spiking network the share of active neurons is the firing rate; in an ANN it is the share
    of outputs that are not zero. Where adversarial examples were measured, a third panel shows by
    how much they change it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    attacked = any("adversarial" in analysis.summary for analysis in analyses)
    figure = Figure(figsize=(3.1 * (2 + attacked), 3.9), layout="constrained")
    axes = figure.subplots(1, 2 + attacked, squeeze=False, sharex=True)[0]
    axes[1].sharey(axes[0])
    axes[1].tick_params(labelleft=False)
    styles = line_styles([Drawn(analysis) for analysis in analyses])
    for analysis, style in zip(analyses, styles, strict=True):
        clean = analysis.summary["clean"]["activations"]
        layers = np.arange(1, len(clean) + 1)
        look = style | {"markersize": 3.5, "linewidth": 1.3}
        density = np.array([row["density"] for row in clean])
        axes[0].plot(layers, density, label=Drawn(analysis).name, **look)
        axes[1].plot(layers, [row["silent"] for row in clean], **look)
        if "adversarial" in analysis.summary:
            under = [row["density"] for row in analysis.summary["adversarial"]["activations"]]
            axes[2].plot(layers, np.array(under) - density, **look)
    texts = ["active in a time step", "silent on all images", "change under attack"]
    for ax, text in zip(axes, texts, strict=False):
        ax.set_title(text, loc="left", fontweight="bold")
        ax.set_xlabel("layer of neurons")
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("share of the neurons")
    if attacked:
        axes[2].axhline(0, color=NOTE, linewidth=0.8)
        axes[2].yaxis.set_major_formatter(PercentFormatter(1, symbol=" pts", decimals=1))
    _legend(figure, axes[0], analyses[0])
    return figure


def _legend(figure: Figure, ax: Axes, first: Analysis) -> None:
    handles, names = ax.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=4, frameon=False, handlelength=3.2,
    )  # fmt: skip
    images = first.summary["clean"]["images"]
    figure.suptitle(
        f"{dataset_title(first.identity.dataset)}, {images:,} test images", x=0.01, ha="left",
        fontsize="medium",
    )  # fmt: skip


def draw_energy(analyses: Sequence[Analysis]) -> Figure:
    """The energy of an inference, a bar for each model and condition, by kind of operation."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    bars = [(analysis, name) for analysis in analyses for name in conditions(analysis)]
    figure = Figure(figsize=(7.2, 0.36 * len(bars) + 2.1), layout="constrained")
    ax = figure.subplots()
    for place, (analysis, condition) in enumerate(bars):
        part = analysis.summary[condition]
        left = 0.0
        for value, (_, colour, hatch) in zip(_energies(part), _PARTS, strict=True):
            ax.barh(place, value, 0.72, left=left, color=colour, hatch=hatch, edgecolor="white",
                    linewidth=0)  # fmt: skip
            left += value
        energy = {key: value * 1e-6 for key, value in part["total"]["energy"].items()}
        ax.plot([energy["low"], energy["high"]], [place] * 2, color="0.1", linewidth=1.6)
        ax.annotate(
            f"{energy['value']:.3g}", (energy["high"], place), (5, 0), textcoords="offset points",
            va="center", fontsize="small",
        )  # fmt: skip
    names = [
        Drawn(analysis).name + (", under attack" if name != "clean" else "")
        for analysis, name in bars
    ]
    ax.set_yticks(range(len(bars)), names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.09)
    ax.set_xlim(left=0)
    ax.set_xlabel("energy of an inference, µJ")
    first = analyses[0]
    images = first.summary["clean"]["images"]
    title = f"{dataset_title(first.identity.dataset)}, mean over {images:,} test images"
    ax.set_title(title, loc="left", fontweight="bold")
    shown = [k for k in range(len(_PARTS)) if any(_energies(a.summary[c])[k] for a, c in bars)]
    handles: list[Any] = [
        Patch(facecolor=_PARTS[k][1], hatch=_PARTS[k][2], edgecolor="white", linewidth=0,
              label=_PARTS[k][0])
        for k in shown
    ]  # fmt: skip
    ax.legend(handles=handles, loc="lower right", frameon=True, fontsize="small")
    figure.supxlabel(textwrap.fill(CAVEAT, 125), fontsize="x-small", color=NOTE, x=0.01, ha="left")
    return figure


def _energies(part: dict[str, Any]) -> tuple[float, float, float]:
    """Energy of the MACs of layers, of the MACs of masks, and of the ACs, in µJ."""
    rows = part["operations"]
    masks = sum(row["macs"] for row in rows if row["layer"].endswith(".mask"))
    macs = sum(row["macs"] for row in rows) - masks
    acs = sum(row["acs"] for row in rows)
    return E_MAC * macs * 1e-6, E_MAC * masks * 1e-6, E_AC * acs * 1e-6
