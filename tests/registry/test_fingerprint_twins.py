"""Pairs of networks that differ in little, and compute something else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from robench.registry.fingerprint import network_sha256


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.setup()

    def setup(self) -> None:
        return None

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class Shared(Base):
    def setup(self) -> None:
        self.first = neuron.IFNode()
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.b(self.first(self.a(x))))


class Separate(Shared):
    def setup(self) -> None:
        self.first, self.second = neuron.IFNode(), neuron.IFNode()


def gain(factor: float) -> nn.Module:
    class Net(Base):
        gain = 1.0

        def train(self, mode: bool = True) -> nn.Module:
            self.gain = 1.0 if mode else factor
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) * self.gain

    return Net()


def absent(value: float | None) -> nn.Module:
    class Net(Base):
        gain: float | None = 2.0

        def setup(self) -> None:
            self.gain = value

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) * (self.gain or 1.0)

    return Net()


def underscored(value: float) -> nn.Module:
    class Net(Base):
        _tau_ = value

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) * self._tau_

    return Net()


def ordered(*names: str) -> nn.Module:
    class Net(Base):
        def setup(self) -> None:
            for name in names:
                self.register_buffer(name, torch.tensor(float(len(name))))

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) * next(self.buffers())

    return Net()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Shared, Separate),
        (lambda: gain(1.0), lambda: gain(3.0)),
        (lambda: absent(None), lambda: absent(2.0)),
        (lambda: underscored(1.0), lambda: underscored(2.0)),
        (lambda: ordered("one", "three"), lambda: ordered("three", "one")),
    ],
)
def test_their_fingerprints_differ(
    first: Callable[[], nn.Module], second: Callable[[], nn.Module]
) -> None:
    assert network_sha256(first()) == network_sha256(first())
    assert network_sha256(first()) != network_sha256(second())
