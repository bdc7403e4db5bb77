"""Every L∞ attack whose exact answer on a linear model is known, sample by sample.

The L2 attacks are in test_l2.py.
"""

from __future__ import annotations

import pytest
import torch

from robench.attacks import (
    APGDCE,
    APGDDLR,
    APGDT,
    FABT,
    FGSM,
    PGD,
    SAPGD,
    SPGD,
    AutoAttack,
    SpikingAutoAttack,
    Square,
    SurrogateAPGDT,
    SurrogateEnsemble,
)
from robench.epsilon import parse_grid
from robench.registry import find_attack
from tests.support.linear_model import LinearModel
from tests.support.sweeping import sweep, three_alike

CASES = [  # shape, whether samples reach the box, number of samples
    ((8, 1, 1), True, 4),
    ((1, 6, 6), True, 3),
    ((3, 4, 4), False, 4),
    ((5, 7, 7), True, 1),
]
GRID = parse_grid([f"{k}/250" for k in range(1, 200)])
FOUR = parse_grid(["0.004", "0.012", "0.03", "0.1", "0.4"])
EXACT = [
    FGSM(),
    PGD(),
    SPGD(),
    SurrogateEnsemble(),
    SAPGD(steps=15),
    APGDCE(steps=15),
    APGDDLR(steps=15),
    APGDT(steps=15, n_targets=2),
    FABT(steps=8),
    "foolbox:LinfFastGradientAttack",
    "foolbox:LinfPGD[steps=20,rel_stepsize=0.2]",
    "foolbox:LinfBasicIterativeAttack",
    "advertorch:GradientSignAttack",
    "advertorch:LinfPGDAttack[relative_eps_iter=0.2]",
]
ENSEMBLES = [
    AutoAttack(
        apgd_ce=APGDCE(steps=15),
        apgd_t=APGDT(steps=8, n_targets=2),
        fab_t=FABT(steps=8),
        square=Square(queries=5),
    ),
    SpikingAutoAttack(apgd_t=SurrogateAPGDT(steps=15), square=Square(queries=5)),
]
MINIMAL = [
    (FABT(steps=8), 1.06),  # its steps end a twentieth beyond the boundary
    ("fab[n_iter=20]", 1.06),
    ("foolbox:LinfDeepFoolAttack", 1.06),
]


def attack_of(name):
    return find_attack(name).attack if isinstance(name, str) else name


def named(case) -> str:
    return getattr(case, "name", str(case))


def expected(linear: LinearModel, size: int, grid) -> list[int]:
    """The position of the first ε beyond the exact distance of each sample, -1 for none."""
    found = []
    for row in range(size):
        shortest = linear.distance(row)
        inside = [k for k, epsilon in enumerate(grid) if epsilon.value > shortest]
        gap = min(abs(epsilon.value - shortest) for epsilon in grid)
        assert gap > 1e-6  # rounding does not decide
        found.append(inside[0] if inside else -1)
    return found


def positions(linear: LinearModel, attack, size: int, grid) -> list[int]:
    model = linear.model
    if attack.least_classes > 2:
        model = three_alike(linear, attack.least_classes)
    rows = sweep(model, attack, linear.x[:size], linear.y[:size], grid).run()
    assert rows["reverified"].all()
    return rows["minimal_position"].tolist()


@pytest.mark.parametrize(("shape", "box", "size"), CASES, ids=str)
@pytest.mark.parametrize("attack", [*EXACT, *ENSEMBLES], ids=named)
def test_the_smallest_epsilon_is_the_exact_one(attack, shape, box, size) -> None:
    linear = LinearModel(shape, 8, box=box)
    attack = attack_of(attack)
    assert positions(linear, attack, size, FOUR) == expected(linear, size, FOUR)


def test_the_samples_have_different_minimal_positions() -> None:
    found = [expected(LinearModel(shape, 8, box=box), 8, FOUR) for shape, box, _ in CASES]
    assert {position for row in found for position in row} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("shape", "box", "size"), CASES, ids=str)
@pytest.mark.parametrize(("attack", "slack"), MINIMAL, ids=named)
def test_a_minimal_perturbation_is_close_to_the_exact_one(attack, slack, shape, box, size) -> None:
    linear = LinearModel(shape, 8, box=box)
    rows = sweep(linear.model, attack_of(attack), linear.x[:size], linear.y[:size], GRID).run()
    exact = torch.tensor([linear.distance(row) for row in range(size)]).numpy()
    assert (rows["minimal_position"] > 0).all()
    assert (rows["linf"] >= exact - 1e-6).all()
    assert (rows["linf"] <= slack * exact + 1e-4).all()
