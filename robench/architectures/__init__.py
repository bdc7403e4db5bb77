"""The networks of the published models, built from the ``[model]`` table of a card."""

from robench.architectures.activation import ClipFloorShift
from robench.architectures.config import FlexConfig, InputKind, Mode, ModelConfig, NeuronConfig
from robench.architectures.flex import PlasticFlexLayer
from robench.architectures.vgg import VGG

VERSION = 1
"""Increased when the function that a card's network computes changes."""


def build(config: ModelConfig, *, counterpart: bool = False) -> VGG:
    """The untrained network of a card, or its ANN counterpart."""
    return VGG(config, counterpart=counterpart)


__all__ = [
    "VERSION",
    "VGG",
    "ClipFloorShift",
    "FlexConfig",
    "InputKind",
    "Mode",
    "ModelConfig",
    "NeuronConfig",
    "PlasticFlexLayer",
    "build",
]
