"""The figures of the loss surfaces and of the sharpness, from stored analyses."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.analysis.curves import dataset_title
from robench.analysis.drawn import Drawn
from robench.analysis.landscape.surfaces import MANY, Scale, add_bar, draw_contours, draw_surface
from robench.file_names import file_name
from robench.reporting.figures import FigureFormat, save_figure, wrapped
from robench.reporting.figures.style import line_styles
from robench.results import Analysis, AnalysisStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
"""The most models side by side."""
_BAND = 4.0
"""Height of a surface above its contours, in inches."""
_TITLE = 16
"""Characters above a surface."""


def write_weight_figures(
    analyses: Sequence[Analysis], store: AnalysisStore, folder: Path, form: FigureFormat = "png"
) -> list[Path]:
    """Draw the surfaces over the weights and the sharpness of a data set's models.

    Args:
        analyses: of kind ``landscape``, of one data set; at least one.
        store: where their arrays are.
        folder: of the figures.
        form: their format.

    Raises:
        UsageError: the folder cannot be written to.
    """
    given = _drawn(analyses, store)
    name = folder / file_name(analyses[0].identity.dataset)
    return [
        save_figure(draw, given, name.with_name(f"{name.name}-{what}.{form}"))
        for what, draw in (("landscape", draw_weights), ("sharpness", draw_sharpness))
    ]


def write_input_figure(
    analyses: Sequence[Analysis], store: AnalysisStore, folder: Path, form: FigureFormat = "png"
) -> Path:
    """The same for the surfaces over the inputs, of kind ``input-landscape``."""
    name = file_name(analyses[0].identity.dataset)
    path = folder / f"{name}-input-landscape.{form}"
    return save_figure(draw_inputs, _drawn(analyses, store), path)


def _drawn(analyses: Sequence[Analysis], store: AnalysisStore) -> list[Drawn]:
    return [Drawn(analysis, store.arrays(analysis)) for analysis in analyses]


def _title(figure: Figure, models: Sequence[Drawn], text: str) -> None:
    title = dataset_title(models[0].analysis.identity.dataset)
    figure.suptitle(f"{title}: {text}", x=0.01, ha="left", fontweight="bold")


def draw_weights(models: Sequence[Drawn]) -> Figure:
    """The surface of each model in three dimensions above its contours, all on one scale."""
    from matplotlib.figure import Figure

    scale = Scale.of([of.arrays["surface"] for of in models])
    columns = min(_COLUMNS, len(models))
    bands = ceil(len(models) / columns)
    width, height = max(1.9 * columns + 1.6, 4.6), _BAND * bands + 0.45
    figure = Figure(figsize=(width, height))  # constrained layout misplaces labels beside 3-D axes
    for at, of in enumerate(models):
        band, column = divmod(at, columns)
        left, top = 0.6 + 1.9 * column, height - 0.45 - _BAND * band
        coordinates, surface = of.arrays["coordinates"], of.arrays["surface"]
        place = ((left - 0.15) / width, (top - 1.74) / height, 1.8 / width, 1.6 / height)
        above: Any = figure.add_axes(place, projection="3d")
        draw_surface(above, coordinates, surface, scale)
        below = figure.add_axes((left / width, (top - 3.5) / height, 1.5 / width, 1.5 / height))
        draw_contours(below, coordinates, surface, scale)
        figure.text(
            (left + 0.75) / width, (top - 0.05) / height, wrapped(of.name, _TITLE), ha="center",
            va="top", fontweight="bold", fontsize="medium" if len(of.name) <= _TITLE else "small",
        )  # fmt: skip
        below.set_xlabel("1st direction", labelpad=1)
        if column == 0:
            below.set_ylabel("2nd direction", labelpad=0)
        below.tick_params(labelleft=column == 0)
    place = (1 - 0.95 / width, 1 - 3.95 / height, 0.13 / width, 3.1 / height)
    add_bar(figure, scale, cax=figure.add_axes(place))
    images = models[0].analysis.summary["images"]
    _title(figure, models, f"loss over the weights, {images:,} images")
    return figure


def draw_sharpness(models: Sequence[Drawn]) -> Figure:
    """S(ρ) of each model with its interval over the directions: one panel for each ρ."""
    from matplotlib.figure import Figure

    known = [of.analysis.summary["sharpness"] for of in models]
    figure = Figure(figsize=(7.4, 0.28 * len(models) + 1.35), layout="constrained")
    panels = figure.subplots(1, len(known[0]), sharey=True, squeeze=False)[0]
    styles = line_styles(models)
    for at, ax in enumerate(panels):
        for row, style in enumerate(styles):
            _draw_interval(ax, row, known[row][at], **style | {"linestyle": "none"})
        _scale_sharpness(ax, [found[at] for found in known])
        ax.set_title(f"ρ = {known[0][at]['radius']:g}", loc="left", fontsize="medium")
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("S(ρ), nats")
    panels[0].set_yticks(range(len(models)), [of.name for of in models])
    panels[0].set_ylim(len(models) - 0.4, -0.6)
    directions = len(models[0].arrays["losses"])
    _title(figure, models, f"rise of the loss along {directions} random directions of the weights")
    return figure


def _draw_interval(ax: Axes, row: int, of: dict[str, Any], **style: Any) -> None:
    if of["value"] is None:
        ax.text(0.5, row, "not finite", transform=ax.get_yaxis_transform(), ha="center",
                va="center", fontsize="small", color="0.3")  # fmt: skip
        return
    bars = [[of["value"] - of["low"]], [of["high"] - of["value"]]]
    ax.errorbar([of["value"]], [row], xerr=bars, markersize=4.5, elinewidth=1.2, capsize=2, **style)


def _scale_sharpness(ax: Axes, found: Sequence[dict[str, Any]]) -> None:
    """A logarithmic axis where the values need one, and else one from zero."""
    known = [of for of in found if of["value"] is not None]
    values = [of["value"] for of in known]
    if all(of["low"] > 0 for of in known) and max(values, default=0) > MANY * min(
        values, default=0
    ):
        ax.set_xscale("log")
    else:
        ax.axvline(0, color="0.35", linewidth=0.7)
        ax.locator_params(axis="x", nbins=4)


def draw_inputs(models: Sequence[Drawn]) -> Figure:
    """Both surfaces of each model over its inputs beside each other, all on one scale."""
    from matplotlib.figure import Figure

    scale = Scale.of([of.arrays[name] for of in models for name in ("own", "attack")])
    beside = min(2, len(models))
    lines = ceil(len(models) / beside)
    figure = Figure(figsize=(4.0 * beside + 0.9, 2.35 * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, 2 * beside, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for ax in axes[2 * len(models) :]:
        ax.remove()
    for of, own, attack in zip(models, axes[0::2], axes[1::2], strict=False):
        of_attack, summary = of.analysis.identity.settings, of.analysis.summary
        for ax, name in ((own, "own"), (attack, "attack")):
            draw_contours(ax, of.arrays["coordinates"], of.arrays[name], scale)
        zero = summary["zero_gradient"]
        own.set_xlabel("own gradient" + (f" (zero: {100 * zero:.0f} %)" if zero else ""))
        attack.set_xlabel(of_attack["attack"])
        own.set_title(of.name, loc="left", fontweight="bold")
        attack.set_title(f"{summary['images']:,} images", loc="right", fontsize="small")
    for ax in grid[:, 0]:
        ax.set_ylabel("random signs")
    for ax in axes[max(0, 2 * (len(models) - beside)) : 2 * len(models)]:
        ax.tick_params(labelbottom=True)
    add_bar(figure, scale, ax=axes[: 2 * len(models)], aspect=30, pad=0.02, fraction=0.04)
    epsilon = models[0].analysis.identity.settings["epsilon"]
    _title(figure, models, f"loss over the inputs, ε = {epsilon}")
    return figure
