from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from robench.errors import UsageError
from robench.reporting import build_report, frame, is_stale, render, write
from robench.reporting.leaderboard import escape_markdown
from robench.results import Verdict
from tests.support.commands import Finished
from tests.support.made_up import LIMIT, Builder, fall


def test_the_area_of_an_invalid_cell_is_struck_through(
    six: Builder,
) -> None:
    report = build_report(six.store)
    hybrid = next(r for r in report.tables[0].rows if r.model == "digits/vgg16-hybrid")
    bound = hybrid.entries["pgd"].auc.value
    line = next(x for x in render(report).splitlines() if "vgg16-hybrid |" in x)
    assert f"| <s>{bound:.3f}</s> <sup>" in line
    assert "| invalid: fgsm, pgd" in line
    assert f"<s>{bound:.3f}</s>" in render(report, "html")
    (record,) = frame(report.tables[0]).query("model == 'digits/vgg16-hybrid'").to_dict("records")
    assert record["pgd_auc"] == bound
    assert record["pgd_verdict"] == "invalid"
    text = render(report, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    found = next(r for r in rows if r["model"] == "digits/vgg16-hybrid")
    assert (found["pgd_auc"], found["pgd_verdict"]) == (str(bound), "invalid")
    data = json.loads(render(report, "json"))
    row = next(r for r in data["datasets"][0]["rows"] if r["model"] == "digits/vgg16-hybrid")
    assert row["attacks"]["pgd"]["auc"]["value"] == bound
    assert row["attacks"]["pgd"]["verdict"] == "invalid"


def test_a_suspect_number_is_shown_with_a_mark(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(30), verdict="suspect", reasons=("few-steps",))
    text = render(build_report(builder.store))
    assert "] ? <sup>a</sup> |" in text
    assert "| suspect: pgd |" in text
    assert "<sup>a</sup> few-steps." in text


@pytest.mark.parametrize(("verdict", "mark"), [("valid", ""), ("suspect", " ?")])
def test_a_worst_case_has_the_mark_of_its_strongest_attack(
    builder: Builder, verdict: Verdict, mark: str
) -> None:
    builder.add("digits/a", "pgd", fall(60), verdict="suspect", reasons=("few-steps",))
    builder.add("digits/a", "spgd", fall(30), verdict=verdict, reasons=("made up",))
    report = build_report(builder.store)
    (row,) = report.tables[0].rows
    assert row.auc_verdict == row.accuracy_verdict == verdict
    worst = f"{row.worst_auc.value:.3f} [{row.worst_auc.low:.3f}, {row.worst_auc.high:.3f}]{mark}"
    assert f"| {worst} |" in render(report)
    assert f"<small>{worst.partition(' ')[2]}</small>" in render(report, "html")


def test_a_worst_case_of_invalid_attacks_is_struck_through(builder: Builder) -> None:
    for attack in ("pgd", "spgd"):
        builder.add("digits/a", attack, fall(30), verdict="invalid", reasons=("made up",))
    (row,) = build_report(builder.store).tables[0].rows
    text = render(build_report(builder.store))
    assert f"| <s>{row.worst_auc.value:.3f}</s> |" in text
    assert f"| <s>{100 * row.worst_accuracy.value:.1f}</s> |" in text


def test_the_command_of_a_table_has_the_least_checks_of_its_cells(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(30), checked="full")
    assert "--checks full" in render(build_report(builder.store))
    builder.add("digits/a", "spgd", fall(30))
    assert "--checks" not in render(build_report(builder.store))


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


def test_another_format_leaves_the_markdown_alone(
    cli: Callable[..., Finished], six: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(six.store.root.parent)
    assert cli("leaderboard").code == 0
    markdown = Path("leaderboard.md").read_text("utf-8")
    stale = cli("leaderboard", "--format", "csv", "--check")
    assert stale.code == 1
    assert "leaderboard.csv is stale" in stale.err
    assert "robench leaderboard --format csv" in stale.err
    for form in ("json", "csv", "html"):
        done = cli("leaderboard", "--format", form)
        assert f"wrote leaderboard.{form}" in done.out
        assert cli("leaderboard", "--format", form, "--check").code == 0
    assert json.loads(Path("leaderboard.json").read_text("utf-8"))["protocol"]
    assert Path("leaderboard.md").read_text("utf-8") == markdown
    assert cli("leaderboard", "--format", "json", "--output", "other").code == 0
    assert Path("other").read_text("utf-8") == Path("leaderboard.json").read_text("utf-8")


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
    assert "There are no results yet." in render(report)
    assert json.loads(render(report, "json"))["datasets"] == []
    assert render(report, "csv") == ""


def test_an_unknown_format_is_an_error(builder: Builder) -> None:
    with pytest.raises(UsageError, match="md, html, csv, json"):
        render(build_report(builder.store), "pdf")  # type: ignore[arg-type]


def test_runs_without_a_result_are_rows_of_the_csv(builder: Builder) -> None:
    builder.add_without_outcome("digits/vgg16-ann", "fgsm", "failed", "why\n\x1b[2J")
    report = build_report(builder.store)
    everything = pd.read_csv(io.StringIO(render(report, "csv", all_runs=True)))
    assert everything["model"].tolist() == ["digits/vgg16-ann"]
    assert everything["status"].tolist() == ["failed"]
    newest = pd.read_csv(io.StringIO(render(report, "csv")))
    assert (len(newest), "model" in newest) == (0, True)
    for form in ("md", "html"):
        assert "\x1b" not in render(report, form, all_runs=True)  # type: ignore[arg-type]
