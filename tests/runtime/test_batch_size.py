from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.errors import EvaluationError
from robench.evaluation import Cell, Settings, evaluate_cell
from robench.registry import Model, find_attack, select_models
from robench.results import ResultStore, RunRecord
from robench.runtime import batch_size, memory
from robench.runtime.threads import Workers
from tests.support.commands import Finished

Cli = Callable[..., Finished]
SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


class Tight(nn.Module):
    """A network that runs out of memory above a number of rows; it counts its failures."""

    def __init__(self, net: nn.Module, most: int, error: Exception) -> None:
        super().__init__()
        self.net, self.most, self.error = net, most, error
        self.seen = SimpleNamespace(failures=0)  # an evaluation puts back what is not an object

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            self.seen.failures += 1
            raise self.error
        out: Tensor = self.net(x)
        return out


class TightBehind(torch.autograd.Function):
    """The identity; its backward pass runs out of memory above a number of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, most: int) -> Tensor:
        ctx.most = most
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if len(gradient) > ctx.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradient, None


class TightBackwards(nn.Module):
    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most = net, most

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = TightBehind.apply(self.net(x), self.most)
        return out


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads of torch; where there are two, workers share a call."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def evaluate(
    net: nn.Module, root: Path, attack: str = "pgd[steps=3]"
) -> tuple[pd.DataFrame, RunRecord]:
    dataset = find_dataset("digits")
    model = Model(net, "digits/small", 10, shareable=True)
    settings = Settings(parse_grid(["8/255", "32/255"]), batch_size=48)
    images = dataset.load("test").first(60)
    cell = Cell(model, find_attack(attack), dataset, images, settings)
    store = ResultStore(root)
    result = evaluate_cell(cell, store)
    return store.rows(result), result.run


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("error", SHORT, ids=["cuda", "not enough", "cannot allocate", "python"])
def test_running_out_of_memory_loses_nothing(
    tmp_path: Path, threads: int, error: Exception
) -> None:
    (entry,) = select_models(["smallmodels:small"])
    net = entry.load().module
    tight = Tight(net, 5, error)
    expected, run = evaluate(net, tmp_path / "wide")
    assert run.batch_size == 48
    found, run = evaluate(tight, tmp_path / "tight")
    pd.testing.assert_frame_equal(found, expected)
    assert run.batch_size == 3 * threads
    # the sweep's calls fail once for each halving and thread; those of the checks start again
    assert 0 < tight.seen.failures < 40


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("attack", ["pgd[steps=3]", "apgd-ce[steps=5]"])
def test_a_backward_pass_that_does_not_fit_is_taken_with_fewer_rows(
    tmp_path: Path, threads: int, attack: str
) -> None:
    (entry,) = select_models(["smallmodels:small"])
    net = entry.load().module
    expected, _ = evaluate(net, tmp_path / "wide", attack)
    found, run = evaluate(TightBackwards(net, 4), tmp_path / "tight", attack)
    pd.testing.assert_frame_equal(found, expected)
    assert run.batch_size is not None
    assert run.batch_size <= 4 * threads


def test_halves_keep_the_order_and_are_remembered() -> None:
    asked: list[int] = []

    def part(rows: slice) -> list[int]:
        asked.append(rows.stop - rows.start)
        if asked[-1] > 3:
            raise torch.OutOfMemoryError
        return list(range(rows.start, rows.stop))

    workers = Workers(shared=False)
    assert list(chain(*workers.map(part, 11))) == list(range(11))
    assert asked == [11, 5, 2, 1, 2, 1, 2, 1, 2]
    asked.clear()
    assert list(chain(*workers.map(part, 11))) == list(range(11))
    assert max(asked) == 2
    assert workers.map(part, 0) == [[]]


def test_another_error_is_not_tried_again() -> None:
    calls = []

    def part(rows: slice) -> None:
        calls.append(rows)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Workers(shared=False).map(part, 8)
    assert len(calls) == 1


def test_one_row_is_the_end() -> None:
    def part(rows: slice) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(EvaluationError, match="a single row"):
        Workers(shared=False).map(part, 8)


TOO_LARGE = """
import torch
from torch import nn
from robench import Model

class TooLarge(nn.Module):
    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

def make():
    return Model(TooLarge(), "digits/large", 10)
"""


@pytest.mark.parametrize("size", ["auto", "8"])
def test_a_model_that_fails_at_one_row_is_a_failed_cell_with_a_clear_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    (tmp_path / "toolarge.py").write_text(TOO_LARGE, "utf-8")
    monkeypatch.chdir(tmp_path)
    command = ("--models", "toolarge:make", "--attacks", "fgsm", "--limit", "4", "--eps", "8/255")
    done = cli("run", *command, "--batch-size", size, "--output", tmp_path / "results")
    assert done.code == 1
    assert "failed: memory ran out at a single row" in done.out
    (path,) = tmp_path.rglob("*.json")
    record = json.loads(path.read_text("utf-8"))
    assert record["status"] == "failed"
    assert "\n" not in record["error"]
    assert record["run"]["batch_size"] is None


@pytest.fixture
def plain() -> Model:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 100), nn.ReLU(inplace=True), nn.Linear(100, 2))
    return Model(net, "digits/plain", 2)


def test_outputs_are_counted_once(plain: Model) -> None:
    x = torch.rand(2, 3, 4, 4)
    images, copy = 48, 48  # the network gets a copy, which it may edit in place
    assert batch_size.output_bytes(plain, x) == 4 * 2 * (images + copy + 100 + 2)
    assert not plain.module[1]._forward_hooks


@pytest.mark.parametrize(("there", "rows"), [(2**40, 64), (0, 1), (40 * 198 * 4 * 3, 20)])
def test_rows_follow_the_capacity(
    plain: Model, monkeypatch: pytest.MonkeyPatch, there: int, rows: int
) -> None:
    monkeypatch.setattr(batch_size, "capacity", lambda device: there)
    assert batch_size.choose_rows(plain, torch.rand(10, 3, 4, 4)) == rows


def test_a_gpu_is_measured_with_as_many_rows_as_fit(
    plain: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5000)
    tight = Model(Tight(plain.module, 4, SHORT[0]), "digits/tight", 2)
    assert batch_size._on_cuda(tight, torch.rand(8, 3, 4, 4)) == 1000
    assert tight.module.seen.failures == 1


def test_the_capacity_of_the_cpu_is_the_memory_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "allowed", lambda: 12345)
    assert batch_size.capacity(torch.device("cpu")) == 12345
