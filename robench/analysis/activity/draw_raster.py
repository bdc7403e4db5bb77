"""The figures of spike rasters: models beside each other, clean and under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.analysis.drawn import Drawn
from robench.errors import UsageError
from robench.reporting.figures.style import DIVERGING, NOTE, SEQUENTIAL
from robench.results import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

_INK = "#0a4a86"
SIGNED = 0.2
"""The share of the largest change from which the sign of a change is written."""

_DARK = 0.6
"""The share from which the colour of a change is dark."""


@dataclass(frozen=True)
class DrawnRaster(Drawn):
    """A raster with its arrays.

    Attributes:
        layer: the number of the layer that is drawn.
    """

    layer: int = 0

    @property
    def conditions(self) -> list[str]:
        """``clean``, and ``adversarial`` if it was recorded."""
        return list(self.analysis.summary["predictions"])

    def get(self, condition: str, what: str, layer: int | None = None) -> NDArray[Any]:
        """An array of a layer; of the one that is drawn by default."""
        return self.arrays[f"{condition}.{self.layer if layer is None else layer}.{what}"]

    def rates(self, condition: str) -> NDArray[np.float32]:
        """The mean rate over all images, ``(layers, T)``."""
        rows = [
            self.get(condition, "rates", k) for k in range(len(self.analysis.summary["layers"]))
        ]
        most = max(map(len, rows))
        return np.stack([np.pad(row, (0, most - len(row)), constant_values=np.nan) for row in rows])


def layer_number(analysis: Analysis, layer: str | None) -> int:
    """The number of a layer by its name or its number from 1; the third one by default.

    Raises:
        UsageError: there is no such layer.
    """
    names = [row["layer"] for row in analysis.summary["layers"]]
    if layer is None:
        return min(2, len(names) - 1)
    if layer in names:
        return names.index(layer)
    if layer.isdecimal() and 1 <= int(layer) <= len(names):
        return int(layer) - 1
    raise UsageError(
        f"--layer {layer}: {analysis.identity.model} has the layers of neurons {', '.join(names)}; "
        f"give a name, or a number from 1 to {len(names)}"
    )


def draw_raster(rasters: Sequence[DrawnRaster]) -> Figure:
    """The spikes of one layer on one image: a row for each model, clean beside adversarial.

    Above a raster is the share of all neurons of the layer that spike in each step, beside it the
    number of neurons with each number of spikes.
    """
    from matplotlib.figure import Figure

    columns = max(len(one.conditions) for one in rasters)
    figure = Figure(figsize=(4.4 * columns, 2.9 * len(rasters) + 0.5), layout="constrained")
    grid = figure.add_gridspec(
        2 * len(rasters), 2 * columns, height_ratios=[1, 3] * len(rasters),
        width_ratios=[4, 1] * columns,
    )  # fmt: skip
    highest = max(
        float(one.get(name, "population").max()) for one in rasters for name in one.conditions
    )
    first_above = None
    for row, one in enumerate(rasters):
        for column, condition in enumerate(one.conditions):
            place = 2 * row, 2 * column
            above = figure.add_subplot(grid[place], sharey=first_above)
            first_above = first_above or above
            raster = figure.add_subplot(grid[place[0] + 1, place[1]], sharex=above)
            beside = figure.add_subplot(grid[place[0] + 1, place[1] + 1])
            _draw_spikes(raster, one.get(condition, "fired"))
            _draw_population(above, one, condition, highest)
            _draw_counts(beside, one.get(condition, "spikes"))
            if column:
                raster.set_ylabel("")
                above.tick_params(labelleft=False)
    first = rasters[0].analysis
    summary = first.summary
    figure.suptitle(
        f"{dataset_title(first.identity.dataset)}, test image {summary['sample']}, "
        f"label {summary['label']}{_attack(first)}{_neuron(first)}",
        x=0.01, ha="left", fontsize="medium",
    )  # fmt: skip
    return figure


def _attack(analysis: Analysis) -> str:
    settings = analysis.identity.settings
    if "attack" not in settings:
        return ""
    return f"; adversarial: {settings['attack']} at ε = {settings['epsilon']}"


def _neuron(analysis: Analysis) -> str:
    """T, and of robench's own networks β and ϑ."""
    time = analysis.identity.timesteps
    neuron = analysis.identity.model_config_.get("neuron", {})
    facts = [f"T = {time}"] if time else []
    if analysis.mode == "stbp":
        names = (("β", "beta"), ("ϑ", "threshold"))
        facts += [f"{sign} = {neuron[name]:g}" for sign, name in names if name in neuron]
    return "; " + ", ".join(facts) if facts else ""


def _draw_spikes(ax: Axes, fired: NDArray[np.uint8]) -> None:
    steps, neurons = fired.shape
    ax.eventplot(
        [np.flatnonzero(neuron) for neuron in fired.T], linelengths=1.7, linewidths=7,
        colors=_INK,
    )  # fmt: skip
    ax.set_xlim(-0.6, steps - 0.4)
    ax.set_ylim(-1, neurons)
    ax.set_xlabel("time step")
    ax.set_ylabel(f"neuron ({neurons} shown)")
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.xaxis.set_major_locator(_whole())


