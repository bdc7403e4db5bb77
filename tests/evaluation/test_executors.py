from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

import robench.evaluation.chunks
from robench.errors import EvaluationError
from robench.evaluation import Cell, Order, Plan, Request, Unit, run_plan
from robench.evaluation.executors import local, on_ray
from robench.evaluation.executors.local import evaluate_unit
from robench.evaluation.executors.on_ray import RayExecutor
from robench.evaluation.executors.pool import TRIES, PoolExecutor
from robench.evaluation.executors.worker import Bench, LostWorkerError, Place
from robench.results import CellResult, ResultStore
from robench.results.chunks import Chunks
from tests.evaluation.test_resume import COMMAND, comparable
from tests.support.commands import Finished

Cli = Callable[..., Finished]
ATTACKS = ("--attacks", "fgsm,pgd[steps=4]")


class FakeWorker:
    """A worker in a thread of this process, which can be lost."""

    def __init__(self, pool: FakePool) -> None:
        self.pool = pool

    def wait(self) -> None:
        if self.pool.refused > 0:
            self.pool.refused -= 1
            raise LostWorkerError("it did not start")

    def compute(self, unit: Unit) -> CellResult | None:
        if self.pool.losses > 0 and unit.digest.startswith(self.pool.of):
            self.pool.losses -= 1
            raise LostWorkerError("it was killed")
        if self.pool.before is not None:
            self.pool.before(unit)
        cell = self.pool.cells[unit.digest].cell
        return evaluate_unit(unit, cell, self.pool.store)

    def stop(self) -> None:
        self.pool.stopped += 1


class FakePool(PoolExecutor):
    def __init__(self, plan: Plan, store: ResultStore, workers: int = 2) -> None:
        self.said: list[str] = []
        super().__init__(workers, self.said.append)
        self.cells, self.store = {p.digest: p for p in plan.cells}, store
        self.losses = self.refused = self.stopped = self.started = 0
        self.of = ""
        self.before: Callable[[Unit], None] | None = None

    def start(self, number: int) -> FakeWorker:
        self.started += 1
        return FakeWorker(self)


@pytest.fixture
def order(small_models: None, tmp_path: Path) -> Iterator[Order]:
    before = set(threading.enumerate())
    request = Request(limit="30")
    output = tmp_path / "results"
    yield Order(("smallmodels:small",), "fgsm,noise", request, output, Path.cwd())
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # a worker that still computes puts the import path back when it ends


@pytest.fixture
def undisturbed(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 7)
    store = ResultStore(tmp_path / "undisturbed")
    assert len(list(run_plan(order.plan(), store))) == 2
    return comparable(store.root)


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("shards", [["1/2", "2/2"], ["3/3", "1/3", "2/3"], ["2/2", "2/2", "1/2"]])
def test_shards_join_to_the_whole_result(
    shards: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 7)
    one, parts = tmp_path / "one", tmp_path / "parts"
    assert cli(*COMMAND, *ATTACKS, "--output", one).code == 0
    for shard in shards:
        done = cli(*COMMAND, *ATTACKS, "--output", parts, "--shard", shard)
        assert done.code == 0
        assert f"of 2 in shard {shard}" in done.out
    assert comparable(parts) == comparable(one)
    assert not list(parts.rglob("*.chunks"))
    for path in parts.rglob("*.parquet"):
        assert path.read_bytes() == (one / path.relative_to(parts)).read_bytes()
    assert "2 of them done already" in cli(*COMMAND, *ATTACKS, "--output", parts).out


