"""Threads that share the rows of a call: their results, and the state after them."""

import threading

import pytest
import torch

from robench.attacks import PGD
from robench.engine.chunk import Chunk
from robench.engine.sample_table import reverify
from robench.engine.sweep import ChunkSweep
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import parse_grid
from robench.registry import Model
from robench.runtime.threads import LARGEST, SMALLEST, Workers
from robench.spiking import PATHS, Surrogate
from tests.support.networks import network


def flushes():
    return float(torch.tensor(2.0**-1022, dtype=torch.float64) / 2) == 0


@pytest.fixture(autouse=True)
def _state_comes_back():
    before = torch.get_num_threads(), flushes()
    yield
    after = torch.get_num_threads(), flushes()
    torch.set_num_threads(before[0])
    torch.set_flush_denormal(before[1])
    assert after == before


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def model_of(mode="stbp", architecture="vgg16"):
    module = network(architecture, mode)
    return Model(module, "test/small", 3, shareable=True)


def pictures(n, dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    return torch.rand(n, 3, 8, 8, generator=generator, dtype=dtype)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 31, 64, 100])
def test_parts_are_all_rows_in_order(threads, rows):
    with Workers(shared=True) as workers:
        parts = workers.map(lambda part: list(range(rows))[part], rows)
    assert [row for part in parts for row in part] == list(range(rows))
    if threads > 1:
        assert all(SMALLEST <= len(part) <= LARGEST for part in parts[:-1])


def test_parts_can_be_single_rows(threads):
    with Workers(shared=True) as workers:
        assert workers.map(lambda part: part, 3, one_by_one=True) == [
            slice(k, k + 1) for k in range(3)
        ]
        assert workers.map(lambda part: part, 0, one_by_one=True) == [slice(0, 0)]


