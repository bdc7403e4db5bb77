from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis import at_budgets, budget_section, budget_table, paired, write_table
from robench.analysis.document import begin, fill
from robench.attacks import APGDCE, APGDT, PGD, SAPGD, SPGD, SurrogateEnsemble
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation.slices import read_slice
from robench.registry import find_attack
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.sweeping import GRID, robust_at, sweep

Cli = Callable[..., Finished]
TINY = parse_grid(["0.00001"])  # too small to break anything: every pass is spent


@pytest.mark.parametrize(
    "attack", [PGD(), SPGD(), SurrogateEnsemble(), SAPGD(), APGDCE()], ids=lambda a: a.name
)
@pytest.mark.parametrize("budget", [7, 20, 60])
def test_an_attack_takes_as_many_passes_as_its_budget(linear, attack, budget) -> None:
    rows = sweep(linear.model, attack.at_budget(budget), linear.x, linear.y, TINY).run()
    assert (rows["backwards"] == budget).all()


def test_the_targets_of_an_attack_share_its_budget() -> None:
    for passes, steps, targets in ((90, 10, 9), (17, 1, 9), (5, 1, 5)):
        attack = APGDT(n_targets=9).at_budget(passes)
        assert (attack.steps, attack.n_targets) == (steps, targets)


def test_an_attack_without_passes_has_no_budget() -> None:
    with pytest.raises(UsageError, match="square is not measured in gradient passes"):
        at_budgets([find_attack("square")], [20])
    with pytest.raises(UsageError, match="foolbox:LinfPGD is not measured"):
        at_budgets([find_attack("foolbox:LinfPGD")], [20])


def test_what_would_do_nothing_at_a_budget_is_refused() -> None:
    with pytest.raises(UsageError, match=r"its last run alone, where .* nothing: steps, momentum$"):
        at_budgets([find_attack("spgd[steps=40,momentum=0.5]")], [20])
    with pytest.raises(UsageError, match=r"nothing: first_step$"):  # no step is longer than ε
        at_budgets([find_attack("spgd[first_step=1.5]")], [20])
    at_budgets([find_attack("spgd[adaptive=assg(0.4),loss=margin,first_step=0.5]")], [20])


def test_attacks_of_two_norms_are_not_compared() -> None:
    with pytest.raises(UsageError, match="spgd is measured in L∞ and pgd-l2 in L2"):
        at_budgets([find_attack("pgd-l2"), find_attack("spgd")], [20])


def test_a_tour_is_pgd_through_each_surrogate(linear) -> None:
    """Without spikes there is nothing to substitute, and all runs of a round are the same."""
    alone = sweep(linear.model, PGD(restarts=2), linear.x, linear.y).run()
    tour = sweep(linear.model, SurrogateEnsemble(restarts=2), linear.x, linear.y).run()
    assert (alone["minimal_position"] == tour["minimal_position"]).all()
    expected = [linear.robust(epsilon.value) for epsilon in GRID]
    assert [robust_at(tour, k) for k in range(len(GRID))] == expected
    fewer = SurrogateEnsemble().at_budget(60)
    assert fewer.surrogates == SurrogateEnsemble().surrogates[:3]
    assert SurrogateEnsemble().at_budget(320).restarts == 2


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


def made_up_rows(norm: str = "linf") -> pd.DataFrame:
    """Two models under two attacks at two budgets: ``a`` breaks 10 of 50 more than ``b``."""
    n = 50
    return pd.concat(
        pd.DataFrame(
            {
                "dataset": "digits", "data_sha256": "d" * 16, "seed": 0, "norm": norm,
                "model": model,
                "attack": attack, "version": "2", "budget": budget, "epsilon": epsilon,
                "index": np.arange(n), "held": np.arange(n) < 40 - k - 10 * (attack == "a"),
            }
        )
        for epsilon in ("8/255", "16/255")
        for model in ("digits/x", "digits/y")
        for k, budget in enumerate((20, 40))
        for attack in ("a", "b")
    )  # fmt: skip


def test_the_table_has_the_mean_and_the_paired_difference(tmp_path: Path) -> None:
    write_table(budget_table(made_up_rows(), "a", "train"), tmp_path / "digits-budget.csv")
    section = budget_section(tmp_path, tmp_path / "page.md")
    assert "ε = 8/255, 16/255 (L∞), 50 training images" in section
    assert "| model | passes | a | b (a − b) |" in section
    (line,) = [line for line in section.splitlines() if line.startswith("| y | 40 |")]
    assert line.startswith("| y | 40 | 58.0 | **78.0 (-20.0 [-")
    assert "(digits-budget.png)" in section
    write_table(budget_table(made_up_rows("l2"), "a", "train"), tmp_path / "digits-budget.csv")
    assert "ε = 8/255, 16/255 (L2)" in budget_section(tmp_path, tmp_path / "page.md")


def test_a_budget_without_one_of_the_epsilons_has_no_mean(tmp_path: Path) -> None:
    rows = made_up_rows()
    lost = (rows["attack"] == "b") & (rows["budget"] == 40) & (rows["epsilon"] == "16/255")
    write_table(budget_table(rows[~lost], "a", "train"), tmp_path / "digits-budget.csv")
    section = budget_section(tmp_path, tmp_path / "page.md")
    assert "| x | 40 | 58.0 | — |" in section
    assert "| x | 20 | 60.0 | **80.0" in section


def test_the_committed_page_says_what_the_committed_tables_say() -> None:
    page = ROOT / "docs" / "attacks.md"
    text = page.read_text("utf-8")
    assert fill(text, "budget", budget_section(ROOT / "results" / "figures", page)) == text


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
        "--results", tmp_path / "cells", "--output", tmp_path / "figures",
    )  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text(f"{begin('budget')}\n<!-- end -->\n", "utf-8")
    first = cli(*command)
    assert first.code == 0, first.err
    assert "spgd@4" in first.out
    assert "spgd - pgd" in first.out
    assert (tmp_path / "figures" / "digits-budget.png").stat().st_size > 5000
    table = pd.read_csv(tmp_path / "figures" / "digits-budget.csv")
    assert len(table) == 2 * 2 * (2 + 1)  # attacks, budgets, ε and their mean
    again = cli(*command, "--document", page)
    assert again.out.count("kept") == 8
    assert "digits-budget.png" in page.read_text("utf-8")
    assert cli(*command, "--document", page, "--check").code == 0
    (tmp_path / "figures" / "digits-budget.csv").unlink()
    assert cli(*command, "--document", page, "--check").code == 1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--budgets", "20,x", "write integers"),
        ("--budgets", "0", "between 1 and 1,000,000"),
        ("--budgets", "1000001", "between 1 and 1,000,000"),
        ("--document", "no/such.md", "cannot read no/such.md"),
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
