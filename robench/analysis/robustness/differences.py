"""Paired differences of the AUC between models on the same images, and ranks that share ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.robustness.stored import StoredTables
from robench.errors import UsageError
from robench.registry import find_attack
from robench.reporting.figures import row_names
from robench.reporting.figures.curves import upper_bound
from robench.reporting.report import Row, Table, row_verdict, verdict_text
from robench.reporting.rows import worst_positions
from robench.results.metrics import bootstrap, sample_areas

WORST = "worst"
LEVEL = 0.05
"""A difference is significant below this adjusted p-value."""
RESAMPLES = 9999
SMALLEST = 2 / (RESAMPLES + 1)
"""The least p-value of so many random flips."""
_PER_PAIR = 200
"""At least so many resamples for each pair, so that the adjusted p-value can be small enough."""
RULE = (
    "rank: 1 + the number of models that are significantly better "
    f"(Holm's adjusted p < {LEVEL:g}), so models that cannot be distinguished share one, "
    "unless a third model is better than only one of them"
)


@dataclass(frozen=True)
class Contender:
    """A model in the comparison.

    Attributes:
        name: in figures.
        model: its id.
        areas: normalised area of each sample, ``(N,)``.
        verdict: of its cell, or of all that the worst case is taken over, with the reasons.
        bound: whether its area is only an upper bound: the verdict is invalid, or an attack of the
            table is missing. Such a model has no rank, and gives none to others.
    """

    name: str
    model: str
    areas: NDArray[np.float64]
    verdict: str
    bound: bool

    @property
    def area(self) -> float:
        """The AUC."""
        return float(self.areas.mean())


@dataclass(frozen=True)
class Differences:
    """All pairs of models of a table, ordered by rank and then by area.

    Attributes:
        table: the table.
        attack: its name, or ``worst`` for the worst case over the attacks of each sample.
        contenders: the models, at least two.
        ranks: of each of them, None for an upper bound.
        values: AUC of the row minus AUC of the column, ``(models, models)``.
        low: the lower end of the paired 95 % interval of each value.
        high: its upper end.
        p: of the paired permutation test, not adjusted; 1 on the diagonal.
        adjusted: the same, adjusted by Holm over all pairs.
    """

    table: Table
    attack: str
    contenders: tuple[Contender, ...]
    ranks: tuple[int | None, ...]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p: NDArray[np.float64]
    adjusted: NDArray[np.float64]


def find_differences(stored: StoredTables, attack: str = WORST) -> tuple[list[Differences], str]:
    """Compare the models of each table; also says which tables have too few.

    Raises:
        UsageError: no table has two models with that attack.
    """
    found, few = [], []
    for table in stored.tables:
        contenders = _contenders(stored, table, attack)
        if len(contenders) < 2:
            few.append(table.title)
        else:
            found.append(compare(table, attack, contenders))
    lacking = f"fewer than two models with comparable results of {attack}: {', '.join(few)}"
    if not found:
        known = sorted({name for table in stored.tables for name in table.attacks})
        if attack not in (WORST, *known):
            find_attack(attack)  # refuses an unknown one
        run = f"robench run --attacks {known[0] if attack == WORST else attack}"
        raise UsageError(f"{lacking}; stored are {', '.join(known)}; make more with: {run}")
    return found, lacking if few else ""


def _contenders(stored: StoredTables, table: Table, attack: str) -> list[Contender]:
    values = [epsilon.value for epsilon in table.grid]
    found = []
    for row, name in zip(table.rows, row_names(table.rows), strict=True):
        hashes = [e.hash for a, e in row.entries.items() if attack in (WORST, a)]
        if not hashes:
            continue
        positions = worst_positions(map(stored.positions, hashes), len(values))
        areas = sample_areas(positions, values, table.limit.value)
        found.append(Contender(name, row.model, areas, *_verdict(row, attack)))
    return found


def _verdict(row: Row, attack: str) -> tuple[str, bool]:
    """The verdict of a row, and whether its area is only an upper bound."""
    if attack != WORST:
        entry = row.entries[attack]
        return verdict_text(entry.verdict, entry.reasons), entry.verdict == "invalid"
    return row_verdict(row), upper_bound(row)


def compare(table: Table, attack: str, contenders: Sequence[Contender]) -> Differences:
    """Compare all pairs, and order the models by rank."""
    n = len(contenders)
    pairs = list(combinations(range(n), 2))
    resamples = max(RESAMPLES, _PER_PAIR * len(pairs))
    values, low, high = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    p, adjusted = np.ones((n, n)), np.ones((n, n))
    for i, j in pairs:
        difference = contenders[i].areas - contenders[j].areas
        interval = bootstrap(difference)
        values[i, j], values[j, i] = difference.mean(), -difference.mean()
        low[i, j], high[i, j] = interval.low, interval.high
        low[j, i], high[j, i] = -interval.high, -interval.low
        p[i, j] = p[j, i] = sign_flip_test(difference, resamples)
    upper = tuple(np.array(pairs).T)
    adjusted[upper] = holm(p[upper])
    adjusted = np.minimum(adjusted, adjusted.T)
    ranks = shared_ranks(values, adjusted, [one.bound for one in contenders])
    order = sorted(range(n), key=lambda k: (ranks[k] or n + 1, -contenders[k].area))
    square = np.ix_(order, order)
    return Differences(
        table, attack, tuple(contenders[k] for k in order), tuple(ranks[k] for k in order),
        values[square], low[square], high[square], p[square], adjusted[square],
    )  # fmt: skip


def sign_flip_test(difference: NDArray[np.float64], resamples: int = RESAMPLES) -> float:
    """The two-sided p-value of a paired permutation test of the mean; never 0.

    Without a difference between two models, the two areas of a sample can be exchanged, which
    flips the sign of their difference. The test is exact where all differences are equally large
    or there are no more flips than resamples; otherwise the flips are random, with a fixed seed.

    Args:
        difference: of each sample, ``(N,)``.
        resamples: number of random flips.
    """
    from scipy.stats import binomtest, permutation_test  # imported late: it is slow

    apart = difference[difference != 0]  # the sign of 0 changes nothing
    if len(apart) < 2:  # both signs of one difference are equally large
        return 1.0
    if np.ptp(np.abs(apart)) == 0:  # then the mean depends only on how many are positive
        return float(binomtest(int((apart > 0).sum()), len(apart)).pvalue)
    test = permutation_test(
        (apart,), np.mean, permutation_type="samples", vectorized=True, n_resamples=resamples,
        batch=1000, random_state=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p-values of a family of tests (Holm, Scand. J. Statist. 1979).

    Args:
        p: the p-values, ``(tests,)``.
    """
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def shared_ranks(
    values: NDArray[np.float64], adjusted: NDArray[np.float64], bounds: Sequence[bool]
) -> list[int | None]:
    """For each model 1 + the number of models that are significantly better.

    Args:
        values: differences, row minus column, ``(models, models)``.
        adjusted: their adjusted p-values.
        bounds: models whose area is an upper bound: they have no rank and are not counted.
    """
    better = (values < 0) & (adjusted < LEVEL) & ~np.array(bounds)[None, :]
    return [
        None if bound else 1 + int(row.sum()) for bound, row in zip(bounds, better, strict=True)
    ]


