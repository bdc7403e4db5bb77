from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from robench.epsilon import parse_grid
from robench.reporting import build_report
from robench.reporting.figures import save_figure, short_names, shortened, spread
from robench.reporting.figures.curves import draw_curves
from robench.reporting.figures.labels import Label, label_ends
from robench.results import ROBUST
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


def test_of_lines_with_equal_ends_the_first_label_is_above() -> None:
    ax = Figure().subplots()
    label_ends(ax, [Label(0.2, name, None) for name in ("pgd", "spgd")], 2, 2)
    places = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert places["pgd"] > places["spgd"]


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [("abc", 3, "abc"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 6, "abc…gh")],
)
def test_the_middle_of_a_long_name_is_left_out(name, width, expected) -> None:
    assert shortened(name, width) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["short", "shorter"],
        ["spgd[surrogate=assg(0.3),steps=480]", "spgd[surrogate=assg(0.4),steps=480]"],
        ["a" * 30, "a" * 31, "a" * 32],
        ["start-" + "x" * 40 + "-end", "start-" + "y" * 40 + "-end"],
        ["the-same", "the-same"],
    ],
)
def test_short_names_stay_different(names) -> None:
    short = short_names(names, 18)
    assert len(set(short)) == len(set(names))
    assert all(len(name) <= 18 for name in short)


def texts(ax: Axes) -> set[str]:
    """The labels of the curves."""
    found = {text.get_text() for text in ax.texts}
    return {text for text in found if " % at " not in text and not text.startswith("AUC ")}


def curves(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if len(line.get_xydata()) > 2]


def areas(ax: Axes) -> int:
    """How many bands and shaded areas there are."""
    found = [one for one in ax.collections if isinstance(one, PolyCollection)]
    return sum(len(one.get_paths()) for one in found)


def test_a_panel_for_each_network_and_a_line_for_each_attack(six: Builder, tmp_path) -> None:
    (table,) = build_report(six.store).tables
    figure = draw_curves(table)
    assert [ax.get_title("left") for ax in figure.axes] == [
        row.model.partition("/")[2] for row in table.rows
    ]
    for ax in figure.axes:
        assert len(curves(ax)) == 4
        assert {text.removesuffix(" ?") for text in texts(ax)} == set(table.attacks)
    path = save_figure(draw_curves, table, tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert picture.width < 1500


def test_all_panels_share_their_axes(six: Builder) -> None:
    (table,) = build_report(six.store).tables
    first, *others = draw_curves(table).axes
    for ax in others:
        assert first.get_shared_x_axes().joined(first, ax)
        assert first.get_shared_y_axes().joined(first, ax)


def test_the_accuracy_at_the_headline_is_above_the_panel(six: Builder) -> None:
    (table,) = build_report(six.store).tables
    for ax, row in zip(draw_curves(table).axes, table.rows, strict=True):
        (text,) = (text.get_text() for text in ax.texts if " % at " in text.get_text())
        assert text == f"{100 * row.worst_accuracy.value:.1f} % at {table.headline}"


def test_the_lines_of_a_panel_differ_without_colour(builder: Builder) -> None:
    for attack in ("fgsm", "pgd", "spgd", "square", "noise"):
        builder.add("digits/a", attack, fall(30))
    (table,) = build_report(builder.store).tables
    found = curves(draw_curves(table).axes[0])
    assert len(found) == 5
    assert len({line.get_marker() for line in found}) == 5
    assert len({dashes(line) for line in found}) == 4
    # the markers of curves that lie on each other are at different points
    assert len({line.get_markevery() for line in found}) >= 3


def test_two_bands_have_two_colours(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(40))
    builder.add("digits/a", "spgd", fall(39))
    ax = draw_curves(build_report(builder.store).tables[0]).axes[0]
    (bands,) = [
        c for c in ax.collections if isinstance(c, PolyCollection) and len(c.get_paths()) == 2
    ]
    assert len({tuple(colour) for colour in bands.get_facecolors()}) == 2


def test_labels_name_what_is_not_valid(builder: Builder) -> None:
    builder.add("digits/vgg16-stbp", "pgd", fall(30), verdict="invalid", reasons=("x",))
    builder.add("digits/vgg16-stbp", "spgd", fall(20))
    builder.add("digits/flex-stbp", "spgd", fall(25), verdict="suspect", reasons=("y",))
    builder.add("digits/ann", "pgd", fall(22), mode="ann")
    builder.add_without_outcome("digits/ann", "spgd", "not-applicable", "needs spikes")
    (table,) = build_report(builder.store).tables
    panels = {ax.get_title("left"): ax for ax in draw_curves(table).axes}
    assert texts(panels["vgg16-stbp"]) == {"pgd", "spgd"}
    assert texts(panels["flex-stbp"]) == {"no pgd", "spgd ?"}
    assert texts(panels["ann"]) == {"pgd", "spgd n/a"}
    at = {name: {text.get_text() for text in ax.texts} for name, ax in panels.items()}
    assert any(text.startswith("≤ ") for text in at["flex-stbp"])
    assert not any(text.startswith("≤ ") for text in at["vgg16-stbp"] | at["ann"])
    assert areas(panels["vgg16-stbp"]) == 2  # a band and the worst case
    assert areas(panels["flex-stbp"]) == 1  # the worst case lacks an attack


def dashes(line: Line2D) -> tuple[float, ...]:
    return tuple(line._unscaled_dash_pattern[1] or ())  # no public getter


def look(line: Line2D) -> tuple[Any, ...]:
    return (
        to_rgb(line.get_color()), line.get_marker(), to_rgb(line.get_markerfacecolor()),
        dashes(line), line.get_linewidth(), line.get_markersize(),
    )  # fmt: skip


def in_legend(figure: Figure) -> set[tuple[Any, ...]]:
    (legend,) = figure.legends
    lines = [line for line in legend.findobj(Line2D) if isinstance(line, Line2D)]
    return {look(line) for line in lines if line.get_marker() != "None"}


def test_an_invalid_line_looks_as_its_legend_says(builder: Builder) -> None:
    for attack in ("fgsm", "pgd"):
        builder.add("digits/a", attack, fall(60), verdict="invalid", reasons=("x",))
    builder.add("digits/a", "spgd", fall(20))
    (table,) = build_report(builder.store).tables
    figure = draw_curves(table)
    hollow = [line for line in curves(figure.axes[0]) if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2
    assert {look(line) for line in hollow} == in_legend(figure)


def test_without_an_invalid_line_the_legend_says_nothing_of_it(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60))
    (table,) = build_report(builder.store).tables
    figure = draw_curves(table)
    assert not in_legend(figure)
    assert "invalid" not in str([text.get_text() for text in figure.legends[0].get_texts()])


def test_a_network_whose_cells_are_all_invalid_has_no_area(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60), verdict="invalid", reasons=("x",))
    (table,) = build_report(builder.store).tables
    (ax,) = draw_curves(table).axes
    assert not areas(ax)
    assert any(text.get_text().startswith("≤ ") for text in ax.texts)


