"""The published rules by which a layer of neurons passes gradient back without the recursion.

Each takes the gradient at the output of the layer, ``(T, N, …)``, and gives the one at its input
current. The recursion itself (STBP) is in :mod:`robench.spiking.neuron`.
"""

from __future__ import annotations

import torch
from torch import Tensor

RGA_SLOPE = 0.2
"""γ: the slope of the rate below the current at which a neuron begins to fire."""
RGA_SATURATION = 1.0
"""By how many thresholds a constant current passes the threshold where the rate saturates."""


def bptr(gradient: Tensor, fired: Tensor) -> Tensor:
    """Back-propagation through the rate, ``∂L/∂x(t) = ∂L/∂y(t) · 1[r̄ > 0]``.

    Straight through wherever a neuron fired at all: Ding et al., SNN-RAT, NeurIPS 2022. It is the
    output y that is passed through, spikes of 1 or, in a converted network, of the threshold.

    Args:
        gradient: at the output, ``(T, N, …)``.
        fired: whether the neuron fired in any step, ``(N, …)``.
    """
    return gradient * fired.to(gradient.dtype)


def rga(gradient: Tensor, current: Tensor, beta: float, threshold: float) -> Tensor:
    """Rate gradient approximation: Bu et al., CVPR 2023.

    The rate r of a neuron under a constant current x̄, in thresholds, is taken as two straight
    lines: of slope γ from 0 to 1 − τ, where it begins to fire, and from there of slope
    ``(1 − γ + γτ) / (τ + 1)`` up to 2. With ``∂r/∂x̄`` their slope, 0 outside::

        ∂L/∂x(t) = ∂L/∂s(t) · ∂r/∂x̄

    The rule is published for a threshold of 1; another one is a change of the current's unit. At
    x̄ = 1 − τ, where the two lines meet, the slope is that of the upper one.

    Args:
        gradient: at the spikes, ``(T, N, …)``.
        current: the input's mean over time, ``(N, …)``.
        beta: the leak, τ in the paper.
        threshold: ϑ.
    """
    x, begin = current / threshold, 1 - beta
    upper = ((x >= begin) & (x <= 1 + RGA_SATURATION)).to(x.dtype)
    lower = ((x >= 0) & (x < begin)).to(x.dtype)
    steep = (1 - RGA_SLOPE * begin) / (beta + RGA_SATURATION)
    return gradient * ((upper * steep + lower * RGA_SLOPE) / threshold)


def hart(gradient: Tensor, slopes: Tensor) -> Tensor:
    """The rate-temporal hybrid attack, ``∂L/∂x(t) = (1/T) Σ_k ∂L/∂s(k) · g(z(k))``.

    The membrane is detached between steps, so no gradient flows through leak or reset, and what
    remains is averaged over time: Hao et al., ICLR 2024.

    Args:
        gradient: at the spikes, ``(T, N, …)``.
        slopes: the surrogate derivative of each spike, ``(T, N, …)``.
    """
    return (gradient * slopes).mean(0, keepdim=True).expand_as(gradient).contiguous()


def fired(membrane: Tensor, threshold: float) -> Tensor:
    """Which neurons fired in any step, ``(N, …)``, by their membrane ``(T, N, …)``."""
    return torch.gt(membrane, threshold).any(0)
