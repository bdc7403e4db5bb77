"""Which part of an attack found how many adversarial examples, and at which ε: table and figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.analysis.robustness.stored import matching
from robench.errors import ContentError, UsageError
from robench.file_names import file_name
from robench.model_id import ModelId
from robench.reporting import write
from robench.reporting.between import comparisons, verdict_of
from robench.reporting.figures import FigureFormat, save_figure, wrapped
from robench.reporting.figures.style import INVALID, NOTE, STYLES, numbered_style
from robench.reporting.report import verdict_text
from robench.results import CLEAN_WRONG, ROBUST, CellResult, Check, Damaged, Outcome, ResultStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHERS = "others"
"""The finders without a colour of their own, which are those that found least."""
_LEGEND = 32
"""Characters on a line of the legend."""
_WIDE = 3
"""Panels side by side where all are of one attack."""
_ONE_LINE = 34
"""Characters on a line above a panel."""
_SINGLE = 0.55
"""The width of a panel with a single ε, beside that of others."""
MOST_LABELS = 10
"""The most labels on the axis of ε."""


@dataclass(frozen=True)
class FoundBy:
    """What the parts of an attack found on a model.

    Attributes:
        model: its id.
        attack: its name.
        samples: their number.
        epsilons: the grid as text, from 0.
        finders: the parts that found any adversarial example, the strongest first.
        counts: samples by minimal ε, ``(finders, ε)``.
        robust: samples without an adversarial example.
        verdict: of the cell, with its reasons.
    """

    model: ModelId
    attack: str
    samples: int
    epsilons: tuple[str, ...]
    finders: tuple[str, ...]
    counts: NDArray[np.int64]
    robust: int
    verdict: str

    @property
    def line(self) -> str:
        """All counts on one line, without the ε."""
        totals = zip(self.finders, self.counts.sum(1).tolist(), strict=True)
        found = ", ".join(f"{finder} {total}" for finder, total in totals) or "nothing found"
        wrong = self.samples - self.robust - int(self.counts.sum())
        rest = f"{self.robust} of {self.samples} robust, {wrong} wrong without attack"
        return f"{self.model}  {self.attack}: {found}; {rest}; {self.verdict}"


def read_found(
    store: ResultStore, patterns: Sequence[str] = ("all",), dataset: str | None = None
) -> tuple[list[FoundBy], list[Damaged]]:
    """The counts of the finished cells of a store, and the files that cannot be read.

    The newest cell of a model and an attack is used; controls are left out.

    Args:
        store: the results.
        patterns: ``all``, ids or globs of models that are stored.
        dataset: keep the models of this one.

    Raises:
        UsageError: there is no such cell.
    """
    cells, damaged = store.cells()
    compared = comparisons(cells, store)
    newest: dict[tuple[str, str], CellResult] = {}
    for cell in sorted(cells, key=lambda c: (c.run.created, c.hash)):
        if cell.outcome and not cell.outcome.control and dataset in (None, cell.dataset):
            newest[cell.model, cell.attack] = cell
    if not newest:
        where = f"{store.root}" if dataset is None else f"{store.root} for {dataset}"
        raise UsageError(f"no finished cell in {where}; make one with: robench run")
    chosen = matching(patterns, sorted({model for model, _ in newest}), store)
    found: list[FoundBy] = []
    for _, cell in sorted((key, cell) for key, cell in newest.items() if cell.model in chosen):
        assert cell.outcome is not None
        read = _read(store, cell, cell.outcome, compared.get(cell.hash, ()))
        (damaged if isinstance(read, Damaged) else found).append(read)  # type: ignore[arg-type]
    if not found:
        raise UsageError(f"every chosen cell is damaged, such as {damaged[0].path}: run it again")
    return found, damaged


def _read(
    store: ResultStore, cell: CellResult, outcome: Outcome, checks: Sequence[Check]
) -> FoundBy | Damaged:
    path = store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    points = len(outcome.curve)
    try:
        rows = store.rows(cell)
    except ContentError as error:  # another run has stored the cell again
        return Damaged(path, str(error))
    position, names = rows["minimal_position"].to_numpy(np.int64), rows["found_by"]
    found = position > CLEAN_WRONG
    if names[found].isna().any():
        return Damaged(path, "an adversarial example without its finder")
    totals = names[found].value_counts()
    finders = tuple(sorted(map(str, totals.index), key=lambda name: (-totals[name], name)))
    counts = np.stack(
        [np.bincount(position[found & (names == name)], minlength=points) for name in finders]
        or [np.zeros(points, dtype=np.int64)]
    )[: len(finders)]
    return FoundBy(
        model=ModelId(cell.model),
        attack=cell.attack,
        samples=len(position),
        epsilons=tuple(point.epsilon.text for point in outcome.curve),
        finders=finders,
        counts=counts,
        robust=int((position == ROBUST).sum()),
        verdict=verdict_text(*verdict_of(outcome, checks)),
    )


def found_table(found: Sequence[FoundBy]) -> pd.DataFrame:
    """A row for each model, attack, finder and ε; ``found`` counts samples by minimal ε."""
    rows = [
        (one.model, one.attack, finder, epsilon, count, one.samples, one.verdict)
        for one in found
        for finder, counts in zip(one.finders, one.counts.tolist(), strict=True)
        for epsilon, count in zip(one.epsilons[1:], counts[1:], strict=True)
    ]
    columns = ["model", "attack", "found_by", "epsilon", "found", "samples", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def write_found(found: Sequence[FoundBy], folder: Path, form: FigureFormat = "png") -> list[Path]:
    """Write figure and table of each data set; returns their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    written: list[Path] = []
    for dataset in sorted({one.model.dataset for one in found}):
        here = [one for one in found if one.model.dataset == dataset]
        path = folder / f"{file_name(dataset)}-found-by.{form}"
        table = path.with_suffix(".csv")
        write(table, found_table(here).to_csv(index=False, lineterminator="\n"))
        written += [save_figure(draw_found, here, path), table]
    return written


