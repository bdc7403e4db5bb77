"""Checks that compare the attacks on one model, over the same images and ε.

An attack that another one beats did not find what there is to find. If the better one chose its own
gradients, the network's own gradient hides adversarial examples, or the attack takes too few steps;
if it needs no gradient at all, or takes a single step, the gradient leads nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from robench.checks.verdicts import at_most, beyond_chance
from robench.results import Check, Gradients, Verdict
from robench.results.metrics import robust_matrix, sample_areas

MASKED = 0.10
"""The gap in AUC above which an accuracy through the network's own gradient measures nothing."""
SPREAD, SIMILAR = 0.02, 1.5
"""The gap in AUC above which the estimators of an attack are a poor choice, and how many times its
passes the better attack may take."""
MARGIN = 0.01
"""How much of the samples a weaker kind of attack may find in addition, at some ε, by chance."""


@dataclass(frozen=True)
class Compared:
    """An attack on the model.

    Attributes:
        key: identifies it.
        attack: its name.
        gradients: where they come from.
        single_step: whether it takes one step along a gradient.
        passes: forward and gradient passes for each sample.
        positions: the minimal position of each sample, ``(N,)``.
    """

    key: str
    attack: str
    gradients: Gradients
    single_step: bool
    passes: float
    positions: NDArray[np.int64]


def compared(
    cells: Sequence[Compared], values: Sequence[float], limit: float, *, spiking: bool
) -> Mapping[str, list[Check]]:
    """The checks of each attack, by its key.

    Args:
        cells: the attacks on one model.
        values: the grid of ε, from 0.
        limit: the upper limit of the AUC.
        spiking: whether the network's own gradient is one of several.
    """
    found: dict[str, list[Check]] = {cell.key: [] for cell in cells}
    for cell in cells:
        here = found[cell.key]
        if cell.gradients == "own":
            rivals = [c for c in cells if c.gradients == "chosen"]
            gap = partial(surrogate_gap, values=values, limit=limit, spiking=spiking)
            here += _worst(cell, rivals, gap)
        if cell.gradients == "chosen":
            rivals = [c for c in cells if c.gradients == "chosen" and c is not cell]
            rivals = [c for c in rivals if c.passes <= SIMILAR * cell.passes]
            here += _worst(cell, rivals, partial(estimator_spread, values=values, limit=limit))
        if cell.gradients in ("own", "chosen"):
            weaker = [c for c in cells if c.gradients in ("none", "source")]
            if cell.single_step:
                here.append(single_step(cells))
            else:
                weaker += [c for c in cells if c.gradients == "own" and c.single_step]
            here += _worst(cell, weaker, lambda a, b: weaker_wins(a, b, len(values)))
    return found


def _worst(
    cell: Compared, rivals: Sequence[Compared], compare: Callable[[Compared, Compared], Check]
) -> list[Check]:
    """The comparison with the rival that finds most in addition; none without rivals."""
    checks = [compare(cell, rival) for rival in rivals]
    return sorted(checks, key=lambda check: (check.verdict == "valid", -check.value))[:1]


def surrogate_gap(
    own: Compared, chosen: Compared, values: Sequence[float], limit: float, *, spiking: bool
) -> Check:
    """Whether an attack with gradients of its own choice beats the network's own gradient.

    Invalid if the AUC is lower by more than 10 points. Suspect if it is lower by more than the
    paired interval and the network spikes. One without spikes has one gradient, of which the other
    attack took more steps: suspect if that leaves fewer samples by more than 10 points at some ε
    up to the limit.
    """
    gap = _gap(own, chosen, values, limit)
    if spiking or gap > MASKED:
        reason = f"{chosen.attack} is {100 * gap:.1f} points of AUC lower"
        verdict: Verdict = "invalid" if gap > MASKED else "suspect"
        return at_most("surrogate-gap", gap, 0 if spiking else MASKED, reason, verdict)
    gap = _largest(own, chosen, sum(value <= limit for value in values))
    reason = f"{chosen.attack} is {100 * gap:.1f} points lower"
    return at_most("surrogate-gap", gap, MASKED, reason, "suspect")


def estimator_spread(
    cell: Compared, other: Compared, values: Sequence[float], limit: float
) -> Check:
    """Whether another choice of gradients finds more for about the same passes.

    Suspect if its AUC is lower by more than 2 points and more than the paired interval.
    """
    gap = _gap(cell, other, values, limit)
    reason = f"{other.attack} is {100 * gap:.1f} points of AUC lower"
    return at_most("estimator-spread", gap, SPREAD, reason, "suspect")


def single_step(cells: Sequence[Compared]) -> Check:
    """Suspect where no attack with gradients takes several steps."""
    alone = all(cell.single_step for cell in cells if cell.gradients in ("own", "chosen"))
    return at_most("single-step", float(alone), 0.0, "one step, and no attack of more", "suspect")


def _gap(cell: Compared, other: Compared, values: Sequence[float], limit: float) -> float:
    """By how much the AUC of another attack is lower, beyond chance."""
    areas = [sample_areas(each.positions, values, limit) for each in (cell, other)]
    return beyond_chance(areas[0] - areas[1])


def weaker_wins(cell: Compared, weaker: Compared, points: int) -> Check:
    """Whether an attack of a weaker kind leaves fewer samples at some ε.

    Invalid if it leaves fewer by more than a point and by more than the paired interval.

    Args:
        cell: the attack.
        weaker: the other one.
        points: how many ε of the grid count, from 0.
    """
    gap = _largest(cell, weaker, points)
    reason = f"{weaker.attack} is {100 * gap:.1f} points lower"
    return at_most("weaker-attack", gap, MARGIN, reason)


def _largest(cell: Compared, other: Compared, points: int) -> float:
    """By how much another attack leaves fewer samples at the ε where it differs most.

    0 within chance.
    """
    more = robust_matrix(cell.positions, points).astype(np.float64)
    difference = more - robust_matrix(other.positions, points)
    return beyond_chance(difference[:, int(difference.mean(0).argmax())])
