from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from robench.epsilon import parse_grid
from robench.reporting import build_report, write_figures
from robench.reporting.figures import save_figure
from robench.reporting.figures.curves import _axis, draw_curves
from robench.reporting.figures.heatmap import heat_map
from robench.reporting.plots import draw_areas
from tests.support.made_up import Builder, fall


def test_figures_are_written_small_and_the_same_each_time(six: Builder, tmp_path: Path) -> None:
    report = build_report(six.store)
    paths = write_figures(report, tmp_path / "a")
    assert [path.name for path in paths] == ["digits-curves.png", "digits-auc.png"]
    again = write_figures(report, tmp_path / "b")
    for one, two in zip(paths, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.stat().st_size < 400_000


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        counted = picture.convert("RGB").getcolors(2**24)
        assert counted is not None
        return {colour for _, colour in counted}  # type: ignore[misc]


def tint(number: int, of: int = 40) -> tuple[float, float, float]:
    return (0.9, 0.7 + 0.3 * number / of, 1 - 0.3 * number / of)


def test_bands_of_similar_colours_keep_them(tmp_path: Path) -> None:
    """Forty tints, beside as many colours as a photograph has."""

    def draw(_: None) -> Figure:
        figure = Figure(figsize=(4, 4))
        noise = np.random.default_rng(0).random((200, 200, 3))
        figure.figimage(np.asarray(255 * noise, dtype=np.uint8), 300, 300)
        for number in range(40):
            place = 0.1, number / 80
            figure.add_artist(Rectangle(place, 0.2, 0.0125, facecolor=tint(number), linewidth=0))
        return figure

    found = colours_of(save_figure(draw, None, tmp_path / "bands.png"))
    expected = {tuple(int(255 * c + 0.5) for c in tint(number)) for number in range(40)}
    missing = {c for c in expected if not any(np.abs(np.subtract(c, f)).max() <= 1 for f in found)}
    assert not missing
    assert len(found) > 10_000


def test_the_bands_of_two_attacks_are_of_different_colours(builder: Builder, tmp_path) -> None:
    for number, attack in enumerate(("fgsm", "pgd", "spgd")):
        builder.add("digits/a", attack, fall(90 - 30 * number, number))
    (table,) = build_report(builder.store).tables
    entries = {name: replace(of, verdict="valid") for name, of in table.rows[0].entries.items()}
    table = replace(table, rows=(replace(table.rows[0], entries=entries),))
    (ax,) = draw_curves(table).axes
    (drawn,) = [one for one in ax.collections if one.get_alpha()]
    bands = [tuple(map(float, colour)) for colour in drawn.get_facecolor()]
    assert len(set(bands)) == 3
    found = colours_of(save_figure(draw_curves, table, tmp_path / "curves.png"))
    for red, green, blue, alpha in bands:
        mixed = [255 * (alpha * channel + 1 - alpha) for channel in (red, green, blue)]
        assert any(np.abs(np.subtract(mixed, colour)).max() <= 1 for colour in found)


def test_a_very_tall_figure_is_drawn_with_fewer_pixels(tmp_path: Path) -> None:
    path = save_figure(lambda _: Figure(figsize=(0.5, 500)), None, tmp_path / "tall.png")
    with Image.open(path) as picture:
        assert 50_000 < picture.height < 2**16


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (["0.1", "0.2"], "ε (L∞)"),
        (["2/255", "4/255"], "ε (L∞, in 1/255)"),
        (["1/255", "2/255", "8/255"], "ε (L∞, in 1/255), logarithmic above 2"),
        (["0.01", "0.3"], "ε (L∞), logarithmic above 0.02"),
    ],
)
def test_the_axis_says_what_it_shows(six: Builder, grid, expected) -> None:
    (table,) = build_report(six.store).tables
    assert _axis(replace(table, grid=parse_grid(grid))) == expected


def test_numbers_in_coloured_cells_are_black_or_white_by_what_stands_out() -> None:
    values = np.array([[0.0, 0.5], [np.nan, 1.0]])
    labels = np.array([["light", "middle"], ["none", "dark"]], dtype=object)
    _, ax = heat_map(
        values, labels, columns=["a", "b"], rows=["c", "d"], notes=[], cmap="Greys", vmin=0, vmax=1
    )
    texts = {text.get_text(): to_rgb(text.get_color()) for text in ax.texts}
    assert set(texts) == {"light", "middle", "dark", "none"}
    assert texts["light"] == texts["middle"] != texts["dark"] == (1, 1, 1)


def look(patch: Patch) -> tuple:
    return patch.get_facecolor(), patch.get_edgecolor(), patch.get_hatch(), patch.get_linewidth()


def test_an_invalid_cell_looks_as_its_legend_says(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60), verdict="invalid", reasons=("x",))
    builder.add("digits/a", "spgd", fall(30))
    (table,) = build_report(builder.store).tables
    figure = draw_areas(table)
    (ax,), (legend,) = figure.axes, figure.legends
    (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
    (shown,) = legend.get_patches()
    assert look(hatched) == look(shown)
    assert [text.get_text()[:2] for text in ax.texts] == ["≤ ", "0.", "0."]


def test_without_an_invalid_cell_there_is_no_legend(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60))
    (table,) = build_report(builder.store).tables
    assert not draw_areas(table).legends


def test_the_worst_of_invalid_cells_is_an_upper_bound(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60), verdict="invalid", reasons=("x",))
    (table,) = build_report(builder.store).tables
    (ax,) = draw_areas(table).axes
    assert [text.get_text()[:2] for text in ax.texts] == ["≤ ", "≤ "]


def test_names_of_a_heat_map_stay_inside_and_different() -> None:
    long = "a-very-long-name-of-a-network-{}-that-goes-on-and-on"
    names = [long.format(number) for number in range(3)]
    figure, ax = heat_map(
        np.zeros((3, 3)), np.full((3, 3), "0", dtype=object), columns=names, rows=names,
        notes=["a note that is far longer than the few cells of this figure are wide, " * 2],
        vmin=0, vmax=1, cmap="Greys",
    )  # fmt: skip
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert len({label.get_text() for label in labels}) == 3
    for text in [*ax.get_xticklabels(), *ax.get_yticklabels(), *figure.texts]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
