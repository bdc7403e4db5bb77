"""Curves, areas and intervals from per-sample break positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.results import ROBUST, CurvePoint, EpsilonRecord, Interval

Z95 = 1.959963984540054
DRAWS = 1000


def wilson(successes: int, n: int) -> Interval:
    """Wilson's 95 % interval of a proportion (Wilson, JASA 1927)."""
    p, z2 = successes / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # at p = 0 and p = 1 the bound is exact; rounding must not move it past
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low=low, high=high)


def robust_matrix(minimal_position: NDArray[np.int64], points: int) -> NDArray[np.bool_]:
    """Which samples hold at each ε.

    Args:
        minimal_position: ``(N,)``, the grid position of the smallest ε that breaks a sample; 0 for
            a sample that is wrong without attack, −1 for one that never breaks.
        points: number of ε in the grid, the first being 0.

    Returns:
        ``(N, points)``.
    """
    never = minimal_position == ROBUST
    grid = np.arange(points)
    robust: NDArray[np.bool_] = never[:, None] | (minimal_position[:, None] > grid[None, :])
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
    """Area under accuracy against ε up to a limit of the grid, divided by the limit: in [0, 1].

    Raises:
        UsageError: the limit is not a point of the grid, or is its first.
    """
    from sklearn.metrics import auc

    if limit not in grid[1:]:
        raise UsageError(f"the AUC limit {limit:g} is not a point of the grid")
    last = list(grid).index(limit) + 1
    return float(auc(np.asarray(grid[:last]), accuracies[:last])) / (limit - grid[0])


def sample_areas(
    minimal_position: NDArray[np.int64], grid: Sequence[float], limit: float
) -> NDArray[np.float64]:
    """Each sample's own normalised area, ``(N,)``, to resample; their mean is the curve's area."""
    last = list(grid).index(limit) + 1
    robust = robust_matrix(minimal_position, len(grid))[:, :last].astype(np.float64)
    steps = np.diff(np.asarray(grid[:last]))
    areas: NDArray[np.float64] = ((robust[:, :-1] + robust[:, 1:]) / 2) @ steps
    return areas / (limit - grid[0])


def bootstrap(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """Percentile bootstrap 95 % interval of a mean over samples.

    The resamples depend on the number of samples and the seed alone: two models on the same
    images share them, which makes the interval of a difference of values a paired one.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
