"""Adaptive surrogate derivatives, which depend on more than the ``z = v − ϑ`` of one spike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.spiking import kernels
from robench.spiking.neuron_statistics import recorder
from robench.spiking.surrogate import Surrogate, atan

DECAY = 0.9
"""β₁ = β₂: the decay of the moving averages of ASSG."""
RELAXATION = 1.5
"""The weight of the mean deviation beside the mean distance in ASSG."""
OFFSET = 1e-4
MEAN_START, DEVIATION_START = 1.0, 0.0
SCALED_DEVIATION = 1 / 3
"""The first deviation of ``assg_scaled``, in units of the layer's mean distance."""


def pdsg(z: Tensor, scale: float = 1.0) -> Tensor:
    """Potential-dependent surrogate, ``N(z; σ/2, σ²)``: Lun et al., CVPR 2025.

    σ(t) is the standard deviation of the membrane over the steps up to t and over space, for each
    channel. The published code also takes it over the samples of the batch. Here every sample has
    its own σ, because no result may depend on the batch. As in the published code σ = 1 replaces
    σ = 0, and here also a σ of a single value.

    Args:
        z: ``(T, N, C, …)``; the axes after C are space.
        scale: a factor on σ; 1 is the published surrogate.
    """
    space = tuple(range(3, z.dim()))
    slopes = torch.empty_like(z)
    for t in range(len(z)):
        so_far = z[: t + 1]
        if (t + 1) * math.prod(z.shape[3:]) > 1:
            sigma = so_far.std((0, *space), keepdim=True)[0]
            sigma = torch.where(sigma == 0, 1.0, sigma)
        else:
            sigma = torch.ones_like(z[t])
        sigma = sigma * scale
        slopes[t] = torch.exp(-(((z[t] - sigma / 2) / sigma) ** 2) / 2)
        slopes[t] /= math.sqrt(2 * math.pi) * sigma
    return slopes


def assg(
    z: Tensor, bound: float, mean: Tensor, deviation: Tensor, *, frozen: bool = False
) -> tuple[Tensor, ...]:
    """Adaptive sharpness surrogate, an arc tangent: Wang et al., CVPR 2026 (arXiv 2512.22522).

    The sharpness of each neuron and time step adapts to the distance between membrane and
    threshold over the steps of the attack::

        M ← 0.9·M + 0.1·|z|
        D ← 0.9·D + 0.1·||z| − M|
        α = a / (M + 1.5·D + 10⁻⁴)        a = 2·tan(π·A/2) / π

    Args:
        z: of any shape.
        bound: A/2 in (0, ½), the bound on the expected degree of vanishing.
        mean: M before this step, of the shape of ``z``; 1 at the start of an attack.
        deviation: D before this step; 0 at the start.
        frozen: do not update M and D, as in all draws of a gradient except the first.

    Returns:
        The derivative, and the new M and D.
    """
    if not frozen:
        distance = z.abs()
        mean = DECAY * mean + (1 - DECAY) * distance
        deviation = DECAY * deviation + (1 - DECAY) * (distance - mean).abs()
    sharpness = _amplitude(bound) / (mean + RELAXATION * deviation + OFFSET)
    return atan(z, sharpness), mean, deviation


def _amplitude(bound: float) -> float:
    return 2 * math.tan(math.pi * bound) / math.pi


@dataclass(frozen=True)
class Statistics:
    """The statistics of a layer.

    Attributes:
        statistics: M and D of each neuron, ``(N, 2, T·neurons)``.
        new: the rows that have their first gradient, ``(N,)``, on the CPU.
        frozen: whether the statistics are not updated.
    """

    statistics: Tensor
    new: Tensor
    frozen: bool


def place_of(
    surrogate: Surrogate | None, like: Tensor, *, strict: bool = True
) -> Statistics | None:
    """The statistics of the layer that is being called; None if its surrogate has none.

    Args:
        surrogate: the surrogate of the layer.
        like: a tensor of the layer, ``(T, N, …)``.
        strict: whether each call of the network has the same layers.
    """
    here = recorder()
    if here is None or surrogate is None or not surrogate.stateful:
        return None
    start = MEAN_START, DEVIATION_START
    statistics, new = here.statistics(like, start, strict=strict)
    return Statistics(statistics, new, here.frozen)


def slopes(surrogate: Surrogate, v: Tensor, threshold: float, place: Statistics | None) -> Tensor:
    """``g`` of all steps of a layer, of the shape and the strides of its membrane ``(T, N, …)``.

    Without stored statistics ASSG uses the initial values, as in the first step of an attack. As
    published, M starts at 1 and D at 0, and they need some forty steps to fit the network. With
    ``assg_scaled`` M starts at the distance found in the first gradient, and D at a third of the
    mean distance over the layer.
    """
    if surrogate.elementwise:
        return surrogate.derivative(v - threshold)
    if surrogate.name == "pdsg":
        return torch.empty_like(v).copy_(pdsg(v - threshold, surrogate.sharpness))
    if place is None:
        start = v.new_tensor([MEAN_START, DEVIATION_START])[:, None]
        statistics = start.repeat(v.shape[1], 1, v[:, 0].numel())
        place = Statistics(statistics, torch.ones(v.shape[1], dtype=torch.bool), frozen=False)
    ordered = v.movedim(2, -1) if v.dim() == 5 else v  # the channel of an image is innermost
    by_row = ordered.reshape(*v.shape[:2], -1).contiguous()
    found = _assg_by_row(surrogate, by_row, threshold, place)
    found = found.view(ordered.shape)
    found = found.movedim(-1, 2) if v.dim() == 5 else found
    return found if found.stride() == v.stride() else torch.empty_like(v).copy_(found)


def _assg_by_row(surrogate: Surrogate, v: Tensor, threshold: float, place: Statistics) -> Tensor:
    """The slopes of a membrane ``(T, N, size)``; the statistics are updated."""
    steps, n, size = v.shape
    if surrogate.name == "assg_scaled" and place.new.any():
        new = place.new.to(v.device)
        distance = (v[:, new] - threshold).abs().movedim(0, 1).flatten(1)
        scale = distance.mean(1, keepdim=True)
        place.statistics[new] = torch.stack(
            [distance, (SCALED_DEVIATION * scale).expand_as(distance)], 1
        )
    if kernels.usable(v, place.statistics):
        found = torch.empty_like(v)
        kernels.call(
            "assg", v, place.statistics, place.statistics.stride(0), found, steps, n, size,
            float(threshold), _amplitude(surrogate.sharpness), not place.frozen,
        )  # fmt: skip
        return found
    mean, deviation = place.statistics.view(n, 2, steps, size).permute(1, 2, 0, 3)
    found, *updated = assg(v - threshold, surrogate.sharpness, mean, deviation, frozen=place.frozen)
    mean.copy_(updated[0])
    deviation.copy_(updated[1])
    return found
