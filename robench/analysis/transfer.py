"""Transfer matrix: the accuracy of each model on adversarial examples of each other model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robench.datasets import Dataset, find_dataset
from robench.epsilon import Epsilon, make_grid
from robench.errors import UsageError
from robench.evaluation import Plan, Planned, Request, look_up, make_plan
from robench.file_names import file_name
from robench.registry import ModelEntry, find_attack
from robench.reporting.figures import FigureFormat, save_figure
from robench.reporting.figures.heatmap import heat_map
from robench.reporting.figures.style import SEQUENTIAL
from robench.results import CellResult, ResultStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NORM = "linf"


@dataclass(frozen=True)
class Entry:
    """The accuracy of a target on the adversarial examples of one source.

    Attributes:
        robust: its accuracy at the headline ε.
        clean: its accuracy without attack.
        verdict: of the cell.
    """

    robust: float
    clean: float
    verdict: str


@dataclass(frozen=True)
class Matrix:
    """All pairs of models of a data set.

    Attributes:
        sources: names of models; the rows.
        targets: names of models; the columns.
        epsilon: the headline ε.
        samples: test images.
        entries: by source and target; a pair without a result is missing.
    """

    dataset: Dataset
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    epsilon: Epsilon
    samples: int
    entries: Mapping[tuple[str, str], Entry]


@dataclass(frozen=True)
class Pairs:
    """The cells of a matrix.

    Attributes:
        plan: for each pair the stored cell, or otherwise the one at the headline ε.
    """

    dataset: Dataset
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    epsilon: Epsilon
    plan: Plan

    def matrix(self, results: Sequence[CellResult]) -> Matrix:
        """The matrix of the results that are done."""
        wanted = {planned.digest: planned.cell for planned in self.plan.cells}
        entries = {}
        for result in results:
            cell = wanted.get(result.hash)
            if cell is None or result.outcome is None:
                continue
            curve = result.outcome.curve
            (here,) = [p.accuracy for p in curve if p.epsilon.value == self.epsilon.value]
            pair = cell.sources[0].id.name, cell.model.id.name
            entries[pair] = Entry(here, curve[0].accuracy, result.outcome.verdict)
        samples = next((len(cell.images) for cell in wanted.values()), 0)
        return Matrix(self.dataset, self.sources, self.targets, self.epsilon, samples, entries)

    def stored(self) -> list[CellResult]:
        """The stored results."""
        return [p.stored for p in self.plan.cells if p.done and isinstance(p.stored, CellResult)]


def transfer_pairs(
    entries: Sequence[ModelEntry],
    request: Request,
    store: ResultStore,
    models_dir: Path | None = None,
) -> list[Pairs]:
    """The pairs of each data set: every model as a source for every model.

    A stored cell is used if it has the protocol's whole grid or its headline ε alone. A pair
    without either is planned at the headline ε alone.

    Args:
        entries: the models, each of them a source and a target.
        request: the settings of missing cells; its grid is not used.
        store: where the results are.
        models_dir: where checkpoints are looked for first.

    Raises:
        UsageError: a data set has fewer than two models, or no headline ε.
        RobenchError: a model that was named cannot run.
    """
    found = []
    for name in sorted({entry.dataset for entry in entries}):
        here = [entry for entry in entries if entry.dataset == name]
        sources = tuple(entry.id.name for entry in here if not entry.missing)
        if len(sources) < 2:
            raise UsageError(f"data set {name}: a matrix needs two models or more that can run")
        dataset = find_dataset(name)
        if NORM not in dataset.protocol.headline:
            raise UsageError(f"data set {name} has no headline ε for {NORM}")
        epsilon = dataset.protocol.headline[NORM]
        attacks = [find_attack(f"transfer[source={source}]") for source in sources]
        whole = make_plan(here, attacks, replace(request, eps=None, grid=None), store, models_dir)
        cells = tuple(_stored_or_headline(planned, epsilon, store) for planned in whole.cells)
        targets = tuple(dict.fromkeys(planned.cell.model.id.name for planned in cells))
        found.append(Pairs(dataset, sources, targets, epsilon, Plan(cells, whole.skipped)))
    return found


def _stored_or_headline(planned: Planned, epsilon: Epsilon, store: ResultStore) -> Planned:
    if planned.done:
        return planned
    settings = replace(planned.cell.settings, grid=make_grid((epsilon,)))
    return look_up(replace(planned.cell, settings=settings), store)


def write_transfer_figure(matrix: Matrix, folder: Path, form: FigureFormat = "png") -> Path:
    """Draw a matrix as a file of a format; returns the path.

    Raises:
        UsageError: the folder cannot be written to.
    """
    return save_figure(
        draw_transfer, matrix, folder / f"{file_name(matrix.dataset.name)}-transfer.{form}"
    )


def draw_transfer(matrix: Matrix) -> Figure:
    """Heat map of the robust accuracy, sources × targets, with the clean accuracy above.

    A frame marks the pairs whose source is the target itself.
    """
    from matplotlib.patches import Rectangle

    values = np.full((len(matrix.sources) + 1, len(matrix.targets)), np.nan)
    labels = np.full(values.shape, "—", dtype=object)
    for (source, target), entry in matrix.entries.items():
        i, j = matrix.sources.index(source) + 1, matrix.targets.index(target)
        values[i, j], values[0, j] = entry.robust, entry.clean
        labels[i, j] = f"{100 * entry.robust:.1f}" + ("" if entry.verdict == "valid" else " ?")
        labels[0, j] = f"{100 * entry.clean:.1f}"
    notes = ["framed: the source is the target"]
    if any(label.endswith("?") for label in labels.ravel()):
        notes.append("? the verdict is not valid")
    if any(label == "—" for label in labels.ravel()):
        notes.append("— no result")
    first = (
        f"{matrix.dataset.title}, {matrix.samples:,} images: robust accuracy at ε = "
        f"{matrix.epsilon.text} (L∞), in %"
    )
    figure, ax = heat_map(
        values, labels, columns=matrix.targets, rows=("(no attack)", *matrix.sources),
        notes=[first, ";  ".join(notes)], side="examples made on", vmin=0, vmax=1, cmap=SEQUENTIAL,
    )  # fmt: skip
    for i, source in enumerate(matrix.sources, 1):
        if source in matrix.targets:
            j = matrix.targets.index(source)
            ax.add_patch(
                Rectangle((j + 0.05, i + 0.12), 0.9, 0.8, fill=False, edgecolor="0.1",
                          linewidth=1.2)
            )  # fmt: skip
    ax.axhline(1, color="white", linewidth=7)
    return figure
