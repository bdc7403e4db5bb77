"""Whether the attack had a usable gradient (C09 to C11)."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import SHARE, at_most
from robench.results import Check

SMALLEST = 1
"""Position of the first ε above 0 in a grid."""


def usable_gradient(rows: pd.DataFrame) -> Check | None:
    """Invalid if more than 1 % of the attacked samples have no usable gradient.

    A sample has none if in no stage of the attack more than half of its gradients were finite and
    not zero. Samples with the smallest ε as minimal ε are left out: a better gradient cannot lower
    their ε, and they may need none, as after a random start that is misclassified. None if the
    attack took no gradient.
    """
    asked = rows["backwards"] > 0
    if not asked.any():
        return None
    counted = rows["zero_gradient"][asked & (rows["minimal_position"] != SMALLEST)]
    share = float(counted.mean()) if len(counted) else 0.0
    reason = "gradient-unavailable" if share == 1 else "zero-gradient"
    return at_most("gradient", share, SHARE, reason)
