"""What a benchmark of hundreds of models costs: cells measured, the scheduler simulated."""

from __future__ import annotations

import heapq
import json
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from performance.store import STORE, store_rows
from robench.evaluation.executors.queue import UnitQueue
from robench.evaluation.units import Unit, split_units
from robench.reporting import write
from robench.results import CellResult, ResultStore
from studies.pages import render, table_of
from studies.reliability import read_json

DATASET = "cifar10"
ATTACKS = ("fgsm", "pgd", "spgd")
MODES = ("ann", "hybrid", "stbp")
MODELS, ATTACKS_OF_EACH, IMAGES = 500, 12, 10_000
SIMULATED = 100_000
WORKERS = (1, 16, 128, 1024)
START, LOAD = 20.0, 10.0
"""Seconds in which a worker starts, and in which it loads and checks a model."""
LIFE = 24 * 3600.0
"""Mean seconds after which a worker is lost, as on preemptible machines."""
SCATTER = 0.5
"""Standard deviation of the logarithm of true by estimated cost."""


def costs(store: ResultStore) -> dict[tuple[str, str], float]:
    """Core seconds for each image of the published cells, by attack and mode."""
    found: dict[tuple[str, str], list[float]] = {}
    cells, _ = store.cells()
    for cell in cells:
        if cell.outcome is not None and cell.dataset == DATASET and cell.attack in ATTACKS:
            key = cell.attack, cell.outcome.mode
            found.setdefault(key, []).append(_core_seconds(cell))
    return {key: mean(values) for key, values in found.items()}


def _core_seconds(cell: CellResult) -> float:
    assert cell.outcome is not None
    return cell.run.seconds * cell.run.threads / cell.outcome.identity.samples


@dataclass(frozen=True)
class Simulation:
    """What became of a run in the simulation.

    Attributes:
        workers: number of workers.
        hours: from start to end.
        busy: share of the workers' time in which they computed what was kept.
        loads: models that a worker loaded, on average.
        lost: workers that were lost.
        decisions: units that were given out.
        seconds: that the scheduler itself took, measured.
    """

    workers: int
    hours: float
    busy: float
    loads: float
    lost: int
    decisions: int
    seconds: float