def test_the_same_threads_take_parts_of_another_size(threads):
    with Workers(shared=True) as workers:
        size = workers.part(64)
        other = workers.in_parts_of(5)
        parts = other.map(lambda part: list(range(20))[part], 20)
        assert workers.part(64) == size
    assert size == (64 if threads == 1 else min(LARGEST, -(-64 // threads)))
    assert [row for part in parts for row in part] == list(range(20))
    if threads > 1:
        assert {len(part) for part in parts} == {5}


class Sizes(torch.nn.Module):
    """A classifier that notes how many rows it sees at a time."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        brightness = x.flatten(1).mean(1)
        return torch.stack([brightness, 1 - brightness], 1)


@pytest.mark.parametrize("batch", [1, 2, 3, 16, 64])
def test_examples_are_confirmed_in_batches_of_another_size(threads, batch):
    net = Sizes()
    x = pictures(128, torch.float32)
    y = net(x).argmax(1)
    with Workers(shared=True) as workers:
        model = Model(net, "test/sizes", 2, shareable=True)
        chunk = Chunk(x, y, range(len(x)))
        grid = parse_grid(["0.3"])  # all samples are misclassified there after one step
        sweep = ChunkSweep(
            model, PGD(steps=2), chunk, grid, seed=0, batch_size=batch, workers=workers
        )
        size = workers.part(batch)
        rows = sweep.run()
        assert (rows["minimal_position"] == 1).all()
        net.seen.clear()
        assert reverify(sweep.target, sweep.found, batch).all()
    assert sum(net.seen) == len(x)
    assert all(seen != size for seen in net.seen[:-1])  # the rest may have any size


def test_inside_torch_has_one_thread_and_flushes_denormals(threads):
    with Workers(shared=True) as workers:
        states = workers.map(lambda _: (torch.get_num_threads(), flushes()), 64)
        assert set(states) == {(1, True)}
        assert torch.get_num_threads() == 1
        assert flushes()
    assert torch.get_num_threads() == threads
    assert not flushes()


def test_a_model_with_state_is_called_by_one_thread_alone(threads):
    with Workers(shared=False) as workers:
        names = workers.map(lambda part: (threading.current_thread().name, part), 100)
        assert names == [(threading.current_thread().name, slice(0, 100))]
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("architecture", ["vgg16", "flex-vgg16"])
@pytest.mark.parametrize("mode", ["ann", "hybrid", "stbp"])
def test_logits_and_gradients_do_not_depend_on_threads(architecture, mode):
    model, n = model_of(mode, architecture), 37
    x, y = pictures(n), torch.arange(n) % 3
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with Workers(shared=True) as workers:
            view = ModelView(model, y, torch.arange(n), QueryCounter.empty(n), workers=workers)
            swap = {"surrogate": Surrogate("triangle", 2.0), "path": PATHS["stbp-reset"]}
            gradients = (view.gradient(x, y), view.gradient(x, y, "margin", **swap))
            results.append((view.logits(x), *gradients))
            assert len(view.seen) == 3
            assert all(len(wrong) == n for _, wrong in view.seen)
    torch.set_num_threads(before)
    for other in results[1:]:
        for ours, alone in zip(other, results[0], strict=True):
            torch.testing.assert_close(ours, alone, atol=1e-12, rtol=1e-9)


def test_a_sweep_does_not_depend_on_threads(threads):
    model, x = model_of("ann"), pictures(40)
    y = model.logits(x).argmax(1)
    chunk = Chunk(x, y, range(len(x)))
    with Workers(shared=True) as workers:
        options = {"seed": 0, "batch_size": 24, "workers": workers}
        grid = parse_grid(["0.01", "0.03", "0.1"])
        rows = ChunkSweep(model, PGD(steps=4), chunk, grid, **options).run()
    torch.set_num_threads(1)  # threads within operations would wait busily
    alone = ChunkSweep(model, PGD(steps=4), chunk, grid, seed=0, batch_size=24).run()
    assert (rows["minimal_position"] == alone["minimal_position"]).all()
    assert (rows["backwards"] == alone["backwards"]).all()
    assert rows["minimal_position"].nunique() > 1


class TroubleError(Exception):
    pass


def test_an_exception_in_a_part_reaches_the_caller_and_ends_the_threads(threads):
    known = set(threading.enumerate())

    def part(rows):
        if rows.stop == 64:
            raise TroubleError
        return rows

    with pytest.raises(TroubleError), Workers(shared=True) as workers:
        workers.map(part, 64)
    assert set(threading.enumerate()) == known
    assert torch.get_num_threads() == threads
    assert not flushes()
    assert workers.map(lambda rows: rows, 64) == [slice(0, 64)]  # it continues without threads


def test_overrides_are_gone_after_an_exception_in_a_part(threads):
    model = model_of()
    view = ModelView(
        model, torch.zeros(16, dtype=torch.int64), torch.arange(16), QueryCounter.empty(16)
    )
    before = [layer.surrogate for layer in model.module.modules() if hasattr(layer, "surrogate")]
    other = Surrogate("atan", 9.0)
    with Workers(shared=True) as view.workers, pytest.raises(RuntimeError):
        view.gradient(pictures(16)[:, :2], view.labels, surrogate=other)
    after = [layer.surrogate for layer in model.module.modules() if hasattr(layer, "surrogate")]
    assert before == after
    assert not view.seen
    assert not view.queries.backwards.any()


def test_workers_can_be_nested(threads):
    late = Workers(shared=True)  # made outside, entered inside
    with Workers(shared=True) as outer:
        for inner in (Workers(shared=True), Workers(shared=False), late):
            with inner:
                assert sum(part.stop - part.start for part in inner.map(lambda p: p, 64)) == 64
            assert torch.get_num_threads() == 1
            assert flushes()
            assert len(outer.map(lambda p: p, 64)) == (1 if threads == 1 else max(threads, 2))
    assert torch.get_num_threads() == threads
    assert not flushes()


def test_a_program_that_flushes_denormals_goes_on_doing_so(threads):
    torch.set_flush_denormal(True)
    with Workers(shared=True):
        assert flushes()
    assert flushes()
    torch.set_flush_denormal(False)


def test_a_call_of_no_rows_is_one_empty_part() -> None:
    with Workers(shared=True) as workers:
        assert workers.map(lambda rows: (rows.start, rows.stop), 0) == [(0, 0)]
