"""Whether the attack had a usable gradient (C09 to C11)."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import SHARE, at_most
from robench.results import Check

SMALLEST = 1
"""Position of the first ε above 0 in a grid."""


def usable_gradient(rows: pd.DataFrame) -> Check | None:
    """A zero or non-finite gradient on more than 1 % of the attacked samples is invalid.

    A sample counts when in no stage of the attack more than half of the gradients that it took on
    the sample were usable. One that broke at the smallest ε is left out: a better gradient cannot
    lower its number, and it may be in need of none, as where the random start of a first stage
    without a gradient breaks it. None where the attack took no gradient.
    """
    asked = rows["backwards"] > 0
    if not asked.any():
        return None
    counted = rows["zero_gradient"][asked & (rows["minimal_position"] != SMALLEST)]
    share = float(counted.mean()) if len(counted) else 0.0
    reason = "gradient-unavailable" if share == 1 else "zero-gradient"
    return at_most("gradient", share, SHARE, reason)
