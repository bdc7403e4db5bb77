"""The order in which a sweep visits the ε, against a brute force, and what the order saves."""

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
    """What a made-up attack can do to one sample.

    Attributes:
        points: length of the grid.
        runs: for each stage the positions at which its run breaks the sample.
        shrinks: positions at which a witness from above, shrunk, breaks it.
        deeper: how many positions deeper than it was sought a break lies.
    """

    points: int
    runs: tuple[frozenset[int], ...]
    shrinks: frozenset[int] = frozenset()
    deeper: int = 0


@dataclass
class Trace:
    """What a search did: ``(slot, stage, point)`` of runs and of shrunk witnesses, and the end.

    Attributes:
        highs: the smallest position known to be broken, at the end of each stage of slot 0.
    """

    search: Search
    runs: list[tuple[int, int, int]]
    shrinks: list[tuple[int, int, int]]
    broken: set[int]
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
            breaks = point in world.runs[stage]
        else:
            trace.shrinks.append(where)
            breaks = point in world.shrinks
        if breaks:
            deeper = world.deeper if sweep == "fast" and task == BEGIN else 0
            found = max(point - deeper, 1)
            trace.broken.add(found)
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
    assert high == min(trace.broken, default=world.points)
    reached = world.points
    for stage, breakable in enumerate(world.runs):
        if reached == 1:
            assert stage not in trace.highs
            continue
        ended = trace.highs[stage]
        assert ended <= reached
        assert ended == 1 or (0, stage, ended - 1) in trace.runs
        assert ended - 1 not in breakable
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


def test_a_descent_without_luck_stops_at_the_first_position_that_holds():
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs), "fast", ("warm", "cold"))
        high = 5
        for breakable in runs:
            while high - 1 in breakable:
                high -= 1
        assert int(trace.search.high[0]) == high


def test_a_shrunk_witness_saves_the_runs_that_it_passes():
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
def test_a_climb_finds_the_smallest_position_that_breaks(sweep, starts):
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs, frozenset(range(5))), sweep, starts)
        assert int(trace.search.high[0]) == min(runs[0] | runs[1], default=5)
        assert len(set(trace.runs)) == len(trace.runs)
        assert not trace.shrinks


@pytest.mark.parametrize(
    "starts", [("own", "cold"), ("cold", "own"), ("warm", "own")], ids="-".join
)
def test_stages_of_both_kinds_end_where_their_own_rule_says(starts):
    for runs in product(subsets(5), repeat=2):
        trace = drive(World(5, runs), "fast", starts)
        high = 5
        for start, breakable in zip(starts, runs, strict=True):
            if start == "own":
                high = min([high, *breakable])
            else:
                while high - 1 in breakable:
                    high -= 1
        assert int(trace.search.high[0]) == high


def test_a_raw_sweep_visits_every_position_until_a_stage_breaks_it():
    for runs in product(subsets(4), repeat=2):
        trace = drive(World(4, runs), "raw", ("warm", "own"))
        seen = sorted((point, stage) for _, stage, point in trace.runs)
        second = {(point, 1) for point in range(1, 4) if point not in runs[0]}
        assert seen == sorted({(point, 0) for point in range(1, 4)} | second)
        assert trace.broken == runs[0] | runs[1]
        assert not trace.shrinks


def test_only_a_warm_stage_of_a_fast_search_begins_at_a_known_witness():
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
    """Goes up in the first of two phases, and stays there in the second."""

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
    """The rows of a fast sweep on a model of one input that breaks from 0.25 on."""
    linear = torch.nn.Linear(1, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0], [10.0]]))
        linear.bias.copy_(torch.tensor([0.0, -2.5]))
    chunk = Chunk(torch.tensor(x)[:, None], torch.zeros(len(x), dtype=torch.int64), range(len(x)))
    grid = parse_grid(["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"])
    model = Model(linear, "digits/line", 2)
    return ChunkSweep(model, attack, chunk, grid, seed=0, batch_size=4).run()


# A break is seen one phase after the candidate was made, and a shrunk witness is seen later still.
def test_a_witness_keeps_the_name_of_the_member_that_made_it():
    rows = on_a_line(TwoPhases(), [0.0, 0.16])
    assert rows["minimal_position"].tolist() == [3, 1]
    assert rows["found_by"].tolist() == ["up", "up"]


def test_the_witness_itself_is_shrunk():
    rows = on_a_line(TwoPhases(), [0.0])
    assert rows["backwards"].tolist() == [4]  # the runs at 0.6 and 0.2, and none between them


class AtOnce(TwoPhases):
    """Shows the same point whatever the ε."""

    def step(self, view, x, y, eps, state, noise):
        candidate, state = super().step(view, x, y, eps, state, noise)
        return candidate.clamp(max=0.29), state


def test_a_break_counts_at_the_smallest_ball_it_lies_in():
    rows = on_a_line(AtOnce(), [0.0])
    assert rows["minimal_position"].tolist() == [3]
    # the clean image and the witness shrunk to 0.1 and 0.2: the larger balls are passed over
    assert rows["forwards"].tolist() == [3]


def test_the_fast_search_takes_far_fewer_gradients():
    (entry,) = select_models(["digits/vgg16-ann"])
    model, digits = entry.load(), find_dataset("digits")
    images = digits.load("test").first(64)
    grid = parse_grid(digits.protocol.grids["linf"])
    passes, positions = {}, {}
    for sweep in ("fast", "ascending"):
        chunk = Chunk(images.tensor(), images.targets(), range(len(images)))
        search = ChunkSweep(model, PGD(), chunk, grid, seed=0, batch_size=64, sweep=sweep)
        rows = search.run()
        passes[sweep] = rows["backwards"].sum()
        positions[sweep] = rows["minimal_position"].replace(ROBUST, len(grid))
    assert passes["fast"] <= 0.6 * passes["ascending"]
    assert (positions["fast"] <= positions["ascending"]).mean() >= 0.95
    assert set(positions["fast"]) >= {2, 4, 6}  # the samples break all over the grid
