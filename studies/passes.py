"""Robust accuracy against the number of gradient passes that an attack may take.

An attack of twenty steps that finds nothing has not shown that nothing is there. Each attack runs
with several numbers of passes, separately at each ε, so that the curves show what a pass of each
attack is worth. The cells use training images unless asked otherwise, and are kept in a store of
their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from robench.attacks import Attack
from robench.attacks.primitives.norms import NORMS
from robench.errors import UsageError
from robench.registry import NamedAttack
from robench.results import ROBUST, CellResult, Interval, ResultStore
from robench.results.metrics import bootstrap

MEAN = "mean"
COLUMNS: dict[str, type] = {
    "dataset": str,
    "split": str,
    "data_sha256": str,
    "samples": int,
    "seed": int,
    "norm": str,
    "model": str,
    "budget": int,
    "attack": str,
    "version": str,
    "first": str,
    "epsilon": str,
    "accuracy": float,
    "difference": float,
    "low": float,
    "high": float,
}
"""Of a table: a row for each ε, then one with ``mean`` in its place. The latter has the difference
between the accuracy of the ``first`` attack and this one's, paired by sample."""


def at_budgets(attacks: Sequence[NamedAttack], budgets: Sequence[int]) -> list[NamedAttack]:
    """Each attack at each budget, under a name such as ``pgd@320``.

    Raises:
        UsageError: an attack is not measured in gradient passes, or not in the norm of the first.
    """
    for named in attacks:
        if named.attack.norm != attacks[0].attack.norm:
            raise UsageError(
                f"{named.name} is measured in {NORMS[named.attack.norm]} and {attacks[0].name} in "
                f"{NORMS[attacks[0].attack.norm]}: their ε cannot be compared"
            )
        if type(named.attack).at_budget is Attack.at_budget:
            raise UsageError(f"attack {named.name} is not measured in gradient passes")
    return [
        replace(
            named,
            name=f"{named.name}@{budget}",
            attack=attack,
            implementation=attack.name,
        )
        for named in attacks
        for budget in budgets
        for attack in [named.attack.at_budget(budget)]
    ]


def pass_rows(cells: Sequence[CellResult], store: ResultStore) -> pd.DataFrame:
    """A row for each model, attack, budget, ε and sample.

    Args:
        cells: results with one ε each; those that are not done are left out.
        store: where their rows are.

    Returns:
        Columns ``dataset, data_sha256, seed, norm, model, attack, version, budget, epsilon, index,
        robust``.

    Raises:
        UsageError: no cell is done.
    """
    parts = []
    for cell in cells:
        if cell.outcome is None:
            continue
        rows = store.rows(cell)
        who = cell.outcome.identity
        attack, _, budget = cell.attack.rpartition("@")
        parts.append(
            pd.DataFrame(
                {
                    "dataset": cell.dataset,
                    "data_sha256": who.data_sha256[:16],
                    "seed": who.seed,
                    "norm": who.norm,
                    "model": cell.model,
                    "attack": attack,
                    "version": who.attack_version,
                    "budget": int(budget),
                    "epsilon": cell.outcome.curve[-1].epsilon.text,
                    "index": rows["index"],
                    "robust": rows["minimal_position"] == ROBUST,
                }
            )
        )
    if not parts:
        raise UsageError("no cell is done, so there is nothing to draw")
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Difference:
    """The robust accuracy of an attack minus that of a rival, averaged over ε.

    Attributes:
        model: the one that was attacked.
        rival: the other attack.
        budget: gradient passes of both.
        samples: that both attacked.
        mean: below 0 if the attack is the stronger one.
        interval: at 95 %, paired by sample.
    """

    model: str
    rival: str
    budget: int
    samples: int
    mean: float
    interval: Interval


def paired(rows: pd.DataFrame, attack: str) -> list[Difference]:
    """The robust accuracy of an attack minus that of each rival at the same budget.

    Args:
        rows: of :func:`pass_rows`.
        attack: the one that is compared with all others.
    """
    table = rows.pivot_table(
        index=["model", "budget", "index"], columns="attack", values="robust", aggfunc="mean"
    )
    found = []
    for (model, budget), part in table.groupby(level=[0, 1]):
        for rival in part.columns.drop(attack):
            both = part[[attack, rival]].dropna()
            if not len(both):
                continue
            values = (both[attack] - both[rival]).to_numpy(np.float64)
            mean = float(values.mean())
            found.append(
                Difference(
                    str(model), str(rival), int(str(budget)), len(values), mean, bootstrap(values)
                )
            )
    return found


def passes_table(rows: pd.DataFrame, first: str, split: str) -> pd.DataFrame:
    """The numbers of :func:`pass_rows`, by :data:`COLUMNS`.

    An attack that lacks an ε at a budget has no mean there, which would be over other ε.

    Args:
        rows: of one data set.
        first: the attack whose difference to the others is taken.
        split: which images were attacked.
    """
    epsilons = rows["epsilon"].nunique()
    whole = rows.groupby(["model", "budget", "attack"])["epsilon"].transform("nunique") == epsilons
    compared = paired(rows[whole], first) if first in set(rows["attack"][whole]) else []
    differences = {(d.model, d.budget, d.rival): d for d in compared}
    facts = ["dataset", "data_sha256", "seed", "norm", "version"]
    found: list[dict[str, Any]] = []
    for key, part in rows.groupby(["model", "budget", "attack"], sort=False):
        model, budget, attack = key
        common = {
            **{fact: part[fact].iloc[0] for fact in facts},
            "split": split,
            "samples": part["index"].nunique(),
            "model": model,
            "budget": budget,
            "attack": attack,
            "first": first,
        }
        curve = part.groupby("epsilon", sort=False)["robust"].mean()
        found += [common | {"epsilon": e, "accuracy": value} for e, value in curve.items()]
        if len(curve) == epsilons:
            mean = common | {"epsilon": MEAN, "accuracy": float(curve.mean())}
            if against := differences.get((str(model), int(str(budget)), str(attack))):
                low, high = against.interval.low, against.interval.high
                mean |= {"difference": against.mean, "low": low, "high": high}
            found.append(mean)
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.sort_values(["model", "budget"], kind="stable", ignore_index=True)