@pytest.mark.usefixtures("small_models")
def test_a_shard_says_that_cells_wait_for_others(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 7)
    command = (*COMMAND, *ATTACKS, "--output", tmp_path)
    plan = cli(*command, "--shard", "1/2", "--dry-run").out
    assert " of 30 " in plan
    done = cli(*command, "--shard", "1/2")
    assert "wait" in done.out
    lacking = cli(*command)  # a run without shards computes what is left
    assert lacking.code == 0
    assert "2 cells, " in lacking.out


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--jobs", "0"), "give at least 1"),
        (("--jobs", "2", "--executor", "local"), "--executor process or ray"),
        (("--shard", "1/2", "--force"), "exclude each other"),
        (("--shard", "3/2"), "the first is 1/8"),
    ],
)
def test_options_that_contradict_are_refused(
    options: tuple[str, ...], text: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(*COMMAND, "--output", tmp_path, *options)
    assert done.code == 2
    assert text in done.err


def test_the_time_of_a_cell_is_that_of_all_its_shards(
    order: Order, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    plan, store = order.plan(), order.store
    whole = Unit.of(plan.cells[0])
    seconds = [
        result.run.seconds if result else None
        for unit in whole.split(len(whole.chunks))
        for result in [evaluate_unit(unit, plan.cells[0].cell, store)]
    ]
    chunks = len(whole.chunks)
    assert seconds[:-1] == [None] * (chunks - 1)
    last = seconds[-1]
    assert last is not None
    assert last > chunks  # each reading of the clock is a second


def test_a_lost_worker_is_replaced_and_its_unit_repeated(
    order: Order, undisturbed: dict[str, object]
) -> None:
    plan, store = order.plan(), order.store
    pool = FakePool(plan, store)
    pool.losses = TRIES - 1
    results = list(run_plan(plan, store, executor=pool))
    assert [result.status for result, _ in results] == ["done"] * 2
    assert comparable(store.root) == undisturbed
    assert len(pool.said) == TRIES - 1
    assert "it was killed" in pool.said[0]
    assert pool.closed


def test_a_unit_that_kills_every_worker_fails_and_the_others_go_on(order: Order) -> None:
    plan, store = order.plan(), order.store
    pool = FakePool(plan, store)
    pool.losses, pool.of = TRIES, plan.cells[0].digest
    found = {result.hash: result for result, _ in run_plan(plan, store, executor=pool)}
    bad, good = (found[planned.digest] for planned in plan.cells)
    assert (bad.status, good.status) == ("failed", "done")
    assert "3 workers were lost with it: it was killed" in bad.reason
    assert [planned.done for planned in order.plan().cells] == [False, True]
    assert all(result.status == "done" for result, _ in run_plan(order.plan(), store))


def test_workers_that_do_not_start_end_the_run(order: Order) -> None:
    plan, store = order.plan(), order.store
    pool = FakePool(plan, store, workers=1)
    pool.refused = TRIES
    with pytest.raises(EvaluationError, match="a worker cannot start: it did not start"):
        list(run_plan(plan, store, executor=pool))
    pool.refused = TRIES - 1
    assert len(list(run_plan(plan, store, executor=pool))) == 2


def test_a_cell_is_joined_although_two_shards_missed_each_other(
    order: Order, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = order.plan(), order.store
    pool, stored = FakePool(plan, store), Chunks.rows
    unseen_yet = {"on": True}

    def unseen(self: Chunks, number: int) -> object:
        return None if unseen_yet["on"] else stored(self, number)

    class Late(FakePool):
        def run(self, units, cells, store):  # type: ignore[no-untyped-def]
            yield from super().run(units, cells, store)
            unseen_yet["on"] = False

    pool.__class__ = Late
    monkeypatch.setattr(Chunks, "rows", unseen)
    assert len(list(run_plan(plan, store, executor=pool))) == 2
    assert comparable(store.root) == undisturbed


def test_a_second_run_on_ray_connects_again(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []
    node = {"Alive": True, "Resources": {"CPU": 2}}
    fake = SimpleNamespace(
        init=lambda **options: connected.append(True),
        shutdown=connected.clear,
        is_initialized=lambda: bool(connected),
        nodes=lambda: [node],
    )
    plan, store = order.plan(), order.store
    pool = FakePool(plan, store)

    def start(self: RayExecutor, number: int) -> FakeWorker:
        assert connected
        return FakeWorker(pool)

    monkeypatch.setattr(on_ray, "_import_ray", lambda: fake)
    monkeypatch.setattr(RayExecutor, "start", start)
    executor = RayExecutor(order, say=pool.say)
    cells = {planned.digest: planned for planned in plan.cells}
    for planned in plan.cells:
        ((_, result),) = executor.run([Unit.of(planned)], cells, store)
        assert result is not None
        assert not connected


@pytest.mark.parametrize("pool", [True, False])
def test_a_cell_that_another_run_stores_after_the_plan_is_not_computed_again(
    pool: bool, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = order.plan(), order.store
    more = replace(order, request=replace(order.request, examples=True)).plan()
    first = {result.hash: result for result, _ in run_plan(order.plan(), store)}
    evaluate, computed = local.evaluate_chunks, Counter[str]()

    def counted(cell: Cell, *arguments: Any) -> CellResult | None:
        computed[cell.attack.name] += 1
        return evaluate(cell, *arguments)

    monkeypatch.setattr(local, "evaluate_chunks", counted)
    for planned, number in ((plan, 0), (more, 1), (more, 1)):  # with examples, then again
        executor = FakePool(planned, store, workers=1) if pool else None
        again = {result.hash: result for result, _ in run_plan(planned, store, executor=executor)}
        assert again.keys() == first.keys()
        assert set(computed.values()) <= {number}
        assert sum(computed.values()) == 2 * number
    assert len(list(run_plan(order.plan(), store, force=True))) == 2
    assert set(computed.values()) == {2}


def test_an_interrupt_ends_all_workers(order: Order) -> None:
    plan, store = order.plan(), order.store
    pool, reached = FakePool(plan, store), Event()

    def hang(unit: Unit) -> None:
        reached.set()
        time.sleep(0.2)

    pool.before = hang
    run = run_plan(plan, store, executor=pool)
    next(run)
    run.close()
    assert reached.is_set()
    assert pool.closed
    assert pool.stopped == 2


def test_a_worker_that_sees_another_model_says_so(order: Order) -> None:
    unit = Unit.of(order.plan().cells[0])
    bench = Bench(order, Place(1, "cpu"))
    other = Unit(unit.pattern, "0" * 64, 0, 1, 30, 1.0)
    with pytest.raises(EvaluationError, match="the same robench and the same files"):
        bench.compute(other)
    result = bench.compute(unit)
    assert result is not None
    assert result.status == "done"
