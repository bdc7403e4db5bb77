from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.reporting import build_report, frame, others_frame, render
from robench.reporting.between import comparisons, verdict_of
from robench.reporting.rows import worst_positions
from robench.results import ROBUST
from tests.support.made_up import GRID, Builder, N, fall


def test_models_rank_by_their_worst_area(six: Builder) -> None:
    (table,) = build_report(six.store).tables
    areas = [row.worst_auc.value for row in table.rows]
    assert areas == sorted(areas, reverse=True)
    assert [row.rank for row in table.rows] == [1, 2, 3, 4, 5, 6]
    assert table.attacks == ("fgsm", "pgd", "spgd", "noise")
    assert [row.model for row in table.controls] == ["digits/control-zero-gradient"]
    assert table.controls[0].rank is None
    assert table.controls[0].caught


def test_worst_is_the_minimum_of_each_sample() -> None:
    found = worst_positions([np.array([ROBUST, 3, 0, ROBUST]), np.array([ROBUST, ROBUST, 0, 1])], 9)
    assert found.tolist() == [ROBUST, 3, 0, 1]


def test_worst_lies_below_every_single_attack(builder: Builder) -> None:
    one, two = fall(40, 1), fall(40, 2)
    wrong = (one == 0) | (two == 0)
    one[wrong] = two[wrong] = 0
    builder.add("digits/vgg16-stbp", "fgsm", one)
    builder.add("digits/vgg16-stbp", "noise", two, verdict="invalid", reasons=("x",))
    (row,) = build_report(builder.store).tables[0].rows
    low = np.minimum(np.where(one == ROBUST, 99, one), np.where(two == ROBUST, 99, two))
    position = GRID.index(DIGITS.protocol.headline["linf"])
    assert row.worst_accuracy.value == (low > position).mean()
    assert row.worst_auc.value < row.entries["fgsm"].auc.value
    assert row.worst_auc.low < row.worst_auc.value < row.worst_auc.high


@pytest.mark.parametrize(("extra", "verdict"), [(2, "valid"), (3, "valid"), (8, "invalid")])
def test_pgd_above_fgsm_by_more_than_a_point_is_invalid(
    builder: Builder, extra: int, verdict: str
) -> None:
    fgsm = np.full(N, 4)
    pgd = fgsm.copy()
    pgd[:extra] = ROBUST  # of 225: 0.9 points, then 1.3, which may be chance, then 3.6
    builder.add("digits/a", "fgsm", fgsm)
    stored = builder.add("digits/a", "pgd", pgd)
    (row,) = build_report(builder.store).tables[0].rows
    assert row.entries["pgd"].verdict == verdict
    lower = "fgsm is 3.6 points lower"
    assert (lower in row.entries["pgd"].reasons) == (verdict == "invalid")
    assert row.entries["fgsm"].verdict == "valid"
    assert builder.store.find("digits/a", "pgd", stored.hash) == stored


@pytest.mark.parametrize(
    ("attack", "parameters", "verdict"),
    [
        ("fgsm", {}, "invalid"), ("pgd[steps=1]", {"steps": 1}, "invalid"),
        ("autoattack", {"apgd_ce": {"steps": 100}}, "valid"),
        ("foolbox:LinfPGD", {"attack": "LinfPGD", "parameters": {"steps": 40}}, "valid"),
    ],
)  # fmt: skip
def test_only_a_single_step_is_a_weaker_kind(
    builder: Builder, attack: str, parameters: dict[str, Any], verdict: str
) -> None:
    builder.add("digits/a", attack, np.full(N, 4), mode="ann", parameters=parameters)
    stored = builder.add("digits/a", "pgd", np.where(np.arange(N) < 20, ROBUST, 4), mode="ann")
    checks = comparisons([stored, *builder.store.cells()[0]], builder.store)
    assert verdict_of(stored.outcome, checks[stored.hash])[0] == verdict


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 7}, "seed 7"),
        ({"timesteps": 4}, "T 4, the card says 10"),
        ({"sweep": "raw"}, "sweep raw"),
        ({"eot": 3}, "gradients of 3 draws"),
        ({"protocol": 0}, "robench protocol 0"),
        ({"attack": "pgd[steps=100]"}, "parameters of their own"),
        ({"positions": np.full(50, 3)}, f"50 of {N} images"),
        ({"grid": parse_grid(["8/255", "32/255"])}, "ε 0, 8/255, 32/255"),
    ],
)
def test_what_does_not_match_the_protocol_has_a_table_of_its_own(
    builder: Builder, change: dict[str, Any], text: str
) -> None:
    positions = np.where(fall(30) > 2, ROBUST, fall(30)) if "grid" in change else fall(30)
    builder.add(**({"model": "digits/a", "attack": "pgd", "positions": positions} | change))
    report = build_report(builder.store)
    (table,) = report.tables
    (differs,) = table.differs
    assert text in differs
    assert table.title == "Digits, other runs"
    assert table.rows[0].rank == 1
    assert table.rows[0].entries[change.get("attack", "pgd")].auc is not None
    assert f"What differs from the protocol: {differs}." in render(report).replace("\\", "")
    assert text in frame(table)["differs"][0]
    assert report.others == ()


