from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.attacks import APGDCE, PGD, SAPGD, SPGD, SurrogateEnsemble
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.registry import find_attack
from studies.doubling import DOUBLING, at_factors, doubling_table
from studies.pages import write_table
from tests.support.commands import Finished
from tests.support.made_up import Builder, N
from tests.support.sweeping import sweep

Cli = Callable[..., Finished]
TINY = parse_grid(["0.00001"])  # so small that nothing is found and every pass is used


@pytest.mark.parametrize(
    "attack", [PGD(), SPGD(), SurrogateEnsemble(), SAPGD(), APGDCE()], ids=lambda a: a.name
)
def test_twice_the_steps_are_twice_the_passes(linear, attack) -> None:
    once, twice = (
        sweep(linear.model, longer, linear.x[:12], linear.y[:12], TINY).run()["backwards"]
        for longer in (attack, attack.lengthened(2))
    )
    assert (twice == 2 * once).all()
    assert attack.lengthened(1) == attack


def test_the_names_contain_the_factors_and_an_attack_without_steps_is_refused() -> None:
    found = at_factors([find_attack("spgd"), find_attack("pgd")], [1, 2])
    assert [named.name for named in found] == ["spgd@x1", "spgd@x2", "pgd@x1", "pgd@x2"]
    assert found[1].attack == SPGD(steps=240, pgd_steps=40)
    with pytest.raises(UsageError, match="attack fgsm has no steps"):
        at_factors([find_attack("fgsm")], [2])
    with pytest.raises(UsageError, match="attack spgd: 9 times its steps are too many"):
        at_factors([find_attack("spgd[steps=200000]")], [9])


def test_a_gain_is_paired_and_bold_where_it_is_a_point(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "cells")
    cells = [
        builder.add(model, f"spgd@x{factor}", np.full(N, position))
        for model, positions in (("digits/a", (3, 2)), ("digits/b", (3, 3)))
        for factor, position in enumerate(positions, 1)
    ]
    table = doubling_table(cells, builder.store)
    first, second, _, same = table.to_dict("records")
    assert np.isnan(first["gain"])
    assert second["gain"] == pytest.approx(first["auc"] - second["auc"])
    assert second["low"] == pytest.approx(second["gain"]) == second["high"]  # all samples alike
    assert second["gain"] > 0 == same["gain"]
    write_table(table, tmp_path / "digits-doubling.csv")
    lines = DOUBLING.page(tmp_path / "digits-doubling.csv").splitlines()
    assert [line.count("**") for line in lines if line.startswith("| a |")] == [0, 2]
    assert [line.count("**") for line in lines if line.startswith("| b |")] == [0, 0]


def test_a_number_that_is_invalid_is_left_out(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "cells")
    good = builder.add("digits/a", "pgd@x1", np.full(N, 2))
    bad = builder.add(
        "digits/b", "pgd@x1", np.full(N, 3), verdict="invalid", reasons=("gradient-zero",)
    )
    assert doubling_table([bad, good], builder.store)["model"].tolist() == ["digits/a"]
    with pytest.raises(UsageError, match="no cell is done and not invalid"):
        doubling_table([bad], builder.store)


def test_the_command_measures_and_writes_the_page(study: Cli, tmp_path: Path) -> None:
    command = (
        "doubling", "--models", "digits/vgg16-ann", "--attacks", "pgd",
        "--limit", "6", "--results", tmp_path / "cells", "--output", tmp_path / "tables",
    )  # fmt: skip
    page = tmp_path / "tables" / "digits-doubling.md"
    first = study(*command)
    assert first.code == 0, first.err
    assert "pgd ×2" in first.out
    table = pd.read_csv(page.with_suffix(".csv"))
    assert list(table["factor"]) == [1, 2]
    assert "6 training images" in page.read_text("utf-8")
    assert study(*command).out.count("kept") == 2
    assert study(*command, "--check").code == 0
    assert "pgd ×2" in study(*command, "--no-run").out
    page.with_suffix(".csv").unlink()
    assert study(*command, "--check").code == 1
    nothing = study(*command, "--no-run")
    assert nothing.code == 2
    assert "there are no tables" in nothing.err


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--factors", "0", "between 1 and"), ("--attacks", "fgsm", "has no steps")],
)
def test_what_cannot_be_measured_is_refused(
    study: Cli, tmp_path: Path, option, value, says
) -> None:
    done = study("doubling", "--results", tmp_path / "r", option, value)
    assert done.code == 2
    assert says in done.err
