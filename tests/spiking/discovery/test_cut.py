"""Spikes that are cut off from the gradient of the logits, and those that only look it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import robench
from robench.spiking.discovery import Discovery, survey
from tests.support.faulty_networks import StraightThrough
from tests.support.spiking_styles import Steep, T, Timed, X, steep, styled

FUNCTION, COMPARISON = "bound early", "compare and cast"


class Tandem(nn.Module):
    """The logits of a spiking network with the gradient of another network."""

    def __init__(self, spiking: nn.Module, *, without_graph: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spiking, self.without_graph = spiking, without_graph
        self.other = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

    def forward(self, x: Tensor) -> Tensor:
        y = self.other(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.without_graph):
            apart = self.spiking(x) - y
        return y + apart.detach()


def found_in(net: nn.Module) -> Discovery:
    net.eval().requires_grad_(False)
    return survey(net, net, X)


@pytest.mark.parametrize(
    ("style", "without_graph"), [(FUNCTION, False), (FUNCTION, True), (COMPARISON, False)]
)
def test_spikes_of_a_detached_network_are_named(style: str, without_graph: bool) -> None:
    found = found_in(Tandem(styled(style), without_graph=without_graph))
    assert not found.spikes
    assert not found.replaced
    (own,) = found.own
    if style == FUNCTION:
        assert own == f"{Steep.__module__}.Steep ({2 * T} calls, detached)"
    else:
        assert own.startswith("gt in spiking_styles.py")


def test_such_a_network_is_suspect() -> None:
    check = robench.check(Tandem(styled(FUNCTION)), images=X, labels=torch.arange(16) % 10)
    assert "spikes-not-replaced" in check.to_frame()["reason"].tolist()


def test_a_layer_whose_gradient_is_that_of_its_input_is_named_beside_one_that_spikes() -> None:
    class Half(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return steep(v - 1)

        def forward(self, x: Tensor) -> Tensor:
            first = torch.tanh(x.flatten(1) @ self.first)
            return super().forward(x) + (first + (steep(first) - first).detach()) @ self.second

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = Gate()
            self.net = styled(FUNCTION)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.gate(x))

    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (steep(x.flatten(1) - 0.4).view_as(x) - x).detach()

    assert not found_in(Half()).own  # its function has the same shapes there and here
    found = found_in(Named())
    assert found.own == [f"{Steep.__module__}.Steep (1 calls, detached)"]
    (function,) = found.spikes
    assert (function.calls, found.replaced) == (2 * T, True)


class Sign(StraightThrough):
    """The sign of weights or membranes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()


class BinaryWeights(nn.Module):
    """Weights of −1 and 1, of a function that gets no image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Parameter(torch.randn(*s)) for s in ((192, 40), (40, 10)))

    def forward(self, x: Tensor) -> Tensor:
        hidden = Sign.apply((x.flatten(1) - 0.5) @ Sign.apply(self.first))
        return hidden @ Sign.apply(self.second)


class ReadOut(nn.Module):
    """The membranes of the last layer are the logits; its spikes only reset it."""

    def __init__(
        self, make: Callable[[], nn.Module], read: Callable[[Any, Tensor], Tensor]
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(192, 40), nn.Linear(40, 10)
        self.make, self.read = make, read

    def forward(self, x: Tensor) -> Tensor:
        hidden, last = self.make(), self.make()
        out: Any = 0
        for _ in range(T):
            spikes = hidden(self.first(3 * x.flatten(1)))
            out = out + self.read(last, self.second(spikes))
        return out / T


class Unused(nn.Module):
    """A spiking network beside spikes that lead nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.net = styled(FUNCTION)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = steep(x.flatten(1) - 0.4).mean()
        return self.net(x)


def leaky(reset: str, delay: bool) -> Callable[[], nn.Module]:
    return lambda: snntorch.Leaky(
        beta=0.8, init_hidden=True, output=False, reset_mechanism=reset, reset_delay=delay
    )


def of_snntorch(last: Any, current: Tensor) -> Tensor:
    last(current)
    return last.mem


def of_spikingjelly(last: Any, current: Tensor) -> Tensor:
    last(current)
    return last.v


HONEST: dict[str, Callable[[], nn.Module]] = {
    "binary weights": BinaryWeights,
    "unused spikes": Unused,
    **{
        f"snnTorch, {reset}, {delay}": lambda r=reset, d=delay: ReadOut(leaky(r, d), of_snntorch)
        for reset in ("subtract", "zero", "none")
        for delay in (True, False)
    },
    **{
        f"SpikingJelly, {reset}, {detach}": lambda r=reset, d=detach: ReadOut(
            lambda: neuron.LIFNode(v_reset=r, detach_reset=d), of_spikingjelly
        )
        for reset in (None, 0.0)
        for detach in (True, False)
    },
}


@pytest.mark.parametrize("name", HONEST)
def test_nothing_is_named_in_an_honest_network(name: str) -> None:
    found = found_in(HONEST[name]())
    assert found.spikes
    assert found.own == []
