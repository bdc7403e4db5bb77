"""Smooth functions that are as steep as a step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.support.spiking_styles import T, Timed, X, gradient, own_gradient, styled

SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sigmoid": lambda z, k: torch.sigmoid(k * z),
    "method": lambda z, k: (k * z).sigmoid(),
    "module": lambda z, k: nn.Sigmoid()(k * z),
    "special": lambda z, k: torch.special.expit(k * z),
    "hard sigmoid": lambda z, k: nn.functional.hardsigmoid(k * z),
    "tanh": lambda z, k: 0.5 + 0.5 * torch.tanh(k * z),
    "erf": lambda z, k: 0.5 + 0.5 * torch.erf(k * z),
}


class Smooth(Timed):
    def __init__(self, spike: Callable[[Tensor, float], Tensor], slope: float) -> None:
        super().__init__()
        self.of, self.slope = spike, slope

    def spike(self, v: Tensor) -> Tensor:
        return self.of(v - 1, self.slope)


@pytest.mark.parametrize("name", SLOPES)
def test_it_is_differentiated_as_a_spike(name: str) -> None:
    net = Smooth(SLOPES[name], 1e5)
    found = survey(net, net, X)
    (spike,) = found.spikes
    assert spike.calls == 2 * T
    assert not found.own
    assert not found.refused
    usual, steep = gradient(styled("compare and cast")), gradient(net)
    assert usual.any()
    torch.testing.assert_close(steep, usual, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SLOPES)
def test_a_smooth_one_keeps_its_gradient(name: str) -> None:
    net = Smooth(SLOPES[name], 1.0)
    found = survey(net, net, X)
    assert not found.spikes
    assert torch.equal(gradient(net), own_gradient(net))


def test_one_whose_values_are_all_at_one_limit_is_no_step() -> None:
    class Open(nn.Module):
        """A gate that is always open."""

        def forward(self, x: Tensor) -> Tensor:
            return (x * torch.sigmoid(50 + x)).flatten(1)[:, :10]

    assert not survey(Open(), Open(), X).operations


def test_a_steep_gate_of_its_own_argument_is_a_rectifier() -> None:
    class Swish(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :10] - 0.5
            return z * torch.sigmoid(1e4 * z)

    found = survey(Swish(), Swish(), X)
    assert not found.spikes
    assert not found.own
