"""Networks of every kind that users bring: each runs, or ends with a line that says what to do."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robench
from robench.datasets import DIGITS
from robench.errors import EvaluationError, RobenchError
from tests.support.commands import Cli

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning")
SMALL = {"dataset": "digits", "limit": 6, "eps": ["2/255", "8/255"]}


def plain() -> nn.Sequential:
    """A network of ordinary layers that is right on most digits: nearest class mean."""
    data = DIGITS.load("train")
    images, labels = data.tensor(), data.targets()
    pooled = nn.functional.avg_pool2d(images, 4).flatten(1)
    means = torch.stack([pooled[labels == k].mean(0) for k in range(10)])
    head = nn.Linear(192, 10)
    with torch.no_grad():
        head.weight.copy_(means)
        head.bias.copy_(-means.square().sum(1) / 2)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Identity(), head)


@pytest.fixture(scope="module")
def expected() -> robench.Results:
    return robench.evaluate(plain(), ["fgsm", "pgd", "square[queries=10]"], **SMALL)


def accuracies(results: robench.Results) -> list[float]:
    return results.to_frame()["accuracy"].tolist()


def scripted() -> nn.Module:
    return torch.jit.script(plain())


def traced() -> nn.Module:
    return torch.jit.trace(plain().eval(), torch.rand(2, 3, 32, 32))


def frozen() -> nn.Module:
    return torch.jit.freeze(torch.jit.script(plain().eval()))


class WithScript(nn.Module):
    """A part of it is TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.net = scripted()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Hooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        self.net.register_forward_hook(lambda module, given, out: out * 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) / 2


class Materialised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        head = self.net[3]
        self.net[3] = nn.LazyLinear(10)
        self.net(torch.rand(1, 3, 32, 32))
        self.net[3].load_state_dict(head.state_dict())  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("make", [scripted, traced, frozen, WithScript, Hooked, Materialised])
def test_the_same_function_gives_the_same_numbers(
    make: Callable[[], nn.Module], expected: robench.Results
) -> None:
    found = robench.evaluate(make(), ["fgsm", "pgd", "square[queries=10]"], **SMALL)
    assert accuracies(found) == accuracies(expected)
    assert all(cell.outcome and cell.outcome.verdict == "valid" for cell in found.cells)


class Cast(nn.Module):
    """Casts its input itself."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = plain().to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(self.dtype))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = plain()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: plain().half(),
        lambda: plain().bfloat16(),
        lambda: plain().double(),
        lambda: Cast(torch.float16),
        lambda: Cast(torch.float64),
        Mixed,
    ],
    ids=["half", "bfloat16", "double", "casts to half", "casts to double", "autocast"],
)
def test_other_types_give_nearly_the_same_numbers(
    make: Callable[[], nn.Module], expected: robench.Results
) -> None:
    found = robench.evaluate(make(), ["fgsm", "pgd", "square[queries=10]"], **SMALL)
    assert accuracies(found) == pytest.approx(accuracies(expected), abs=1 / 6 + 1e-9)
    assert not found.to_frame()["reasons"].str.contains("gradient").any()


def test_a_gradient_that_underflows_in_half_precision_is_rescaled() -> None:
    class Faint(nn.Module):
        """Its loss is saturated: the softmax of the true class is 1 in float16."""

        def __init__(self) -> None:
            super().__init__()
            self.net = plain().half()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * 60

    found = robench.evaluate(Faint(), "pgd", **(SMALL | {"eps": ["32/255"]}))
    outcome = found.cells[0].outcome
    assert outcome is not None
    assert outcome.reasons == ("gradient-underflows",)
    assert outcome.curve[-1].accuracy < outcome.clean_accuracy


class MadeInForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.head is None:
            self.head = nn.Linear(3072, 10)
        return self.head(x.flatten(1))


class OneParameterMore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = plain()

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.rand(1))
        return self.net(x) * self.scale


def batch_statistics() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10, track_running_stats=False)
    )


@pytest.mark.parametrize(
    ("make", "texts"),
    [
        (MadeInForward, ("head.weight", "first forward pass", "call it once")),
        (OneParameterMore, ("scale", "first forward pass", "call it once")),
        (batch_statistics, ("two images but not one", "batch statistics")),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), ("call",)),
        (lambda: nn.Flatten(), ("(2, 3072)", "logits of shape (2, 10)")),
        (lambda: nn.Sequential(plain(), nn.Softmax(1), nn.Threshold(2.0, float("nan"))), ("NaN",)),
    ],
)
def test_a_network_that_cannot_be_evaluated_is_one_line(
    make: Callable[[], nn.Module], texts: tuple[str, ...]
) -> None:
    with pytest.raises(RobenchError) as caught:
        robench.evaluate(make(), "fgsm", **SMALL)
    assert "\n" not in str(caught.value)
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "logits",
    [
        lambda x: x.flatten(1)[:, :10].long(),
        lambda x: (x.flatten(1)[:, :10],),
        lambda x: {"logits": x.flatten(1)[:, :10]},
        lambda x: x.flatten(1)[:, :9],
        lambda x: x.flatten(1)[:, :10].tolist(),
    ],
)
def test_something_else_than_logits_is_refused(logits: Callable[[Tensor], object]) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> object:
            return logits(x)

    model = robench.Model(Wrong(), dataset="digits", version="1")
    with pytest.raises(EvaluationError, match="logits of shape"):
        robench.evaluate(model, "fgsm", limit=4)


PRINTING = """
import os

import torch

print("at import")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        print("in the constructor")
        self.head = torch.nn.Linear(3072, 10)

    def forward(self, x):
        print("in the forward pass")
        os.write(1, b"below Python")
        return self.head(x.flatten(1))


def make():
    return Net()
"""


def test_stdout_carries_only_what_robench_prints(tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING, "utf-8")
    command = [sys.executable, "-m", "robench", "run", "--models", "printing.py:make"]
    small = ["--dataset", "digits", "--attacks", "fgsm", "--limit", "4", "--json"]
    done = subprocess.run(
        [*command, *small], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (cell,) = json.loads(done.stdout)
    assert cell["status"] == "done"
    for text in ("at import", "in the constructor", "in the forward pass", "below Python"):
        assert text in done.stderr


def test_a_copy_is_the_same_network(tmp_path: Path, cli: Cli) -> None:
    net = plain()
    first, again = (
        robench.evaluate(n, "fgsm", store=tmp_path, **SMALL) for n in (net, copy.deepcopy(net))
    )
    assert first.cells == again.cells  # the second was not computed
