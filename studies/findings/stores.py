"""What is stored of the pairs of networks that were trained alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robench.analysis.robustness.stored import StoredTables, read_tables
from robench.datasets import find_dataset
from robench.reporting.report import NORM, Row, Table
from robench.results import AnalysisStore, ResultStore
from robench.training import find_recipe
from studies.findings.trainings import read_trainings

DATASETS = ("cifar10", "mnist", "digits")
ANNS, SPIKING = ("ann", "ann-at"), ("hybrid", "stbp", "stbp-at")
MODES = (*ANNS, *SPIKING)
"""How a network was trained; ``at`` is adversarial training."""


@dataclass(frozen=True)
class Stores:
    """What is stored.

    Attributes:
        tables: of the results, with what was run at the headline ε alone in their rows.
        analyses: what was measured of networks.
        models: the folder of the models, for the logs of their trainings.
        trainings: the table of the ablations, with several trainings of each network.
    """

    tables: StoredTables
    analyses: AnalysisStore
    models: Path
    trainings: pd.DataFrame

    @classmethod
    def of(cls, results: Path, models: Path, ablations: Path) -> Stores:
        """Read the tables.

        Raises:
            UsageError: there is no finished cell, or a table is damaged.
        """
        tables = read_tables(ResultStore(results), merge=True)
        return cls(tables, AnalysisStore(results), models, read_trainings(ablations))

    def table(self, dataset: str) -> Table | None:
        """The table under the protocol in L∞."""
        place = dataset, NORM, ()
        found = (t for t in self.tables.tables if (t.dataset.name, t.norm, t.differs) == place)
        return next(found, None)


def unlike(dataset: str, mode: str) -> str:
    """How the trainings of the pair of a mode differ; empty if they are alike."""
    plain, flex = (find_recipe(f"{dataset}/{kind}-{mode}")[1] for kind in ("vgg16", "flex"))
    same = {"init": ""}
    one, other = (recipe.training.model_copy(update=same) for recipe in (plain, flex))
    if one.epochs != other.epochs:
        return f"trained for {one.epochs} and {other.epochs} epochs"
    return "" if one == other else "trained by other recipes"


def attacked_otherwise(one: str, other: str) -> str:
    """How the adversarial trainings of two models differ; empty if they do not."""
    both = [find_recipe(model)[1].training for model in (one, other)]
    how = [(of.adversarial_schedule, of.adversarial_steps, of.epochs) for of in both]
    attacked = any(of.adversarial_schedule for of in both)
    return "other adversarial training" if attacked and how[0] != how[1] else ""


def pairs(stores: Stores) -> Iterator[tuple[Table, str, Row, Row, str]]:
    """Table, mode, the row of VGG16, the row of FLEX, and how their trainings differ."""
    for name in DATASETS:
        table = stores.table(name)
        rows = {} if table is None else {row.model: row for row in table.rows}
        for mode in MODES:
            plain, flex = (rows.get(f"{name}/{kind}-{mode}") for kind in ("vgg16", "flex"))
            if table is not None and plain is not None and flex is not None:
                yield table, mode, plain, flex, unlike(name, mode)


def need_longer(stores: Stores, dataset: str) -> list[str]:
    """The networks of each pair of which one is attacked by an ``spgd`` that has not converged.

    Raises:
        UsageError: there is no such data set.
    """
    title = find_dataset(dataset).title
    return [
        row.model
        for table, _, *pair, _ in pairs(stores)
        if table.dataset.title == title
        and any("spgd" in one.entries and one.entries["spgd"].converged is False for one in pair)
        for row in pair
    ]
