"""What a user's code changes in the process reaches neither the engine nor other models."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robench
from robench.isolation import ProcessSettings, contained, isolated, standard
from tests.support.commands import Cli

SMALL = {"dataset": "digits", "limit": 6, "eps": ["4/255", "16/255"]}
CHANGES: dict[str, Callable[[], object]] = {
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "numpy errors": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "import path": lambda: sys.path.insert(0, "elsewhere"),
    "folder": lambda: os.chdir("/"),
    "seeds": lambda: (torch.manual_seed(1), np.random.seed(1), random.seed(1)),
    "signals": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
}


def facts() -> tuple[object, ...]:
    """The settings and states that a user could notice."""
    random_states = torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()
    return ProcessSettings.now(), signal.getsignal(signal.SIGINT), *random_states


@contextmanager
def unchanged() -> Iterator[None]:
    before = facts()
    with isolated():  # in case that the test fails
        yield
        assert facts() == before


class Changing(nn.Module):
    """A network whose forward pass changes a setting."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(192, 10)
        self._change = change

    def forward(self, x: Tensor) -> Tensor:
        self._change()
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


@pytest.fixture(scope="module")
def alone() -> robench.Results:
    net = Changing(lambda: None)
    return robench.evaluate(robench.Model(net, dataset="digits", version="1"), **SMALL)


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_a_network_changes_is_put_back(name: str, alone: robench.Results) -> None:
    with unchanged():
        net = robench.Model(Changing(CHANGES[name]), dataset="digits", version="1")
        found = robench.evaluate(net, **SMALL)
    if name != "no gradients":  # a network that switches them off has none
        assert found.to_frame().equals(alone.to_frame())


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_is_the_same_whatever_the_caller_has_set(
    name: str, alone: robench.Results, tmp_path: Path
) -> None:
    with isolated():
        CHANGES[name]()
        before = facts()
        if name == "default device":
            torch.set_default_device(None)  # a network on "meta" has no weights
        own = robench.evaluate(
            robench.Model(Changing(lambda: None), dataset="digits", version="1"), **SMALL
        )
        if name == "default device":
            CHANGES[name]()
        assert facts() == before
    assert own.to_frame().equals(alone.to_frame())


MAKER = """
import torch
{change}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        {change}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = torch.nn.Linear(3072, 10, dtype=torch.float32)

    def forward(self, x):
        {change}
        return self.head(x.flatten(1))


def make():
    {change}
    return Net()
"""
LINES = (
    "torch.set_default_dtype(torch.float64)",
    "torch.set_grad_enabled(False)",
    "torch.set_num_threads(3)",
    "torch.use_deterministic_algorithms(True)",
    "torch.set_float32_matmul_precision('medium')",
    "import warnings; warnings.simplefilter('error')",
    "import numpy; numpy.seterr(all='raise')",
    "import os; os.chdir('/')",
    "print('text on stdout')",
)


@pytest.mark.parametrize("change", LINES)
def test_models_of_the_same_run_give_the_numbers_of_a_run_alone(
    change: str, tmp_path: Path, cli: Cli
) -> None:
    file = tmp_path / f"changing{LINES.index(change)}.py"
    file.write_text(MAKER.format(change=change), "utf-8")
    small = ("--attacks", "fgsm", "--limit", "6", "--eps", "4/255", "--dataset", "digits")
    own = "digits/vgg16-stbp"
    cli("run", "--models", own, *small, "--output", tmp_path / "first")  # imports, signal handlers
    with unchanged():
        for models, folder in ((f"{file}:make,{own}", "both"), (own, "alone")):
            done = cli("run", "--models", models, *small, "--output", tmp_path / folder)
            assert done.code == 0, done.err
            assert "text" not in done.out
    both, alone = (robench.load_results(tmp_path / name).to_frame() for name in ("both", "alone"))
    assert both[both["model"] == own].reset_index(drop=True).equals(alone)
    assert len(both) > len(alone)


def test_what_was_built_under_a_default_is_called_under_it() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3072, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1) * torch.ones(1))

    with isolated():
        torch.set_default_dtype(torch.float64)
        model = robench.Model(Wide(), dataset="digits")
        with contained(model._settings):
            assert torch.get_default_dtype() == torch.float64
        torch.set_default_dtype(torch.float32)
        result = robench.evaluate(model, "pgd", limit=4, eps=["4/255"])
    assert result.cells[0].outcome is not None
    assert result.cells[0].outcome.verdict == "valid"


def test_the_engine_keeps_threads_and_denormal_numbers_of_the_process() -> None:
    tiny = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    for flush in (False, True):
        torch.set_flush_denormal(flush)
        threads = torch.get_num_threads()
        try:
            robench.evaluate("digits/vgg16-stbp", "fgsm", limit=4, eps=["4/255"])
            assert torch.get_num_threads() == threads
            assert (float(tiny / 2) == 0) is flush
        finally:
            torch.set_flush_denormal(False)


@pytest.mark.parametrize("which", ["both", "one"])
def test_products_of_matrices_are_in_float32_and_afterwards_as_the_caller_wants(which: str) -> None:
    def change() -> None:
        if which == "both":
            torch.set_float32_matmul_precision("medium")
        else:  # after which torch has no word for both
            torch.backends.cuda.matmul.fp32_precision = "tf32"

    if which == "one" and not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("both are set together before torch 2.9")
    with isolated():
        change()
        with standard():
            assert torch.get_float32_matmul_precision() == "highest"
            with contained():
                change()
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        if which == "both":
            assert torch.get_float32_matmul_precision() == "medium"
        else:
            assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.get_float32_matmul_precision() == "highest"
