"""A measured figure against its threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robench.results import Check, Verdict
from robench.results.metrics import bootstrap

SHARE = 0.01
"""The largest share of samples on which a check may fail in a valid cell."""


def beyond_chance(differences: NDArray[np.float64]) -> float:
    """The mean of paired differences; 0 where it is above 0 by no more than its interval."""
    mean = float(differences.mean())
    return mean if mean <= 0 or bootstrap(differences).low > 0 else 0.0


def at_most(
    name: str, value: float, threshold: float, reason: str, otherwise: Verdict = "invalid"
) -> Check:
    """A check that is valid if a figure is at most its threshold.

    Args:
        name: of the check.
        value: the figure; NaN and infinity are above every threshold.
        threshold: the largest valid figure.
        reason: short identifier of the problem.
        otherwise: the verdict if the figure is above.
    """
    bad = not value <= threshold  # a NaN is bad too
    return Check(
        name=name,
        value=value if np.isfinite(value) else float(np.finfo(np.float64).max),
        threshold=threshold,
        verdict=otherwise if bad else "valid",
        reason=reason if bad else "",
    )
