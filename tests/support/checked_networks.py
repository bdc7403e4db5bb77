"""Honest networks, trained on digits in a few seconds, and networks with one fault each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from tests.support.spiking_digits import Bare, Small, weights_of
from tests.support.spiking_styles import Above


def pooled(x: Tensor) -> Tensor:
    return (nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4


class Plain(nn.Module):
    """Two layers of ReLU."""

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(pooled(x))))


class Convolutions(nn.Module):
    """Convolutions, batch norm and dropout; subclasses may have another activation."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 5, stride=2)
        self.norm, self.drop = nn.BatchNorm2d(width), nn.Dropout(0.2)
        self.conv2, self.fc = nn.Conv2d(width, 16, 5, stride=2), nn.Linear(400, 10)

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.conv1((x - 0.5) / 0.5)))
        return self.fc(self.drop(self.activation(self.conv2(x)).flatten(1)))


class Smooth(Convolutions):
    def activation(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(x)


class Attention(nn.Module):
    """A transformer layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(24, 2, 48, batch_first=True)
        self.fc = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = nn.functional.avg_pool2d(x, 4).transpose(1, 2).flatten(2)
        return self.fc(self.layer(rows * 2 - 1).flatten(1))


class Jelly(Small):
    """SpikingJelly's neurons, read out by their rate or by a membrane."""

    def __init__(self, steps: int = 8, *, rate: bool = True) -> None:
        super().__init__()
        self.lif = neuron.LIFNode(surrogate_function=surrogate.ATan())
        self.last = neuron.LIFNode(surrogate_function=surrogate.ATan())
        self.steps, self.rate = steps, rate

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        current = self.first(pooled(x))
        out = torch.zeros(len(x), 10)
        for _ in range(self.steps):
            logits = self.second(self.lif(current))
            out = out + (self.last(logits) if self.rate else logits)
        return out / self.steps


class Arctan(Above):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad / (1 + (torch.pi * z) ** 2)


class ByHand(Bare):
    def spike(self, v: Tensor) -> Tensor:
        return Arctan.apply(v - 1)


HONEST: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "wide": lambda: Plain(200),
    "narrow": lambda: Plain(24),
    "convolutions": Convolutions,
    "smooth": Smooth,
    "attention": Attention,
    "snntorch": Small,
    "spikingjelly, rate": Jelly,
    "spikingjelly, membrane": lambda: Jelly(rate=False),
    "by hand": ByHand,
}


@cache
def _weights(name: str, seed: int) -> dict[str, Tensor]:
    return weights_of(HONEST[name], rate=4e-3, seed=seed)


def honest(name: str, seed: int = 0) -> nn.Module:
    """An honest network, trained."""
    net = HONEST[name]()
    net.load_state_dict(_weights(name, seed), strict=False)
    return net.eval()
