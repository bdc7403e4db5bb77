"""A user's runs beside the published rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robench.reporting import beside, build_report, render
from robench.results import ResultStore
from tests.support.commands import Cli
from tests.support.made_up import Builder, fall


@pytest.fixture
def own(tmp_path: Path) -> Builder:
    """A user's network under the protocol, on fewer images, and with an attack of its own."""
    found = Builder(tmp_path / "own")
    for attack in ("fgsm", "pgd", "spgd"):
        found.add("digits/mine", attack, fall(90), registered=False, model_config={}, timesteps=6)
    found.add("digits/few", "pgd", fall(90)[:50], registered=False, model_config={})
    found.add("digits/few", "square", fall(90)[:50], registered=False, model_config={})
    return found


def test_own_rows_stand_beside_published_ones_with_what_differs(six: Builder, own: Builder) -> None:
    report = beside(build_report(own.store, published=six.store))
    (table,) = report.tables
    rows = {row.model: row for row in table.rows}
    assert rows["digits/mine"].rank == 1
    assert rows["digits/mine"].run == "yours"
    assert rows["digits/few"].rank is None
    assert rows["digits/few"].run == "yours; 50 of 225 images"
    published = [row for row in table.rows if row.origin == "published"]
    assert len(published) == 6
    assert table.attacks == ("fgsm", "pgd", "spgd", "noise", "square")
    text = render(report)
    assert "| digits/few | yours; 50 of 225 images |" in text
    assert text.count("| published |") == 6
    html = render(report, "html")
    assert "yours; 50 of 225 images" in html
    (data,) = json.loads(render(report, "json"))["datasets"]
    assert [row["differs"] for row in data["rows"] if row["model"] == "digits/few"] == [
        ["50 of 225 images"]
    ]


def test_published_rows_of_other_data_sets_and_controls_are_left_out(
    six: Builder, own: Builder
) -> None:
    six.add("digits/caught", "pgd", fall(90), control=True, verdict="invalid", reasons=("x",))
    (table,) = beside(build_report(own.store, published=six.store)).tables
    assert not table.controls
    empty = ResultStore(own.store.root / "none")
    assert build_report(empty, published=six.store).tables == ()


def test_a_cell_of_both_stores_is_the_user_s(six: Builder, tmp_path: Path) -> None:
    again = Builder(tmp_path / "again")
    for attack in ("fgsm", "pgd", "spgd"):
        again.add("digits/flex-ann", attack, fall(90), mode="ann")
    (table,) = beside(build_report(again.store, published=six.store)).tables
    rows = [row for row in table.rows if row.model == "digits/flex-ann"]
    assert [row.origin for row in rows] == ["yours"]


def test_a_store_without_other_runs_has_no_such_column(six: Builder) -> None:
    report = build_report(six.store)
    assert beside(report) == report
    assert "| Run |" not in render(report)


def test_nothing_is_written_outside_the_output(
    cli: Cli, own: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    done = cli("leaderboard", "--results", "own", "--output", "pages/x.md", "--alone")
    assert done.code == 0, done.err
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
    assert {path.relative_to(tmp_path).parts[0] for path in new} == {"pages"}
    text = (tmp_path / "pages" / "x.md").read_text("utf-8")
    assert "](x-figures/" in text
    assert (tmp_path / "pages" / "x-figures").is_dir()
    done = cli("leaderboard", "--results", "own", "--format", "csv")
    assert done.out == "wrote own/leaderboard.csv\n"
    assert not (tmp_path / "own" / "figures").exists()
    assert cli("leaderboard", "--results", "own").code == 0
    assert (tmp_path / "own" / "figures").is_dir()
    assert not (tmp_path / "leaderboard.md").exists()
    done = cli("validate", "--results", "own")
    assert "page-stale" not in done.out
