"""A checkpoint with the neurons of other libraries has the results that it has with robench's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import robench
from robench import Cell, ResultStore, Settings, evaluate_cell, find_attack
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.results import Outcome
from tests.support.rebuilt import TIMESTEPS, OfSnnTorch, OfSpikingJellyAtOnce, checkpoint

N = 20
SPGD = "spgd[pgd_steps=4,steps=4]"
CHOSEN = "surrogate-ensemble[surrogates=[atan(2),triangle(1)],steps=4]"
"""Without the network's own gradient, which these networks do not have or have another one."""


def run(net: nn.Module, attack: str, folder: Path) -> tuple[Outcome, list[int]]:
    model = robench.Model(net, "digits/net", mode="stbp", timesteps=TIMESTEPS)
    images, grid = DIGITS.load("test").first(N), parse_grid(["8/255", "16/255", "32/255", "64/255"])
    store = ResultStore(folder)
    result = evaluate_cell(Cell(model, find_attack(attack), DIGITS, images, Settings(grid)), store)
    assert result.outcome is not None
    return result.outcome, store.rows(result)["minimal_position"].tolist()


@pytest.mark.parametrize(
    ("make", "reset", "attack"),
    [
        (OfSnnTorch, "subtract", SPGD),
        (OfSpikingJellyAtOnce, "zero", CHOSEN),
    ],
)
def test_the_minimal_epsilons_are_those_of_the_checkpoint(
    make: Callable[[], nn.Module], reset: str, attack: str, tmp_path: Path
) -> None:
    own, wanted = run(checkpoint(reset=reset), attack, tmp_path / "own")
    assert own.curve[0].robust - own.curve[-1].robust > N / 4
    other, found = run(make(), attack, tmp_path / "other")
    assert other.clean_accuracy == own.clean_accuracy
    assert sum(a == b for a, b in zip(wanted, found, strict=True)) >= 0.95 * N
    means = [sum(point.accuracy for point in one.curve) for one in (own, other)]
    assert abs(means[0] - means[1]) <= 0.01 * len(own.curve)
