from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from robench.attacks import Attack
from robench.errors import UsageError
from robench.evaluation import Plan, Request, Shard, Unit, make_plan
from robench.evaluation.executors.queue import UnitQueue
from robench.evaluation.units import GRAIN, split_units, weight_of
from robench.registry import find_attack, find_attacks, select_models
from robench.results import ResultStore

Cli = Callable[..., object]


def unit(pattern: str = "m", weight: float = 1.0, chunks: int = 1, digest: str = "") -> Unit:
    return Unit(pattern, digest or f"{pattern} {weight}", 0, chunks, 250 * chunks, weight)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    entries = select_models(["digits/*"])
    store = ResultStore(tmp_path_factory.mktemp("store"))
    return make_plan(entries, find_attacks("fgsm,pgd,spgd"), Request(), store)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40, 100])
def test_shards_of_a_cell_are_all_its_chunks(parts: int) -> None:
    whole = unit(weight=80.0, chunks=40)
    shards = whole.split(parts)
    assert [number for shard in shards for number in shard.chunks] == list(range(40))
    assert len(shards) == min(parts, 40)
    assert sum(shard.weight for shard in shards) == pytest.approx(80)
    assert sum(shard.samples for shard in shards) == 10_000
    sizes = [len(shard.chunks) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert [shard.whole for shard in shards] == [parts == 1] * len(shards)


def test_one_worker_gets_whole_cells() -> None:
    units = [unit("a", 100, 40), unit("b", 1, 40)]
    assert split_units(units, 1) == units
    assert split_units([], 4) == []


def test_no_unit_keeps_the_others_waiting() -> None:
    units = [unit("a", 100, 40), *(unit(f"b{k}", 1, 40) for k in range(20))]
    parts = split_units(units, 4)
    assert sum(part.weight for part in parts) == pytest.approx(120)
    assert max(part.weight for part in parts) <= 120 / (GRAIN * 4)
    assert sum(not part.whole for part in parts) == 14  # only the large cell is split


def steps(text: str) -> Attack:
    return find_attack(text).attack


def test_weight_grows_with_the_steps() -> None:
    fgsm, pgd, longer, spgd = map(weight_of, map(steps, ("fgsm", "pgd", "pgd[steps=100]", "spgd")))
    assert fgsm < pgd < spgd
    assert longer == 5 * pgd
    assert weight_of(steps("pgd[restarts=3]")) == 3 * pgd
    assert weight_of(steps("spiking-autoattack")) > spgd
    assert weight_of(steps("apgd-t")) == 9 * weight_of(steps("apgd-ce"))
    assert weight_of(steps("noise")) == 10
    assert weight_of(steps("surrogate-ensemble")) == 20 * len(steps("surrogate-ensemble").finders)
    assert weight_of(steps("foolbox:LinfPGD[steps=7]")) == 7
    assert weight_of(steps("advertorch:LinfPGDAttack[nb_iter=9]")) == 9


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_shards_of_a_run_are_the_run(plan: Plan, count: int) -> None:
    shards = [Shard(number + 1, count).of(plan) for number in range(count)]
    found = [(unit.digest, unit.first, unit.last) for shard in shards for unit in shard]
    whole = {planned.digest for planned in plan.cells}
    assert len(found) == len(set(found)) == len(whole)  # 225 images are one chunk
    assert {digest for digest, _, _ in found} == whole
    loads = [sum(unit.weight for unit in shard) for shard in shards]
    heaviest = max(unit.weight for shard in shards for unit in shard)
    assert max(loads) - min(loads) <= heaviest
    assert shards == [Shard(number + 1, count).of(plan) for number in range(count)]


def test_more_shards_than_work_are_empty(plan: Plan) -> None:
    count = len(plan.cells) + 3
    shards = [Shard(number + 1, count).of(plan) for number in range(count)]
    assert sorted(map(len, shards)) == [0] * 3 + [1] * len(plan.cells)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "0/4",
        "5/4",
        "1/0",
        "-1/4",
        "a/b",
        "1/2/3",
        "1.5/2",
        " 1/2",
        "١/٢",
        "1/99999999999999999999",
    ],
)
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        Shard.parse(text)
    assert Shard.parse("3/8") == Shard(3, 8)


def test_a_worker_keeps_its_model() -> None:
    queue = UnitQueue([unit("a", 1), unit("a", 2), unit("b", 9)])
    first = queue.take("a")
    assert first is not None
    assert (first.pattern, first.weight) == ("a", 2)
    second = queue.take("")
    assert second is not None
    assert second.pattern == "b"


def test_the_model_with_the_most_work_is_first_and_shared_last() -> None:
    queue = UnitQueue([unit("a", 3), unit("a", 2), unit("b", 4), unit("c", 1)])
    taken = [queue.take("") for _ in range(4)]
    assert [t and (t.pattern, t.weight) for t in taken] == [("a", 3), ("b", 4), ("c", 1), ("a", 2)]


def test_a_worker_waits_for_a_unit_that_may_come_back() -> None:
    queue = UnitQueue([unit("a")])
    only = queue.take("")
    assert only is not None
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(queue.take, "")
        queue.put_back(only)
        assert waiting.result(10) == only
        waiting = pool.submit(queue.take, "")
        queue.finish(only)
        assert waiting.result(10) is None


def test_units_of_a_failed_cell_are_taken_out() -> None:
    queue = UnitQueue([*unit("a", 4, 4, "bad").split(4), unit("a", 1, 1, "good")])
    taken = [queue.take("a") for _ in range(2)]
    assert all(taken)
    assert [unit_.digest for unit_ in taken if unit_] == ["good", "bad"]  # the largest first
    assert queue.drop("bad") == 3
    for unit_ in taken:
        assert unit_ is not None
        queue.finish(unit_)
    queue.close()
    assert queue.take("a") is None
