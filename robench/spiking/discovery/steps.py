"""Where an output steps: the steps of functions, which are given other derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """A step of an output from one value to another: ``height`` above the jump, 0 below.

    Attributes:
        argument: position of the argument z, or of two arguments whose difference is z.
        output: position of the output; None if there is one.
        low: largest z below the jump.
        high: smallest z above it.
        height: the output above minus that below, or that of each channel, where it is known.
        sign: −1 if the output is high where z is low.
        unit: what z is measured in, a positive number.
    """

    argument: tuple[int, ...]
    output: int | None
    low: Tensor
    high: Tensor
    height: Tensor | float
    sign: int
    unit: float

    @cached_property
    def at(self) -> Tensor:
        """The jump, for all neurons or for each channel: 0 if that is possible."""
        middle = (self.low + self.high) / 2
        return torch.where((self.low <= 0) & (self.high >= 0), 0.0, middle)

    def joined(self, other: Step) -> Step | None:
        """The step that both are observations of; None if they jump at different z."""
        same = (self.argument, self.output, self.sign, self.low.shape)
        if same != (other.argument, other.output, other.sign, other.low.shape):
            return None
        low, high = torch.maximum(self.low, other.low), torch.minimum(self.high, other.high)
        return replace(self, low=low, high=high) if bool((low <= high).all()) else None

    def rise(self, z: Tensor) -> Tensor | float:
        """By how much the output rises with z: of channels that never spike, the mean of others."""
        if not isinstance(self.height, Tensor):
            return self.height * self.sign
        mean = float(self.height.nanmean())
        if self.height.dim() != z.dim() or self.height.shape[1] != z.shape[1]:
            return mean * self.sign  # of another layer
        return self.height.nan_to_num(mean).to(z.device, z.dtype) * self.sign

    def distance(self, args: tuple[Any, ...]) -> Tensor:
        """Z of a call."""
        return _difference_of(args, self.argument)


def height_of(steps: Sequence[Step]) -> Tensor | float:
    """That of the spikes of a layer, whose calls may each show that of some channels."""
    tensors = [step.height for step in steps if isinstance(step.height, Tensor)]
    if not tensors:
        return steps[0].height
    tensors = [height for height in tensors if height.shape == tensors[0].shape]
    return torch.stack(tensors).nan_to_num(-torch.inf).amax(0).nan_to_num(neginf=torch.nan)


@dataclass(frozen=True)
class Stairs:
    """An output of more than two levels, as of a quantiser or of a ternary spike.

    Attributes:
        argument: as of a step.
        output: as of a step.
        jumps: the z at which the output changes, in order.
        heights: by how much it rises there.
        seen: the smallest and the largest z.
    """

    argument: tuple[int, ...]
    output: int | None
    jumps: tuple[float, ...]
    heights: tuple[float, ...]
    seen: tuple[float, float]

    @property
    def ternary(self) -> bool:
        """Whether it is a spike that may be negative, or one of two sizes."""
        return len(self.jumps) == 2

    @property
    def unit(self) -> float:
        """Half of the typical distance between two jumps."""
        return median(after - at for at, after in pairwise(self.jumps)) / 2

    @property
    def slope(self) -> float:
        """By how much the output typically rises with z."""
        return median(self.heights) / (2 * self.unit)

    @property
    def ends(self) -> tuple[float, float]:
        """Where it becomes flat, a step beyond the outermost jumps; infinite if that is unseen."""
        step = 2 * self.unit
        low, high = self.jumps[0] - step, self.jumps[-1] + step
        return low if self.seen[0] < low else -math.inf, high if self.seen[1] > high else math.inf

    def distance(self, args: tuple[Any, ...]) -> Tensor:
        """Z of a call."""
        return _difference_of(args, self.argument)


def _difference_of(args: tuple[Any, ...], argument: tuple[int, ...]) -> Tensor:
    z: Tensor = args[argument[0]]
    return z - args[argument[1]] if len(argument) == 2 else z


def typical(z: Tensor) -> float:
    """The median of the magnitudes that are finite and not zero; 1 without any."""
    sizes = z.detach().abs().flatten()
    sizes = sizes[sizes.isfinite() & (sizes > 0)]
    return float(sizes.median()) if sizes.numel() else 1.0
