"""Cells one by one, without the rules of the leaderboard: as frames, and as curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from robench.epsilon import scale_of
from robench.errors import ContentError
from robench.reporting.between import Comparer, Comparisons, verdict_of
from robench.reporting.comparable import Candidate
from robench.results import CellResult, CurvePoint, Damaged, ResultStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_COLUMNS = (
    *("model", "attack", "epsilon", "accuracy", "low", "high", "verdict", "reasons"),
    *("dataset", "norm", "samples", "seed", "hash"),
)
CHECK_COLUMNS = ("model", "attack", "check", "value", "threshold", "verdict", "reason")


class StoredCells(Sequence[CellResult]):
    """The records of a store, read again when they are asked for: a store may have many."""

    def __init__(self, store: ResultStore, paths: Sequence[Path]) -> None:
        """The records at some paths, which were believed when they were first read."""
        self._store, self._paths = store, paths

    def __len__(self) -> int:
        """The number of cells."""
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> CellResult: ...

    @overload
    def __getitem__(self, index: slice) -> StoredCells: ...

    def __getitem__(self, index: int | slice) -> CellResult | StoredCells:
        """A cell, or some of them.

        Raises:
            ContentError: the record was damaged since.
        """
        if isinstance(index, slice):
            return StoredCells(self._store, self._paths[index])
        found = self._store.record(self._paths[index])
        if isinstance(found, Damaged):
            raise ContentError(f"{found.path}: {found.reason}")
        return found


def read_results(store: ResultStore, chosen: Iterable[Path] | None = None) -> Results:
    """The cells of a store and the checks that compare them; the records are not kept.

    Args:
        store: the results.
        chosen: the paths of some records, None for all.
    """
    paths: list[Path] = []
    damaged: list[Damaged] = []
    comparer = Comparer()
    for path in store.paths() if chosen is None else chosen:
        found = store.load(path)
        if isinstance(found, Damaged):
            damaged.append(found)
            continue
        paths.append(path)
        if (outcome := found.cell.outcome) is not None:
            comparer.add(Candidate(found.cell, outcome, found.positions))
    return Results(StoredCells(store, paths), tuple(damaged), comparer.compare())


@dataclass(frozen=True)
class Results:
    """The cells of an evaluation or of a folder of results.

    Attributes:
        cells: the record of each cell.
        damaged: files of a folder that are not believed.
        compared: the checks that compare a cell with others, by its hash.
    """

    cells: Sequence[CellResult]
    damaged: tuple[Damaged, ...] = ()
    compared: Comparisons = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Robust accuracy, one row for each cell and ε.

        Columns: model, attack, epsilon, accuracy, low and high (95 % interval), verdict, reasons,
        dataset, norm, samples, seed, hash. A cell that failed or is not applicable has one row
        without numbers.
        """
        return curves_frame(self.cells, self.compared)

    def checks(self) -> Checks:
        """The checks that the verdicts rest on."""
        return Checks(self.cells, self.compared)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw robust accuracy against ε, one line for each cell; returns the axes."""
        return plot_curves(self.cells, ax, self.compared)

    def __repr__(self) -> str:
        from robench.reporting.terminal.lines import all_lines

        return "\n".join(all_lines(self.cells, self.compared))

    def _repr_html_(self) -> str:
        return str(_summary(self.cells, self.compared).to_html(index=False))


@dataclass(frozen=True)
class Checks:
    """The checks of some cells."""

    cells: Sequence[CellResult]
    compared: Comparisons = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """One row for each cell and check.

        Columns: model, attack, check, value (the figure that was measured), threshold, verdict,
        reason.
        """
        return checks_frame(self.cells, self.compared)

    def __repr__(self) -> str:
        return _text(self.to_frame())

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(index=False))


def _text(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format="{:.4g}".format, na_rep="")


def _summary(cells: Sequence[CellResult], checks: Comparisons) -> pd.DataFrame:
    """Clean accuracy, accuracy at one ε, AUC, passes and verdict of each cell."""
    records = []
    for cell in cells:
        record: dict[str, Any] = {"model": cell.model, "attack": cell.attack}
        if cell.outcome is None:
            record |= {"verdict": cell.status, "reasons": cell.reason}
        else:
            outcome = cell.outcome
            point = outcome.limit
            low, high = point.interval.low, point.interval.high
            left = f"{point.accuracy:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
            record |= {"clean": f"{outcome.clean_accuracy:.1%}", f"at {point.epsilon.text}": left}
            verdict, reasons = verdict_of(outcome, checks.get(cell.hash, ()))
            bound = "≤ " if verdict == "invalid" else ""
            record |= {f"AUC@{n}": f"{bound}{area:.4g}" for n, area in outcome.areas.items()}
            record["passes"] = outcome.forwards + outcome.backwards
            record["verdict"] = verdict
            record["reasons"] = ", ".join(reasons)
        records.append(record)
    frame = pd.DataFrame(records)
    ends = [name for name in ("passes", "verdict", "reasons") if name in frame]
    return frame[[*(name for name in frame if name not in ends), *ends]]


def curves_frame(cells: Sequence[CellResult], checks: Comparisons) -> pd.DataFrame:
    """Robust accuracy with its 95 % interval, one row for each cell and ε.

    A cell without result has one row: its verdict is its status, and its accuracy NaN.
    """
    columns: dict[str, list[object]] = {name: [] for name in CURVE_COLUMNS}
    for cell in cells:
        facts: dict[str, object] = _names(cell)
        if (outcome := cell.outcome) is None:
            records = [{"verdict": cell.status, "reasons": cell.reason}]
        else:
            identity = outcome.identity
            verdict, reasons = verdict_of(outcome, checks.get(cell.hash, ()))
            facts |= {"verdict": verdict, "reasons": ", ".join(reasons), "norm": identity.norm}
            facts |= {"samples": identity.samples, "seed": identity.seed}
            records = [_point(point) for point in outcome.curve]
        for record in records:
            for name, values in columns.items():
                values.append(record.get(name, facts.get(name)))
    return pd.DataFrame(columns)


def _point(point: CurvePoint) -> dict[str, Any]:
    ends = {"low": point.interval.low, "high": point.interval.high}
    return {"epsilon": point.epsilon.value, "accuracy": point.accuracy, **ends}


def checks_frame(cells: Sequence[CellResult], checks: Comparisons) -> pd.DataFrame:
    """The checks with the figures that they measured, one row for each cell and check."""
    records = [
        (cell.model, cell.attack, c.name, c.value, c.threshold, c.verdict, c.reason)
        for cell in cells
        if cell.outcome is not None
        for c in (*cell.outcome.checks, *checks.get(cell.hash, ()))
    ]
    return pd.DataFrame(records, columns=list(CHECK_COLUMNS))


def plot_curves(
    cells: Sequence[CellResult], ax: Axes | None = None, checks: Comparisons | None = None
) -> Axes:
    """Robust accuracy against ε with its interval, one line for each cell.

    A line is dashed if its verdict is not valid; the legend names the verdict.
    """
    import seaborn as sns
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    if ax is None:
        ax = pyplot.figure(figsize=(6, 4), layout="constrained").subplots()
    several = len({cell.model for cell in cells}) > 1
    colours = sns.color_palette("colorblind", len(cells))
    for cell, marker, colour in zip(cells, "os^vDPX<>ph" * len(cells), colours, strict=False):
        if cell.outcome is None:
            continue
        outcome = cell.outcome
        verdict, _ = verdict_of(outcome, (checks or {}).get(cell.hash, ()))
        valid = verdict == "valid"
        name = f"{cell.model}  {cell.attack}" if several else cell.attack
        name += "" if valid else f" ({verdict})"
        x = [point.epsilon.value for point in outcome.curve]
        (line,) = ax.plot(
            x, [point.accuracy for point in outcome.curve], marker=marker, markersize=4,
            linestyle="-" if valid else "--", label=name, color=colour,
        )  # fmt: skip
        low, high = zip(*((p.interval.low, p.interval.high) for p in outcome.curve), strict=True)
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xlabel="ε", ylabel="robust accuracy", ylim=(-0.02, 1.02))
    epsilons = {
        p.epsilon.value: p.epsilon.text for c in cells if c.outcome for p in c.outcome.curve
    }
    if (scale := scale_of(epsilons.values())) > 1:
        shown = sorted(epsilons)[:: max(1, len(epsilons) // 8)]
        ax.set_xticks(shown, [f"{scale * value:.3g}" for value in shown])
        ax.set_xlabel("ε, in 1/255")
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.grid(color="0.9")
    ax.legend(frameon=False, title=None if several or not cells else cells[0].model)
    return ax


def _names(cell: CellResult) -> dict[str, object]:
    return {
        "model": cell.model, "attack": cell.attack, "dataset": cell.dataset, "hash": cell.hash,
    }  # fmt: skip
