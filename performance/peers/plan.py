"""What the peers' networks share: the layers of VGG16, the weights, the limits of a comparison."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robench.architectures import ModelConfig
from robench.spiking import Surrogate

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
ETA_LIMIT = 3.0


class NotComparable(Exception):  # noqa: N818 - not an error: the reason for an empty row
    """A library cannot compute the function that a card describes."""


def stack(
    config: ModelConfig,
    convolution: Callable[[int, int], nn.Module],
    neuron: Callable[[], nn.Module],
    pool: Callable[[], nn.Module],
) -> nn.ModuleList:
    """The layers of a card's VGG16, at the positions in the names of robench's weights."""
    layers: list[nn.Module] = []
    channels = len(config.mean)
    for size in VGG16:
        if isinstance(size, str):
            layers.append(pool())
            continue
        width = max(1, round(size * config.width))
        layers += [convolution(channels, width), neuron()]
        channels = width
    return nn.ModuleList(layers)


def out_channels(config: ModelConfig) -> int:
    """Width of the last convolution."""
    return max(1, round(512 * config.width))


def atan_sharpness(config: ModelConfig) -> float:
    """The α of the card's surrogate; the peers are written with atan alone.

    Raises:
        NotComparable: the card has another surrogate, or a network that was not trained with one.
    """
    if config.mode == "hybrid":
        raise NotComparable("a hybrid network is not written for the peers")
    surrogate = Surrogate.parse(config.neuron.surrogate)
    if surrogate is None or surrogate.name != "atan":
        raise NotComparable(f"the peers are written with atan, not {config.neuron.surrogate}")
    if config.neuron.initial:
        raise NotComparable("the peers' neurons start at rest")
    return surrogate.sharpness


def take_weights(network: nn.Module, source: nn.Module, neuron: type[nn.Module]) -> nn.Module:
    """Copy robench's weights; the buffers of a library's neurons are left unchanged.

    Raises:
        ValueError: the names of the weights and of the network's parameters differ.
    """
    neurons = {name for name, module in network.named_modules() if isinstance(module, neuron)}
    state = {
        name: tensor
        for name, tensor in source.state_dict().items()
        if name.rpartition(".")[0] not in neurons
    }
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if name.rpartition(".")[0] not in neurons]
    if missing or unexpected:
        raise ValueError(f"the weights do not fit: missing {missing}, unexpected {unexpected}")
    return network.to(next(source.parameters()).dtype).eval().requires_grad_(False)


class ExactHardsigmoid(nn.Module):
    """torch's hard sigmoid, but with 1/6 in the type of its input in the backward pass."""

    def forward(self, z: Tensor) -> Tensor:
        """The mask, of the shape of ``z``."""
        return (z / 6 + 0.5).clamp(0, 1)


def make_exact(network: nn.Module) -> None:
    """Replace the parts of a peer's network that round to float32 in a float64 network."""
    for part in network.modules():
        if isinstance(part, FlexParts) and isinstance(part.squash, nn.Hardsigmoid):
            part.squash = ExactHardsigmoid()


class FlexParts(nn.Module):
    """The parameters of a flexible layer, under the names of robench's weights."""

    eta: Tensor
    source: Tensor

    def __init__(self, in_channels: int, out_channels: int, config: ModelConfig) -> None:
        super().__init__()
        if config.flex.threshold != "trained":
            raise NotComparable("redrawn thresholds are a control's")
        self.rate = config.flex.plasticity
        self.squash: nn.Module = nn.Hardsigmoid() if config.flex.sigmoid == "hard" else nn.Sigmoid()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pool_norm = nn.BatchNorm2d(out_channels, affine=False)
        self.gain = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.theta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.register_buffer("eta", torch.zeros(out_channels))
        source = torch.arange(out_channels) % in_channels
        self.register_buffer("source", source, persistent=False)

    def adapt(self, eta: Tensor, selective: Tensor, invariant: Tensor) -> Tensor:
        """η of the next step, ``(N, C)``, from this step's responses ``(N, C, H, W)``."""
        drift = selective.abs().mean((-1, -2)) - invariant.abs().mean((-1, -2))
        return (eta + self.rate * drift).clamp(-ETA_LIMIT, ETA_LIMIT)
