"""The order in which a sweep visits the ε, against brute force, and the passes that it saves."""

from dataclasses import dataclass
from itertools import combinations, product
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.attacks import PGD, IterativeAttack, State
from robench.attacks.contract.attack import begin
from robench.datasets import find_dataset
from robench.engine.chunk import Chunk
from robench.engine.search import BEGIN, RUN, SHRINK, Search
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.registry import Model, select_models
from robench.results import ROBUST


@dataclass(frozen=True)
class World:
    """The outcomes of a made-up attack on one sample.

    Attributes:
        points: length of the grid.
        runs: for each stage the positions at which its run finds an adversarial example.
        shrinks: positions at which a projected example is adversarial.
        deeper: how many positions below the attacked one an adversarial example lies.
    """

    points: int
    runs: tuple[frozenset[int], ...]
    shrinks: frozenset[int] = frozenset()
    deeper: int = 0


@dataclass
class Trace:
    """The course of a search.

    Attributes:
        search: the search at its end.
        runs: ``(slot, stage, point)`` of each run.
        shrinks: ``(slot, stage, point)`` of each projected example.
        found: positions at which an adversarial example was found.
        highs: the smallest of them at the end of each stage of slot 0.
    """

    search: Search
    runs: list[tuple[int, int, int]]
    shrinks: list[tuple[int, int, int]]
    found: set[int]
    highs: dict[int, int]


def drive(world, sweep, starts):
    stages = tuple(SimpleNamespace(start=start) for start in starts)
    search = Search(torch.tensor([7]), world.points, stages, sweep)
    trace = Trace(search, [], [], set(), {})
    limit = 4 * len(starts) * world.points * max(1, len(search.sample))
    while search.live.any():
        assert len(trace.runs) + len(trace.shrinks) <= limit, "the search does not end"
        slot = int(search.live.nonzero()[0])
        stage, point, task = (int(x[slot]) for x in (search.stage, search.point, search.task))
        assert 1 <= point < world.points
        assert point < int(search.high[slot])
        where = slot, stage, point
        assert task in (BEGIN, SHRINK)
        if task == BEGIN:
            trace.runs.append(where)
            search.task[slot] = RUN
            adversarial = point in world.runs[stage]
        else:
            trace.shrinks.append(where)
            adversarial = point in world.shrinks
        if adversarial:
            deeper = world.deeper if sweep == "fast" and task == BEGIN else 0
            found = max(point - deeper, 1)
            trace.found.add(found)
            search.found(slot, found)
        else:
            search.not_found(slot)
        trace.highs[stage] = int(search.high[slot])
    return trace


def subsets(points):
    positions = range(1, points)
    sizes = range(points)
    return [frozenset(chosen) for size in sizes for chosen in combinations(positions, size)]


def assert_a_descent_is_sound(world, trace):
    assert len(set(trace.runs)) == len(trace.runs)
    assert len({point for *_, point in trace.shrinks}) == len(trace.shrinks)
    assert len(trace.shrinks) <= max(world.points - 1, 1).bit_length()
    high = int(trace.search.high[0])
    assert high == min(trace.found, default=world.points)
    reached = world.points
    for stage, successes in enumerate(world.runs):
        if reached == 1:
            assert stage not in trace.highs
            continue
        ended = trace.highs[stage]
        assert ended <= reached
        assert ended == 1 or (0, stage, ended - 1) in trace.runs
        assert ended - 1 not in successes
        reached = ended
    assert reached == high


@pytest.mark.parametrize("starts", list(product(["cold", "warm"], repeat=2)), ids="-".join)
@pytest.mark.parametrize("deeper", [0, 1])
def test_a_descent_ends_and_confirms_the_position_below_its_result(starts, deeper):
    for points in (2, 3, 4):
        for first, second, shrinks in product(subsets(points), repeat=3):
            world = World(points, (first, second), shrinks, deeper)
            assert_a_descent_is_sound(world, drive(world, "fast", starts))


positions = st.frozensets(st.integers(1, 11))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(positions, min_size=1, max_size=3), positions, st.integers(0, 4))
def test_a_descent_through_a_long_grid_is_sound(runs, shrinks, deeper):
    world = World(12, tuple(runs), shrinks, deeper)
    assert_a_descent_is_sound(world, drive(world, "fast", ["warm"] * len(runs)))


def test_a_descent_of_runs_alone_stops_at_the_first_robust_position():
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs), "fast", ("warm", "cold"))
        high = 5
        for successes in runs:
            while high - 1 in successes:
                high -= 1
        assert int(trace.search.high[0]) == high


def test_a_projected_example_saves_the_runs_above_it():
    world = World(12, (frozenset(range(4, 12)),), frozenset(range(4, 12)))
    trace = drive(world, "fast", ("warm",))
    assert int(trace.search.high[0]) == 4
    assert trace.runs == [(0, 0, 11), (0, 0, 3)]
    assert len(trace.shrinks) <= 4


