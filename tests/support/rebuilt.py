"""A checkpoint of spiking VGG16, rebuilt with the neurons of other libraries and by hand."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import snntorch
import torch
from snntorch import surrogate as slopes
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from robench import load_model
from robench.architectures.vgg import VGG, ConvNorm, Pool
from robench.spiking import spiking_layers

TIMESTEPS = 4
"""Fewer than the ten of the card, to save time."""


def checkpoint(*, reset: str = "subtract") -> VGG:
    """``digits/vgg16-stbp`` with fewer steps; its neurons may reset in another way."""
    network = deepcopy(load_model("digits/vgg16-stbp").module)
    assert isinstance(network, VGG)
    network.timesteps = TIMESTEPS
    for layer in spiking_layers(network):
        layer.parameters_ = replace(layer.parameters_, reset=reset)
    return network


class Rebuilt(nn.Module):
    """Its layers, with other neurons; a subclass says how it goes through time."""

    mean: Tensor
    std: Tensor

    def __init__(self, neuron: Callable[[], nn.Module], *, reset: str = "subtract") -> None:
        super().__init__()
        own = checkpoint(reset=reset)
        self.timesteps = own.timesteps
        self.register_buffer("mean", own.mean)
        self.register_buffer("std", own.std)
        self.features = nn.ModuleList()
        for layer in own.features:
            if isinstance(layer, ConvNorm):
                self.features.append(nn.Sequential(layer.conv, layer.norm))
            else:
                self.features.append(nn.MaxPool2d(2) if isinstance(layer, Pool) else neuron())
        self.head = own.head
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)``, step by step."""
        x, total = (x - self.mean) / self.std, torch.zeros(())
        state: dict[int, tuple[Tensor, ...]] = {}
        for _ in range(self.timesteps):
            y = x
            for number, layer in enumerate(self.features):
                if isinstance(layer, nn.Sequential | nn.MaxPool2d):
                    y = layer(y)
                else:
                    y, *rest = self.spikes(layer, y, state.get(number, ()))
                    state[number] = tuple(rest)
            total = total + y.flatten(1)
        return self.head(total / self.timesteps)

    def spikes(self, layer: nn.Module, y: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The output of a layer of neurons, and its state."""
        return layer(y, *state)


class OfSnnTorch(Rebuilt):
    """With ``snntorch.Leaky``."""

    def __init__(self, slope: Callable[[Tensor], Tensor] | None = None) -> None:
        slope = slope or slopes.atan(alpha=2.0)
        super().__init__(lambda: snntorch.Leaky(beta=0.5, spike_grad=slope))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, from a fresh state."""
        for layer in self.modules():
            if isinstance(layer, snntorch.Leaky):
                layer.reset_mem()
        return super().forward(x)


def _lif(mode: str) -> nn.Module:
    return neuron.LIFNode(tau=2.0, decay_input=False, step_mode=mode, v_reset=0.0)


class OfSpikingJelly(Rebuilt):
    """With ``LIFNode``, which resets to zero, step by step."""

    def __init__(self) -> None:
        super().__init__(lambda: _lif("s"), reset="zero")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, from a fresh state."""
        functional.reset_net(self)
        return super().forward(x)

    def spikes(self, layer: nn.Module, y: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The neuron keeps its own state."""
        return (layer(y),)


class OfSpikingJellyAtOnce(Rebuilt):
    """With ``LIFNode`` over all time steps at once."""

    def __init__(self) -> None:
        super().__init__(lambda: _lif("m"), reset="zero")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, layer by layer."""
        functional.reset_net(self)
        x = ((x - self.mean) / self.std).expand(self.timesteps, *x.shape)
        for layer in self.features:
            if isinstance(layer, nn.Sequential | nn.MaxPool2d):
                x = layer(x.flatten(0, 1)).unflatten(0, (self.timesteps, -1))
            else:
                x = layer(x)
        return self.head(x.flatten(2).mean(0))


class _Compared(nn.Module):
    def forward(
        self, current: Tensor, v: Tensor | float = 0.0, s: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        v = 0.5 * v + current - s
        spikes = (v > 1).to(v.dtype)
        return spikes, v, spikes.detach()


class ByHand(Rebuilt):
    """With a comparison, which has no gradient."""

    def __init__(self) -> None:
        super().__init__(_Compared)
