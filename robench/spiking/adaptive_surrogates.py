"""Surrogate derivatives that follow the membrane: they depend on more than one ``z = v − ϑ``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.spiking import kernels
from robench.spiking.neuron_statistics import recorder
from robench.spiking.surrogate import Surrogate, atan

DECAY = 0.9
"""β₁ = β₂: what the moving averages of ASSG keep of their last value."""
RELAXATION = 1.5
"""How many mean deviations ASSG adds to the mean distance."""
OFFSET = 1e-4
MEAN_START, DEVIATION_START = 1.0, 0.0
SCALED_DEVIATION = 1 / 3
"""Where the deviation begins with ``assg_scaled``, in units of a layer's mean distance."""


def pdsg(z: Tensor, scale: float = 1.0) -> Tensor:
    """Potential-dependent surrogate, ``N(z; σ/2, σ²)``: Lun et al., CVPR 2025.

    σ(t) is the standard deviation of the membrane over the steps up to t and over space, for each
    channel. The published code takes it over the samples of the batch as well; here every sample
    has its own, because no result may depend on who else is in a batch. As there, σ = 1 where it
    would be 0, and so it is where there is but one value to take it from.

    Args:
        z: ``(T, N, C, …)``; axes behind C are space.
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

    Its sharpness follows, for each neuron and time step, how far the membrane was from the
    threshold over the steps of the attack::

        M ← 0.9·M + 0.1·|z|
        D ← 0.9·D + 0.1·||z| − M|
        α = a / (M + 1.5·D + 10⁻⁴)        a = 2·tan(π·A/2) / π

    Args:
        z: of any shape.
        bound: A/2 in (0, ½), the bound on the expected degree of vanishing.
        mean: M before this step, of the shape of ``z``; 1 at the beginning of an attack.
        deviation: D; 0 at the beginning.
        frozen: M and D stay what they are, as in all draws of a gradient but the first.

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
class Place:
    """Where the statistics of a layer lie.

    Attributes:
        statistics: ``(N, 2, T·neurons)``, of each neuron M and then D.
        new: which rows have their first gradient, ``(N,)``, on the CPU.
        frozen: whether the statistics stay what they are.
    """

    statistics: Tensor
    new: Tensor
    frozen: bool


def place_of(surrogate: Surrogate | None, like: Tensor) -> Place | None:
    """The place of the layer that is being called, None where it keeps no statistics.

    Args:
        surrogate: of the layer.
        like: a tensor of the layer, ``(T, N, …)``.
    """
    here = recorder()
    if here is None or surrogate is None or not surrogate.stateful:
        return None
    return Place(here.statistics(like, (MEAN_START, DEVIATION_START)), here.new, here.frozen)


def slopes(surrogate: Surrogate, v: Tensor, threshold: float, place: Place | None) -> Tensor:
    """``g`` of all steps of a layer, of the shape and the strides of its membrane ``(T, N, …)``.

    ASSG without a place is that of an attack's first step. As published its averages begin at 1
    and 0, and it takes some forty steps until they fit the network. ``assg_scaled`` lets M begin at
    the distance that the first gradient finds, and D at a third of its mean over the layer.
    """
    if surrogate.elementwise:
        return surrogate.derivative(v - threshold)
    if surrogate.name == "pdsg":
        return torch.empty_like(v).copy_(pdsg(v - threshold, surrogate.sharpness))
    if place is None:
        start = v.new_tensor([MEAN_START, DEVIATION_START])[:, None]
        statistics = start.repeat(v.shape[1], 1, v[:, 0].numel())
        place = Place(statistics, torch.ones(v.shape[1], dtype=torch.bool), frozen=False)
    ordered = v.movedim(2, -1) if v.dim() == 5 else v  # the channel of an image is innermost
    by_row = ordered.reshape(*v.shape[:2], -1).contiguous()
    found = _assg_by_row(surrogate, by_row, threshold, place)
    found = found.view(ordered.shape)
    found = found.movedim(-1, 2) if v.dim() == 5 else found
    return found if found.stride() == v.stride() else torch.empty_like(v).copy_(found)


def _assg_by_row(surrogate: Surrogate, v: Tensor, threshold: float, place: Place) -> Tensor:
    """The slopes of a membrane ``(T, N, size)``; the statistics move on."""
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
    found, *moved = assg(v - threshold, surrogate.sharpness, mean, deviation, frozen=place.frozen)
    mean.copy_(moved[0])
    deviation.copy_(moved[1])
    return found
