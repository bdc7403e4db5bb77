"""Which part of an attack found how many adversarial examples, and at which ε: table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
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
from robench.results.files import without_damaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHERS = "others"
"""The finders without a look of their own."""
_KNOWN = ("pgd", "own gradient", "assg_scaled(0.425)", "rga")
"""The parts of ``spgd``."""
_SMALL = 0.01
"""The share of all that is found below which a part is one of the others."""
_ROOM = 1.1
"""The width of a panel, in samples of its widest bar: a verdict stands at its end."""
_LEGEND = 32
"""Characters on a line of the legend."""
_WIDE = 3
"""Panels side by side."""
_ONE_LINE = 40
"""Characters on a line above a panel."""


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
    found, others = without_damaged(
        _read(store, cell, cell.outcome, compared.get(cell.hash, ()))
        for _, cell in sorted(newest.items(), key=itemgetter(0))
        if cell.outcome and cell.model in chosen
    )
    damaged += others
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
    """Bars of the samples by the part that found their adversarial example.

    There is a panel for each attack with several finders, and a bar in it for each model. An attack
    with a single finder has no panel, unless all have one. A bar ends where the samples begin that
    are misclassified without attack.
    """
    from matplotlib.figure import Figure

    several = {one.attack for one in found if len(one.finders) > 1}
    shown = [one for one in found if one.attack in several] or list(found)
    attacks = sorted({one.attack for one in shown})
    models = sorted({one.model for one in shown})
    columns = min(_WIDE, len(attacks))
    lines = -(-len(attacks) // columns)
    figure = Figure(
        figsize=(1.5 + 3.2 * columns, lines * (0.25 * len(models) + 0.75) + 0.8),
        layout="constrained",
    )
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    looks = _looks(shown)
    for ax in axes.flat[len(attacks) :]:
        ax.remove()
    for ax, attack in zip(axes.flat, attacks, strict=False):
        of_attack = [one for one in shown if one.attack == attack]
        for one in of_attack:
            _draw(ax, models.index(one.model), one, looks)
        ax.set_title(wrapped(f"{attack}, {_reach(of_attack)}", _ONE_LINE), loc="left")
        ax.set_xlabel("samples")
        ax.set_yticks(range(len(models)), [model.name for model in models])
        ax.set_ylim(len(models) - 0.5, -0.5)
        ax.set_xlim(0, _ROOM * max(one.samples for one in shown))
        ax.grid(visible=False, axis="y")
    figure.suptitle(dataset_title(found[0].model.dataset), x=0.01, ha="left", fontweight="bold")
    _legend(figure, looks)
    return figure


def _reach(found: Sequence[FoundBy]) -> str:
    """The largest ε of the cells of an attack."""
    largest = {one.epsilons[-1] for one in found}
    if len(largest) > 1:
        return "several grids"
    swept = any(len(one.epsilons) > 2 for one in found)
    return f"{'up to' if swept else 'at'} ε = {largest.pop()}"


def _looks(found: Sequence[FoundBy]) -> dict[str, dict[str, Any]]:
    """The look of each finder: the strongest over all panels have one of their own.

    The parts of ``spgd`` have the same in all figures.
    """
    totals: dict[str, int] = {}
    for one in found:
        for finder, count in zip(one.finders, one.counts.sum(1).tolist(), strict=True):
            totals[finder] = totals.get(finder, 0) + count
    least = _SMALL * sum(totals.values())
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    named = [name for name in ranked if totals[name] >= least and name not in _KNOWN]
    order = [*_KNOWN, *named[: STYLES - len(_KNOWN)]]
    looks = {name: _look(k) for k, name in enumerate(order) if name in totals}
    if set(totals) - set(looks):
        looks[_OTHERS] = {"facecolor": INVALID}
    return looks


def _look(number: int) -> dict[str, Any]:
    """A colour, and a hatch that distinguishes it in grey."""
    hatch = ("", "////", "", "....")[number % 4]
    return {"facecolor": numbered_style(number)["color"], "hatch": hatch}


def _draw(ax: Axes, row: int, one: FoundBy, looks: Mapping[str, Mapping[str, Any]]) -> None:
    parts: dict[str, int] = {}
    for finder, count in zip(one.finders, one.counts.sum(1).tolist(), strict=True):
        name = finder if finder in looks else _OTHERS
        parts[name] = parts.get(name, 0) + count
    foot = 0
    for name in (name for name in looks if name in parts):
        ax.barh(row, parts[name], 0.72, foot, edgecolor="white", linewidth=0.4, **looks[name])
        foot += parts[name]
    if one.robust:
        ax.barh(row, one.robust, 0.72, foot, facecolor="white", edgecolor=NOTE, linewidth=0.8)
    verdict = one.verdict.partition(" ")[0]
    note = {"valid": "", "invalid": "invalid"}.get(verdict, "?")
    ax.text(foot + one.robust, row, f" {note}", va="center", fontsize="small", color=NOTE)


def _legend(figure: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(edgecolor="white", linewidth=0.4, label=wrapped(name, _LEGEND), **look)
        for name, look in looks.items()
    ]
    handles.append(Patch(facecolor="white", edgecolor=NOTE, linewidth=0.8, label="robust"))
    figure.legend(
        handles=handles, loc="outside lower left", frameon=False, handlelength=1.4, ncols=4,
        fontsize="small",
    )  # fmt: skip
