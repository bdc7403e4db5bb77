"""Whether the attack called the model at all."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import SHARE, at_most
from robench.engine.evaluation_draws import DRAWS
from robench.results import CLEAN_WRONG, Check


def asked(rows: pd.DataFrame, *, stochastic: bool = False) -> Check | None:
    """An attack that let the model look at nothing but the clean image has not attacked.

    That look is one pass, and of a stochastic model one for each draw. Invalid where it is all on
    more than 1 % of the samples that are right at ε = 0; None where it is so on none of them, so
    that an attack that asks leaves no trace on the record.
    """
    right = rows["minimal_position"] != CLEAN_WRONG
    clean = DRAWS if stochastic else 1
    idle = rows["forwards"][right] + rows["backwards"][right] <= clean
    return at_most("asked", float(idle.mean()), SHARE, "no-query") if idle.any() else None
