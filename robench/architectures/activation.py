"""The activation of each mode, in training and in deployment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robench.architectures.config import ModelConfig
from robench.spiking import LIF, LIFParameters, Surrogate, full_precision


class _FloorThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class ClipFloorShift(nn.Module):
    """Quantised clipped ReLU, ``ϑ·clip(⌊xL/ϑ + ½⌋/L, 0, 1)``, with a trained ϑ for the layer.

    It is the mean output over L steps of an IF neuron of threshold ϑ that starts at ϑ/2: Bu et
    al., Optimal ANN-SNN conversion, ICLR 2022. The floor has a straight-through gradient.
    """

    def __init__(self, levels: int, threshold: float = 4.0) -> None:
        super().__init__()
        self.levels = levels
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, x: Tensor) -> Tensor:
        """The activation, of the shape of ``x``."""
        x = full_precision(x)
        steps: Tensor = _FloorThrough.apply(x / self.threshold * self.levels + 0.5)  # type: ignore[no-untyped-call]
        return self.threshold * (steps / self.levels).clamp(0, 1)

    def extra_repr(self) -> str:
        """The number of levels."""
        return f"levels={self.levels}"


def make_activation(config: ModelConfig, *, counterpart: bool) -> nn.Module:
    """The activation of one layer.

    Args:
        config: the model; its mode decides.
        counterpart: build the activation of the ANN counterpart: ReLU for ``ann`` and ``stbp``,
            the quantised ReLU for ``hybrid``.
    """
    if config.mode == "hybrid":
        if counterpart:
            return ClipFloorShift(config.levels)
        neuron = LIFParameters(beta=1.0, initial=0.5)
        return LIF(neuron, surrogate=None, graded=True)
    if config.mode == "stbp" and not counterpart:
        return LIF(config.neuron.parameters(), Surrogate.parse(config.neuron.surrogate))
    return nn.ReLU()
