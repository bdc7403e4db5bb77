"""The body of every study that computes cells: run, tabulate, draw, write a page, or check it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.cli.measure import MakePlan, measure, require_success
from robench.datasets import find_dataset
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.registry import ModelEntry
from robench.reporting.figures import save_figure
from robench.results import CellResult, Outcome, ResultStore
from robench.results.metrics import sample_areas
from studies.pages import page, put_page, read_table, refuse_stale, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tabulate = Callable[[list[CellResult], ResultStore], Iterable[pd.DataFrame]]


def first_areas(outcome: Outcome, rows: pd.DataFrame) -> tuple[str, NDArray[np.float64]]:
    """The first upper limit of a cell's AUC, and the area of each of its rows up to there."""
    values, limit = [point.epsilon.value for point in outcome.curve], outcome.limit.epsilon
    position = rows["minimal_position"].to_numpy(np.int64)
    return limit.text, sample_areas(position, values, limit.value)


def at_headlines(
    entries: Sequence[ModelEntry], norm: str
) -> Iterator[tuple[Epsilon, list[ModelEntry]]]:
    """The headline ε of each data set among some models, and its models.

    Raises:
        UsageError: a data set has no headline ε in this norm.
    """
    for name in dict.fromkeys(entry.id.dataset for entry in entries):
        headline = find_dataset(name).protocol.headline
        if norm not in headline:
            raise UsageError(f"data set {name} has no headline ε for {norm}")
        yield headline[norm], [entry for entry in entries if entry.id.dataset == name]


@dataclass(frozen=True)
class Study:
    """What a study makes of its tables, each of which is about one data set.

    Attributes:
        name: the command, and the end of the files' names: ``DATASET-NAME.csv``.
        title: of the pages.
        columns: of a table, see :func:`~studies.pages.read_table`.
        text: a table as Markdown.
        figure: draws a table; None for a study without figures.
        figure_title: the figure's alternative text.
        lines: what is printed of a table.
    """

    name: str
    title: str
    columns: Mapping[str, type]
    text: Callable[[pd.DataFrame], str]
    figure: Callable[[pd.DataFrame], Figure] | None = None
    figure_title: str = ""
    lines: Callable[[pd.DataFrame], Iterable[str]] = lambda table: ()

    def files(self, folder: Path, ending: str) -> list[Path]:
        """The files of this study in a folder with an ending such as ``.csv``."""
        return sorted(folder.glob(f"*-{self.name}{ending}"))

    def read(self, path: Path) -> pd.DataFrame:
        """Read a table.

        Raises:
            UsageError: the file is damaged.
        """
        return read_table(path, self.columns)

    def page(self, path: Path) -> str:
        """The page of the table at a path.

        Raises:
            UsageError: the table is damaged.
        """
        text = self.text(self.read(path))
        if self.figure is not None:
            text += f"\n![{self.figure_title}]({path.with_suffix('.png').name})\n"
        return page(self.name, self.title, text)

    def draw(self, path: Path) -> Path:
        """Draw the table at a path beside it; returns the figure's path.

        Raises:
            UsageError: the table is damaged, or the folder cannot be written to.
        """
        assert self.figure is not None
        return save_figure(self.figure, self.read(path), path.with_suffix(".png"))


@dataclass(frozen=True)
class Options:
    """What every command of a study is given.

    Attributes:
        models: ids or globs, with commas.
        dataset: keep the models of this one.
        results: the folder of the cells.
        output: the folder of tables, figures and pages.
        no_run: compute no cell; draw and write the pages of the stored tables.
        check: write nothing; compare the pages with the stored tables.
        models_dir: where checkpoints are looked for first.
        data_dir: where data sets are looked for first.
    """

    models: str
    dataset: str | None
    results: Path
    output: Path
    no_run: bool
    check: bool
    models_dir: Path | None
    data_dir: Path | None


def run_study(study: Study, options: Options, make_plan: MakePlan, tabulate: Tabulate) -> None:
    """Carry out a study; a failed cell or a stale page ends it with exit code 1.

    Args:
        study: what becomes of its tables.
        options: of the command.
        make_plan: gets the models and the store.
        tabulate: gets the results and their store, and returns one table for each data set.

    Raises:
        UsageError: an option is wrong, a table is damaged, or there is none.
    """
    done: list[CellResult] = []
    if options.no_run or options.check:
        paths = study.files(options.output, ".csv")
    else:
        done, store = measure(
            make_plan, options.results, models=options.models, dataset=options.dataset,
            models_dir=options.models_dir, data_dir=options.data_dir,
        )  # fmt: skip
        paths = []
        for table in tabulate(done, store):
            paths.append(options.output / f"{table['dataset'].iloc[0]}-{study.name}.csv")
            write_table(table, paths[-1])
            print(f"wrote {paths[-1]}")
    again = f"{study.name} --no-run"
    if options.check:
        for orphan in study.files(options.output, ".md"):
            if not orphan.with_suffix(".csv").is_file():
                refuse_stale(orphan, again)
    if not paths:
        raise UsageError(f"there are no tables in {options.output}; make them without --no-run")
    for path in paths:
        if not options.check:
            for line in study.lines(study.read(path)):
                print(line)
            if study.figure is not None:
                print(f"wrote {study.draw(path)}")
        put_page(path.with_suffix(".md"), study.page(path), check=options.check, again=again)
    require_success(done)
