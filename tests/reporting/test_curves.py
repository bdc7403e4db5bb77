from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.reporting import build_report
from robench.reporting.figures import save_figure, shortened, spread
from robench.reporting.plots import draw_curves
from tests.support.made_up import Builder, fall


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.0, 0.0, 0.0], [0.0, 0.1, 0.2]),
        ([0.5, 0.55, 0.9], [0.5, 0.6, 0.9]),
        ([0.95, 1.0, 1.0], [0.8, 0.9, 1.0]),
        ([-1.0], [0.0]),
        ([2.0], [1.0]),
        ([], []),
    ],
)
def test_labels_are_moved_apart_within_the_panel(values, expected) -> None:
    assert spread(values, 0.1, 0, 1) == pytest.approx(expected)


def test_too_many_labels_share_the_room() -> None:
    assert spread([0.5] * 21, 0.1, 0, 1) == pytest.approx(np.linspace(0, 1, 21))


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [("abc", 3, "abc"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 6, "abc…gh")],
)
def test_the_middle_of_a_long_name_is_left_out(name, width, expected) -> None:
    assert shortened(name, width) == expected


def texts(ax) -> set[str]:
    return {text.get_text() for text in ax.texts}


def test_a_column_for_each_mode_and_a_row_for_each_attack(six: Builder, tmp_path: Path) -> None:
    (table,) = build_report(six.store).tables
    figure = draw_curves(table)
    assert len(figure.axes) == 3 * (len(table.attacks) + 1)
    assert [ax.get_title("left") for ax in figure.axes[:3]] == ["ANN", "hybrid", "STBP"]
    rows = [*table.attacks, "worst of all"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == rows
    assert texts(figure.axes[-1]) == {"vgg16", "flex"}
    path = save_figure(draw_curves, table, tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert picture.width < 1500


def test_labels_name_what_is_not_valid(builder: Builder) -> None:
    builder.add("digits/vgg16-stbp", "pgd", fall(30), verdict="invalid", reasons=("x",))
    builder.add("digits/vgg16-stbp", "spgd", fall(20))
    builder.add("digits/flex-stbp", "spgd", fall(25), verdict="suspect", reasons=("y",))
    (table,) = build_report(builder.store).tables
    pgd, spgd, worst = draw_curves(table).axes
    assert texts(pgd) == {"vgg16, invalid", "flex: missing"}
    assert texts(spgd) == {"vgg16", "flex, suspect"}
    assert texts(worst) == {"vgg16", "flex, no pgd"}
    hollow = [line for line in pgd.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2  # the curve and the marker of its label
    assert not pgd.collections  # no band


def test_a_name_that_is_only_the_mode_stays(builder: Builder) -> None:
    for name in ("ann", "my-network"):
        builder.add(f"digits/{name}", "pgd", fall(30), mode="ann")
    (table,) = build_report(builder.store).tables
    assert texts(draw_curves(table).axes[0]) == {"ann", "my-network"}


def test_the_ticks_are_at_points_of_the_grid(six: Builder) -> None:
    (table,) = build_report(six.store).tables
    ax = draw_curves(table).axes[-1]
    values = {epsilon.value for epsilon in table.grid}
    assert set(ax.get_xticks()) <= values
    assert table.limit.value in ax.get_xticks()
    assert set(ax.get_xticks(minor=True)) <= values
    assert ax.get_xlim() == (0, table.grid[-1].value)


def test_long_names_leave_room_for_the_curves(builder: Builder, tmp_path: Path) -> None:
    attack = "spgd[surrogate=assg_scaled(0.375),rate_share=0.25,steps=480]"
    for number in range(9):
        builder.add(f"digits/my-network-with-a-long-name-{number}", attack, fall(30), mode="ann")
    (table,) = build_report(builder.store).tables
    save_figure(draw_curves, table, tmp_path / "curves.png")  # a warning would be an error
    names = texts(draw_curves(table).axes[0])
    assert len(names) == 9
    assert "my-networ…g-name-8" in {name.partition(",")[0] for name in names}
