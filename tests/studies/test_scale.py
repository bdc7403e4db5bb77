from __future__ import annotations

import pytest

from robench.evaluation import Unit
from studies import scale
from studies.scale import made_up, simulate
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

COSTS = {("fgsm", "ann"): 0.01, ("pgd", "ann"): 0.1, ("pgd", "stbp"): 1.0, ("pgd", "hybrid"): 0.5}


def units(count: int = 40) -> list[Unit]:
    return [Unit(f"m{k // 4}", f"c{k}", 0, 40, 10_000, 100.0 * (1 + k % 4)) for k in range(count)]


def certain(monkeypatch: pytest.MonkeyPatch, life: float = 1e12) -> None:
    """Estimates are exact, and workers are lost only after a given time."""
    monkeypatch.setattr(scale, "SCATTER", 0.0)
    monkeypatch.setattr(scale, "LIFE", life)


def test_one_worker_takes_the_sum_of_all_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    certain(monkeypatch)
    run = simulate(units(), 1)
    assert run.hours * 3600 == pytest.approx(scale.START + 10 * 1000 + 10 * scale.LOAD)
    assert (run.loads, run.lost, run.decisions) == (10, 0, 40)


@pytest.mark.parametrize("workers", [2, 7, 64])
def test_more_workers_share_the_work(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    certain(monkeypatch)
    run = simulate(units(), workers)
    ideal = 10_000 / workers
    assert ideal <= run.hours * 3600 <= 1.3 * ideal + scale.START + 4 * scale.LOAD
    assert 0 < run.busy <= 1


def test_lost_work_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    certain(monkeypatch)
    steady = simulate(units(), 4)
    certain(monkeypatch, life=2000.0)
    run = simulate(units(), 4)
    assert run.lost > 0
    assert run.decisions == steady.decisions + run.lost
    assert run.hours > steady.hours


def test_made_up_cells_have_the_measured_costs() -> None:
    made = made_up(COSTS, 36)
    assert len({unit.digest for unit in made}) == 36
    assert len({unit.pattern for unit in made}) == 3
    assert {unit.weight for unit in made} == {cost * 10_000 for cost in COSTS.values()}


@pytest.mark.parametrize("page", ["scale", "reliability"])
def test_the_page_is_of_the_stored_numbers(
    page: str, study: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = study(page, "--check")
    assert done.code == 0, done.err
