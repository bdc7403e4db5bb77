"""Resets carry no gradient, and every other connection keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.spiking_styles import Above, T, X, gradient

V = Tensor


class Triangle(Above):
    """A step at 0 with the derivative that the attack will choose."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad * (1 - z.abs()).clamp(min=0)


fire = Triangle.apply
RESETS: dict[str, Callable[[V, V], V]] = {
    "soft": lambda v, s: v - s,
    "hard": lambda v, s: v * (1 - s),
    "where": lambda v, s: torch.where(s > 0, 0.0, v) if not s.requires_grad else v - v * s,
    "bounded": lambda v, s: torch.relu(v - s),
    "from below": lambda v, s: torch.maximum(v - s, torch.tensor(-1.0)),
    "packed": lambda v, s: torch.cat([v - s, v], 1).chunk(2, 1)[0],
    "transposed": lambda v, s: (v.t() - s.t()).t(),
}


class Net(nn.Module):
    """Three layers of neurons with one spike function; a subclass says how they are linked."""

    def __init__(self, reset: str = "soft", *, detached: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = torch.randn(192, 40, generator=generator) * 0.15
        self.second = torch.randn(40, 40, generator=generator) * 0.3
        self.reset, self.detached = RESETS[reset], detached

    def neuron(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.7 * v + current
        s = fire(v - 1)
        return s, self.reset(v, s.detach() if self.detached else s)

    def linked(self, one: Tensor, two: Tensor) -> Tensor:
        """The input of the third layer."""
        return (one + two) @ self.second

    def forward(self, x: Tensor) -> Tensor:
        current, out = (x.flatten(1) - 0.5) @ self.first, torch.zeros(len(x), 40)
        a, b, c = (torch.zeros(len(x), 40) for _ in range(3))
        for _ in range(T):
            one, a = self.neuron(current, a)
            two, b = self.neuron(one @ self.second + one, b)  # an identity beside the weights
            three, c = self.neuron(self.linked(one, two), c)
            out = out + three + 0.1 * two
        return out[:, :10]


class Gated(Net):
    """The third layer gets a product of spikes and no weights at all."""

    def linked(self, one: Tensor, two: Tensor) -> Tensor:
        return 2 * one * (1 - two)


def wanted(net: nn.Module) -> Tensor:
    """The gradient that the network itself gives, with detached resets and this surrogate."""
    leaf = X.clone().requires_grad_()
    out = net(leaf)
    return torch.autograd.grad(out[:, :5].sum() - out[:, 5:].sum(), leaf)[0]


@pytest.mark.parametrize("kind", [Net, Gated])
@pytest.mark.parametrize("reset", RESETS)
def test_the_gradient_is_that_of_detached_resets(kind: type[Net], reset: str) -> None:
    expected = wanted(kind(reset, detached=True))
    assert expected.flatten(1).any(1).all()
    for detached in (False, True):
        torch.testing.assert_close(gradient(kind(reset, detached=detached)), expected)


@pytest.mark.parametrize("reset", ["soft", "hard", "bounded"])
def test_what_is_made_of_a_spike_alone_may_be_the_output_too(reset: str) -> None:
    class Scaled(Net):
        def neuron(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            v = 0.7 * v + current
            s = (fire(v - 1) * 2.0).unsqueeze(1).squeeze(1) / 2
            return s, self.reset(v, s.detach() if self.detached else s)

    expected = wanted(Scaled(reset, detached=True))
    torch.testing.assert_close(gradient(Scaled(reset, detached=False)), expected)


def test_a_second_spike_of_the_same_step_is_no_earlier_one() -> None:
    class Twice(Net):
        def neuron(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            v = 0.7 * v + current
            again = fire(v - 1)
            return fire(v - 1), v - (again.detach() if self.detached else again)

    torch.testing.assert_close(gradient(Twice(detached=False)), wanted(Twice(detached=True)))


def test_a_layer_that_is_called_for_several_layers_keeps_what_links_them() -> None:
    class Shared(Net):
        """One module without state for all layers."""

        def __init__(self, *, detached: bool) -> None:
            super().__init__(detached=detached)
            self.part = Part(super().neuron)

        def neuron(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            return self.part(current, v)

    class Part(nn.Module):
        def __init__(self, neuron: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
            super().__init__()
            self.neuron = neuron

        def forward(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            return self.neuron(current, v)

    torch.testing.assert_close(gradient(Shared(detached=False)), wanted(Shared(detached=True)))
