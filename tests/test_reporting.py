from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.datasets import DIGITS
from robench.errors import UsageError
from robench.evaluation.metrics import area, bootstrap, curve, sample_areas
from robench.numbers import Epsilon, parse_grid
from robench.reporting import (
    build_report,
    frame,
    is_stale,
    others_frame,
    render,
    write,
    write_figures,
)
from robench.reporting.leaderboard import escape_markdown
from robench.reporting.tables import worst_positions
from robench.results import (
    NEVER,
    PROTOCOL,
    SCHEMA,
    CellResult,
    Identity,
    Outcome,
    ResultStore,
    RunRecord,
)

GRID = parse_grid(DIGITS.protocol.grids["linf"])
N = DIGITS.protocol.slice
UNIT = GRID[-1].value / 100
LIMIT = DIGITS.protocol.auc_limits["linf"][0]


def fall(scale: float, seed: int = 0) -> np.ndarray:
    """Break positions of a model whose samples hold up to about ``scale`` percent of the grid."""
    rng = np.random.default_rng(seed)
    radius = np.where(
        rng.random(N) < 0.03, -1.0, rng.weibull(1.7, N) * scale / 100 * GRID[-1].value
    )
    values = np.array([epsilon.value for epsilon in GRID])
    positions = np.searchsorted(values, radius)
    positions[radius < 0] = 0
    positions[positions == 0] = np.where(radius[positions == 0] < 0, 0, 1)
    return np.where(positions >= len(GRID), NEVER, positions)


class Builder:
    """A store of made-up cells."""

    def __init__(self, root: Path) -> None:
        self.store = ResultStore(root)

    def add(
        self,
        model: str,
        attack: str,
        breaks: np.ndarray,
        *,
        mode: str = "stbp",
        verdict: str = "valid",
        reasons: tuple[str, ...] = (),
        created: str = "2026-01-01T00:00:00+00:00",
        control: bool = False,
        registered: bool = True,
        grid: tuple[Epsilon, ...] = GRID,
        **identity: Any,
    ) -> CellResult:
        own = None if mode == "ann" else 10
        architecture = "flex-vgg16" if "flex" in model else "vgg16"
        facts: dict[str, Any] = {
            "schema_version": SCHEMA,
            "protocol": PROTOCOL,
            "model": model,
            "fingerprint": hashlib.sha256(model.encode()).hexdigest(),
            "model_config": {"architecture": architecture, "mode": mode, "timesteps": own},
            "architecture_version": "1",
            "timesteps": own,
            "dataset": "digits",
            "data_sha256": "d" * 64,
            "samples": len(breaks),
            "attack": attack,
            "implementation": attack.partition("[")[0],
            "attack_version": "1",
            "parameters": {"steps": 20, "loss": "cross-entropy"} if attack != "fgsm" else {},
            "norm": "linf",
            "grid": tuple(repr(epsilon.value) for epsilon in grid),
            "seed": 0,
            "sweep": "ascending",
            "search_dtype": "float32",
        }
        who = Identity(**(facts | identity))
        points = curve(breaks, grid)
        values = [epsilon.value for epsilon in grid]
        accuracies = np.array([point.accuracy for point in points])
        limits = {
            text: Epsilon.parse(text).value
            for text in DIGITS.protocol.auc_limits["linf"]
            if Epsilon.parse(text).value in values
        }
        outcome = Outcome(
            identity=who,
            hash=who.digest(),
            mode=mode,
            control=control,
            registered=registered,
            clean_accuracy=points[0].accuracy,
            curve=points,
            auc={text: area(accuracies, values, limit) for text, limit in limits.items()},
            auc_interval={
                text: bootstrap(sample_areas(breaks, values, limit))
                for text, limit in limits.items()
            },
            forwards=20,
            backwards=20,
            reverified=1.0,
            checks=(),
            verdict=verdict,
            reasons=reasons,
        )
        cell = CellResult(
            status="done",
            model=model,
            attack=attack,
            dataset="digits",
            hash=outcome.hash,
            outcome=outcome,
            run=_run(created),
        )
        n = np.arange(len(breaks))
        self.store.write(cell, pd.DataFrame({"index": n, "break_position": breaks}))
        return cell

    def add_without_outcome(self, model: str, attack: str, status: str, error: str) -> None:
        cell = CellResult(
            status=status, model=model, attack=attack, dataset="digits",
            hash=hashlib.sha256(f"{model}{attack}".encode()).hexdigest(),
            error=error, run=_run("2026-01-01T00:00:00+00:00"),
        )  # fmt: skip
        self.store.write(cell)


