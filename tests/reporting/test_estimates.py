"""Estimates of the work of cells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import robench
from robench.datasets import DIGITS
from robench.evaluation import Plan, Request, make_plan
from robench.registry import ModelEntry, find_attacks
from robench.reporting.terminal.estimates import Estimates
from robench.reporting.terminal.progress import duration
from robench.results import ResultStore


def plan_of(net: nn.Module, attacks: str, store: ResultStore, limit: int = 8) -> Plan:
    model = robench.Model(net, dataset="digits")
    entry = ModelEntry(model.id, "Python", False, "", lambda: model, named=True)
    return make_plan([entry], find_attacks(attacks), Request(limit=str(limit)), store)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 10))


def test_without_results_the_passes_are_those_of_a_run_that_finds_nothing(
    net: nn.Module, tmp_path: Path
) -> None:
    store = ResultStore(tmp_path)
    plan = plan_of(net, "pgd,pgd[steps=40],fgsm", store)
    found = Estimates.of(plan, store)
    passes = {p.cell.attack.name: found.passes(p.cell) for p in plan.cells}
    assert passes["pgd[steps=40]"] == 2 * passes["pgd"] > passes["fgsm"] > 0
    assert {found.seconds(p.cell) for p in plan.cells} == {None}


def test_stored_results_of_the_model_give_passes_and_time(net: nn.Module, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    done = robench.evaluate(net, "pgd", dataset="digits", limit=8, store=tmp_path, progress=False)
    (cell,) = done.cells
    assert cell.outcome is not None
    plan = plan_of(net, "pgd,spgd", store, limit=16)
    found = Estimates.of(plan, store)
    pgd, spgd = (planned.cell for planned in plan.cells)
    assert found.passes(pgd) == cell.outcome.forwards + cell.outcome.backwards
    assert found.seconds(pgd) == pytest.approx(2 * cell.run.seconds)  # twice the images
    pace = cell.run.seconds / (found.passes(pgd) * 8)
    assert found.seconds(spgd) == pytest.approx(pace * found.passes(spgd) * 16)
    assert DIGITS.protocol.slice == 225


def test_another_attack_is_expected_to_leave_what_those_before_it_left(
    net: nn.Module, tmp_path: Path
) -> None:
    store = ResultStore(tmp_path)
    alone = Estimates.of(plan := plan_of(net, "spgd", store), store).passes(plan.cells[0].cell)
    done = robench.evaluate(
        net, "fgsm", dataset="digits", eps=["2/255"], limit=60, store=tmp_path, progress=False
    )
    assert done.cells[0].outcome is not None
    left = done.cells[0].outcome.curve[-1].accuracy
    assert 0.02 < left < 1
    plan = plan_of(net, "spgd", store)
    (spgd,) = (planned.cell for planned in plan.cells)
    assert spgd.settings.grid[1].text == "2/255"
    assert Estimates.of(plan, store).passes(spgd) == pytest.approx(left * alone)


def test_times_are_written_for_people() -> None:
    assert [duration(s) for s in (0.4, 59.4, 61, 3599, 7380)] == [
        "0 s", "59 s", "1:01 min", "59:59 min", "2:03 h",
    ]  # fmt: skip
