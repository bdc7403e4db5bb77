"""The results of a user's network, beside the published ones and alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import robench
from robench.epsilon import parse_grid
from robench.reporting import build_report, render, write_figures
from robench.reporting.figures.style import line_styles
from robench.results import ROBUST, ResultStore
from tests.support.commands import Cli
from tests.support.made_up import GRID, Builder, fall

NETS = """
import torch
from torch import nn

import robench


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))


class Spiking(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(48, 30), nn.Linear(30, 10)

    def forward(self, x):
        current = self.first(nn.functional.avg_pool2d(x, 8).flatten(1))
        v, out = torch.zeros_like(current), 0
        for _ in range(3):
            v = 0.7 * v + current
            out = out + self.second((v > 0.1).float())
        return out


def spiking():
    return Spiking()


def declared():
    return robench.Model(Spiking(), "digits/declared", mode="stbp", timesteps=3)
"""
SMALL = ("--dataset", "digits", "--limit", "4", "--attacks", "fgsm,pgd", "--eps", "8/255,16/255")


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_nets_of_rows.py").write_text(NETS, "utf-8")
    monkeypatch.chdir(tmp_path)
    return "own_nets_of_rows.py"


def test_networks_of_a_file_have_rows_with_all_columns_and_figures(
    cli: Cli, nets: str, tmp_path: Path
) -> None:
    names = ",".join(f"{nets}:{name}" for name in ("plain", "spiking", "declared"))
    done = cli("run", "--models", names, *SMALL, "--output", "out/mine")
    assert done.code == 0, done.err
    assert done.out.count(" at 16/255 ") == 6
    done = cli("leaderboard", "--results", "out/mine", "--alone")
    assert done.out == "wrote out/mine/leaderboard.md and 2 figures in out/mine/figures\n"
    text = (tmp_path / "out" / "mine" / "leaderboard.md").read_text("utf-8")
    assert "4 of 225 images; ε 0, 8/255, 16/255." in text
    assert "the card says" not in text
    lines = {line.split(" | ")[1]: line.split(" | ")[2:4] for line in text.splitlines()
             if "| digits/" in line}  # fmt: skip
    assert lines == {
        "digits/plain": ["ann", "—"],
        "digits/spiking": ["spiking", "—"],
        "digits/declared": ["stbp", "3"],
    }
    figures = {path.name for path in (tmp_path / "out" / "mine" / "figures").iterdir()}
    assert figures == {"digits-other-curves.png", "digits-other-auc.png"}
    assert all(name in text for name in figures)


def test_an_own_network_stands_beside_the_published_ones(six: Builder) -> None:
    for attack in ("fgsm", "pgd", "spgd"):
        six.add("digits/mine", attack, fall(90), registered=False, model_config={}, timesteps=6)
        six.add("digits/mine", attack, fall(90)[:50], registered=False, model_config={})
    first, other = build_report(six.store).tables
    (row,) = (row for row in first.rows if row.model == "digits/mine")
    assert (row.rank, row.timesteps, row.registered) == (1, 6, False)
    assert other.differs == ("50 of 225 images",)
    assert [row.model for row in other.rows] == ["digits/mine"]
    text = render(build_report(six.store))
    assert text.count("digits/mine (not registered)") == 1
    assert text.count("| digits/mine |") == 1
    records = list(csv.DictReader(io.StringIO(render(build_report(six.store), "csv"))))
    assert [r["differs"] for r in records if r["model"] == "digits/mine"] == [
        "", "50 of 225 images",
    ]  # fmt: skip
    html = render(build_report(six.store), "html")
    assert "<h2>Digits, other runs</h2>" in html
    assert "50 of 225 images" in html


def test_attacks_with_parameters_are_columns_beside_the_others(builder: Builder) -> None:
    few = fall(30)[:20]
    for attack in ("pgd", "pgd[steps=100]"):
        builder.add("digits/a", attack, few)
        builder.add("digits/a", attack, fall(30))
    first, *others = build_report(builder.store).tables
    assert first.attacks == ("pgd",)
    assert {table.differs: table.attacks for table in others} == {
        ("20 of 225 images",): ("pgd", "pgd[steps=100]"),
        ("attacks with parameters of their own",): ("pgd[steps=100]",),
    }
    assert [table.title for table in others] == ["Digits, other runs", "Digits, other runs 2"]


def test_a_grid_without_the_limit_is_measured_up_to_its_end(builder: Builder) -> None:
    grid = parse_grid(["2/255", "8/255"])
    positions = np.where(fall(30) > 2, ROBUST, fall(30))
    builder.add("digits/a", "pgd", positions, grid=grid)
    wrong = np.where(positions == 0, 0, ROBUST)
    builder.add("digits/b", "pgd", wrong, grid=parse_grid(["0"]))
    report = build_report(builder.store)
    (table,) = report.tables
    assert (table.limit.text, table.headline.text) == ("8/255", "8/255")
    assert table.rows[0].entries["pgd"].auc == table.rows[0].worst_auc
    assert [run.differs for run in report.others] == [("no ε but 0",)]
    builder.add("digits/c", "pgd", fall(50)[:9], grid=GRID, norm="l2")
    *_, last = build_report(builder.store).tables
    assert last.title == "Digits, L2, other runs"


def test_what_is_left_out_is_counted(builder: Builder, cli: Cli, tmp_path: Path) -> None:
    old, new = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    builder.add("digits/a", "pgd", fall(30), created=old, fingerprint="0" * 64)
    builder.add("digits/a", "pgd", fall(25), created=new)
    builder.add_without_outcome("digits/a", "spgd", "failed", "out of memory")
    path = tmp_path / "board.md"
    command = ("leaderboard", "--results", builder.store.root, "--output", path)
    hint = (
        "; 1 cells of older runs or networks and 1 runs without a result left out: "
        "--all-runs shows them"
    )
    assert cli(*command).out.strip().endswith(hint)
    assert "left out" not in cli(*command, "--all-runs").out
    assert "Newer runs take the place of these." in path.read_text("utf-8")
    document = json.loads(render(build_report(builder.store), "json"))
    assert document["without_result"] == []


def test_own_networks_differ_in_colour(builder: Builder, tmp_path: Path) -> None:
    for name in "abcd":
        builder.add(f"digits/{name}", "pgd", fall(30)[:20], model_config={}, timesteps=None)
    report = build_report(builder.store)
    colours = [style["color"] for style in line_styles(report.tables[0].rows)]
    assert len(set(colours)) == 4
    assert all(max(colour) < 0.95 for colour in colours)
    assert len(write_figures(report, tmp_path)) == 2


def test_python_stores_rows_too_and_marks_what_is_invalid(tmp_path: Path) -> None:
    net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10), nn.Threshold(9.0, 0.0))
    found = robench.evaluate(
        net, ["pgd"], dataset="digits", limit=4, store=tmp_path, progress=False
    )
    (cell,) = found.cells
    assert cell.outcome is not None
    assert not cell.outcome.registered
    assert cell.outcome.verdict == "invalid"
    assert "at 16/255" in repr(found)
    bound = cell.outcome.auc["16/255"]
    assert f"AUC ≤{bound:.3f}" in repr(found)
    (table,) = build_report(ResultStore(tmp_path)).tables
    assert table.rows[0].entries["pgd"].auc.value == bound
