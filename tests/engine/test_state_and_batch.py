"""Networks whose output depends on an earlier call, or on the other images of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import robench
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.errors import EvaluationError
from robench.registry import find_attack
from tests.support.spiking_digits import Bare, trained
from tests.support.spiking_styles import Above
from tests.support.sweeping import sweep

SMALL: dict[str, Any] = {"dataset": "digits", "limit": 6, "eps": ["8/255", "32/255"]}


class SnnTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(192, 10)
        self.neuron = snntorch.Leaky(beta=0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        current = self.head(nn.functional.avg_pool2d(x, 4).flatten(1)) * 3
        return torch.stack([self.neuron(current) + 0.1 * self.neuron.mem for _ in range(3)]).sum(0)


class SpikingJelly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(192, 10)
        self.neuron = neuron.LIFNode()

    def forward(self, x: Tensor) -> Tensor:
        current = self.head(nn.functional.avg_pool2d(x, 4).flatten(1)) * 3
        return torch.stack([self.neuron(current) + 0.1 * self.neuron.v for _ in range(3)]).sum(0)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(192, 10)
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = 0.5 * self.v + self.head(nn.functional.avg_pool2d(x, 4).flatten(1))
        return self.v


class Counting(ByHand):
    """The second call of the life of the network is another one than the first."""

    def forward(self, x: Tensor) -> Tensor:
        self.v = float(self.v) + 1
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1)) * self.v


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (SnnTorch, "robench.compat.snntorch.reset(self)"),
        (SpikingJelly, "functional.reset_net(self)"),
        (ByHand, "reset it at the start of forward"),
        (Counting, "reset it at the start of forward"),
    ],
)
def test_a_network_that_keeps_state_is_refused_before_the_sweep(
    kind: type[nn.Module], advice: str
) -> None:
    with pytest.raises(EvaluationError, match="keeps state between calls") as caught:
        robench.evaluate(kind(), "fgsm", **SMALL)
    assert advice in str(caught.value)


class AtTheStart(SpikingJelly):
    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        return super().forward(x)


class AtTheEnd(ByHand):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        self.v = 0.0
        return out


@pytest.mark.parametrize("kind", [AtTheStart, AtTheEnd])
def test_a_network_that_resets_its_state_runs(kind: type[nn.Module]) -> None:
    found = robench.evaluate(kind(), "fgsm,pgd", **SMALL)
    assert set(found.to_frame()["verdict"]) == {"valid"}


class Centred(nn.Module):
    """Subtracts the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(x, 4).flatten(1)
        return self.head(x - x.mean(0))


class Random(Centred):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1)) + torch.rand(10)


@pytest.mark.parametrize(
    ("kind", "reason"), [(Centred, "depends-on-the-batch"), (Random, "not-deterministic")]
)
def test_logits_that_depend_on_more_than_the_image(kind: type[nn.Module], reason: str) -> None:
    found = robench.evaluate(kind(), "fgsm", **SMALL)
    outcome = found.cells[0].outcome
    assert outcome is not None
    assert outcome.verdict == "invalid"
    assert reason in outcome.reasons


class Wide(Above):
    """A spike whose surrogate is as wide as the batch's standard deviation."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        width = z.std(correction=0) + 1e-3
        return grad * (1 - z.abs() / width).clamp(min=0) / width


class OfTheBatch(Bare):
    def spike(self, v: Tensor) -> Tensor:
        return Wide.apply(v - 1)


def test_a_gradient_that_depends_on_the_batch_is_taken_row_by_row() -> None:
    results = [
        robench.evaluate(trained(OfTheBatch()), "pgd[steps=5]", batch_size=size, **SMALL)
        for size in (1, 4, 16)
    ]
    frames = [result.to_frame() for result in results]
    for frame, result in zip(frames, results, strict=True):
        assert frame["accuracy"].equals(frames[0]["accuracy"])
        outcome = result.cells[0].outcome
        assert outcome is not None
        assert outcome.reasons == ("gradient-depends-on-the-batch",)
        assert outcome.verdict == "suspect"


@pytest.mark.parametrize(
    "attack", ["apgd-ce[steps=5]", "fab-t[steps=5]", "foolbox:LInfFMNAttack[steps=10]"]
)
def test_an_attack_with_its_own_loss_takes_them_row_by_row_too(attack: str) -> None:
    images = find_dataset("digits").load("test").first(8)
    model = robench.Model(trained(OfTheBatch()).double(), dataset="digits")
    model.row_by_row = True
    x, grid = images.tensor().double(), parse_grid([f"{k}/510" for k in range(1, 64)])
    chosen = find_attack(attack).attack
    alone, together = (
        sweep(model, chosen, x, images.targets(), grid, batch_size=size).run() for size in (1, 8)
    )
    assert (alone["minimal_position"] > 0).any()
    assert together["minimal_position"].equals(alone["minimal_position"])
