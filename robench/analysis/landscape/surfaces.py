"""One surface of losses as contours or in three dimensions, on a scale that panels share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Array = NDArray[Any]
MANY = 20
"""Losses are drawn on a logarithmic scale above this ratio of the largest to the smallest."""
_LEAST = 1e-3
"""The smallest loss in nats that a logarithmic scale shows."""
_COLOURS = "viridis_r"
_LEVELS = 60


@dataclass(frozen=True)
class Scale:
    """One scale of the loss for all panels of a figure."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, surfaces: Sequence[Array]) -> Scale:
        """A scale for surfaces that are drawn beside each other; infinite losses are left out."""
        values = np.concatenate([surface[np.isfinite(surface)] for surface in surfaces])
        if not len(values):
            return cls(0, 1, log=False)
        low, high = float(values.min()), float(values.max())
        if high > MANY * low:
            return cls(max(low, _LEAST), max(high, 2 * _LEAST), log=True)
        return cls(low, max(high, low + _LEAST), log=False)

    def levels(self) -> Array:
        """The losses at which the colour changes."""
        spaced = np.geomspace if self.log else np.linspace
        return spaced(self.low, self.high, _LEVELS + 1)

    def lines(self) -> list[float]:
        """Round losses at which a contour is drawn."""
        return self._round((1, 3), 12)

    def norm(self) -> Normalize:
        """From losses to colours."""
        from matplotlib.colors import LogNorm, Normalize

        return (LogNorm if self.log else Normalize)(self.low, self.high)

    def height(self, surface: Array) -> Array:
        """What the vertical axis of a surface shows; the axes in three dimensions are linear."""
        clipped = np.clip(surface, self.low, self.high)
        return np.log10(clipped) if self.log else clipped

    def ticks(self) -> list[float]:
        """A few round losses."""
        found = self._round((1, 3), 4) or [self.low, self.high]
        return found[:: ceil(len(found) / 6)]

    def _round(self, digits: Sequence[float], intervals: int) -> list[float]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        locator = LogLocator(10, digits, numticks=50) if self.log else MaxNLocator(intervals)
        found = [float(value) for value in locator.tick_values(self.low, self.high)]
        return [value for value in found if 0.999 * self.low <= value <= 1.001 * self.high]


def draw_surface(ax: Any, at: Array, surface: Array, scale: Scale) -> None:
    """The surface in three dimensions."""
    x, y = np.meshgrid(at, at, indexing="ij")
    ax.plot_surface(
        x, y, scale.height(surface), facecolors=_faces(surface, scale), rcount=len(at),
        ccount=len(at), linewidth=0.15, edgecolor="0.25", shade=False,
    )  # fmt: skip
    low, high = scale.height(np.array([scale.low, scale.high]))
    ax.set_zlim(low, high)
    ticks = np.array(scale.ticks())
    ax.set_zticks(scale.height(ticks), [f"{tick:g}" for tick in ticks])
    ax.set_xticks([-1, 0, 1])
    ax.set_yticks([-1, 0, 1])
    ax.tick_params(labelsize="xx-small", pad=-3)
    ax.view_init(elev=28, azim=-55)
    ax.set_box_aspect((1, 1, 0.8), zoom=1.2)


def _faces(surface: Array, scale: Scale) -> Array:
    from matplotlib import colormaps

    return np.asarray(colormaps[_COLOURS](scale.norm()(surface)))


def draw_contours(ax: Axes, at: Array, surface: Array, scale: Scale) -> None:
    """The surface as filled contours; losses that are not finite are hatched."""
    levels = scale.levels()
    shown = np.ma.masked_invalid(np.clip(surface, scale.low, scale.high)).T
    ax.set_facecolor("0.75")
    ax.grid(visible=False)
    ax.contourf(at, at, shown, levels, norm=scale.norm(), cmap=_COLOURS)
    ax.contour(at, at, shown, scale.lines(), colors="0.1", linewidths=0.4)
    ax.plot([0], [0], marker="+", color="k", markersize=6, markeredgewidth=1.2)
    ax.set_aspect("equal")
    ax.set_xticks([-1, 0, 1])
    ax.set_yticks([-1, 0, 1])


def add_bar(figure: Figure, scale: Scale, **place: Any) -> None:
    """One bar of colours for all panels, at a place as for ``Figure.colorbar``."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(scale.norm(), colormaps[_COLOURS]), **place)
    bar.minorticks_off()
    bar.set_ticks(scale.ticks(), labels=[f"{tick:g}" for tick in scale.ticks()])
    bar.set_label("cross-entropy, nats" + (", log scale" if scale.log else ""))