@pytest.mark.parametrize(
    ("sweep", "starts"),
    [("ascending", ("warm", "cold")), ("ascending", ("own", "own")), ("fast", ("own", "own"))],
    ids=str,
)
def test_a_climb_finds_the_smallest_position(sweep, starts):
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs, frozenset(range(5))), sweep, starts)
        assert int(trace.search.high[0]) == min(runs[0] | runs[1], default=5)
        assert len(set(trace.runs)) == len(trace.runs)
        assert not trace.shrinks


@pytest.mark.parametrize(
    "starts", [("own", "cold"), ("cold", "own"), ("warm", "own")], ids="-".join
)
def test_climbing_and_descending_stages_can_be_combined(starts):
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs), "fast", starts)
        high = 5
        for start, successes in zip(starts, runs, strict=True):
            if start == "own":
                high = min([high, *successes])
            else:
                while high - 1 in successes:
                    high -= 1
        assert int(trace.search.high[0]) == high


def test_a_raw_sweep_visits_every_position_until_a_stage_succeeds():
    for runs in product(subsets(4), repeat=2):
        trace = drive(World(4, runs), "raw", ("warm", "own"))
        seen = sorted((point, stage) for _, stage, point in trace.runs)
        second = {(point, 1) for point in range(1, 4) if point not in runs[0]}
        assert seen == sorted({(point, 0) for point in range(1, 4)} | second)
        assert trace.found == runs[0] | runs[1]
        assert not trace.shrinks


def test_only_a_warm_stage_of_a_fast_search_starts_from_a_known_example():
    stages = tuple(SimpleNamespace(start=start) for start in ("cold", "warm"))
    for sweep in ("fast", "ascending"):
        search = Search(torch.arange(3), 4, stages, sweep)
        search.stage[:] = torch.tensor([0, 1, 1])
        search.high[:2] = 2
        expected = [False, sweep == "fast", False]
        assert search.warm(torch.arange(3)).tolist() == expected


def test_a_grid_of_zero_alone_has_nothing_to_search():
    for sweep in ("fast", "ascending", "raw"):
        search = Search(torch.arange(3), 1, (SimpleNamespace(start="warm"),), sweep)
        assert not search.live.any()


class TwoPhases(IterativeAttack):
    """Goes up in the first of two phases and does not move in the second."""

    name = "two-phases"
    start = "cold"

    @property
    def finders(self) -> tuple[str, ...]:
        return "up", "stay"

    def init(self, view, x, y, eps, noise) -> State:
        return begin(x, 2)

    def step(self, view, x, y, eps, state, noise):
        view.gradient(state.candidate, y)
        candidate = x + eps[:, None] if int(state.phase[0]) == 0 else state.candidate
        state.steps_left = state.steps_left - 1
        state.phase = state.phase + 1
        return candidate, state


def on_a_line(attack, x):
    """The rows of a fast sweep on a model of one input that misclassifies from 0.25 on."""
    linear = torch.nn.Linear(1, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0], [10.0]]))
        linear.bias.copy_(torch.tensor([0.0, -2.5]))
    chunk = Chunk(torch.tensor(x)[:, None], torch.zeros(len(x), dtype=torch.int64), range(len(x)))
    grid = parse_grid(["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"])
    model = Model(linear, "digits/line", 2)
    return ChunkSweep(model, attack, chunk, grid, seed=0, batch_size=4).run()


# An example is verified one phase after it was made, and a projected example later still.
def test_an_example_keeps_the_name_of_its_finder():
    rows = on_a_line(TwoPhases(), [0.0, 0.16])
    assert rows["minimal_position"].tolist() == [3, 1]
    assert rows["found_by"].tolist() == ["up", "up"]


def test_the_example_itself_is_projected():
    rows = on_a_line(TwoPhases(), [0.0])
    assert rows["backwards"].tolist() == [4]  # the runs at 0.6 and 0.2, and none between them


class AtOnce(TwoPhases):
    """Returns the same point for every larger ε."""

    def step(self, view, x, y, eps, state, noise):
        candidate, state = super().step(view, x, y, eps, state, noise)
        return candidate.clamp(max=0.29), state


def test_an_example_counts_at_the_smallest_ball_that_contains_it():
    rows = on_a_line(AtOnce(), [0.0])
    assert rows["minimal_position"].tolist() == [3]
    # the clean image and the projections to 0.1 and 0.2: no larger ball is evaluated
    assert rows["forwards"].tolist() == [3]


def test_the_fast_search_takes_far_fewer_gradients():
    (entry,) = select_models(["digits/vgg16-ann"])
    model, digits = entry.load(), find_dataset("digits")
    images = digits.load("test").first(64)
    grid = digits.protocol.grids["linf"]
    passes, positions = {}, {}
    for sweep in ("fast", "ascending"):
        chunk = Chunk(images.tensor(), images.targets(), range(len(images)))
        search = ChunkSweep(model, PGD(), chunk, grid, seed=0, batch_size=64, sweep=sweep)
        rows = search.run()
        passes[sweep] = rows["backwards"].sum()
        positions[sweep] = rows["minimal_position"].replace(ROBUST, len(grid))
    assert passes["fast"] <= 0.6 * passes["ascending"]
    assert (positions["fast"] <= positions["ascending"]).mean() >= 0.95
    assert set(positions["fast"]) >= {2, 3, 6}  # minimal ε all over the grid
