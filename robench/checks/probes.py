"""Whether a part of the images holds against what is certain to be stronger.

Each attacks the first images again: in balls that hold every image, with twice the steps, and
without a gradient.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from robench.attacks import IMPLEMENTATIONS
from robench.attacks.square import Square
from robench.checks.between_cells import Compared, weaker_wins
from robench.checks.registry import PROBED, Attacked
from robench.checks.verdicts import at_most, beyond_chance
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.results import ROBUST, Check, Verdict
from robench.results.metrics import sample_areas, wilson

LARGE = 128 / 255
"""Half of the range of a pixel, in which every image can become grey."""
LEFT = 0.05
"""How many images may be left there beside those that grey leaves, and none beyond."""
GAIN = 0.01
"""The gain in AUC of twice the steps that is no gain."""
FEW_QUERIES, MISSED, MANY_MISSED = 80, 0.02, 0.05
"""Queries of the check that every run makes, and the shares of images that they may find beyond an
attack that is valid, and beyond one that is not invalid."""
WITHOUT_GRADIENT = {"noise": {"draws": 10}, "square": {"queries": 300}}


def gradient_free(subject: Attacked) -> Check | None:
    """Whether random squares find examples of images that the attack left at the largest ε.

    Suspect if they find more than 2 % of the images in addition, invalid above 5 %. Only what is
    left of the first images is looked at, so an attack that leaves little is checked at once.
    The figure is the lower end of the interval of the share of images that are found in addition.
    None for an attack of one step, and for one that follows no gradient of the model.
    """
    if not _iterative(subject) or len(subject.grid) < 2 or subject.attack.norm != "linf":
        return None
    first = subject.rows[:PROBED]
    left = (first["minimal_position"] == ROBUST).to_numpy().nonzero()[0].tolist()
    found = 0
    if left:
        square = Square(queries=FEW_QUERIES)
        rows = subject.again(square, (subject.grid[0], subject.grid[-1]), left)
        found = int((rows["minimal_position"] > 0).sum())
    value = wilson(found, len(first)).low
    reason = f"square finds {found} of the {len(left)} images that it leaves"
    verdict: Verdict = "invalid" if value > MANY_MISSED else "suspect"
    return at_most("gradient-free", value, MISSED, reason, verdict)


def large_epsilon(subject: Attacked) -> Check | None:
    """Invalid if images hold in a ball that reaches every image, or in one of half that size.

    In the smaller one every image can become grey, which at most leaves the class of grey. The
    figure is the lower end of the interval of the share that is left, less that class. None for an
    attack of one step, and for one that follows no gradient of the model.
    """
    if not _iterative(subject):
        return None
    pixels = subject.chunk.x[0].numel()
    whole = math.sqrt(pixels) if subject.attack.norm == "l2" else 1.0
    half, all_of_it = (Epsilon(whole * part, f"{whole * part:g}") for part in (LARGE, 1.0))
    value = 0.0
    for epsilon, share in ((half, 1 / subject.model.classes), (all_of_it, 0.0)):
        rows = subject.again(subject.attack, (Epsilon(0.0, "0"), epsilon))
        left = int((rows["minimal_position"] == ROBUST).sum())
        value = max(value, wilson(left, len(rows)).low - share)
    return at_most("large-epsilon", value, LEFT, "images-hold-in-any-ball")


def more_steps(subject: Attacked) -> Check | None:
    """Suspect if twice the steps find clearly more, invalid if they find clearly less.

    The figure is the change in AUC up to its limit; at one ε, that in robust accuracy. None for an
    attack without steps.
    """
    if not _iterative(subject) or len(subject.grid) < 2:
        return None
    values = [epsilon.value for epsilon in subject.grid]
    longer = subject.again(subject.attack.lengthened(2), subject.grid)
    both = [rows["minimal_position"].to_numpy() for rows in (subject.rows[: len(longer)], longer)]
    if alone := len(values) == 2:  # its AUC would halve the loss, as it has the clean accuracy
        left = [(positions == ROBUST).astype(np.float64) for positions in both]
    else:
        left = [sample_areas(positions, values, subject.limit) for positions in both]
    gain, loss = (beyond_chance(sign * (left[0] - left[1])) for sign in (1, -1))
    if loss > 0:
        return at_most("steps", loss, GAIN, "more-steps-find-less")
    of_auc = "" if alone else " of AUC"
    more = f"not converged: twice the steps find {100 * gain:.1f} points{of_auc} more"
    return at_most("steps", max(gain, 0.0), GAIN, more, "suspect")


def baselines(subject: Attacked) -> Check | None:
    """Invalid if noise or a gradient-free attack leaves fewer images at some ε.

    None for attacks that follow no gradient of the model.
    """
    attack = subject.attack
    if attack.gradients not in ("own", "chosen") or len(subject.grid) < 2:
        return None
    own = _compared(attack.name, subject.rows[:PROBED])
    found = []
    for name, parameters in WITHOUT_GRADIENT.items():
        other = IMPLEMENTATIONS[name](**parameters)
        if other.norm == attack.norm:
            rival = _compared(name, subject.again(other, subject.grid))
            found.append(weaker_wins(own, rival, len(subject.grid)))
    worst = max(found, key=lambda check: (check.verdict != "valid", check.value), default=None)
    return worst and worst.model_copy(update={"name": "baselines"})


def _iterative(subject: Attacked) -> bool:
    """Whether the attack takes steps along a gradient of the model, and can take more."""
    if subject.attack.gradients not in ("own", "chosen"):
        return False
    try:
        subject.attack.lengthened(2)
    except UsageError:
        return False
    return True


def _compared(name: str, rows: pd.DataFrame) -> Compared:
    passes = float((rows["forwards"] + rows["backwards"]).mean())
    return Compared(name, name, "none", False, passes, rows["minimal_position"].to_numpy())
