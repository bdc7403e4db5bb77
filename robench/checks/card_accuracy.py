"""Whether the clean accuracy agrees with the model's card (C01)."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import at_most
from robench.registry import Model
from robench.results import CLEAN_WRONG, Check

CARD_ACCURACY = 0.005


def card_accuracy(model: Model, rows: pd.DataFrame) -> Check | None:
    """The measured clean accuracy is within half a point of the card's; None without one."""
    if model.clean_accuracy is None:
        return None
    measured = float((rows["minimal_position"] != CLEAN_WRONG).mean())
    return at_most(
        "card-accuracy", abs(measured - model.clean_accuracy), CARD_ACCURACY, "card-accuracy"
    )
