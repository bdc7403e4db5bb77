"""Which part of an attack broke how many samples, and at which ε: table and figure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.errors import UsageError
from robench.reporting import write
from robench.reporting.plots import LEGEND, save_figure, wrapped
from robench.reporting.report import verdict_text
from robench.results import CLEAN_WRONG, ROBUST, CellResult, Damaged, Outcome, ResultStore
from robench.spiking import PATHS, surrogate_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 9
"""Members with a colour of their own, those that broke most; the others share a grey."""
_OTHERS, _GREY = "other members", "0.55"
_WIDE = 3
"""Panels side by side where all are of one attack."""
_ONE_LINE = 34
"""Signs above a panel."""
OWN = "own gradient, momentum"
"""What a member that substitutes a derivative is on a network that has no spikes."""
MOST_LABELS = 10
"""Marks on the axis of ε."""


@dataclass(frozen=True)
class Breaks:
    """What the members of an attack did to a model.

    Attributes:
        model: its id.
        attack: its name.
        samples: how many there were.
        epsilons: the grid as text, from 0.
        members: those that broke any sample, the strongest first.
        counts: samples whose smallest breaking ε is this one, ``(members, ε)``.
        held: samples that nothing broke.
        verdict: on the cell, with its reasons.
    """

    model: str
    attack: str
    samples: int
    epsilons: tuple[str, ...]
    finders: tuple[str, ...]
    counts: NDArray[np.int64]
    held: int
    verdict: str

    @property
    def dataset(self) -> str:
        """The data set that the model's id begins with."""
        return self.model.partition("/")[0]

    @property
    def line(self) -> str:
        """All of it on one line, without the ε."""
        totals = zip(self.finders, self.counts.sum(1).tolist(), strict=True)
        found = ", ".join(f"{finder} {total}" for finder, total in totals) or "nothing broken"
        wrong = self.samples - self.held - int(self.counts.sum())
        rest = f"{self.held} of {self.samples} held, {wrong} wrong without attack"
        return f"{self.model}  {self.attack}: {found}; {rest}; {self.verdict}"


def read_breaks(
    store: ResultStore, *, dataset: str | None = None
) -> tuple[list[Breaks], list[Damaged]]:
    """What the done cells of a store say, and the files that cannot be read.

    Of several cells of a model and an attack the newest counts; controls are left out.

    Args:
        store: the results.
        dataset: keep the models of this one alone.

    Raises:
        UsageError: there is no such cell.
    """
    cells, damaged = store.cells()
    newest: dict[tuple[str, str], CellResult] = {}
    for cell in sorted(cells, key=lambda c: (c.run.created, c.hash)):
        if cell.outcome and not cell.outcome.control and dataset in (None, cell.dataset):
            newest[cell.model, cell.attack] = cell
    found: list[Breaks] = []
    for _, cell in sorted(newest.items()):
        assert cell.outcome is not None
        read = _read(store, cell, cell.outcome)
        (damaged if isinstance(read, Damaged) else found).append(read)  # type: ignore[arg-type]
    if not found:
        where = f"{store.root}" if dataset is None else f"{store.root} for {dataset}"
        raise UsageError(f"no finished cell in {where}; make one with: robench run")
    return found, damaged


def _read(store: ResultStore, cell: CellResult, outcome: Outcome) -> Breaks | Damaged:
    path = store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    points = len(outcome.curve)
    try:
        rows = store.rows(cell)
        position = rows["minimal_position"].to_numpy(np.int64)
        names = rows["found_by"]
        if outcome.mode == "ann":
            names = names.map(_without_spikes, na_action="ignore")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Damaged(path, (str(error).splitlines() or [type(error).__name__])[0])
    if len(position) and (position.min() < ROBUST or position.max() >= points):
        return Damaged(path, "a break position lies outside the grid")
    broken = position > CLEAN_WRONG
    if names[broken].isna().any():
        return Damaged(path, "a broken sample without a member")
    totals = names[broken].value_counts()
    finders = tuple(sorted(map(str, totals.index), key=lambda name: (-totals[name], name)))
    counts = np.stack(
        [np.bincount(position[broken & (names == name)], minlength=points) for name in finders]
        or [np.zeros(points, dtype=np.int64)]
    )[: len(finders)]
    return Breaks(
        model=cell.model,
        attack=cell.attack,
        samples=len(position),
        epsilons=tuple(point.epsilon.text for point in outcome.curve),
        finders=finders,
        counts=counts,
        held=int((position == ROBUST).sum()),
        verdict=verdict_text(outcome.verdict, outcome.reasons),
    )


def _without_spikes(finder: str) -> str:
    """The name of a member on a network without spikes, where there is nothing to substitute."""
    return OWN if re.split(r"[(/]", finder)[0] in (*surrogate_names(), *PATHS) else finder


