"""VGG16 with batch norm and a linear head (Simonyan and Zisserman, ICLR 2015), in three modes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robench.architectures.activation import make_activation
from robench.architectures.config import ModelConfig
from robench.architectures.flex import PlasticFlexLayer
from robench.architectures.fusion import Folded, conv, fold, is_frozen, prefers_sparse
from robench.architectures.pooling import Window, max_pool
from robench.errors import EvaluationError
from robench.spiking import direct, over_time

POOL = 0
HALF = Window(2, 2, 0)
VGG16 = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, POOL),
    *(512, 512, 512, POOL),
    *(512, 512, 512, POOL),
)


class ConvNorm(nn.Module):
    """A 3×3 convolution with batch norm over ``(T, N, C, H, W)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self._folded: Folded | None = None
        self.sparse = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalised responses ``(T, N, C, H, W)``."""
        if not is_frozen(self):
            return over_time(lambda y: self.norm(self.conv(y)), x)
        self._folded = folded = fold(self.conv, self.norm, self._folded)
        return over_time(lambda y: conv(y, folded, sparse=self.sparse), x)


class Pool(nn.Module):
    """A 2×2 pooling of stride 2 over ``(T, N, C, H, W)``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Pooled responses ``(T, N, C, H/2, W/2)``."""
        if self.kind == "average":
            return over_time(lambda y: F.avg_pool2d(y, 2), x)
        return over_time(lambda y: max_pool(y, HALF), x)


class VGG(nn.Module):
    """VGG16 from images ``(N, C, 32, 32)`` in [0, 1] to logits ``(N, K)``.

    With the ``input_kind`` ``frames``, the input is ``(N, T, C, 32, 32)``, frame t at step t.
    Smaller images are padded with black: the poolings need 32 pixels a side. Normalisation,
    encoding, time and state are inside. With ``flex-vgg16`` every 3×3 convolution is a
    :class:`~robench.architectures.flex.PlasticFlexLayer`.

    Attributes:
        timesteps: T; may be changed between calls, and is 1 without spikes. With frames it is
            their number.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: ModelConfig, *, counterpart: bool = False, plan: Sequence[int] = VGG16
    ) -> None:
        """Build the network of a card.

        Args:
            config: the card's ``[model]`` table.
            counterpart: build the ANN counterpart, with the training activation.
            plan: output channels at full width, layer by layer; 0 is a pooling.
        """
        super().__init__()
        self.config = config
        timed = not counterpart or config.input_kind == "frames"  # counterparts average over frames
        self.timesteps = config.timesteps if timed and config.timesteps else 1
        self.side = 2 ** list(plan).count(POOL)
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)
        layers: list[nn.Module] = []
        channels = len(config.mean)
        for size in plan:
            if size == POOL:
                layers.append(Pool(config.pool))
                continue
            width = max(1, round(size * config.width))
            if config.architecture == "flex-vgg16":
                layers.append(PlasticFlexLayer(channels, width, config.flex))
            else:
                layers.append(ConvNorm(channels, width))
            layers.append(make_activation(config, counterpart=counterpart))
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, config.classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def normalise(self, x: Tensor) -> Tensor:
        """The input of the first layer for images in [0, 1], padded to 32 pixels a side."""
        height, width = (max(self.side - size, 0) for size in x.shape[-2:])
        if height or width:
            edges = (width // 2, width - width // 2, height // 2, height - height // 2)
            x = F.pad(x, edges)  # black
        return (x - self.mean) / self.std

    def sequence(self, x: Tensor) -> Tensor:
        """The input of the first layer in each time step, ``(T, N, C, H, W)``.

        Raises:
            EvaluationError: the network takes frames, and ``x`` does not have T frames.
        """
        if self.config.input_kind == "images":
            return direct(self.normalise(x), self.timesteps)
        if x.dim() != 5 or x.shape[1] != self.timesteps:
            raise EvaluationError(
                f"the network takes frames (N, {self.timesteps}, C, H, W), not {tuple(x.shape)}"
            )
        return self.normalise(x).transpose(0, 1)

    def read_out(self, x: Tensor) -> Tensor:
        """Activity of the last layer, ``(T, N, D)``, before the head."""
        activity: Tensor = self.features(self.sequence(x))
        return activity.flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)``: the head applied to the mean activity over time."""
        logits: Tensor = self.head(self.read_out(x).mean(0))
        return logits

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Choose sparse or dense convolutions for each layer, based on typical images.

        The function does not change, up to rounding.
        """
        x = self.sequence(x)
        for layer in self.features:
            if isinstance(layer, ConvNorm | PlasticFlexLayer):
                layer.sparse = prefers_sparse(layer.conv, x)
            x = layer(x)

    def sequence_logits(self, x: Tensor) -> Tensor:
        """Logits of each time step, ``(T, N, K)``; their mean is :meth:`forward`."""
        logits: Tensor = self.head(self.read_out(x))
        return logits