def draw_found(found: Sequence[FoundBy]) -> Figure:
    """Bars of the samples by their minimal ε, in the colours of the finders.

    There is a panel for each model, and a column for each attack with several finders. An attack
    with a single finder has no panel, unless all have one. The number of robust samples is written,
    because a high bar of it would hide the others.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    several = {one.attack for one in found if len(one.finders) > 1}
    shown = [one for one in found if one.attack in several] or list(found)
    attacks = sorted({one.attack for one in shown})
    models = sorted({one.model for one in shown})
    if len(attacks) == 1:
        columns = min(_WIDE, len(models))
        places = {(model, attacks[0]): divmod(k, columns) for k, model in enumerate(models)}
    else:
        columns = len(attacks)
        places = {(m, a): (i, j) for i, m in enumerate(models) for j, a in enumerate(attacks)}
    lines = 1 + max(row for row, _ in places.values())
    figure = Figure(figsize=(2.9 * columns + 1.9, 1.65 * lines + 0.7), layout="constrained")
    same = len({one.epsilons for one in shown}) == 1
    swept = {one.attack for one in shown if len(one.epsilons) > 2}
    ratios = [1 if attack in swept or not swept else _SINGLE for attack in attacks]
    axes = figure.subplots(
        lines, columns, squeeze=False, sharex=same, sharey=True,
        width_ratios=ratios if len(attacks) > 1 else None,
    )  # fmt: skip
    colours, short = _colours(shown), _in_255(shown)
    panels = {(one.model, one.attack) for one in shown}
    for ax in axes.flat:
        ax.set_visible(False)
    for one in shown:
        ax = axes[places[one.model, one.attack]]
        ax.set_visible(True)
        _draw(ax, one, colours, short=short)
        verdict = one.verdict.partition(" ")[0]
        note = ", ".join([one.attack] * (len(attacks) > 1) + [verdict] * (verdict != "valid"))
        narrow = one.attack not in (swept or attacks)
        # beside a wide panel of the model it has no room for the name
        name = "" if narrow and any((one.model, a) in panels for a in swept) else one.model.name
        if len(name + note) > _ONE_LINE:  # below each other
            name, note = f"{name}\n{wrapped(note, _ONE_LINE)}", ""
        ax.set_title(name, loc="left", fontweight="bold")
        ax.set_title(note, loc="right", color=NOTE, fontsize="small")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supylabel("samples", fontsize="medium")
    for line in axes:
        next(ax for ax in line if ax.get_visible()).tick_params(labelleft=True)
    for column in axes.T:
        next(ax for ax in reversed(column) if ax.get_visible()).tick_params(labelbottom=True)
    unit = " (in 1/255)" if short else ""
    figure.supxlabel(f"minimal ε of the sample{unit}", fontsize="medium")
    title = dataset_title(found[0].model.dataset)
    _legend(figure, title if len(attacks) > 1 else f"{title}, {attacks[0]}", colours)
    return figure


def _colours(found: Sequence[FoundBy]) -> dict[str, Any]:
    """The colour of each finder: the strongest over all panels have one of their own."""
    totals: dict[str, int] = {}
    for one in found:
        for finder, count in zip(one.finders, one.counts.sum(1).tolist(), strict=True):
            totals[finder] = totals.get(finder, 0) + count
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    colours = {name: numbered_style(k)["color"] for k, name in enumerate(ranked[:STYLES])}
    if len(ranked) > STYLES:
        colours[_OTHERS] = INVALID
    return colours


def _draw(ax: Axes, one: FoundBy, colours: dict[str, Any], *, short: bool) -> None:
    points = len(one.epsilons) - 1
    x = np.arange(points)
    foot = np.zeros(points, dtype=np.int64)
    order = list(colours)
    heights: dict[str, NDArray[np.int64]] = {}
    for finder, counts in zip(one.finders, one.counts[:, 1:], strict=True):
        name = finder if finder in colours else _OTHERS
        heights[name] = heights.get(name, np.zeros(points, dtype=np.int64)) + counts
    for name in sorted(heights, key=order.index):
        ax.bar(x, heights[name], 0.82, bottom=foot, color=colours[name],
               edgecolor="white", linewidth=0.4)  # fmt: skip
        foot = foot + heights[name]
    ax.grid(visible=False, axis="x")
    ax.set_axisbelow(True)
    ax.margins(y=0.16)  # for the text
    ax.set_xlim(-0.6, points - 0.4)
    ax.set_xticks(x, _labels(one.epsilons[1:], short=short))
    ax.text(
        0.985, 0.96, f"{one.robust} of {one.samples} robust", transform=ax.transAxes, ha="right",
        va="top", fontsize="small", color=NOTE,
    )  # fmt: skip
    ax.tick_params(axis="x", labelsize="x-small", length=0, pad=1)


def _in_255(found: Sequence[FoundBy]) -> bool:
    """Whether every ε is written in 1/255."""
    return all(text.endswith("/255") for one in found for text in one.epsilons[1:])


def _labels(epsilons: Sequence[str], *, short: bool) -> list[str]:
    """The texts of a grid; where there are many, of some of them."""
    every = -(-len(epsilons) // MOST_LABELS)
    texts = [text.removesuffix("/255") if short else text for text in epsilons]
    return [text if k % every == 0 else "" for k, text in enumerate(texts)]


def _legend(figure: Figure, title: str, colours: dict[str, Any]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour, linewidth=0, label=wrapped(name, _LEGEND))
        for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles, loc="outside right upper", frameon=False, handlelength=1.2,
        title=wrapped(title, _LEGEND), alignment="left", title_fontproperties={"weight": "bold"},
    )  # fmt: skip