def rank_frame(found: Differences) -> pd.DataFrame:
    """A row for each model: rank, name, AUC with its interval, verdict."""
    records = []
    for rank, one in zip(found.ranks, found.contenders, strict=True):
        interval = bootstrap(one.areas)
        records.append((rank, one.model, one.name, one.area, interval.low, interval.high,
                        one.verdict))  # fmt: skip
    columns = ["rank", "model", "name", "auc", "low", "high", "verdict"]
    return pd.DataFrame(records, columns=columns).astype({"rank": "Int64"})


def pair_frame(found: Differences) -> pd.DataFrame:
    """A row for each pair, the better model first; ``bound`` marks upper bounds."""
    records = []
    for i, j in combinations(range(len(found.contenders)), 2):
        i, j = (i, j) if found.values[i, j] >= 0 else (j, i)
        one, two = found.contenders[i], found.contenders[j]
        records.append((
            found.table.name, found.attack, one.name, two.name, found.values[i, j],
            found.low[i, j], found.high[i, j], found.p[i, j], found.adjusted[i, j],
            bool(found.adjusted[i, j] < LEVEL), one.bound or two.bound,
        ))  # fmt: skip
    columns = ["table", "attack", "better", "worse", "difference", "low", "high", "p", "p_holm",
               "significant", "bound"]  # fmt: skip
    return pd.DataFrame(records, columns=columns)
