"""The reference implementation of the LIF neuron: one time step, differentiated by autograd."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from robench.spiking import LIFParameters, Surrogate


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, surrogate: Surrogate | None) -> Tensor:
        ctx.save_for_backward(z)
        ctx.surrogate = surrogate
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        if ctx.surrogate is None:
            return torch.zeros_like(grads[0]), None
        (z,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(z), None


def spike(z: Tensor, surrogate: Surrogate | None) -> Tensor:
    """``1[z > 0]`` in the type of ``z``, with ``surrogate`` as its derivative (zero for None)."""
    out: Tensor = _Spike.apply(z, surrogate)  # type: ignore[no-untyped-call]
    return out


class LIFState(NamedTuple):
    """Membrane potential and spikes after a step, each of the shape of one step's input."""

    membrane: Tensor
    spikes: Tensor


def lif_start(x: Tensor, p: LIFParameters) -> LIFState:
    """The state before the first step, for one step's input ``x`` of shape ``(N, …)``."""
    return LIFState(torch.full_like(x, p.initial * p.threshold), torch.zeros_like(x))


def lif_step(
    x: Tensor, state: LIFState, p: LIFParameters, surrogate: Surrogate | None
) -> tuple[Tensor, LIFState]:
    """One time step, differentiated by autograd.

    Args:
        x: input current of this step, ``(N, …)``.
        state: membrane and spikes of the step before.
        p: the neuron.
        surrogate: the derivative of the spike, an elementwise one; None for zero.

    Returns:
        The spikes of this step, 0 or 1 in the type of ``x``, and the new state.
    """
    membrane, spikes = state
    if p.detach_reset:
        spikes = spikes.detach()
    if p.reset == "subtract":
        membrane = p.beta * membrane + x - p.threshold * spikes
    else:
        membrane = p.beta * membrane * (1 - spikes) + x
    spikes = spike(membrane - p.threshold, surrogate)
    return spikes, LIFState(membrane, spikes)
