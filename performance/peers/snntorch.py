"""VGG16 and FLEX as snnTorch's tutorials write a network: for each step, for each layer.

Without spikes the same class is the plain PyTorch network, with one step and ReLU.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from performance.peers.plan import FlexParts, atan_sharpness, out_channels, stack, take_weights
from robench.architectures import ModelConfig
from robench.compat import snntorch as compat

snn = compat.load()
surrogate = importlib.import_module("snntorch.surrogate")


class ExactAtan(torch.autograd.Function):
    """snnTorch's ATan without its cast of the spikes to float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        """Spikes in the type of ``x``."""
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The formula of snnTorch."""
        (x,) = ctx.saved_tensors
        slope = ctx.alpha / 2 / (1 + (torch.pi / 2 * ctx.alpha * x).pow(2))
        return slope * grads[0], None


class FlexStep(FlexParts):
    """One step of a flexible layer."""

    def forward(self, x: Tensor, eta: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mixed response ``(N, C, H, W)`` and η of the next step, ``(N, C)``."""
        selective = self.norm(self.conv(x))
        invariant = self.pool(x)[:, self.source]
        if eta is None:
            eta = self.eta.expand(selective.shape[:2])
        logits = self.gain * (self.pool_norm(invariant) - self.theta)
        mask = self.squash(logits + eta[..., None, None])
        mixed = mask * selective + (1 - mask) * invariant
        return mixed, self.adapt(eta, selective, invariant)


class StepNetwork(nn.Module):
    """A card's network in snnTorch, from images ``(N, C, 32, 32)`` to logits ``(N, K)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, *, exact: bool = False) -> None:
        """Build it untrained.

        Args:
            config: the card's ``[model]`` table.
            exact: with spikes that keep the type of their input, for the proof in float64.
        """
        super().__init__()
        self.timesteps = config.timesteps or 1
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

        def convolution(channels: int, width: int) -> nn.Module:
            if config.architecture == "flex-vgg16":
                return FlexStep(channels, width, config)
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(width)))

        def neuron() -> nn.Module:
            if config.mode == "ann":
                return nn.ReLU()
            alpha = atan_sharpness(config)
            spike = surrogate.atan(alpha=alpha)
            if exact:
                spike = lambda x: ExactAtan.apply(x, alpha)  # noqa: E731
            leaky: nn.Module = snn.Leaky(
                beta=config.neuron.beta,
                threshold=config.neuron.threshold,
                spike_grad=spike,
                reset_mechanism=config.neuron.reset,
                reset_delay=True,
            )
            return leaky

        def pool() -> nn.Module:
            return nn.MaxPool2d(2) if config.pool == "max" else nn.AvgPool2d(2)

        self.features = stack(config, convolution, neuron, pool)
        self.head = nn.Linear(out_channels(config), config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits: the mean of the head's output over time."""
        x = (x - self.mean) / self.std
        compat.reset(self)
        state: list[Tensor | None] = [None] * len(self.features)
        record = []
        for _ in range(self.timesteps):
            y = x
            for k, layer in enumerate(self.features):
                if isinstance(layer, snn.Leaky | FlexStep):
                    y, state[k] = layer(y, state[k])
                else:
                    y = layer(y)
            record.append(self.head(y.flatten(1)))
        return torch.stack(record).mean(0)


def network(config: ModelConfig, source: nn.Module, *, exact: bool = False) -> nn.Module:
    """The network of a card with robench's weights, frozen.

    Raises:
        NotComparable: snnTorch is not written for this card.
    """
    return take_weights(StepNetwork(config, exact=exact), source, snn.SpikingNeuron)


def firing_rates(config: ModelConfig, source: nn.Module, x: Tensor) -> list[float]:
    """Spikes for each neuron and step, layer by layer, on images ``x``."""
    built = network(config, source)
    totals: list[list[float]] = []
    for neuron in (layer for layer in built.modules() if isinstance(layer, snn.Leaky)):
        seen: list[float] = []
        totals.append(seen)

        def note(_: nn.Module, __: Any, out: Any, seen: list[float] = seen) -> None:
            seen.append(float(out[0].mean()))

        neuron.register_forward_hook(note)
    with torch.no_grad():
        built(x)
    compat.forget(built)
    return [sum(seen) / len(seen) for seen in totals]