def made_up(costs_of: Mapping[tuple[str, str], float], cells: int) -> list[Unit]:
    """Cells of models with twelve attacks each, with the measured costs."""
    units, kinds = [], sorted(costs_of)
    for number in range(cells):
        model, attack = divmod(number, ATTACKS_OF_EACH)
        mode = MODES[model % len(MODES)]
        of_mode = [key for key in kinds if key[1] == mode]
        cost = costs_of[of_mode[attack % len(of_mode)]] * IMAGES
        units.append(Unit(f"model {model}", f"cell {number}", 0, IMAGES // 250, IMAGES, cost))
    return units


def simulate(units: Sequence[Unit], workers: int, seed: int = 0) -> Simulation:
    """Give the units to workers in virtual time by the queue of the executors."""
    rng, started = random.Random(seed), time.process_time()
    queue = UnitQueue(parts := split_units(units, workers))
    events: list[tuple[float, int, int, Unit | None, bool]] = []
    order, loads, lost, useful, now = iter(range(10**9)), 0, 0, 0.0, 0.0
    models, death = [""] * workers, [START + rng.expovariate(1 / LIFE) for _ in range(workers)]
    idle: deque[int] = deque()
    open_units, decisions = len(parts), 0

    def begin(worker: int) -> None:
        nonlocal loads, decisions
        if not queue:
            idle.append(worker)
            return
        unit = queue.take(models[worker])
        assert unit is not None
        decisions += 1
        taken = unit.weight * rng.lognormvariate(-(SCATTER**2) / 2, SCATTER)
        if unit.pattern != models[worker]:
            loads, models[worker] = loads + 1, unit.pattern
            taken += LOAD
        dies = now + taken > death[worker]
        end = death[worker] if dies else now + taken
        heapq.heappush(events, (end, next(order), worker, unit, dies))

    for worker in range(workers):
        heapq.heappush(events, (START, next(order), worker, None, False))
    while open_units:
        now, _, worker, unit, dies = heapq.heappop(events)
        if unit is not None and dies:
            lost, models[worker], death[worker] = (
                lost + 1,
                "",
                now + START + rng.expovariate(1 / LIFE),
            )
            queue.put_back(unit)
            heapq.heappush(events, (now + START, next(order), worker, None, False))
            if idle:
                begin(idle.popleft())
            continue
        if unit is not None:
            queue.finish(unit)
            useful, open_units = useful + unit.weight, open_units - 1
        death[worker] = max(death[worker], now)
        begin(worker)
    took = time.process_time() - started
    return Simulation(
        workers, now / 3600, useful / (now * workers), loads / workers, lost, decisions, took
    )


def measure(store: ResultStore) -> list[Simulation]:
    """The simulations of all numbers of workers."""
    units = made_up(costs(store), SIMULATED)
    return [simulate(units, workers) for workers in WORKERS]


def scale_page(store: ResultStore, simulations: Path, speeds: Path) -> str:
    """The page.

    Args:
        store: the published results.
        simulations: JSON file of :func:`write_simulations`.
        speeds: the results of ``python -m performance store``.
    """
    found = costs(store)
    hours = mean(found.values()) * MODELS * ATTACKS_OF_EACH * IMAGES / 3600
    rows = [(f"{cores:,} cores", f"{hours / cores / 24:,.1f}") for cores in (2, 16, 128, 1024)]
    rows += [
        (f"a GPU as fast as {cores} cores (an assumption)", f"{hours / cores / 24:,.1f}")
        for cores in (50, 200)
    ]
    return render(
        "scale",
        models=MODELS, attacks=ATTACKS_OF_EACH, images=f"{IMAGES:,}", cells=f"{SIMULATED:,}",
        scatter=SCATTER, start=f"{START:.0f}", load=f"{LOAD:.0f}", life=f"{LIFE / 3600:.0f}",
        hours=f"{hours:,.0f}",
        disk=f"{MODELS * ATTACKS_OF_EACH * IMAGES * _row_bytes(store) / 2**30:.1f} GiB",
        costs=table_of(
            ("", *MODES),
            [(f"`{a}`", *(_number(found.get((a, m)), 1000) for m in MODES)) for a in ATTACKS],
            words=1,
        ),
        days=table_of(("on", "days"), rows, words=1),
        simulated=_simulated(simulations),
        store=_stored(speeds),
    )  # fmt: skip


def _stored(path: Path) -> str:
    """The table of the store; empty if it was not measured on the machine of that page."""
    part = read_json(path).get("store")
    return table_of(STORE, list(store_rows(part)), words=2) if part else ""


def _number(value: float | None, factor: float) -> str:
    return "" if value is None else f"{value * factor:,.0f}"


def _row_bytes(store: ResultStore) -> float:
    """Bytes of a sample in the largest published file."""
    cells = [cell for cell in store.cells()[0] if cell.outcome is not None]
    largest = max(cells, key=lambda cell: cell.outcome.identity.samples if cell.outcome else 0)
    assert largest.outcome is not None
    path = store.path(largest.model, largest.attack, largest.hash)
    size = sum(other.stat().st_size for other in path.parent.glob(f"{path.stem}.*"))
    return size / largest.outcome.identity.samples


def _simulated(path: Path) -> str:
    runs = [Simulation(**row) for row in read_json(path)]
    return table_of(
        ("workers", "days", "time at work", "models loaded", "lost", "units", "scheduler, s"),
        [_row(run) for run in runs],
        words=0,
    )


def _row(run: Simulation) -> tuple[str, ...]:
    counts = f"{run.loads:,.1f}", f"{run.lost:,}", f"{run.decisions:,}"
    days = f"{run.hours / 24:,.1f}"
    return f"{run.workers:,}", days, f"{run.busy:.1%}", *counts, f"{run.seconds:.0f}"


def write_simulations(store: ResultStore, path: Path) -> None:
    """Simulate, and write what came of it."""
    rows = [asdict(run) for run in measure(store)]
    write(path, json.dumps(rows, indent=2) + "\n")
