"""The attacks beside each other, each as ``robench run`` runs it: robust accuracy and passes.

At a single ε nothing is known from a larger one. A sweep over the grid hands its results down, so
both are measured. The numbers of the first attack are compared with those of each other one, paired
by sample. The cells are kept in a store of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.curves import dataset_title
from robench.epsilon import NORMS
from robench.errors import UsageError
from robench.model_id import ModelId
from robench.registry import NamedAttack
from robench.results import ROBUST, CellResult, ResultStore
from robench.results.metrics import bootstrap
from studies.pages import markdown_table, versions_text
from studies.study import Study, first_areas

COLUMNS: dict[str, type] = {
    "dataset": str,
    "data_sha256": str,
    "split": str,
    "seed": int,
    "norm": str,
    "model": str,
    "measure": str,
    "samples": int,
    "attack": str,
    "version": str,
    "verdict": str,
    "first": str,
    "passes": float,
    "accuracy": float,
    "difference": float,
    "low": float,
    "high": float,
}
"""Of a table: a row for each model, measure and attack. ``measure`` is an ε, or the AUC of a sweep
up to an ε. ``passes`` are all passes for a sample, with and without a gradient. ``difference`` is
the accuracy of an attack minus that of the ``first`` one, with its interval, paired by sample."""


def require_one_norm(attacks: Sequence[NamedAttack]) -> None:
    """Refuse attacks whose ε cannot be compared.

    Raises:
        UsageError: two attacks are measured in different norms.
    """
    first = attacks[0]
    for other in attacks:
        if other.attack.norm != first.attack.norm:
            raise UsageError(
                f"{other.name} is measured in {NORMS[other.attack.norm]} and {first.name} in "
                f"{NORMS[first.attack.norm]}: their ε cannot be compared"
            )


def strength_table(
    cells: Sequence[CellResult], store: ResultStore, first: str, split: str
) -> pd.DataFrame:
    """The numbers of all cells that are done, by :data:`COLUMNS`.

    Args:
        cells: of sweeps, and of runs at one ε.
        store: where their rows are.
        first: the attack that the others are compared with.
        split: which images were attacked.

    Raises:
        UsageError: no cell is done.
    """
    found: list[dict[str, Any]] = []
    values: dict[tuple[str, str, str], NDArray[np.float64]] = {}
    for cell in cells:
        if cell.outcome is None:
            continue
        who, (measure, robust) = cell.outcome.identity, _measured(cell, store)
        values[cell.model, measure, cell.attack] = robust
        row = {
            "dataset": cell.dataset,
            "data_sha256": who.data_sha256[:16],
            "split": split,
            "seed": who.seed,
            "norm": who.norm,
            "model": cell.model,
            "measure": measure,
            "samples": len(robust),
            "attack": cell.attack,
            "version": who.attack_version,
            "verdict": cell.outcome.verdict,
            "first": first,
            "passes": cell.outcome.forwards + cell.outcome.backwards,
            "accuracy": float(robust.mean()),
        }
        found.append(row)
    if not found:
        raise UsageError("no cell is done, so there is nothing to compare")
    for row, ((model, measure, attack), own) in zip(found, values.items(), strict=True):
        against = values.get((model, measure, first))
        if against is not None and attack != first:
            interval = bootstrap(own - against)
            row |= {"difference": float((own - against).mean())}
            row |= {"low": interval.low, "high": interval.high}
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.sort_values("model", kind="stable", ignore_index=True)


def _measured(cell: CellResult, store: ResultStore) -> tuple[str, NDArray[np.float64]]:
    """What a cell measures, and its value for each sample: robust or not, or the area."""
    assert cell.outcome is not None
    rows, curve = store.rows(cell), cell.outcome.curve
    if len(curve) <= 2:  # 0, and one more
        robust = (rows["minimal_position"] == ROBUST).to_numpy()
        return curve[-1].epsilon.text, robust.astype(np.float64)
    limit, areas = first_areas(cell.outcome, rows)
    return f"AUC@{limit}", areas


def beaten(row: dict[Any, Any]) -> bool:
    """Whether an attack is stronger than the first one, beyond the interval, in fewer passes."""
    counts = row["verdict"] != "invalid" and row["passes"] <= row["allowed"]
    return bool(counts and row["high"] < 0)


def _allowed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the passes of the first attack in each row, as ``allowed``."""
    ours = table[table["attack"] == table["first"]]
    return table.merge(
        ours[["model", "measure", "passes"]].rename(columns={"passes": "allowed"}), how="left"
    )


def strength_text(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    first = str(table["first"].iloc[0])
    rivals = [str(attack) for attack in dict.fromkeys(table["attack"]) if attack != first]
    lines = []
    for (model, measure), part in _allowed(table).groupby(["model", "measure"], sort=False):
        rows = {row["attack"]: row for row in part.to_dict("records")}
        cells = [_cell(rows.get(attack)) for attack in (first, *rivals)]
        lines.append([ModelId(str(model)).name, str(measure), *cells])
    head = ["model", "ε", first, *rivals]
    return "\n".join([_caption(table, first), "", *markdown_table(head, lines, words=2), ""])


def _cell(row: dict[Any, Any] | None) -> str:
    if row is None:
        return "—"
    text = f"{100 * row['accuracy']:.1f} ({row['passes']:.0f})"
    if row["verdict"] == "invalid":
        return f"{text} †"
    return f"**{text}**" if beaten(row) else text


def _caption(table: pd.DataFrame, first: str) -> str:
    row = table.iloc[0]
    images = "training" if row["split"] == "train" else row["split"]
    samples = " or ".join(f"{n:,}" for n in sorted(set(table["samples"])))
    invalid = "; † is a number that the checks call invalid, which does not count"
    marks = invalid if (table["verdict"] == "invalid").any() else ""
    return (
        f"**{dataset_title(row['dataset'])}**, {samples} {images} images (SHA-256 "
        f"{row['data_sha256']}), seed {row['seed']}, {NORMS[row['norm']]}, {versions_text(table)}. "
        "Robust accuracy in % at one ε, or 100 times the AUC of a sweep, and in brackets the "
        "passes for a sample. Bold is an attack that is "
        f"stronger than `{first}` beyond the paired 95 % interval and takes no more "
        f"passes{marks}."
    )


def strength_lines(table: pd.DataFrame) -> Iterator[str]:
    """A table as text, a line for each model, measure and attack."""
    for row in _allowed(table).to_dict("records"):
        line = (
            f"{row['model']:24} {row['measure']:10} {row['attack']}: {100 * row['accuracy']:.1f} "
            f"({row['passes']:.0f} passes)"
        )
        if not np.isnan(row["difference"]):
            low, high = 100 * row["low"], 100 * row["high"]
            line += f"  {100 * row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        yield line + ("  stronger in fewer passes" if beaten(row) else "")


STRENGTH = Study(
    name="strength",
    title="The attacks beside each other",
    columns=COLUMNS,
    text=strength_text,
    lines=strength_lines,
)
