from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.robustness import differences
from robench.analysis.robustness.difference_map import draw_differences
from robench.analysis.robustness.differences import (
    LEVEL,
    find_differences,
    holm,
    pair_frame,
    rank_frame,
    shared_ranks,
    sign_flip_test,
)
from robench.analysis.robustness.stored import read_tables
from robench.errors import UsageError
from robench.reporting import build_report
from robench.results import ROBUST
from tests.support.commands import Cli, refused
from tests.support.made_up import GRID, Builder, N, fall


def test_holm_is_that_of_a_hand_computation() -> None:
    # sorted: 0.01 × 4, 0.02 × 3, 0.025 × 2 (raised to 0.06 by the one before), 0.2 × 1
    found = holm(np.array([0.2, 0.01, 0.025, 0.02]))
    assert found == pytest.approx([0.2, 0.04, 0.06, 0.06])


@pytest.mark.parametrize(
    ("p", "expected"),
    [([0.03], [0.03]), ([0.6, 0.9], [1, 1]), ([0.01, 0.01, 0.01], [0.03] * 3), ([], [])],
)
def test_holm_stays_in_order_and_below_one(p, expected) -> None:
    assert holm(np.array(p, dtype=float)) == pytest.approx(expected)


def test_ranks_are_shared_by_models_that_cannot_be_distinguished() -> None:
    areas = np.array([0.9, 0.8, 0.7, 0.5])
    values = areas[:, None] - areas[None, :]
    adjusted = np.ones((4, 4))
    for i, j in ((0, 2), (0, 3), (1, 3), (2, 3)):  # a is better than c, and all than d
        adjusted[i, j] = adjusted[j, i] = LEVEL / 2
    assert shared_ranks(values, adjusted, [False] * 4) == [1, 1, 2, 4]
    assert shared_ranks(values, adjusted, [True, False, False, False]) == [None, 1, 1, 3]
    assert shared_ranks(values, np.full((4, 4), LEVEL), [False] * 4) == [1] * 4


def test_the_permutation_test_is_exact_for_few_samples() -> None:
    # of the 2^4 flips two are as far from 0 as the sum of 4 equal differences
    assert sign_flip_test(np.array([1.0, 1, 1, 1])) == pytest.approx(2 / 16)
    assert sign_flip_test(np.array([1.0, 1, 1, 1, 0, 0, 0])) == pytest.approx(2 / 16)
    assert sign_flip_test(np.zeros(5)) == 1
    assert sign_flip_test(np.array([1.0, -1])) == 1


def test_equal_differences_give_the_binomial_test() -> None:
    apart = np.repeat([1.0, -1.0], [75, 43])  # more flips than any number of resamples
    tail = sum(comb(118, k) for k in range(44)) / 2**118
    assert sign_flip_test(np.append(apart, np.zeros(50)), 99) == pytest.approx(2 * tail)
    assert 0 < sign_flip_test(np.ones(200), 99) < 1e-50


def test_the_p_value_is_never_zero_and_always_the_same() -> None:
    difference = np.linspace(1, 2, 200)
    assert sign_flip_test(difference, 99) == pytest.approx(2 / 100)
    noise = np.random.default_rng(3).normal(0.1, 1, 200)
    assert sign_flip_test(noise, 999) == sign_flip_test(noise, 999)
    assert sign_flip_test(noise, 999) == pytest.approx(sign_flip_test(-noise, 999), abs=0.05)


@pytest.fixture
def store(builder: Builder):
    """Two models that are nearly alike and a weaker one; one attack is stronger on each."""
    strong = fall(40)
    near = strong.copy()
    near[:2] = np.where(near[:2] > 1, near[:2] - 1, near[:2])
    for model, positions in (("vgg16-stbp", strong), ("flex-stbp", near), ("vgg16-ann", fall(15))):
        mode = model.split("-")[1]
        builder.add(f"digits/{model}", "pgd", np.maximum(positions, -1), mode=mode)
        weaker = np.where(positions == ROBUST, len(GRID) - 1, positions)
        builder.add(f"digits/{model}", "spgd", weaker, mode=mode)
    builder.add("digits/control-x", "pgd", fall(90), control=True)
    return builder.store


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "RESAMPLES", 999)


def test_the_areas_are_those_of_the_leaderboard(store) -> None:
    (table,) = build_report(store).tables
    (one,), lacking = find_differences(read_tables(store))
    assert not lacking
    for rank, contender in zip(one.ranks, one.contenders, strict=True):
        (row,) = [row for row in table.rows if row.model == contender.model]
        assert contender.area == pytest.approx(row.worst_auc.value)
        assert rank is not None
    assert one.ranks == (1, 1, 3)
    assert one.values == pytest.approx(-one.values.T)
    assert one.low == pytest.approx(-one.high.T)
    (single,), _ = find_differences(read_tables(store), "pgd")
    assert [c.area for c in single.contenders] == pytest.approx(
        sorted((row.entries["pgd"].auc.value for row in table.rows), reverse=True)
    )


