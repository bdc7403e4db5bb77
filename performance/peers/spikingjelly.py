"""VGG16 and FLEX in SpikingJelly's multi-step mode, torch back end."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from performance.peers.plan import (
    FlexParts,
    NotComparable,
    atan_sharpness,
    out_channels,
    stack,
    take_weights,
)
from robench.architectures import ModelConfig
from robench.compat import torchvision

torchvision.prepare()  # SpikingJelly's layers import it

from spikingjelly.activation_based import functional, layer, neuron, surrogate  # noqa: E402


class FlexSequence(FlexParts):
    """All steps of a flexible layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Mixed responses ``(T, N, C, H, W)``."""
        selective = functional.seq_to_ann_forward(x, (self.conv, self.norm))
        invariant = functional.seq_to_ann_forward(x, (self.pool,))[:, :, self.source]
        normed = functional.seq_to_ann_forward(invariant, (self.pool_norm,))
        eta = self.eta.expand(selective.shape[1:3])
        steps = []
        for t in range(len(x)):
            steps.append(eta)
            eta = self.adapt(eta, selective[t], invariant[t])
        logits = self.gain * (normed - self.theta)
        mask = self.squash(logits + torch.stack(steps)[..., None, None])
        return mask * selective + (1 - mask) * invariant


class SequenceNetwork(nn.Module):
    """A card's STBP network, from images ``(N, C, 32, 32)`` to logits ``(N, K)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build it untrained.

        Raises:
            NotComparable: SpikingJelly's neuron computes something else.
        """
        super().__init__()
        if config.mode != "stbp":
            raise NotComparable("SpikingJelly is compared on STBP networks")
        if config.neuron.reset != "zero":
            raise NotComparable("SpikingJelly subtracts at once, robench and snnTorch a step late")
        if not 0 < config.neuron.beta < 1:
            raise NotComparable("SpikingJelly's LIFNode leaks: β must lie between 0 and 1")
        alpha = atan_sharpness(config)
        self.timesteps = config.timesteps or 1
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

        def convolution(channels: int, width: int) -> nn.Module:
            if config.architecture == "flex-vgg16":
                return FlexSequence(channels, width, config)
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            return layer.SeqToANNContainer(OrderedDict(conv=conv, norm=nn.BatchNorm2d(width)))

        def lif() -> nn.Module:
            return neuron.LIFNode(
                tau=1 / (1 - config.neuron.beta),
                decay_input=False,
                v_threshold=config.neuron.threshold,
                v_reset=0.0,
                surrogate_function=surrogate.ATan(alpha=alpha),
                detach_reset=config.neuron.detach_reset,
                step_mode="m",
            )

        def pool() -> nn.Module:
            kind = nn.MaxPool2d(2) if config.pool == "max" else nn.AvgPool2d(2)
            return layer.SeqToANNContainer(kind)

        self.features = stack(config, convolution, lif, pool)
        self.head = nn.Linear(out_channels(config), config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits: the mean of the head's output over time."""
        functional.reset_net(self)
        x = (x - self.mean) / self.std
        y = x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1)
        for module in self.features:
            y = module(y)
        logits: Tensor = functional.seq_to_ann_forward(y.flatten(2), (self.head,)).mean(0)
        return logits


def network(config: ModelConfig, source: nn.Module) -> nn.Module:
    """The network of a card with robench's weights, frozen.

    Raises:
        NotComparable: SpikingJelly computes another function for this card.
    """
    return take_weights(SequenceNetwork(config), source, neuron.LIFNode)