def _run(created: str) -> RunRecord:
    return RunRecord(
        created=created, seconds=1, host="h", device="cpu", threads=2, peak_memory_mb=1, versions={}
    )


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "results")


@pytest.fixture
def six(builder: Builder) -> Builder:
    """The six kinds of model and a control, each under three attacks and the baseline."""
    scales = {"fgsm": 1.0, "pgd": 0.75, "spgd": 0.65, "noise": 3.0}
    models = [
        ("vgg16-ann", "ann", 22), ("vgg16-hybrid", "hybrid", 38), ("vgg16-stbp", "stbp", 31),
        ("flex-ann", "ann", 27), ("flex-hybrid", "hybrid", 45), ("flex-stbp", "stbp", 50),
    ]  # fmt: skip
    for number, (name, mode, scale) in enumerate(models):
        for attack, factor in scales.items():
            blind = mode == "hybrid" and attack in ("fgsm", "pgd")
            builder.add(
                f"digits/{name}",
                attack,
                fall(scale * (5 if blind else factor), number),
                mode=mode,
                verdict="invalid" if blind else "valid",
                reasons=("gradient-unavailable",) if blind else (),
            )
    for attack in scales:
        builder.add(
            "digits/control-zero-gradient", attack, fall(900 if attack != "spgd" else 5),
            verdict="valid" if attack == "spgd" else "invalid",
            reasons=() if attack == "spgd" else ("gradient-zero",), control=True,
        )  # fmt: skip
    return builder


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
    found = worst_positions([np.array([NEVER, 3, 0, NEVER]), np.array([NEVER, NEVER, 0, 1])], 9)
    assert found.tolist() == [NEVER, 3, 0, 1]


def test_worst_lies_below_every_single_attack(builder: Builder) -> None:
    one, two = fall(40, 1), fall(40, 2)
    wrong = (one == 0) | (two == 0)
    one[wrong] = two[wrong] = 0
    builder.add("digits/vgg16-stbp", "fgsm", one)
    builder.add("digits/vgg16-stbp", "noise", two, verdict="invalid", reasons=("x",))
    (row,) = build_report(builder.store).tables[0].rows
    low = np.minimum(np.where(one == NEVER, 99, one), np.where(two == NEVER, 99, two))
    position = [epsilon.text for epsilon in GRID].index(DIGITS.protocol.headline["linf"])
    assert row.worst_accuracy.value == (low > position).mean()
    assert row.worst_auc.value < row.entries["fgsm"].auc.value
    assert row.worst_auc.low < row.worst_auc.value < row.worst_auc.high