def test_the_tables_have_every_pair(store) -> None:
    (one,), _ = find_differences(read_tables(store))
    pairs = pair_frame(one)
    assert len(pairs) == 3
    assert (pairs["difference"] >= 0).all()
    assert (pairs["low"] <= pairs["difference"]).all()
    assert (pairs["p_holm"] >= pairs["p"]).all()
    assert pairs["significant"].tolist() == [False, True, True]
    assert rank_frame(one)["rank"].tolist() == [1, 1, 3]


def test_an_invalid_model_has_no_rank_and_gives_none(builder: Builder) -> None:
    builder.add("digits/a-stbp", "spgd", fall(60), verdict="invalid", reasons=("zero-gradient",))
    builder.add("digits/b-stbp", "spgd", fall(40))
    builder.add("digits/c-stbp", "spgd", fall(10))
    (one,), _ = find_differences(read_tables(builder.store), "spgd")
    assert [c.name for c in one.contenders] == ["b-stbp", "c-stbp", "a-stbp"]
    assert one.ranks == (1, 2, None)
    assert pair_frame(one)["bound"].tolist() == [False, True, True]
    figure = draw_differences(one)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "1   b-stbp", "2   c-stbp", "–   a-stbp",
    ]  # fmt: skip
    assert sum(patch.get_hatch() is not None for patch in ax.patches) == 4
    (legend,) = figure.legends
    assert legend.get_patches()[0].get_hatch() in {patch.get_hatch() for patch in ax.patches}
    (worst,), _ = find_differences(read_tables(builder.store))
    assert worst.ranks == (1, 2, None)


def test_a_missing_attack_makes_the_worst_case_an_upper_bound(builder: Builder) -> None:
    for model in ("a-ann", "b-ann"):
        builder.add(f"digits/{model}", "pgd", fall(30), mode="ann")
    builder.add("digits/a-ann", "spgd", fall(20), mode="ann")
    (one,), _ = find_differences(read_tables(builder.store))
    assert one.ranks == (1, None)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_command_writes_figure_and_table(cli: Cli, store, tmp_path: Path, form: str) -> None:
    done = cli("analyze", "differences", "--results", store.root, "--output", tmp_path / "figures",
               "--format", form)  # fmt: skip
    assert done.code == 0, done.err
    assert "digits/vgg16-stbp" in done.out
    assert "rank: 1 + the number" in done.out
    figure = tmp_path / "figures" / f"digits-differences.{form}"
    assert figure.stat().st_size > 1000
    assert len(pd.read_csv(figure.with_suffix(".csv"))) == 3


def test_models_can_be_chosen(cli: Cli, store, tmp_path: Path) -> None:
    done = cli("analyze", "differences", "--results", store.root, "--output", tmp_path,
               "--models", "*-stbp", "--attack", "pgd")  # fmt: skip
    assert done.code == 0, done.err
    assert "vgg16-ann" not in done.out
    assert (tmp_path / "digits-differences-pgd.png").exists()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--dataset", "digit"), ("did you mean digits",)),
        (("--dataset", "mnist"), ("no finished cell", "for mnist", "robench run")),
        (("--models", "digits/vgg16-stb"), ("did you mean digits/vgg16-stbp",)),
        (("--models", ","), ("--models is empty",)),
        (("--models", "*-ann"), ("fewer than two models", "Digits", "robench run --attacks")),
        (("--attack", "fgsm"), ("fewer than two models", "pgd, spgd", "--attacks fgsm")),
        (("--attack", "fgms"), ("unknown attack 'fgms'", "fgsm")),
        (("--results", "nowhere"), ("no results in nowhere", "robench run")),
    ],
)
def test_a_wrong_argument_is_one_line(cli: Cli, store, tmp_path, arguments, texts) -> None:
    command = ["--results", store.root, "--output", tmp_path / "figures", *arguments]
    refused(cli("analyze", "differences", *command), *texts)


def test_an_empty_store_has_no_tables(tmp_path: Path) -> None:
    from robench.results import ResultStore

    with pytest.raises(UsageError, match="no finished cell"):
        read_tables(ResultStore(tmp_path))


def test_every_sample_counts(store) -> None:
    (one,), _ = find_differences(read_tables(store))
    assert all(contender.areas.shape == (N,) for contender in one.contenders)


def test_one_image_that_differs_shows_nothing() -> None:
    assert sign_flip_test(np.array([0.0, 0.0, 1.0])) == 1
