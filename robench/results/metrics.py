"""Curves, areas and intervals from the minimal positions of samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.results.schema import ROBUST, CurvePoint, EpsilonRecord, Interval

DRAWS = 1000
_BLOCK = 2**21
"""How many resampled values are kept at once."""
QUANTILE = NormalDist().inv_cdf(0.975)


@cache
def wilson(successes: int, n: int) -> Interval:
    """Wilson's 95 % interval of a proportion (Wilson, JASA 1927).

    It is computed for every stored cell that is read; to import SciPy's takes seconds.
    """
    share, z = successes / n, QUANTILE**2
    half = QUANTILE * sqrt(share * (1 - share) / n + z / (4 * n * n))
    middle, by = share + z / (2 * n), 1 + z / n
    low = 0.0 if successes == 0 else (middle - half) / by
    return Interval(low=low, high=1.0 if successes == n else (middle + half) / by)


def robust_matrix(minimal_position: NDArray[np.int64], points: int) -> NDArray[np.bool_]:
    """Which samples are robust at each ε.

    Args:
        minimal_position: ``(N,)``, grid position of each sample's minimal ε; 0 for a sample that is
            misclassified without attack, −1 for a sample that stays robust.
        points: number of ε in the grid, the first of which is 0.

    Returns:
        ``(N, points)``.
    """
    always = minimal_position == ROBUST
    grid = np.arange(points)
    robust: NDArray[np.bool_] = always[:, None] | (minimal_position[:, None] > grid[None, :])
    return robust


def curve(minimal_position: NDArray[np.int64], grid: Sequence[Epsilon]) -> tuple[CurvePoint, ...]:
    """Robust accuracy with its interval at each ε of the grid."""
    robust = robust_matrix(minimal_position, len(grid))
    n = len(robust)
    return tuple(
        CurvePoint(
            epsilon=EpsilonRecord(value=epsilon.value, text=epsilon.text),
            robust=int(count),
            accuracy=int(count) / n,
            interval=wilson(int(count), n),
        )
        for epsilon, count in zip(grid, robust.sum(0), strict=True)
    )


def area(accuracies: NDArray[np.float64], grid: Sequence[float], limit: float) -> float:
    """Area under accuracy against ε up to a limit, divided by the limit, in [0, 1].

    Raises:
        UsageError: the limit is not a point of the grid, or is its first.
    """
    if limit not in grid[1:]:
        raise UsageError(f"the AUC limit {limit:g} is not a point of the grid")
    last = list(grid).index(limit) + 1
    return float(np.trapezoid(accuracies[:last], np.asarray(grid[:last]))) / (limit - grid[0])


def sample_areas(
    minimal_position: NDArray[np.int64], grid: Sequence[float], limit: float
) -> NDArray[np.float64]:
    """The normalised area of each sample, ``(N,)``; their mean is the area of the curve."""
    return matrix_areas(robust_matrix(minimal_position, len(grid)), grid, limit)


def matrix_areas(
    robust: NDArray[np.bool_] | NDArray[np.float64], grid: Sequence[float], limit: float
) -> NDArray[np.float64]:
    """:func:`sample_areas` of which samples are robust at each ε, ``(N, points)``."""
    last = list(grid).index(limit) + 1
    here, steps = robust[:, :last].astype(np.float64), np.diff(np.asarray(grid[:last]))
    areas: NDArray[np.float64] = ((here[:, :-1] + here[:, 1:]) / 2) @ steps
    return areas / (limit - grid[0])


def bootstrap(values: NDArray[np.float64]) -> Interval:
    """Percentile bootstrap 95 % interval of a mean over samples.

    The resamples depend only on the number of samples. So two models on the same
    images have the same resamples, and the interval of a difference of values is a paired one.
    """
    rng = np.random.default_rng(0)
    n, means = len(values), np.empty(DRAWS)
    block = max(1, _BLOCK // n)  # the numbers are those of one draw of all
    for first in range(0, DRAWS, block):
        draws = rng.integers(0, n, size=(min(block, DRAWS - first), n))
        means[first : first + block] = values[draws].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