def test_the_area_of_an_invalid_cell_is_withheld_everywhere(six: Builder) -> None:
    report = build_report(six.store)
    hybrid = next(r for r in report.tables[0].rows if r.model == "digits/vgg16-hybrid")
    assert hybrid.entries["pgd"].auc is None
    assert hybrid.entries["spgd"].auc is not None
    line = next(x for x in render(report).splitlines() if "vgg16-hybrid |" in x)
    assert "| — invalid (gradient-unavailable) |" in line
    assert "pgd invalid (gradient-unavailable)" in line.rpartition("Verdict")[2]
    (record,) = frame(report.tables[0]).query("model == 'digits/vgg16-hybrid'").to_dict("records")
    assert np.isnan(record["pgd_auc"])
    assert record["pgd_verdict"] == "invalid"
    text = render(report, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert next(r for r in rows if r["model"] == "digits/vgg16-hybrid")["pgd_auc"] == ""
    data = json.loads(render(report, "json"))
    row = next(r for r in data["datasets"][0]["rows"] if r["model"] == "digits/vgg16-hybrid")
    assert row["attacks"]["pgd"]["auc"] is None


def test_a_suspect_number_is_shown_with_a_mark(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(30), verdict="suspect", reasons=("few-steps",))
    text = render(build_report(builder.store))
    assert "⚠ suspect (few-steps) |" in text
    assert "pgd suspect (few-steps) |" in text


@pytest.mark.parametrize(("extra", "verdict"), [(2, "valid"), (3, "invalid")])
def test_pgd_above_fgsm_by_more_than_a_point_is_invalid(
    builder: Builder, extra: int, verdict: str
) -> None:
    fgsm = np.full(N, 4)
    pgd = fgsm.copy()
    pgd[:extra] = NEVER  # of 225: 0.9 points, then 1.3
    builder.add("digits/a", "fgsm", fgsm)
    stored = builder.add("digits/a", "pgd", pgd)
    (row,) = build_report(builder.store).tables[0].rows
    assert row.entries["pgd"].verdict == verdict
    assert ("pgd-above-fgsm" in row.entries["pgd"].reasons) == (verdict == "invalid")
    assert row.entries["fgsm"].verdict == "valid"
    assert builder.store.find("digits/a", "pgd", stored.hash) == stored


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 7}, "seed 7"),
        ({"norm": "l2"}, "norm l2"),
        ({"timesteps": 4}, "T 4, the card says 10"),
        ({"sweep": "raw"}, "sweep raw"),
        ({"registered": False}, "not registered"),
        ({"protocol": 0}, "robench protocol 0"),
        ({"attack": "pgd[steps=100]"}, "parameters of its own"),
        ({"search_dtype": "bfloat16"}, "bfloat16"),
        ({"breaks": np.full(50, 3)}, f"50 of {N} images"),
        ({"grid": parse_grid(["8/255", "32/255"])}, "ε 0, 8/255, 32/255"),
    ],
)
def test_what_does_not_match_the_protocol_is_another_run(
    builder: Builder, change: dict[str, Any], text: str
) -> None:
    breaks = np.where(fall(30) > 2, NEVER, fall(30)) if "grid" in change else fall(30)
    builder.add(**({"model": "digits/a", "attack": "pgd", "breaks": breaks} | change))
    report = build_report(builder.store)
    assert report.tables == ()
    assert text in report.others[0].differs[0]
    assert text in render(report, all_runs=True).replace("\\", "")
    assert "Other runs" not in render(report)
    assert text in others_frame(report)["differs"][0]


def test_the_newest_run_decides(builder: Builder) -> None:
    old, new = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    builder.add("digits/a", "fgsm", fall(30), created=old, fingerprint="0" * 64)
    builder.add("digits/a", "pgd", fall(25), created=new)
    builder.add("digits/b", "pgd", fall(25), created=old, parameters={"steps": 5})
    builder.add("digits/c", "pgd", fall(25), created=old, data_sha256="e" * 64)
    report = build_report(builder.store)
    (row,) = report.tables[0].rows
    assert set(row.entries) == {"pgd"}
    assert [run.differs[0].split(" than")[0] for run in report.others] == [
        "other weights or card", "other settings", "other data",
    ]  # fmt: skip


def test_a_row_without_all_attacks_has_no_rank(builder: Builder) -> None:
    builder.add("digits/a", "fgsm", fall(60))
    builder.add("digits/b", "fgsm", fall(30))
    builder.add("digits/b", "pgd", fall(20))
    first, last = build_report(builder.store).tables[0].rows
    assert (first.model, first.rank) == ("digits/b", 1)
    assert (last.model, last.rank, last.missing) == ("digits/a", None, ("pgd",))


