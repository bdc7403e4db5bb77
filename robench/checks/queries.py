"""Whether the attack called the model."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import SHARE, at_most
from robench.engine.evaluation_draws import DRAWS
from robench.results import CLEAN_WRONG, Check


def asked(rows: pd.DataFrame, *, stochastic: bool = False) -> Check | None:
    """Invalid if the model was called only on the clean image for more than 1 % of the samples.

    That call is one pass, or one for each draw of a stochastic model. Samples that are
    misclassified without attack do not count. None if there is no such sample, so the check is on
    record only for an attack that left out queries.
    """
    right = rows["minimal_position"] != CLEAN_WRONG
    clean = DRAWS if stochastic else 1
    idle = rows["forwards"][right] + rows["backwards"][right] <= clean
    return at_most("asked", float(idle.mean()), SHARE, "no-query") if idle.any() else None
