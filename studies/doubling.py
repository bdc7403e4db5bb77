"""What an attack gains from twice as many steps: whether its numbers would fall further.

The cells are ordinary sweeps over the data set's grid, in which one ε may start from the results
of another. They use training images, so that no number of steps is chosen on the published test
images, and are kept in a store of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.errors import UsageError
from robench.model_id import ModelId
from robench.registry import NamedAttack
from robench.results import CellResult, ResultStore
from robench.results.metrics import bootstrap
from studies.pages import markdown_table, versions_text
from studies.study import Study, first_areas

ENOUGH = 0.01
"""A gain below this does not justify twice the steps."""
COLUMNS: dict[str, type] = {
    "dataset": str,
    "data_sha256": str,
    "samples": int,
    "seed": int,
    "model": str,
    "attack": str,
    "version": str,
    "factor": int,
    "passes": float,
    "limit": str,
    "auc": float,
    "gain": float,
    "low": float,
    "high": float,
}
"""Of a table: a row for each model, attack and factor. ``gain`` is the AUC of the factor before it
minus this one, with its interval, paired by sample."""


def at_factors(attacks: Sequence[NamedAttack], factors: Sequence[int]) -> list[NamedAttack]:
    """Each attack with each multiple of its steps, under a name such as ``spgd@x2``.

    Raises:
        UsageError: an attack takes no steps.
    """
    return [
        replace(named, name=f"{named.name}@x{factor}", attack=named.attack.lengthened(factor))
        for named in attacks
        for factor in factors
    ]


def doubling_table(cells: Sequence[CellResult], store: ResultStore) -> pd.DataFrame:
    """The AUC of each attack at each factor, by :data:`COLUMNS`.

    Args:
        cells: results of the attacks of :func:`at_factors`, the factors of each in rising order;
            those that are not done, or whose number is invalid, are left out.
        store: where their rows are.

    Raises:
        UsageError: no cell is done and not invalid.
    """
    found: list[dict[str, Any]] = []
    before: dict[tuple[str, str], NDArray[np.float64]] = {}
    for cell in cells:
        if cell.outcome is None or cell.outcome.verdict == "invalid":
            continue
        attack, _, factor = cell.attack.rpartition("@x")
        rows, who = store.rows(cell), cell.outcome.identity
        limit, areas = first_areas(cell.outcome, rows)
        row = {
            "dataset": cell.dataset,
            "data_sha256": who.data_sha256[:16],
            "samples": len(rows),
            "seed": who.seed,
            "model": cell.model,
            "attack": attack,
            "version": who.attack_version,
            "factor": int(factor),
            "passes": cell.outcome.backwards,
            "limit": limit,
            "auc": float(areas.mean()),
        }
        if (shorter := before.get((cell.model, attack))) is not None:
            interval = bootstrap(shorter - areas)
            gain = float((shorter - areas).mean())
            row |= {"gain": gain, "low": interval.low, "high": interval.high}
        before[cell.model, attack] = areas
        found.append(row)
    if not found:
        raise UsageError("no cell is done and not invalid, so there is nothing to compare")
    return pd.DataFrame(found, columns=list(COLUMNS))


def doubling_text(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    first = table.iloc[0]
    caption = (
        f"**{dataset_title(first['dataset'])}**, {first['samples']:,} training images (SHA-256 "
        f"{first['data_sha256']}), seed {first['seed']}, {versions_text(table)}. AUC up to "
        f"ε = {first['limit']}; the gain is the fall of the AUC in points, with the 95 % interval, "
        f"paired by sample, and bold where it is {100 * ENOUGH:.0f} point or more: there a longer "
        "attack finds adversarial examples that the shorter one does not."
    )
    head = ["model", "attack", "steps", "passes for a sample", "AUC", "gain in points"]
    lines = [
        [
            ModelId(row["model"]).name,
            str(row["attack"]),
            f"×{row['factor']}",
            f"{row['passes']:.0f}",
            f"{row['auc']:.3f}",
            gain_text(row["gain"], row["low"], row["high"]),
        ]
        for row in table.to_dict("records")
    ]
    return "\n".join([caption, "", *markdown_table(head, lines, words=2), ""])


def doubling_lines(table: pd.DataFrame) -> Iterator[str]:
    """A table as text, a line for each model, attack and factor."""
    for row in table.to_dict("records"):
        gain = gain_text(row["gain"], row["low"], row["high"]).strip("*")
        yield (
            f"{row['model']:24} {row['attack']} ×{row['factor']}  {row['passes']:4.0f} passes  "
            f"AUC@{row['limit']} {row['auc']:.3f}  gain {gain}"
        )


def gain_text(gain: float, low: float, high: float) -> str:
    """A gain in points with its interval; bold where it is at least :data:`ENOUGH`."""
    if np.isnan(gain):
        return "—"
    text = f"{100 * gain:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"**{text}**" if gain >= ENOUGH else text


DOUBLING = Study(
    name="doubling",
    title="What twice the steps find",
    columns=COLUMNS,
    text=doubling_text,
    lines=doubling_lines,
)
