"""Custom functions with more than one use: several outputs, and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.spiking.discovery.test_kinds_of_networks import seeded
from tests.support.spiking_styles import Steep, Timed, X, gradient


class Saving(torch.autograd.Function):
    """Spike and membrane after the reset, with a backward pass that needs the spike."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        spike = (v > 1).to(v.dtype)
        ctx.save_for_backward(spike)
        return spike, v * (1 - spike)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (spike,) = ctx.saved_tensors
        return grads[1] * (1 - spike)


def test_a_function_may_save_a_spike_for_its_other_output() -> None:
    class Net(Timed):
        def spike(self, v: Tensor) -> Tensor:
            spike, rest = Saving.apply(v)
            return spike + 0 * rest

    net = Net().requires_grad_(False)
    assert len(survey(net, net, X).spikes) == 1
    gradient(net)


def test_a_function_may_also_make_weights() -> None:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(192, 40), nn.Linear(40, 10)

        def forward(self, x: Tensor) -> Tensor:
            weight = Steep.apply(self.first.weight)
            return self.last(Steep.apply(nn.functional.linear(x.flatten(1) - 0.5, weight)))

    found = survey(net := seeded(Binary), net, X)
    assert not found.own
    assert [spike.calls for spike in found.spikes] == [1]
    gradient(net)
