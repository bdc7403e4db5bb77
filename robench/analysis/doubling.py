"""What an attack gains where it takes twice as many steps: whether its numbers would fall further.

The cells are ordinary sweeps over the data set's grid, with every help that one ε is to another,
on training images, so that no budget is chosen by those that are published, in a store of their
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.analysis.document import markdown_table, read_table, section_of
from robench.errors import UsageError
from robench.registry import NamedAttack
from robench.results import CellResult, ResultStore
from robench.results.metrics import bootstrap, sample_areas

COMMAND = "doubling"
ENOUGH = 0.01
"""A doubling that gains less than this leaves the budget as it is."""
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
"""Of a table: a row for each model, attack and factor. ``gain`` is how far the AUC fell from that
of the factor before it, with its interval, paired by sample."""


def at_factors(attacks: Sequence[NamedAttack], factors: Sequence[int]) -> list[NamedAttack]:
    """Each attack with so many times its steps, under a name such as ``spgd@x2``.

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
        epsilons = [point.epsilon for point in cell.outcome.curve]
        limit = next(iter(cell.outcome.auc))
        end = next(epsilon.value for epsilon in epsilons if epsilon.text == limit)
        areas = sample_areas(
            rows["minimal_position"].to_numpy(np.int64), [e.value for e in epsilons], end
        )
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


def doubling_section(folder: Path) -> str:
    """The tables of all data sets in a folder, as Markdown.

    Raises:
        UsageError: a table is damaged.
    """
    return section_of(folder, COMMAND, COLUMNS, lambda table, path: _of_dataset(table))


def _of_dataset(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    pairs = table[["attack", "version"]].drop_duplicates().itertuples(index=False)
    told = ", ".join(f"`{attack}` version {version}" for attack, version in pairs)
    caption = (
        f"**{dataset_title(first['dataset'])}**, {first['samples']:,} training images (SHA-256 "
        f"{first['data_sha256']}), seed {first['seed']}, {told}. AUC up to ε = {first['limit']}; "
        "the gain is how far it fell, in points, with the 95 % interval, paired by sample, and "
        f"bold where it is {100 * ENOUGH:.0f} point or more: there the shorter attack has not "
        "found what a longer one would."
    )
    head = ["model", "attack", "steps", "passes for a sample", "AUC", "gain in points"]
    lines = [
        [
            str(row["model"]).partition("/")[2],
            str(row["attack"]),
            f"×{row['factor']}",
            f"{row['passes']:.0f}",
            f"{row['auc']:.3f}",
            gain_text(row["gain"], row["low"], row["high"]),
        ]
        for row in table.to_dict("records")
    ]
    return "\n".join([caption, "", *markdown_table(head, lines, words=2), ""])


def doubling_lines(path: Path) -> Iterator[str]:
    """What a table says, a line for each model, attack and factor.

    Raises:
        UsageError: the table is damaged.
    """
    for row in read_table(path, COLUMNS).to_dict("records"):
        gain = gain_text(row["gain"], row["low"], row["high"]).strip("*")
        yield (
            f"{row['model']:24} {row['attack']} ×{row['factor']}  {row['passes']:4.0f} passes  "
            f"AUC@{row['limit']} {row['auc']:.3f}  gain {gain}"
        )


def gain_text(gain: float, low: float, high: float) -> str:
    """A gain in points with its interval; bold where the shorter attack fell short."""
    if np.isnan(gain):
        return "—"
    text = f"{100 * gain:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"**{text}**" if gain >= ENOUGH else text
