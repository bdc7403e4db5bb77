from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from studies.false_alarms import ATTACKS, COLUMNS, SWEPT, false_alarms_page, measure_all, read
from studies.pages import write_table
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished

Cli = Callable[..., Finished]
OF_MODEL = ("", "ties", 0.01, 0.05, "valid", "")


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_alarms_are_counted_by_network_and_by_check(tmp_path: Path) -> None:
    made = table(
        ("ann", "one", SWEPT, 0.9, *OF_MODEL),
        ("ann", "one", SWEPT, 0.9, "", "offset", 9.0, 8.0, "suspect", "offset-logits"),
        ("ann", "one", SWEPT, 0.9, "pgd", "gradient", 1.0, 0.01, "invalid", "zero-gradient"),
        ("ann", "one", SWEPT + 1, 0.8, *OF_MODEL),
        ("ann", "one", SWEPT + 1, 0.8, "", "offset", 2.0, 8.0, "valid", ""),
        ("stbp", "two", SWEPT, 0.7, "", "frozen", 3.0, 0.0, "invalid", "changes"),
        ("stbp", "two", SWEPT + 1, 0.4, "", "", 0.0, 0.0, "unchecked", ""),
    )
    write_table(made, tmp_path / "table.csv")
    page = false_alarms_page(read(tmp_path / "table.csv"))
    assert "3 small networks of 2 styles" in page
    assert "accuracy on the test images is 70.0%" in page
    assert "Left out are networks below 60%, 1 here" in page
    assert "| suspect | 1 of 3 | 33.3% | 6.1% to 79.2% |" in page
    assert "| invalid | 1 of 3 | 33.3% |" in page
    assert f"| `offset` | one, seed {SWEPT} | 2 | 1 | 1.12 |" in page
    assert f"| `ties` | one, seed {SWEPT} | 2 | 0 | 0.2 |" in page
    assert f"| `frozen` | two, seed {SWEPT} | 1 | 1 | 3 |" in page
    ann = "| ann | one | suspect (offset-logits) | invalid (offset-logits, zero-gradient) |"
    assert f"{ann} suspect (offset-logits) | 2 | 1 | 80.0% to 90.0% |" in page


def test_a_network_is_trained_checked_and_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies import false_alarms as study

    monkeypatch.setattr(study, "SEEDS", (SWEPT, SWEPT + 1))
    monkeypatch.setattr(study, "ANN", dict(list(study.ANN.items())[:1]))
    monkeypatch.setattr(study, "SPIKING", {})
    monkeypatch.setattr(study, "IMAGES", 16)
    first, again = measure_all(), measure_all()
    assert first.equals(again)
    assert set(first["attack"][first["seed"] == SWEPT]) == {"", *ATTACKS}
    assert set(first["attack"][first["seed"] != SWEPT]) == {""}
    monkeypatch.setattr(study, "LEAST", 1.1)
    left_out = measure_all()
    assert list(left_out["check"]) == ["", ""]


def test_the_published_page_is_that_of_its_table(study: Cli, tmp_path: Path) -> None:
    page = ROOT / "studies" / "tables" / "false-alarms.md"
    done = study("false-alarms", "--check", "--output", page)
    assert (done.code, done.err) == (0, "")
    copy = tmp_path / "false-alarms.md"
    copy.with_suffix(".csv").write_bytes(page.with_suffix(".csv").read_bytes())
    assert study("false-alarms", "--no-run", "--output", copy).code == 0
    assert copy.read_bytes() == page.read_bytes()
