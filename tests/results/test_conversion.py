"""The published results were converted from schema 1 to schema 2; no curve changed."""

from __future__ import annotations

import csv

from robench.results import ResultStore
from tests.support.checkpoints import ROOT

BEFORE = ROOT / "tests" / "results" / "curves_of_schema_1.csv"
"""Model, attack, verdict, and the count of robust samples at each ε, before the conversion."""


def test_converted_curves_are_the_old_ones() -> None:
    with BEFORE.open(encoding="utf-8", newline="") as file:
        before = {
            (row["model"], row["attack"]): (row["verdict"], row["robust"])
            for row in csv.DictReader(file)
        }
    cells, damaged = ResultStore(ROOT / "results").cells()
    assert not damaged
    assert len(before) == 66
    found = {}
    for cell in cells:
        assert cell.outcome is not None
        counts = " ".join(str(point.robust) for point in cell.outcome.curve)
        found[cell.model, cell.attack] = cell.outcome.verdict, counts
    assert {key: found[key] for key in before} == before
