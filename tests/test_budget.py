from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Finished
from test_attacks import GRID, held, sweep

from robench.analysis import at_budgets, paired
from robench.attacks import APGDCE, APGDT, PGD, SAPGD, SPGD, Tour
from robench.datasets import DIGITS
from robench.errors import UsageError
from robench.evaluation.cell import read_slice
from robench.numbers import parse_grid
from robench.zoo import find_attack

Cli = Callable[..., Finished]
TINY = parse_grid(["0.00001"])  # too small to break anything: every pass is spent


@pytest.mark.parametrize("attack", [PGD(), SPGD(), Tour(), SAPGD(), APGDCE()], ids=lambda a: a.name)
@pytest.mark.parametrize("budget", [7, 20, 60])
def test_an_attack_takes_as_many_passes_as_its_budget(linear, attack, budget) -> None:
    rows = sweep(linear.model, attack.at_budget(budget), linear.x, linear.y, TINY).run()
    assert (rows["backwards"] == budget).all()


def test_the_targets_of_an_attack_share_its_budget() -> None:
    assert APGDT(n_targets=9).at_budget(90).steps == 10
    assert APGDT(n_targets=9).at_budget(5).steps == 1


def test_an_attack_without_passes_has_no_budget() -> None:
    with pytest.raises(UsageError, match="square is not measured in gradient passes"):
        at_budgets([find_attack("square")], [20])


def test_a_tour_is_pgd_through_each_surrogate(linear) -> None:
    """Without spikes there is nothing to substitute, and all runs of a round are the same."""
    alone = sweep(linear.model, PGD(restarts=2), linear.x, linear.y).run()
    tour = sweep(linear.model, Tour(restarts=2), linear.x, linear.y).run()
    assert (alone["break_position"] == tour["break_position"]).all()
    expected = [linear.robust(epsilon.value) for epsilon in GRID]
    assert [held(tour, k) for k in range(len(GRID))] == expected
    fewer = Tour().at_budget(60)
    assert fewer.surrogates == Tour().surrogates[:3]
    assert Tour().at_budget(320).restarts == 2


def test_differences_are_paired_by_sample() -> None:
    n = 50
    held_by = {"a": np.arange(n) < 20, "b": np.arange(n) < 30}
    rows = pd.concat(
        pd.DataFrame(
            {
                "model": "digits/x",
                "attack": attack,
                "budget": 20,
                "epsilon": epsilon,
                "index": np.arange(n),
                "held": samples,
            }
        )
        for attack, samples in held_by.items()
        for epsilon in ("1/255", "2/255")
    )
    (found,) = paired(rows, "a")
    assert found.rival == "b"
    assert found.mean == pytest.approx(-0.2)
    assert found.interval.low < -0.2 < found.interval.high < 0


def test_training_images_are_at_hand_to_tune_on() -> None:
    train = read_slice(DIGITS, "30", "train")
    assert len(train) == 30
    assert train.sha256 != read_slice(DIGITS, "30").sha256
    with pytest.raises(UsageError, match="train images"):
        read_slice(DIGITS, "99999", "train")


def test_the_figure_is_drawn_and_finished_cells_are_kept(cli: Cli, tmp_path: Path) -> None:
    command = (
        "analyze", "budget", "--models", "digits/vgg16-ann", "--attacks", "spgd,pgd",
        "--limit", "6", "--budgets", "2,4", "--eps", "8/255,16/255",
        "--results", tmp_path / "cells",
    )  # fmt: skip
    first = cli(*command)
    assert first.code == 0, first.err
    assert "spgd@4" in first.out
    assert "spgd - pgd" in first.out
    assert (tmp_path / "cells" / "budget.png").stat().st_size > 5000
    assert cli(*command).out.count("kept") == 8


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--budgets", "20,x", "write integers"),
        ("--budgets", "0", "at least 1"),
        ("--split", "all", "neither train nor test"),
        ("--attacks", "square", "not measured in gradient passes"),
        ("--eps", "x", "x"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli: Cli, tmp_path: Path, option, value, says) -> None:
    done = cli(
        "analyze", "budget", "--models", "digits/vgg16-ann", "--results", tmp_path / "r",
        option, value,
    )  # fmt: skip
    assert done.code == 2
    assert says in done.err
