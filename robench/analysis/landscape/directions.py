"""Filter-normalised random directions in the space of the weights (Li et al., NeurIPS 2018)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from robench.errors import EvaluationError

Direction = dict[str, Tensor]
"""A direction for each weight, by name and of its shape."""


class Weights:
    """The weights of a network that are moved; the network has to be a copy.

    These are the weights of linear and convolutional layers, and every other parameter with at
    least two axes longer than 1. Biases, the parameters and statistics of norms, thresholds, and
    vectors with one number for each channel stay.

    Attributes:
        moved: by name.
        at: their values where the network was, by name.
    """

    def __init__(self, network: nn.Module) -> None:
        """Find the weights.

        Raises:
            EvaluationError: there are none.
        """
        dense = {
            id(part.weight)
            for part in network.modules()
            if isinstance(part, nn.Linear | _ConvNd) and isinstance(part.weight, nn.Parameter)
        }
        self.moved = {
            name: value
            for name, value in network.named_parameters()
            if value.is_floating_point() and (id(value) in dense or is_matrix(value.shape))
        }
        if not self.moved:
            raise EvaluationError(
                "the network has no weights to move: none of its parameters is the weight of a "
                "linear or convolutional layer, or has two axes or more"
            )
        self.at = {name: value.detach().clone() for name, value in self.moved.items()}

    def direction(self, seed: int, number: int) -> Direction:
        """A random direction; each filter of it has the norm of the weight's filter.

        It depends on nothing but its arguments and the names, shapes and filter norms of the
        weights, so that networks share the direction of weights of equal name and shape.
        """
        return {name: direction(name, value, seed, number) for name, value in self.at.items()}

    def move(self, *steps: tuple[float, Direction]) -> None:
        """Set the weights to where they were plus the sum of distance × direction.

        They are written in place, so that what a layer derives from them is computed again.
        """
        with torch.no_grad():
            for name, value in self.moved.items():
                there = self.at[name]
                for distance, along in steps:
                    there = there.add(along[name], alpha=distance)
                value.copy_(there)


def is_matrix(shape: Sequence[int]) -> bool:
    """Whether at least two axes are longer than 1."""
    return sum(length > 1 for length in shape) >= 2


def direction(name: str, weight: Tensor, seed: int, number: int) -> Tensor:
    """Gaussian numbers whose filters, along the first axis, have the norms of those of a weight.

    The generator is seeded by 32 bits of a hash, as many as it takes.

    Args:
        name: of the weight.
        weight: of any shape.
        seed: of the directions.
        number: of the direction.
    """
    key = f"{seed}|landscape|{number}|{name}|{tuple(weight.shape)}"
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    filters, wanted = drawn.flatten(1), weight.double().cpu().flatten(1).norm(dim=1)
    scaled: Tensor = filters * (wanted / filters.norm(dim=1))[:, None]
    return scaled.view(weight.shape).to(weight)
