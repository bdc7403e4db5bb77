"""Robust accuracy against the number of gradient passes that an attack may take.

An attack of twenty steps that finds nothing has not shown that there is nothing. Each attack is run
at several budgets, each ε by itself and without help from another, so that the curves show what a
pass of each attack is worth. The cells are ordinary ones, on training images unless asked
otherwise, in a store of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.errors import UsageError
from robench.evaluation import Plan, Request, make_plan
from robench.evaluation.metrics import bootstrap, wilson
from robench.results import NEVER, CellResult, Interval, ResultStore
from robench.zoo import ModelEntry, NamedAttack

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def at_budgets(attacks: Sequence[NamedAttack], budgets: Sequence[int]) -> list[NamedAttack]:
    """Each attack at each budget, under a name such as ``pgd@320``.

    Raises:
        UsageError: an attack is not measured in gradient passes.
    """
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


def budget_plans(
    entries: Sequence[ModelEntry],
    attacks: Sequence[NamedAttack],
    budgets: Sequence[int],
    epsilons: Sequence[str],
    request: Request,
    store: ResultStore,
) -> list[Plan]:
    """A plan for each ε, whose cells have no other.

    Args:
        entries: the models.
        attacks: as the user named them.
        budgets: gradient passes for each sample and ε.
        epsilons: as they are written.
        request: everything else.
        store: where the cells go.
    """
    variants = at_budgets(attacks, budgets)
    return [
        make_plan(entries, variants, replace(request, eps=(epsilon,)), store)
        for epsilon in epsilons
    ]


def budget_rows(cells: Sequence[CellResult], store: ResultStore) -> pd.DataFrame:
    """A row for each model, attack, budget, ε and sample.

    Args:
        cells: results of :func:`budget_plans`; those that failed are left out.
        store: where their rows are.

    Returns:
        Columns ``model, attack, budget, epsilon, index, held, passes``.

    Raises:
        UsageError: no cell is done.
    """
    parts = []
    for cell in cells:
        if cell.outcome is None:
            continue
        rows = store.rows(cell)
        attack, _, budget = cell.attack.rpartition("@")
        parts.append(
            pd.DataFrame(
                {
                    "model": cell.model,
                    "attack": attack,
                    "budget": int(budget),
                    "epsilon": cell.outcome.curve[-1].epsilon.text,
                    "index": rows["index"],
                    "held": rows["break_position"] == NEVER,
                    "passes": rows["backwards"],
                }
            )
        )
    if not parts:
        raise UsageError("no cell is done, so there is nothing to draw")
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Difference:
    """How far an attack's robust accuracy lies above a rival's, averaged over ε.

    Attributes:
        model: the one that was attacked.
        rival: the other attack.
        budget: gradient passes of both.
        samples: that both attacked.
        mean: below 0 where the attack is the stronger one.
        interval: at 95 %, paired by sample.
    """

    model: str
    rival: str
    budget: int
    samples: int
    mean: float
    interval: Interval


def paired(rows: pd.DataFrame, attack: str) -> list[Difference]:
    """How far an attack's robust accuracy lies above each rival's at the same budget.

    Args:
        rows: of :func:`budget_rows`.
        attack: the one that is judged.
    """
    table = rows.pivot_table(
        index=["model", "budget", "index"], columns="attack", values="held", aggfunc="mean"
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


def draw_budgets(rows: pd.DataFrame) -> Figure:
    """Robust accuracy against passes: a column for each model, a row for each ε."""
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    models, epsilons = list(dict.fromkeys(rows["model"])), list(dict.fromkeys(rows["epsilon"]))
    attacks = list(dict.fromkeys(rows["attack"]))
    budgets = sorted(set(rows["budget"]))
    figure = Figure(figsize=(2.5 * len(models) + 1.4, 2.1 * len(epsilons) + 0.5))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(epsilons), len(models), sharex=True, sharey="row", squeeze=False)
    colours = dict(zip(attacks, sns.color_palette("colorblind"), strict=False))
    for line, epsilon in zip(axes, epsilons, strict=True):
        for ax, model in zip(line, models, strict=True):
            here = rows[(rows["model"] == model) & (rows["epsilon"] == epsilon)]
            for attack, part in here.groupby("attack", sort=False):
                _draw_budget(ax, part, colours[str(attack)], str(attack))
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(FixedLocator(budgets))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticklabels([str(budget) for budget in budgets])
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        line[0].set_ylabel(f"robust at ε = {epsilon}")
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(model, loc="left", fontsize="small", fontweight="bold")
    for ax in axes[-1]:
        ax.set_xlabel("gradient passes")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _draw_budget(ax: Any, part: pd.DataFrame, colour: Any, label: str) -> None:
    curve = part.groupby("budget")["held"].agg(["sum", "count"])
    budgets: NDArray[np.int64] = curve.index.to_numpy()
    held = [(int(a), int(b)) for a, b in curve.itertuples(index=False)]
    bands = [wilson(a, b) for a, b in held]
    ax.fill_between(
        budgets, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.1,
        linewidth=0,
    )  # fmt: skip
    ax.plot(budgets, [a / b for a, b in held], color=colour, marker="o", markersize=3, label=label)
