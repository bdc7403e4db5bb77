"""Cells at the headline ε alone, in the rows of the networks' sweeps."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from robench.datasets import DIGITS
from robench.epsilon import Epsilon
from robench.reporting import beside, build_report, render, write_figures
from robench.reporting.terminal.lines import result_line
from robench.results import ROBUST, CellResult
from tests.support.made_up import GRID, Builder, N, fall

HEADLINE = DIGITS.protocol.headline["linf"]
MODEL, OTHER = "digits/vgg16-stbp", "digits/flex-stbp"
SWEPT = fall(60, 1)


def alone(
    builder: Builder,
    attack: str,
    left: int,
    model: str = MODEL,
    epsilon: Epsilon = HEADLINE,
    **more: Any,
) -> CellResult:
    """A cell at the headline ε that finds the images from ``left`` on."""
    found = np.where(np.arange(N) < left, ROBUST, 1)
    positions = np.where(SWEPT == 0, 0, found)
    return builder.add(model, attack, positions, grid=(GRID[0], epsilon), **more)


def test_one_epsilon_alone_gives_no_area(builder: Builder) -> None:
    cell = alone(builder, "spiking-autoattack", 90)
    assert cell.outcome is not None
    assert cell.outcome.auc
    assert not cell.outcome.areas
    assert "AUC" not in result_line(cell)
    assert "AUC" in result_line(builder.add(MODEL, "spgd", SWEPT))


def test_they_stand_in_the_row_of_the_sweep_and_count_in_the_worst(builder: Builder) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    builder.add(OTHER, "spgd", fall(50, 2))
    cell = alone(builder, "spiking-autoattack", 90)
    alone(builder, "noise", 200)
    (table,) = build_report(builder.store).tables
    assert table.attacks == ("spgd",)
    assert tuple(table.at_headline) == ("spiking-autoattack", "noise")
    rows = {row.model: row for row in table.rows}
    row, other = rows[MODEL], rows[OTHER]
    swept = (SWEPT == ROBUST) | (GRID.index(HEADLINE) < SWEPT)
    assert row.worst_accuracy.value == (swept[:90]).sum() / N
    assert row.at_headline["spiking-autoattack"].hash == cell.hash
    assert row.at_headline["spiking-autoattack"].accuracy.value == (SWEPT[:90] != 0).sum() / N
    assert row.worst_accuracy.low < row.worst_accuracy.value < row.worst_accuracy.high
    assert row.missing_at_headline == ()
    assert other.at_headline == {}
    assert other.missing_at_headline == ("spiking-autoattack",)  # noise is a baseline
    assert {row.rank for row in table.rows} == {1, 2}
    text = render(build_report(builder.store))
    assert "missing at the headline ε: spiking-autoattack" in text
    assert f"| ≤ {100 * other.worst_accuracy.value:.1f} [" in text


def test_every_form_of_the_leaderboard_has_them(builder: Builder, tmp_path: Path) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "noise", 200, verdict="invalid", reasons=("made up",), attack_version="7")
    report = build_report(builder.store)
    accuracy = (SWEPT[:200] != 0).sum() / N
    text = render(report)
    assert "| AUC worst | noise % at ε = 16/255 | Worst % at ε = 16/255 |" in text
    assert f"| <s>{100 * accuracy:.1f}</s> <sup>a</sup> |" in text
    assert "invalid: noise" in text
    assert "--attacks noise --eps 16/255" in text
    assert "noise at ε = 16/255: version 7" in text
    assert "<th>noise % at ε = 16/255</th>" in render(report, "html")
    (data,) = json.loads(render(report, "json"))["datasets"]
    assert data["attacks_at_headline"]["noise"]["version"] == "7"
    assert data["rows"][0]["at_headline"]["noise"]["accuracy"]["value"] == accuracy
    (line,) = csv.DictReader(io.StringIO(render(report, "csv")))
    assert float(line["noise_at_headline"]) == accuracy
    assert line["noise_at_headline_verdict"] == "invalid"
    assert line["verdict"] == "noise invalid (made up)"
    assert len(write_figures(report, tmp_path)) == 2


def test_the_headline_is_recognised_by_its_value(builder: Builder) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "noise", 200, epsilon=Epsilon(HEADLINE.value, repr(HEADLINE.value)))
    (table,) = build_report(builder.store).tables
    assert tuple(table.at_headline) == ("noise",)


def test_attacks_with_parameters_and_older_weights_do_not_count(builder: Builder) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "pgd[steps=1]", 0)
    alone(builder, "noise", 0, fingerprint="0" * 64)
    report = build_report(builder.store)
    assert report.tables[0].at_headline == {}
    assert {table.differs for table in report.tables} == {
        (),
        ("ε 0, 16/255", "attacks with parameters of their own"),
        ("ε 0, 16/255", "other weights or card than in the model's newest run"),
    }
    assert [table.older for table in report.tables] == [False, False, True]
    assert report.older == 1


def test_a_network_without_a_sweep_has_a_table_of_its_own(builder: Builder) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "noise", 200, OTHER)
    main, other = build_report(builder.store).tables
    assert main.at_headline == {}
    assert other.differs == ("ε 0, 16/255",)
    assert [row.model for row in other.rows] == [OTHER]


def test_published_ones_stand_beside_own_rows(builder: Builder, tmp_path: Path) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "noise", 200)
    own = Builder(tmp_path / "own")
    alone(own, "noise", 100, "digits/mine")
    report = beside(build_report(own.store, published=builder.store))
    (table,) = report.tables
    rows = {row.model: row for row in table.rows}
    assert tuple(table.at_headline) == ("noise",)
    assert rows[MODEL].origin == "published"
    assert rows["digits/mine"].differs == ("ε 0, 16/255",)
    assert rows["digits/mine"].at_headline["noise"].accuracy.value == (SWEPT[:100] != 0).sum() / N
    line = next(line for line in render(report).splitlines() if "digits/mine" in line)
    assert line.split(" | ")[6:8] == ["—", "—"]  # neither AUC
    assert json.loads(render(report, "json"))["datasets"][0]["rows"][1]["worst"]["auc"] is None


def test_an_own_cell_makes_a_published_row_one_s_own(builder: Builder, tmp_path: Path) -> None:
    builder.add(MODEL, "spgd", SWEPT)
    alone(builder, "noise", 200)
    own = Builder(tmp_path / "own")
    alone(own, "square", 10)
    (table,) = beside(build_report(own.store, published=builder.store)).tables
    (row,) = table.rows
    assert row.origin == "yours"
    assert set(row.at_headline) == {"noise", "square"}

    own.add(MODEL, "spgd", SWEPT, fingerprint="0" * 64)
    (table,) = beside(build_report(own.store, published=builder.store, all_runs=False)).tables
    (row,) = (row for row in table.rows if row.model == MODEL)
    assert row.origin == "yours"
    assert row.at_headline == {}
