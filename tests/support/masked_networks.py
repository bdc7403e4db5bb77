"""Networks with faults that published evaluations of spiking networks had, or that hide gradients.

Each is made from a trained honest network, so that its accuracy is what the fault leaves of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import snntorch
import torch
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic

from tests.support.checked_networks import honest, pooled
from tests.support.faulty_networks import Around
from tests.support.spiking_digits import Bare, Small, T, weights_of


class SpikingAround(Around):
    """Something around a trained spiking network."""

    def __init__(self, before: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__(before=before, name="snntorch")


class RandomMask(SpikingAround):
    """Leaves out other pixels at each call."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * (torch.rand_like(x) < 0.8))


class Dropping(SpikingAround):
    """Its dropout is on also in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(nn.functional.dropout(x, 0.2, training=True))


class MadeAtEachCall(Around):
    """A layer that is made, with new weights, in each forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear(10, 10)(self.net(x))


class MadeOnce(Around):
    """A layer that is made in the first forward pass, and that no optimiser and no file has."""

    def __init__(self) -> None:
        super().__init__()
        self.made: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.made is None:
            self.made = nn.Linear(10, 10)
        return self.made(self.net(x))


class MadeAside(Around):
    """The same, in a list, where no module sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.aside: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.aside:
            self.aside.append(nn.Linear(80, 10))
        return self.aside[0](torch.relu(self.net.first(pooled(x))))


class Leaking(Small):
    """SnnTorch's neurons keep their membranes, and no forward pass resets them."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = snntorch.Leaky(beta=0.5, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        current = self.first(pooled(x))
        return torch.stack([self.second(self.lif(current)) for _ in range(T)]).mean(0)


class Drifting(Around):
    """Keeps a mean of its inputs, so slowly that two calls hardly differ."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.999 * self.mean + 0.001 * float(x.detach().mean())
        return self.net(x) + self.mean


class Normalised(nn.Module):
    """Two layers of ReLU on whatever they get; it was trained on normalised images."""

    def __init__(self, mean: float = 0.5, deviation: float = 0.5) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 80), nn.Linear(80, 10)
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        x = (nn.functional.avg_pool2d(x, 4).flatten(1) - self.mean) / self.deviation
        return self.second(torch.relu(self.first(x)))


def without_its_normalisation(mean: float, deviation: float) -> nn.Module:
    """A network that was trained on normalised images, and gets images in [0, 1]."""
    net = Normalised(0.0, 1.0)
    net.load_state_dict(weights_of(lambda: Normalised(mean, deviation), rate=4e-3))
    return net


class RoundedWeights(Around):
    """Weights of 16 levels, through a rounding without gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self._layer(self.net.second, torch.relu(self._layer(self.net.first, pooled(x))))

    @staticmethod
    def _layer(layer: nn.Linear, x: Tensor) -> Tensor:
        step = layer.weight.abs().max() / 8
        return nn.functional.linear(x, (layer.weight / step).round() * step, layer.bias)


class RoundedActivations(Around):
    """Activations of few levels."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.net.first(pooled(x)))
        return self.net.second((hidden * 2).round() / 2)


def integers() -> nn.Module:
    """PyTorch's dynamic quantisation, whose layers have no backward pass."""
    return quantize_dynamic(honest("plain"), {nn.Linear})


class Poisson(SpikingAround):
    """Poisson spikes from torch's generator in each step; no gradient and no expectation."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net((torch.rand_like(x) < x).float()) for _ in range(T)]).mean(0)


class Homeostatic(Bare):
    """Thresholds that follow the membranes within a call, outside of the graph (after HoSNN)."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        current = self.first(pooled(x))
        v, out = torch.zeros_like(current), torch.zeros(len(x), 10)
        threshold = torch.ones_like(current)
        for _ in range(T):
            v = 0.5 * v + current
            spikes = self.neurons.spike_grad(v - threshold)
            v = v - spikes * threshold
            threshold = threshold + self.rate * (v.detach().clamp(min=0) - threshold + 1)
            out = out + self.second(spikes)
        return out / T


class Following(Homeostatic):
    """Thresholds that also keep what they learned from earlier images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(80))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.shift += 0.1 * (self.first(pooled(x)).clamp(min=0).mean(0) - self.shift)
        return self.second(self.neurons.spike_grad(self.first(pooled(x)) - 1 - self.shift))


class RandomLeak(Small):
    """Another leak for each neuron at each call (after RandHet)."""

    def forward(self, x: Tensor) -> Tensor:
        current = self.first(pooled(x))
        beta = 0.3 + 0.4 * torch.rand(80)
        v, out = torch.zeros_like(current), torch.zeros(len(x), 10)
        for _ in range(T):
            v = beta * v + current
            spikes = self.neurons.spike_grad(v - 1)
            v, out = v - spikes, out + self.second(spikes)
        return out / T


def _cosines() -> Tensor:
    n = torch.arange(8.0)
    rows = torch.cos(math.pi * (2 * n + 1) * n[:, None] / 16) / 2
    rows[0] /= math.sqrt(2)
    return rows


COSINES = _cosines()


def jpeg(x: Tensor, rounded: Callable[[Tensor], Tensor] = torch.round, step: float = 0.5) -> Tensor:
    """Each block of 8×8 pixels through the cosine transform, with rounded coefficients."""
    n, c, h, w = x.shape
    blocks = x.view(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    rows = COSINES.to(x)
    coefficients = rounded(rows @ blocks @ rows.T / step) * step
    return (rows.T @ coefficients @ rows).transpose(3, 4).reshape(x.shape).clamp(0, 1)


def straight_jpeg(x: Tensor) -> Tensor:
    """The same with a straight-through gradient."""
    return jpeg(x, lambda z: z + (z.round() - z).detach())


class WholeJpeg(torch.autograd.Function):
    """The same as one function without a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return jpeg(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.zeros_like(grad)


class Winners(nn.Module):
    """A tenth of the neurons of each layer remain, the largest (Xiao et al., ICLR 2020)."""

    def __init__(self, depth: int, width: int = 200) -> None:
        super().__init__()
        sizes = [192, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in sizes[:-1])
        self.last, self.k = nn.Linear(width, 10), width // 10

    def forward(self, x: Tensor) -> Tensor:
        x = pooled(x)
        for layer in self.layers:
            x = layer(x)
            x = torch.where(x >= x.topk(self.k, 1).values[:, -1:], x, 0)
        return self.last(x)


def winners(depth: int) -> nn.Module:
    net = Winners(depth)
    net.load_state_dict(weights_of(lambda: Winners(depth), rate=2e-3))
    return net


def random_outputs(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, classes))
