"""A measured figure against its threshold."""

from __future__ import annotations

import numpy as np

from robench.results import Check, Verdict

SHARE = 0.01
"""The largest share of samples on which a check may fail in a valid cell."""


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
