from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from robench.epsilon import parse_grid
from robench.reporting import build_report, write_figures
from robench.reporting.figures.heatmap import draw_cells
from tests.support.made_up import Builder


def test_figures_are_written_small_and_the_same_each_time(six: Builder, tmp_path: Path) -> None:
    report = build_report(six.store)
    paths = write_figures(report, tmp_path / "a")
    assert [path.name for path in paths] == ["digits-curves.png", "digits-auc.png"]
    again = write_figures(report, tmp_path / "b")
    for one, two in zip(paths, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.stat().st_size < 150_000


def test_a_grid_of_plain_numbers_has_a_plain_axis(six: Builder) -> None:
    from robench.reporting.plots import _axis

    (table,) = build_report(six.store).tables
    assert _axis(table) == (255.0, "ε (L∞, in 1/255)")
    assert _axis(replace(table, grid=parse_grid(["0.1", "0.2"])))[0] == 1.0


def test_numbers_in_coloured_cells_are_black_or_white_by_what_stands_out() -> None:
    figure = Figure()
    ax = figure.subplots()
    values = np.array([[0.0, 0.5], [np.nan, 1.0]])
    labels = np.array([["light", "middle"], ["none", "dark"]], dtype=object)
    draw_cells(
        ax, values, labels, columns=["a", "b"], rows=["c", "d"], bar={}, cmap="Greys", vmin=0,
        vmax=1,
    )  # fmt: skip
    texts = {text.get_text(): to_rgb(text.get_color()) for text in ax.texts}
    assert set(texts) == {"light", "middle", "dark", "none"}
    assert texts["light"] == texts["middle"] != texts["dark"] == (1, 1, 1)
