from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from made_up import Builder

from robench.datasets import DIGITS
from robench.reporting import build_report, write_figures


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
    protocol = replace(DIGITS.protocol, grids={"linf": ("0", "0.1", "0.2")})
    assert _axis(replace(table, dataset=replace(DIGITS, protocol=protocol)))[0] == 1.0