def members_table(breaks: Sequence[Breaks]) -> str:
    """CSV with a line for each model, attack, member and ε."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", "attack", "found_by", "epsilon", "broken", "samples", "verdict"])
    for one in breaks:
        for finder, counts in zip(one.finders, one.counts.tolist(), strict=True):
            for epsilon, count in zip(one.epsilons[1:], counts[1:], strict=True):
                row = [one.model, one.attack, finder, epsilon, count, one.samples, one.verdict]
                table.writerow(row)
    return text.getvalue()


def write_members(breaks: Sequence[Breaks], folder: Path) -> list[Path]:
    """Write table and figure of each data set; returns their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    written: list[Path] = []
    for dataset in sorted({one.dataset for one in breaks}):
        here = [one for one in breaks if one.dataset == dataset]
        written.append(folder / f"{dataset}-members.csv")
        write(written[-1], members_table(here))
        try:
            written.append(save_figure(draw_members, here, folder / f"{dataset}-members.png"))
        except OSError as error:
            raise UsageError(f"cannot write figures to {folder}: {error.strerror}") from None
    return written


def draw_members(breaks: Sequence[Breaks]) -> Figure:
    """Bars of the samples by their smallest breaking ε, in the colours of who broke them.

    A panel for each model, and where several attacks have members a column for each attack. An
    attack that is all of one piece has no panel, unless all are. What held is told in numbers,
    because a bar of it would hide the others where that is most.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    several = {one.attack for one in breaks if len(one.finders) > 1}
    shown = [one for one in breaks if one.attack in several] or list(breaks)
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
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    colours, short = _colours(shown), _in_255(shown)
    for ax in axes.flat:
        ax.set_visible(False)
    for one in shown:
        ax = axes[places[one.model, one.attack]]
        ax.set_visible(True)
        _draw(ax, one, colours, short=short)
        name = one.model.partition("/")[2] or one.model
        beside = [one.attack] * (len(attacks) > 1) + [one.verdict] * (one.verdict != "valid")
        note = ", ".join(beside)
        if len(name + note) > _ONE_LINE:  # below each other
            name, note = f"{name}\n{wrapped(note, _ONE_LINE)}", ""
        ax.set_title(name, loc="left", fontweight="bold")
        ax.set_title(note, loc="right", color="0.35", fontsize="small")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supylabel("samples", fontsize="medium")
    for line in axes:
        next(ax for ax in line if ax.get_visible()).tick_params(labelleft=True)
    unit = " (in 1/255)" if short else ""
    figure.supxlabel(f"smallest ε that breaks the sample{unit}", fontsize="medium")
    title = dataset_title(breaks[0].dataset)
    _legend(figure, title if len(attacks) > 1 else f"{title}, {attacks[0]}", colours)
    return figure


def _colours(breaks: Sequence[Breaks]) -> dict[str, Any]:
    """The colour of each member: the strongest over all panels have one of their own."""
    import seaborn as sns

    totals: dict[str, int] = {}
    for one in breaks:
        for finder, count in zip(one.finders, one.counts.sum(1).tolist(), strict=True):
            totals[finder] = totals.get(finder, 0) + count
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    palette = [colour for k, colour in enumerate(sns.color_palette("colorblind")) if k != 7]
    found: dict[str, Any] = dict(zip(ranked, palette[:COLOURS], strict=False))
    if len(ranked) > COLOURS:
        found[_OTHERS] = _GREY
    return found


def _draw(ax: Axes, one: Breaks, colours: dict[str, Any], *, short: bool) -> None:
    points = len(one.epsilons) - 1
    x = np.arange(points)
    foot = np.zeros(points, dtype=np.int64)
    order = list(colours)
    heights: dict[str, NDArray[np.int64]] = {}
    for finder, counts in zip(one.finders, one.counts[:, 1:], strict=True):
        name = finder if finder in colours else _OTHERS
        heights[name] = heights.get(name, np.zeros(points, dtype=np.int64)) + counts
    for name in sorted(heights, key=order.index):
        ax.bar(x, heights[name], 0.82, bottom=foot, color=colours[name], linewidth=0)
        foot = foot + heights[name]
    ax.grid(visible=False, axis="x")
    ax.set_axisbelow(True)
    ax.margins(y=0.16)  # for the text
    ax.set_xlim(-0.6, points - 0.4)
    ax.set_xticks(x, _labels(one.epsilons[1:], short=short))
    ax.text(
        0.985, 0.96, f"{one.held} of {one.samples} held", transform=ax.transAxes, ha="right",
        va="top", fontsize="small", color="0.35",
    )  # fmt: skip
    ax.tick_params(axis="x", labelsize="x-small", length=0, pad=1)


def _in_255(breaks: Sequence[Breaks]) -> bool:
    """Whether every ε is written in 1/255."""
    return all(text.endswith("/255") for one in breaks for text in one.epsilons[1:])


def _labels(epsilons: Sequence[str], *, short: bool) -> list[str]:
    """The texts of a grid; where there are many, of some of them."""
    every = -(-len(epsilons) // MOST_LABELS)
    texts = [text.removesuffix("/255") if short else text for text in epsilons]
    return [text if k % every == 0 else "" for k, text in enumerate(texts)]


def _legend(figure: Figure, title: str, colours: dict[str, Any]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour, linewidth=0, label=wrapped(name, LEGEND))
        for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles, loc="outside right upper", frameon=False, handlelength=1.2,
        title=wrapped(title, LEGEND), alignment="left", title_fontproperties={"weight": "bold"},
    )  # fmt: skip
