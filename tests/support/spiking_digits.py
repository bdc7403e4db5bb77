"""A small spiking network of snnTorch's neurons, trained on digits in a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import snntorch
import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn

from robench.datasets import DIGITS

T = 4


class Small(nn.Module):
    """Two layers of Leaky neurons; a subclass may spike in another way."""

    def __init__(self, slope: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 80), nn.Linear(80, 10)
        grad = slope or slopes.atan(alpha=2.0)
        self.neurons = snntorch.Leaky(beta=0.5, spike_grad=grad)

    def forward(self, x: Tensor) -> Tensor:
        current = self.first((nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4)
        mem, out = self.neurons.reset_mem(), torch.zeros(len(x), 10)
        for _ in range(T):
            spikes, mem = self.neurons(current, mem)
            out = out + self.second(spikes)
        return out / T


class Bare(Small):
    """The same network, written by hand and without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        current = self.first((nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4)
        v = spikes = torch.zeros_like(current)
        out = torch.zeros(len(x), 10)
        for _ in range(T):
            v = 0.5 * v + current - spikes
            spikes = self.spike(v)
            out = out + self.second(spikes)
        return out / T

    def spike(self, v: Tensor) -> Tensor:
        return (v > 1).float()


@cache
def weights() -> dict[str, Tensor]:
    """The weights after training with the arc tangent."""
    return weights_of(Small, rate=5e-3)


def weights_of(make: Callable[[], nn.Module], *, rate: float, seed: int = 0) -> dict[str, Tensor]:
    """The weights of a network, without those of its neurons, after six epochs of digits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net, data = make(), DIGITS.load("train")
        x, y = data.tensor(), data.targets()
        optimiser = torch.optim.Adam(net.parameters(), rate)
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimiser.step()
    return {name: value for name, value in net.state_dict().items() if "neurons" not in name}


def trained(net: Small) -> Small:
    """A network with these weights."""
    net.load_state_dict(weights(), strict=False)
    return net
