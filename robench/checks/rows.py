"""What the rows of a cell say: gradients, queries, accuracy and confirmed examples."""

from __future__ import annotations

import pandas as pd

from robench.checks.verdicts import SHARE, at_most
from robench.engine.evaluation_draws import DRAWS
from robench.registry import Model
from robench.results import CLEAN_WRONG, Check, Verdict
from robench.results.metrics import wilson

UNAVAILABLE = "gradient-unavailable"
SMALLEST = 1
"""Position of the first ε above 0 in a grid."""
CARD_ACCURACY = 0.005
CONFIRMED, HALF = 0.95, 0.5
"""The smallest share of confirmed examples of a valid cell, and of one that is not invalid."""


def usable_gradient(rows: pd.DataFrame) -> Check | None:
    """Invalid if more than 1 % of the attacked samples have no usable gradient.

    A sample has none if in no stage of the attack more than half of its gradients were finite in
    every pixel and not zero. Samples with the smallest ε as minimal ε are left out: a better
    gradient cannot lower their ε, and they may need none, as after a random start that is
    misclassified. None if the attack took no gradient.
    """
    asked = rows["backwards"] > 0
    if not asked.any():
        return None
    counted = rows[asked & (rows["minimal_position"] != SMALLEST)]
    bad = counted["zero_gradient"]
    share = float(bad.mean()) if len(counted) else 0.0
    reason = UNAVAILABLE if share == 1 else "zero-gradient"
    if bad.any() and counted["not_finite"][bad].mean() > 0.5:
        reason = "gradient-not-finite"
    return at_most("gradient", share, SHARE, reason)


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


def card_accuracy(model: Model, rows: pd.DataFrame) -> Check | None:
    """The measured clean accuracy is within half a point of the card's; None without one."""
    if model.clean_accuracy is None:
        return None
    measured = float((rows["minimal_position"] != CLEAN_WRONG).mean())
    return at_most(
        "card-accuracy", abs(measured - model.clean_accuracy), CARD_ACCURACY, "card-accuracy"
    )


def reverified(rows: pd.DataFrame, *, stochastic: bool = False) -> Check | None:
    """Whether adversarial examples are misclassified again, in another batch and with other draws.

    Suspect if more than 5 % are not, invalid if more than half. A stochastic model, whose examples
    are those of some draws, is suspect if more than half are not, by the lower end of the 95 %
    interval. The figure is the share of those that are not. None without an adversarial example.
    """
    attacked = rows["minimal_position"] > CLEAN_WRONG
    if not attacked.any():
        return None
    lost = ~rows["reverified"][attacked]
    reason, share = "examples-not-confirmed", float(lost.mean())
    if stochastic:
        low = wilson(int(lost.sum()), len(lost)).low
        return at_most("reverified", low, HALF, reason, "suspect")
    verdict: Verdict = "invalid" if share > HALF else "suspect"
    return at_most("reverified", share, 1 - CONFIRMED, reason, verdict)