GRIDS = [
    ["0.01", "0.02", "0.03"],
    ["2/255", "4/255", "6/255", "8/255", "10/255", "12/255", "14/255", "16/255"],
    ["0.25/255", "1/255", "2/255", "4/255", "8/255", "16/255"],
    ["8/255"],
    ["0.001", "0.5"],
]


@pytest.mark.parametrize("texts_of_grid", GRIDS)
def test_the_ticks_are_at_points_of_the_grid(builder: Builder, texts_of_grid) -> None:
    grid = parse_grid(texts_of_grid)
    positions = np.where(np.arange(225) < 100, 1, ROBUST)
    builder.add("digits/a", "pgd", positions, grid=grid)
    (table,) = build_report(builder.store).tables
    ax = draw_curves(table).axes[0]
    values = [epsilon.value for epsilon in grid]
    ticks = list(ax.get_xticks())
    assert set(ticks) <= set(values)
    assert {0, table.headline.value, grid[-1].value} <= set(ticks)
    assert ax.get_xlim() == (0, values[-1])
    # the number of a tick is that of its ε, in 1/255 or as it is
    shown = {
        tick: label.get_text() for tick, label in zip(ticks, ax.get_xticklabels(), strict=True)
    }
    for epsilon in grid:
        if epsilon.value in shown:
            assert shown[epsilon.value] == f"{float(epsilon.text.removesuffix('/255')):.3g}"


def test_a_name_that_is_only_the_mode_stays(builder: Builder) -> None:
    for name in ("ann", "my-network"):
        builder.add(f"digits/{name}", "pgd", fall(30), mode="ann")
    (table,) = build_report(builder.store).tables
    assert {ax.get_title("left") for ax in draw_curves(table).axes} == {"ann", "my-network"}


def test_runs_of_two_seeds_have_names_of_their_own(builder: Builder) -> None:
    for seed in (1, 2):
        builder.add("digits/a", "pgd", fall(30), seed=seed)
    (first, second) = build_report(builder.store).tables
    table = replace(first, rows=(*first.rows, *second.rows))
    names = {ax.get_title("left") for ax in draw_curves(table).axes}
    assert names == {"a, seed 1", "a, seed 2"}


@pytest.mark.parametrize("models", [1, 2, 9, 40])
def test_long_names_stay_inside_and_leave_room_for_the_curves(builder: Builder, models) -> None:
    attack = "spgd[surrogate=assg_scaled(0.{}),rate_share=0.25,steps=480]"
    for number in range(models):
        for strength in (375, 425):
            name = f"digits/my-network-{number}-with-a-long-name-and-more"
            builder.add(name, attack.format(strength), fall(30), mode="ann")
    (table,) = build_report(builder.store).tables
    figure = draw_curves(table)
    figure.canvas.draw()
    assert len({ax.get_title("left") for ax in figure.axes}) == models
    width, height = figure.get_size_inches() * figure.dpi
    for ax in figure.axes:
        assert len(texts(ax)) == 2
        assert ax.get_window_extent().width > 0.15 * width
        for text in ax.texts:
            box = text.get_window_extent()
            assert box.x1 <= width
            assert box.y1 <= height


def test_forty_networks_are_drawn_in_a_small_file(builder: Builder, tmp_path: Path) -> None:
    for number in range(40):
        for attack in ("fgsm", "pgd", "spgd"):
            builder.add(f"digits/net-{number}", attack, fall(20 + number))
    (table,) = build_report(builder.store).tables
    path = save_figure(draw_curves, table, tmp_path / "curves.png")
    assert path.stat().st_size < 2_000_000
