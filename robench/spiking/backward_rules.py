"""Published backward rules of a layer of neurons that do not follow the recursion over time.

Each rule maps the gradient at the output of the layer, ``(T, N, …)``, to the gradient at its input
current. The recursion (STBP) is in :mod:`robench.spiking.neuron`.
"""

from __future__ import annotations

import torch
from torch import Tensor

RGA_SLOPE = 0.2
"""γ: the slope of the rate below the current at which a neuron starts to fire."""
RGA_SATURATION = 1.0
"""By how many thresholds the current exceeds the threshold when the rate saturates."""


def bptr(gradient: Tensor, fired: Tensor) -> Tensor:
    """Back-propagation through the rate, ``∂L/∂x(t) = ∂L/∂y(t) · 1[r̄ > 0]``.

    Straight through for every neuron that fired at least once: Ding et al., SNN-RAT, NeurIPS 2022.
    The output y is a spike of 1, or of the threshold in a converted network.

    Args:
        gradient: the gradient at the output, ``(T, N, …)``.
        fired: whether the neuron fired in any step, ``(N, …)``.
    """
    return gradient * fired.to(gradient.dtype)


def rga(gradient: Tensor, current: Tensor, beta: float, threshold: float) -> Tensor:
    """Rate gradient approximation: Bu et al., CVPR 2023.

    The rate r of a neuron under a constant current x̄, in thresholds, is approximated by two lines:
    of slope γ from 0 to 1 − τ, where it starts to fire, and from there of slope
    ``(1 − γ + γτ) / (τ + 1)`` up to 2. ``∂r/∂x̄`` is their slope, and 0 outside::

        ∂L/∂x(t) = ∂L/∂s(t) · ∂r/∂x̄

    The rule is published for a threshold of 1; for another one the current is divided by it. At
    x̄ = 1 − τ, where the two lines meet, the slope is that of the upper line.

    Args:
        gradient: the gradient at the spikes, ``(T, N, …)``.
        current: the mean of the input over time, ``(N, …)``.
        beta: the leak, τ in the paper.
        threshold: ϑ.
    """
    x, onset = current / threshold, 1 - beta
    upper = ((x >= onset) & (x <= 1 + RGA_SATURATION)).to(x.dtype)
    lower = ((x >= 0) & (x < onset)).to(x.dtype)
    steep = (1 - RGA_SLOPE * onset) / (beta + RGA_SATURATION)
    return gradient * ((upper * steep + lower * RGA_SLOPE) / threshold)


def hart(gradient: Tensor, slopes: Tensor) -> Tensor:
    """The rate-temporal hybrid attack, ``∂L/∂x(t) = (1/T) Σ_k ∂L/∂s(k) · g(z(k))``.

    The membrane is detached between steps, so no gradient flows through leak or reset; the rest is
    averaged over time: Hao et al., ICLR 2024.

    Args:
        gradient: the gradient at the spikes, ``(T, N, …)``.
        slopes: the surrogate derivative of each spike, ``(T, N, …)``.
    """
    return (gradient * slopes).mean(0, keepdim=True).expand_as(gradient).contiguous()


def fired(membrane: Tensor, threshold: float) -> Tensor:
    """Which neurons fired in any step, ``(N, …)``, from their membrane ``(T, N, …)``."""
    return torch.gt(membrane, threshold).any(0)