def test_failed_and_inapplicable_cells_are_told(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(60))
    builder.add("digits/b", "pgd", fall(60))
    builder.add("digits/b", "spgd", fall(60))
    builder.add_without_outcome("digits/a", "spgd", "not-applicable", "needs spikes")
    builder.add_without_outcome("digits/a", "fgsm", "failed", "out of memory")
    report = build_report(builder.store)
    row = next(row for row in report.tables[0].rows if row.model == "digits/a")
    assert row.not_applicable == ("spgd",)
    assert "not applicable |" in render(report)
    assert [run.differs for run in report.others] == [
        ("failed: out of memory",), ("not-applicable: needs spikes",),
    ]  # fmt: skip


def test_damaged_files_are_reported_and_the_others_kept(six: Builder) -> None:
    paths = sorted(six.store.root.glob("digits/flex-ann/*/*.json"))
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    parquet = paths[1].with_suffix(".parquet")
    pd.DataFrame({"index": np.arange(N), "break_position": 99}).to_parquet(parquet)
    report = build_report(six.store)
    assert {damaged.path for damaged in report.damaged} == {paths[0], parquet}
    assert len(report.tables[0].rows) == 6


def test_an_unknown_data_set_is_another_run(builder: Builder) -> None:
    cell = builder.add("digits/a", "pgd", fall(30))
    path = builder.store.path(cell.model, cell.attack, cell.hash)
    path.write_text(path.read_text().replace('"dataset": "digits"', '"dataset": "moons"'))
    report = build_report(builder.store)
    assert report.tables == ()
    assert "unknown data set 'moons'" in report.others[0].differs[0]


def test_the_text_depends_on_the_store_alone(six: Builder) -> None:
    one, two = build_report(six.store), build_report(six.store)
    for form in ("md", "html", "csv", "json"):
        assert render(one, form) == render(two, form)
    text = render(one)
    for expected in (f"ε = {LIMIT}", "d" * 16, "steps = 20", "results/figures/digits-auc.png"):
        assert expected in text
    assert "caught, as expected" in text


def test_a_stale_file_is_noticed(six: Builder, tmp_path: Path) -> None:
    path, text = tmp_path / "new" / "leaderboard.md", render(build_report(six.store))
    assert is_stale(path, text)
    write(path, text)
    assert not is_stale(path, text)
    assert [p.name for p in path.parent.iterdir()] == ["leaderboard.md"]
    six.add("digits/newcomer", "pgd", fall(80), mode="ann")
    assert is_stale(path, render(build_report(six.store)))


def test_an_unwritable_path_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write(tmp_path / "file" / "leaderboard.md", "text")


def test_text_from_outside_is_escaped(builder: Builder) -> None:
    hostile = "<img src=x>|[a](http://b)*\n# c"
    builder.add(
        "digits/a", "pgd", fall(30), verdict="suspect", reasons=(hostile,),
        parameters={"note": "<script>"},
    )  # fmt: skip
    report = build_report(builder.store)
    markdown = render(report)
    assert escape_markdown(hostile) in markdown
    assert r"\<img src=x\>\|\[a\](http\://b)\* \# c" in markdown
    assert "\n# c" not in markdown
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    html = render(report, "html")
    assert "<img src=x" not in html
    assert "<script>" not in html


def test_an_empty_store_gives_a_leaderboard_that_says_so(builder: Builder) -> None:
    report = build_report(builder.store)
    assert "no comparable results yet" in render(report)
    assert json.loads(render(report, "json"))["datasets"] == []
    assert render(report, "csv") == ""


def test_an_unknown_format_is_an_error(builder: Builder) -> None:
    with pytest.raises(UsageError, match="md, html, csv, json"):
        render(build_report(builder.store), "pdf")  # type: ignore[arg-type]


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