def _draw_population(ax: Axes, one: DrawnRaster, condition: str, highest: float) -> None:
    from matplotlib.ticker import PercentFormatter

    population = one.get(condition, "population")
    ax.step(range(len(population)), population, where="mid", color=_INK, linewidth=1.3)
    ax.set_ylim(0, 1.1 * highest or 1)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.tick_params(labelbottom=False)
    facts = one.analysis.summary
    layer = facts["layers"][one.layer]
    ax.set_title(f"{one.name}, {condition}", loc="left", fontweight="bold", pad=17)
    note = ax.annotate(
        f"{layer['layer']}: {population.mean():.1%} of {layer['neurons']:,} neurons spike in a "
        f"step; predicted {facts['predictions'][condition]}",
        (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize="small",
        color=NOTE, annotation_clip=False,
    )  # fmt: skip
    note.set_in_layout(False)  # it goes on above the panel beside it


def _draw_counts(ax: Axes, counts: NDArray[np.int64]) -> None:
    ax.barh(range(len(counts)), counts / counts.sum(), 0.85, color=_INK, linewidth=0)
    ax.set_ylim(-0.6, len(counts) - 0.4)
    ax.yaxis.tick_right()
    ax.yaxis.set_label_position("right")
    ax.set_ylabel("spikes of a neuron", fontsize="small")
    ax.set_xlabel("share", fontsize="small")
    ax.set_xscale("log")  # most neurons are silent
    ax.set_xlim(1e-3, 1)
    ax.set_xticks([1e-3, 1], ["0.1 %", "100 %"], fontsize="x-small")
    ax.minorticks_off()
    ax.grid(visible=False, axis="y")
    ax.yaxis.set_major_locator(_whole())


def draw_rates(rasters: Sequence[DrawnRaster]) -> Figure:
    """The mean rate of each layer in each time step over all images; with an attack, its change."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    attacked = all(len(one.conditions) > 1 for one in rasters)
    columns = 2 if attacked else 1
    layout = ConstrainedLayoutEngine(wspace=0.08)  # keeps the label of a bar beside its bar
    figure = Figure(figsize=(4.3 * columns + 0.6, 2.6 * len(rasters) + 0.6), layout=layout)
    clean = [one.rates("clean") for one in rasters]
    same = len({rates.shape for rates in clean}) == 1
    axes = figure.subplots(len(rasters), columns, squeeze=False, sharex=same, sharey=same)
    highest = max(float(np.nanmax(rates)) for rates in clean)
    changes = [one.rates("adversarial") - c for one, c in zip(rasters, clean, strict=True)
               if attacked]  # fmt: skip
    largest = max((float(np.nanmax(np.abs(change))) for change in changes), default=0) or 1
    for row, one in enumerate(rasters):
        shown = _draw_heat(axes[row, 0], clean[row], cmap=SEQUENTIAL, vmin=0, vmax=highest)
        axes[row, 0].set_title(f"{one.name}, clean", loc="left", fontweight="bold")
        axes[row, 0].set_ylabel("layer of neurons")
        if attacked:
            moved = _draw_heat(
                axes[row, 1], changes[row], cmap=DIVERGING, vmin=-largest, vmax=largest
            )
            axes[row, 1].set_title("change under attack", loc="left", fontweight="bold")
            _draw_signs(axes[row, 1], changes[row], largest)
    _bar(figure, shown, axes[:, 0], "share of the neurons that spike, %")
    if attacked:
        _bar(figure, moved, axes[:, 1], "points")
    for ax in axes[-1]:
        ax.set_xlabel("time step")
    first = rasters[0].analysis
    figure.suptitle(
        f"{dataset_title(first.identity.dataset)}, mean over {first.summary['images']:,} test "
        f"images{_attack(first)}",
        x=0.01, ha="left", fontsize="medium",
    )  # fmt: skip
    return figure


def _draw_heat(ax: Axes, rates: NDArray[np.float32], **colours: Any) -> Any:
    layers, steps = rates.shape
    shown = ax.imshow(
        100 * rates, aspect="auto", origin="upper", interpolation="nearest",
        extent=(-0.5, steps - 0.5, layers + 0.5, 0.5),
        **{key: 100 * value if key in ("vmin", "vmax") else value
           for key, value in colours.items()},
    )  # fmt: skip
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(_whole())
    return shown


def _draw_signs(ax: Axes, changes: NDArray[np.float32], largest: float) -> None:
    """Write the sign of the larger changes, which a print in grey does not show."""
    for layer, step in np.argwhere(np.abs(changes) > SIGNED * largest):
        sign = "+" if changes[layer, step] > 0 else "−"
        colour = "w" if abs(changes[layer, step]) > _DARK * largest else "0.1"
        ax.text(step, layer + 1, sign, ha="center", va="center", fontsize="x-small", color=colour)


def _bar(figure: Figure, shown: Any, axes: Any, label: str) -> None:
    figure.colorbar(shown, ax=list(axes), label=label, aspect=28, pad=0.02)


def _whole() -> Locator:
    """Ticks at integers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)
