"""Evidence over several trainings of each network, from the table of the ablations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.datasets import find_dataset
from studies.ablations import COLUMNS
from studies.findings.claims import Evidence, nothing_left
from studies.pages import read_table

FLEX, PLAIN = "adaptive", "vgg16"
"""The variants that are trained by the recipes of the published networks."""


def read_trainings(path: Path) -> pd.DataFrame:
    """The table of ``python -m studies ablations``; without rows if there is none.

    Raises:
        UsageError: the file is no such table.
    """
    return read_table(path, COLUMNS) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def over_trainings(
    table: pd.DataFrame, dataset: str, mode: str, measure: Literal["clean", "robust"]
) -> Iterator[Evidence]:
    """The difference over the trainings of a mode, if both networks were trained several times."""
    here = table[(table["dataset"] == dataset) & (table["mode"] == mode)].set_index("variant")
    if not {FLEX, PLAIN} <= set(here.index):
        return
    both = [_by_seed(here, name, measure) for name in (FLEX, PLAIN)]
    if min(one.size for one in both) < 2:
        return
    what, against = mode, ""
    if measure == "robust":
        row, valid = here.loc[FLEX], set(here.loc[[FLEX, PLAIN], "verdicts"]) == {"valid"}
        what += f", {row['attack']} at {row['epsilon']}"
        against = nothing_left(both) if valid else "not all are valid"
    what += f", {both[0].size} trainings"
    yield Evidence.of_trainings(find_dataset(dataset).title, what, both, against)


def widest(table: pd.DataFrame) -> tuple[str, str, int, str, float, float] | None:
    """The network whose robust accuracy differs most between its trainings; None without any.

    Returns:
        The title of the data set, the mode, the number of trainings, FLEX or VGG16, and the lowest
        and the highest robust accuracy.
    """
    names = {FLEX: "FLEX", PLAIN: "VGG16"}
    valid = table[table["variant"].isin(names) & (table["verdicts"] == "valid")]
    found = [
        (
            find_dataset(row["dataset"]).title,
            row["mode"],
            len(values),
            names[row["variant"]],
            min(values),
            max(values),
        )
        for row in valid.to_dict("records")
        if len(values := [float(one) for one in str(row["robust_by_seed"]).split()]) > 1
    ]
    return max(found, key=lambda one: one[5] - one[4], default=None)


def _by_seed(table: pd.DataFrame, variant: str, measure: str) -> NDArray[np.float64]:
    return np.array(str(table.loc[variant, f"{measure}_by_seed"]).split(), np.float64)
