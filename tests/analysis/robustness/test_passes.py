from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D

from robench.analysis.robustness.passes import (
    draw_passes,
    read_passes,
    survival_curve,
    write_passes,
)
from robench.analysis.robustness.stored import read_tables
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.results import ROBUST
from tests.support.commands import Cli, refused
from tests.support.made_up import Builder, N, fall

ONE = parse_grid(["8/255"])
POSITIONS = np.array([1, 1, -1, 0, 1, -1])
PASSES = np.array([3, 5, 40, 7, 5, 40])


def test_the_survival_curve_counts_a_sample_until_it_is_found() -> None:
    k, accuracy = survival_curve(POSITIONS, PASSES)
    # one of six is wrong without an attack, one is found after 3 passes and two after 5
    assert k.tolist() == [0, 3, 5, 40]
    assert accuracy == pytest.approx([5 / 6, 4 / 6, 2 / 6, 2 / 6])


@pytest.mark.parametrize(
    ("positions", "passes", "k", "accuracy"),
    [
        ([ROBUST, ROBUST], [9, 9], [0, 9], [1, 1]),
        ([0, 0], [1, 1], [0, 1], [0, 0]),
        ([1, ROBUST], [4, 4], [0, 4], [1, 0.5]),
    ],
)
def test_the_survival_curve_of_few_samples(positions, passes, k, accuracy) -> None:
    found = survival_curve(np.array(positions), np.array(passes))
    assert found[0].tolist() == k
    assert found[1] == pytest.approx(accuracy)


def add_single(builder: Builder, model: str, attack: str, share: float, **more) -> None:
    """A cell of one ε, whose adversarial examples are found after 10 passes each."""
    positions = np.where(np.arange(N) < share * N, 1, ROBUST)
    cell = builder.add(model, attack, positions, grid=ONE, **more)
    passes = np.where(positions == 1, 6, 30)
    builder.change(cell, forwards=passes, backwards=passes - 2)


def test_the_area_is_drawn_against_the_passes_of_the_cell(six: Builder) -> None:
    (passes,) = read_passes(read_tables(six.store))
    assert not passes.single
    assert {one.mean for spent in passes.spent for one in spent.values()} == {40}
    figure = draw_passes(passes)
    assert len(figure.axes) == 6
    names = {text.get_text().strip(" ?") for text in figure.axes[0].texts}
    assert names == {"fgsm", "pgd", "spgd", "noise"}
    assert figure.axes[0].get_xscale() == "log"


def test_one_epsilon_has_a_line_of_steps(builder: Builder) -> None:
    add_single(builder, "digits/vgg16-stbp", "pgd", 0.2)
    add_single(builder, "digits/vgg16-stbp", "spgd", 0.5, verdict="invalid", reasons=("x",))
    (passes,) = read_passes(read_tables(builder.store))
    assert passes.single
    spent = passes.spent[0]["spgd"]
    assert spent.survival is not None
    assert spent.survival[0].tolist() == [0, 10, 58]
    assert spent.survival[1] == pytest.approx([1, 0.5, 0.5], abs=1 / N)
    (ax,) = draw_passes(passes).axes
    assert {text.get_text() for text in ax.texts} == {"pgd", "spgd"}
    steps = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    assert len({str(line._unscaled_dash_pattern) for line in steps}) == 2  # no public getter
    markers = [line for line in ax.lines if line.get_marker() == "^"]  # of the second attack
    assert [line.get_markerfacecolor() for line in markers] == ["white", "white"]
    assert spent.survival[1][-1] == pytest.approx(spent.entry.curve[-1].accuracy)


def test_an_invalid_area_is_grey_and_hollow(builder: Builder) -> None:
    builder.add("digits/a-stbp", "pgd", fall(60), verdict="invalid", reasons=("x",))
    builder.add("digits/a-stbp", "spgd", fall(30), passes=60)
    (passes,) = read_passes(read_tables(builder.store))
    figure = draw_passes(passes)
    markers = [line for line in figure.axes[0].lines if line.get_marker() in ("s", "^")]
    assert [line.get_markerfacecolor() == "white" for line in markers] == [True, False]
    (legend,) = figure.legends
    assert "invalid: no evidence of robustness" in {text.get_text() for text in legend.get_texts()}
    shown = [line for line in legend.findobj(Line2D) if isinstance(line, Line2D)]
    (hollow,) = [line for line in shown if line.get_marker() == markers[0].get_marker()]
    for line in (hollow, markers[0]):
        assert (line.get_color(), line.get_markerfacecolor()) == ("0.55", "white")


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_command_writes_a_figure_for_each_table(
    cli: Cli, six: Builder, tmp_path: Path, form: str
) -> None:
    add_single(six, "digits/vgg16-stbp", "pgd", 0.2)
    done = cli("analyze", "passes", "--results", six.store.root, "--output", tmp_path / "figures",
               "--format", form)  # fmt: skip
    assert done.code == 0, done.err
    for name in ("digits", "digits-other"):
        assert (tmp_path / "figures" / f"{name}-passes.{form}").stat().st_size > 1000
    assert "at_8/255" in done.out
    assert DIGITS.title in done.out


def test_a_long_name_of_an_attack_leaves_room(builder: Builder, tmp_path: Path) -> None:
    attack = "spgd[surrogate=assg_scaled(0.375),rate_share=0.25,steps=480]"
    for number, model in enumerate(("a-stbp", "b-stbp", "c-stbp")):
        builder.add(f"digits/{model}", attack, fall(30), passes=10**number)
    (passes,) = read_passes(read_tables(builder.store))
    write_passes(passes, tmp_path)  # a warning would be an error
    sides = {text.get_ha() for ax in draw_passes(passes).axes for text in ax.texts}
    assert sides == {"left", "right"}


def test_rows_without_passes_are_said(cli: Cli, builder: Builder, tmp_path: Path) -> None:
    cell = builder.add("digits/a-stbp", "pgd", np.ones(N, dtype=int), grid=ONE)
    builder.store.write(cell, builder.store.rows(cell).drop(columns="forwards"))
    done = cli("analyze", "passes", "--results", builder.store.root, "--output", tmp_path)
    assert done.code == 2
    assert "no finished cell" in done.err


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--dataset", "mnist"), ("no finished cell", "for mnist")),
        (("--models", "digits/vgg16"), ("no such model", "did you mean")),
    ],
)
def test_a_wrong_argument_is_one_line(cli: Cli, six, tmp_path, arguments, texts) -> None:
    command = ["--results", six.store.root, "--output", tmp_path, *arguments]
    refused(cli("analyze", "passes", *command), *texts)
