from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation.slices import read_slice
from robench.registry import find_attack
from robench.results import ROBUST
from studies.pages import write_table
from studies.strength import STRENGTH, require_one_norm, strength_table
from tests.support.commands import Finished
from tests.support.made_up import Builder

Cli = Callable[..., Finished]
N = 100
FORWARDS = 20  # of a made-up cell


def left(robust: int) -> np.ndarray:
    """The positions of samples, of which some are robust at the last ε."""
    return np.where(np.arange(N) < robust, ROBUST, 1)


def made_up(
    tmp_path: Path, robust: dict[str, int], passes: dict[str, float], invalid: str = ""
) -> pd.DataFrame:
    builder = Builder(tmp_path / "cells")
    cells = [
        builder.add(
            "digits/x", attack, left(count), grid=parse_grid(["8/255"]),
            passes=passes[attack] - FORWARDS, verdict="invalid" if attack in invalid else "valid",
        )
        for attack, count in robust.items()
    ]  # fmt: skip
    return strength_table(cells, builder.store, "a", "test")


PASSES = {"a": 50.0, "b": 40.0, "c": 50.0, "d": 51.0}


def test_attacks_are_compared_with_the_first_by_sample(tmp_path: Path) -> None:
    table = made_up(tmp_path, {"a": 20, "b": 30, "c": 10, "d": 0}, PASSES)
    rows = table.set_index("attack")
    assert list(rows["accuracy"]) == pytest.approx([0.2, 0.3, 0.1, 0.0])
    assert np.isnan(rows.loc["a", "difference"])
    assert list(rows["difference"][1:]) == pytest.approx([0.1, -0.1, -0.2])
    assert (rows["low"][1:] < rows["difference"][1:]).all()
    assert (rows["high"][1:] > rows["difference"][1:]).all()
    assert (rows["measure"] == "8/255").all()


def test_the_page_marks_an_attack_that_is_stronger_in_fewer_passes(tmp_path: Path) -> None:
    path = tmp_path / "digits-strength.csv"
    write_table(made_up(tmp_path, {"a": 20, "b": 30, "c": 10, "d": 0}, PASSES), path)
    page = STRENGTH.page(path)
    assert "| model | ε | a | b | c | d |" in page
    assert "| x | 8/255 | 20.0 (50) | 30.0 (40) | **10.0 (50)** | 0.0 (51) |" in page
    assert "†" not in page
    lines = list(STRENGTH.lines(STRENGTH.read(path)))
    assert [line.endswith("stronger in fewer passes") for line in lines] == [0, 0, 1, 0]


def test_an_invalid_number_is_marked_and_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "digits-strength.csv"
    table = made_up(tmp_path, {"a": 20, "b": 30, "c": 10}, PASSES, invalid="c")
    write_table(table, path)
    assert "| x | 8/255 | 20.0 (50) | 30.0 (40) | 10.0 (50) † |" in STRENGTH.page(path)


def test_a_sweep_is_measured_by_its_area(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "cells")
    cells = [builder.add("digits/x", attack, np.full(N, 2)) for attack in ("a", "b")]
    table = strength_table(cells, builder.store, "a", "train")
    area = next(iter(cells[0].outcome.auc.values()))
    assert table["accuracy"].tolist() == pytest.approx([area, area])
    assert table["measure"].str.startswith("AUC@").all()


def test_attacks_of_two_norms_are_not_compared() -> None:
    with pytest.raises(UsageError, match="pgd-l2 is measured in L2 and spgd in L∞"):
        require_one_norm([find_attack("spgd"), find_attack("pgd-l2")])


def test_training_images_can_be_attacked() -> None:
    train = read_slice(DIGITS, "30", "train")
    assert len(train) == 30
    assert train.sha256 != read_slice(DIGITS, "30").sha256
    with pytest.raises(UsageError, match="train images"):
        read_slice(DIGITS, "99999", "train")


def test_the_command_compares_sweeps_and_single_epsilons(study: Cli, tmp_path: Path) -> None:
    command = (
        "strength", "--models", "digits/vgg16-ann", "--attacks", "spgd[steps=3],fgsm",
        "--limit", "6", "--results", tmp_path / "cells", "--output", tmp_path / "tables",
    )  # fmt: skip
    page = tmp_path / "tables" / "digits-strength.md"
    first = study(*command)
    assert first.code == 0, first.err
    table = pd.read_csv(page.with_suffix(".csv"))
    assert table["measure"].tolist() == ["AUC@16/255"] * 2 + ["16/255"] * 2
    assert "6 training images" in page.read_text("utf-8")
    assert study(*command).out.count("kept") == 4
    assert study(*command, "--check").code == 0
    page.with_suffix(".csv").unlink()
    assert study(*command, "--check").code == 1


def test_one_epsilon_is_measured_once_and_may_be_zero(study: Cli, tmp_path: Path) -> None:
    done = study(
        "strength", "--models", "digits/vgg16-ann", "--attacks", "fgsm", "--no-sweep",
        "--eps", "0,8/255,8/255", "--limit", "4", "--results", tmp_path / "cells",
        "--output", tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert pd.read_csv(tmp_path / "digits-strength.csv")["measure"].tolist() == ["0", "8/255"]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--split", "all", "neither train nor test"),
        ("--attacks", "spgd,pgd-l2", "cannot be compared"),
        ("--eps", "x", "x"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    study: Cli, tmp_path: Path, option, value, says
) -> None:
    done = study(
        "strength", "--models", "digits/vgg16-ann", "--results", tmp_path / "r",
        option, value,
    )  # fmt: skip
    assert done.code == 2
    assert says in done.err