def test_the_newest_run_decides(builder: Builder) -> None:
    old, new = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    builder.add("digits/a", "fgsm", fall(30), created=old, fingerprint="0" * 64)
    builder.add("digits/a", "pgd", fall(25), created=new)
    builder.add("digits/b", "pgd", fall(25), created=old, parameters={"steps": 5})
    builder.add("digits/c", "pgd", fall(25), created=old, data_sha256="e" * 64)
    report = build_report(builder.store)
    (row,) = report.tables[0].rows
    assert set(row.entries) == {"pgd"}
    assert not report.tables[0].differs
    older = {t.differs[0].split(" than")[0]: t.rows[0].model for t in report.tables[1:] if t.older}
    assert older == {
        "other weights or card": "digits/a",
        "other settings": "digits/b",
        "other data": "digits/c",
    }
    assert "digits/b" not in render(report)
    text = render(report, all_runs=True)
    assert text.count("Newer runs take the place of these.") == 3
    assert "digits/b" in text
    assert report.newest().tables == report.tables[:1]


def test_a_row_without_all_attacks_has_no_rank(builder: Builder) -> None:
    builder.add("digits/a", "fgsm", fall(60))
    builder.add("digits/b", "fgsm", fall(30))
    builder.add("digits/b", "pgd", fall(20))
    first, last = build_report(builder.store).tables[0].rows
    assert (first.model, first.rank) == ("digits/b", 1)
    assert (last.model, last.rank, last.missing) == ("digits/a", None, ("pgd",))


def test_a_longer_attack_is_missing_only_where_the_shorter_one_has_not_converged(
    builder: Builder,
) -> None:
    for model, verdict in (("a", "suspect"), ("b", "valid"), ("c", "suspect")):
        builder.add(f"digits/{model}", "spgd", fall(60), verdict=verdict, check="steps")
    builder.add("digits/d", "spgd", fall(60))  # nobody has tried twice the steps
    builder.add("digits/a", "spgd-long", fall(30))
    report = build_report(builder.store)
    found = {
        row.model[-1]: (row.rank, row.missing, row.not_needed) for row in report.tables[0].rows
    }
    missing = (None, ("spgd-long",), ())
    assert found == {
        "a": (2, (), ()), "b": (1, (), ("spgd-long",)), "c": missing, "d": missing
    }  # fmt: skip
    for form in ("md", "html"):
        assert "twice the steps of" in render(report, form)
    table = pd.read_csv(StringIO(render(report, "csv"))).set_index("model")
    assert dict(table["spgd-long_verdict"]) == {
        "digits/a": "valid", "digits/b": "not-needed",
        "digits/c": "missing", "digits/d": "missing",
    }  # fmt: skip


def test_failed_and_inapplicable_cells_are_listed(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60))
    builder.add("digits/b", "pgd", fall(60))
    builder.add("digits/b", "spgd", fall(60))
    builder.add_without_outcome("digits/a", "spgd", "not-applicable", "needs spikes")
    builder.add_without_outcome("digits/a", "fgsm", "failed", "out of memory")
    report = build_report(builder.store)
    row = next(row for row in report.tables[0].rows if row.model == "digits/a")
    assert row.not_applicable == ("spgd",)
    assert "not applicable: spgd" in render(report)
    assert [run.differs for run in report.others] == [
        ("failed: out of memory",), ("not-applicable: needs spikes",),
    ]  # fmt: skip
    assert "| digits/a | fgsm | failed: out of memory |" in render(report, all_runs=True)
    assert "out of memory" not in render(report)
    assert others_frame(report)["reason"][0] == "failed: out of memory"


def test_damaged_files_are_reported_and_the_others_kept(six: Builder) -> None:
    paths = sorted(six.store.root.glob("digits/flex-ann/*/*.json"))
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    parquet = paths[1].with_suffix(".parquet")
    pd.DataFrame({"index": np.arange(N), "minimal_position": 99}).to_parquet(parquet)
    report = build_report(six.store)
    assert {damaged.path for damaged in report.damaged} == {paths[0], parquet}
    assert len(report.tables[0].rows) == 6


def test_results_on_an_unknown_data_set_have_a_table(builder: Builder) -> None:
    builder.add("moons/a", "pgd", fall(30), dataset="moons")
    report = build_report(builder.store)
    (table,) = report.tables
    assert table.title == "moons, other runs"
    assert table.differs[0] == "images of your own"
    assert table.rows[0].entries["pgd"].auc is not None
