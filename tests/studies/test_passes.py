from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.attacks import APGDCE, APGDT, PGD, SAPGD, SPGD, SurrogateEnsemble
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation.slices import read_slice
from robench.registry import find_attack
from studies.pages import write_table
from studies.passes import at_budgets, paired, passes_table
from studies.passes_report import PASSES
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.sweeping import sweep

Cli = Callable[..., Finished]
TINY = parse_grid(["0.00001"])  # so small that nothing is found and every pass is used


@pytest.mark.parametrize(
    "attack", [PGD(), SPGD(), SurrogateEnsemble(), SAPGD(), APGDCE()], ids=lambda a: a.name
)
@pytest.mark.parametrize("budget", [7, 20, 60])
def test_an_attack_takes_as_many_passes_as_its_budget(linear, attack, budget) -> None:
    x, y = linear.x[:12], linear.y[:12]
    rows = sweep(linear.model, attack.at_budget(budget), x, y, TINY).run()
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


def test_differences_are_paired_by_sample() -> None:
    n = 50
    robust = {"a": np.arange(n) < 20, "b": np.arange(n) < 30}
    rows = pd.concat(
        pd.DataFrame(
            {
                "model": "digits/x",
                "attack": attack,
                "budget": 20,
                "epsilon": epsilon,
                "index": np.arange(n),
                "robust": samples,
            }
        )
        for attack, samples in robust.items()
        for epsilon in ("1/255", "2/255")
    )
    (found,) = paired(rows, "a")
    assert found.rival == "b"
    assert found.mean == pytest.approx(-0.2)
    assert found.interval.low < -0.2 < found.interval.high < 0


def made_up_rows(norm: str = "linf") -> pd.DataFrame:
    """Two models, two attacks, two budgets: ``a`` finds examples for 10 of 50 more than ``b``."""
    n = 50
    return pd.concat(
        pd.DataFrame(
            {
                "dataset": "digits", "data_sha256": "d" * 16, "seed": 0, "norm": norm,
                "model": model,
                "attack": attack, "version": "2", "budget": budget, "epsilon": epsilon,
                "index": np.arange(n), "robust": np.arange(n) < 40 - k - 10 * (attack == "a"),
            }
        )
        for epsilon in ("8/255", "16/255")
        for model in ("digits/x", "digits/y")
        for k, budget in enumerate((20, 40))
        for attack in ("a", "b")
    )  # fmt: skip


def test_the_table_has_the_mean_and_the_paired_difference(tmp_path: Path) -> None:
    path = tmp_path / "digits-passes.csv"
    write_table(passes_table(made_up_rows(), "a", "train"), path)
    section = PASSES.page(path)
    assert "ε = 8/255, 16/255 (L∞), 50 training images" in section
    assert "| model | passes | a | b (a − b) |" in section
    (line,) = [line for line in section.splitlines() if line.startswith("| y | 40 |")]
    assert line.startswith("| y | 40 | 58.0 | **78.0 (-20.0 [-")
    assert "(digits-passes.png)" in section
    write_table(passes_table(made_up_rows("l2"), "a", "train"), path)
    assert "ε = 8/255, 16/255 (L2)" in PASSES.page(path)


def test_a_budget_without_one_of_the_epsilons_has_no_mean(tmp_path: Path) -> None:
    rows = made_up_rows()
    lost = (rows["attack"] == "b") & (rows["budget"] == 40) & (rows["epsilon"] == "16/255")
    write_table(passes_table(rows[~lost], "a", "train"), tmp_path / "digits-passes.csv")
    section = PASSES.page(tmp_path / "digits-passes.csv")
    assert "| x | 40 | 58.0 | — |" in section
    assert "| x | 20 | 60.0 | **80.0" in section


def test_the_committed_pages_show_the_committed_tables(study: Cli) -> None:
    assert study("passes", "--check", "--output", ROOT / "studies" / "tables").code == 0


def test_training_images_can_be_attacked() -> None:
    train = read_slice(DIGITS, "30", "train")
    assert len(train) == 30
    assert train.sha256 != read_slice(DIGITS, "30").sha256
    with pytest.raises(UsageError, match="train images"):
        read_slice(DIGITS, "99999", "train")


def test_the_figure_is_drawn_and_finished_cells_are_kept(study: Cli, tmp_path: Path) -> None:
    command = (
        "passes", "--models", "digits/vgg16-ann", "--attacks", "spgd,pgd",
        "--limit", "6", "--budgets", "2,4", "--eps", "8/255,16/255",
        "--results", tmp_path / "cells", "--output", tmp_path / "tables",
    )  # fmt: skip
    page = tmp_path / "tables" / "digits-passes.md"
    first = study(*command)
    assert first.code == 0, first.err
    assert "spgd@4" in first.out
    assert "spgd - pgd" in first.out
    assert page.with_suffix(".png").stat().st_size > 5000
    table = pd.read_csv(page.with_suffix(".csv"))
    assert len(table) == 2 * 2 * (2 + 1)  # attacks, budgets, ε and their mean
    again = study(*command)
    assert again.out.count("kept") == 8
    assert "digits-passes.png" in page.read_text("utf-8")
    assert study(*command, "--check").code == 0
    page.with_suffix(".csv").unlink()
    assert study(*command, "--check").code == 1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--budgets", "20,x", "write integers"),
        ("--budgets", "0", "between 1 and 1,000,000"),
        ("--budgets", "1000001", "between 1 and 1,000,000"),
        ("--split", "all", "neither train nor test"),
        ("--attacks", "square", "not measured in gradient passes"),
        ("--eps", "x", "x"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    study: Cli, tmp_path: Path, option, value, says
) -> None:
    done = study(
        "passes", "--models", "digits/vgg16-ann", "--results", tmp_path / "r",
        option, value,
    )  # fmt: skip
    assert done.code == 2
    assert says in done.err
