"""The leaky integrate-and-fire neuron: one step, all steps at once, and a thin module.

The recursion is that of snnTorch's ``Leaky`` with delayed reset::

    v(t) = βv(t−1) + x(t) − ϑs(t−1)             reset by subtraction
    v(t) = βv(t−1)(1 − s(t−1)) + x(t)           reset to zero
    s(t) = 1[v(t) > ϑ]

with ``s(0) = 0`` and ``v(0)`` given. Tensors have time as the leading axis, ``(T, N, …)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from robench.spiking.paths import PathModule
from robench.spiking.surrogate import Surrogate, spike

Reset = Literal["subtract", "zero"]


@dataclass(frozen=True)
class LIFParameters:
    """What a LIF neuron computes with.

    Attributes:
        beta: the leak β in [0, 1]; 1 makes it an IF neuron.
        threshold: ϑ, in the units of the input current; positive.
        reset: by subtraction of ϑ, or to zero.
        detach_reset: whether the gradient stops at the reset.
        initial: v(0) as a fraction of ϑ; at most 1, so that nothing spikes before the first input.
    """

    beta: float = 0.5
    threshold: float = 1.0
    reset: Reset = "subtract"
    detach_reset: bool = True
    initial: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must lie in [0, 1], got {self.beta}")
        if not self.threshold > 0:
            raise ValueError(f"threshold must be positive, got {self.threshold}")
        if self.reset not in ("subtract", "zero"):
            raise ValueError(f"reset must be 'subtract' or 'zero', got {self.reset!r}")
        if not self.initial <= 1:
            raise ValueError(f"initial must be at most 1 (the threshold), got {self.initial}")


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
        surrogate: the derivative of the spike; None for zero.

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


class _LIF(torch.autograd.Function):
    """All steps at once: keeps the membrane alone and recomputes the spikes on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: LIFParameters, surrogate: Surrogate | None) -> Tensor:
        v = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        s = torch.empty_like(v)
        for t in range(x.shape[0]):
            if t == 0:
                torch.add(x[0], p.beta * p.initial * p.threshold, out=v[0])
            elif p.reset == "subtract":
                torch.add(x[t], v[t - 1], alpha=p.beta, out=v[t])
                v[t].sub_(s[t - 1], alpha=p.threshold)
            else:
                torch.add(x[t], v[t - 1], alpha=p.beta, out=v[t])
                v[t].addcmul_(v[t - 1], s[t - 1], value=-p.beta)
            torch.gt(v[t], p.threshold, out=s[t])
        ctx.save_for_backward(v)
        ctx.p, ctx.surrogate = p, surrogate
        return s

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        p, surrogate = ctx.p, ctx.surrogate
        grad_s = grads[0]
        if surrogate is None:
            return torch.zeros_like(v), None, None
        grad_v = torch.empty_like(v)
        for t in reversed(range(v.shape[0])):
            z = v[t] - p.threshold
            through_spike = grad_s[t]
            if t + 1 < v.shape[0]:
                later = grad_v[t + 1]
                if not p.detach_reset:  # v(t+1) also depends on s(t) through the reset
                    slope = -p.threshold if p.reset == "subtract" else -p.beta * v[t]
                    through_spike = through_spike + slope * later
                torch.mul(through_spike, surrogate.derivative(z), out=grad_v[t])
                if p.reset == "zero":
                    later = later.masked_fill(z > 0, 0)
                grad_v[t].add_(later, alpha=p.beta)
            else:
                torch.mul(through_spike, surrogate.derivative(z), out=grad_v[t])
        return grad_v, None, None


def lif(x: Tensor, p: LIFParameters, surrogate: Surrogate | None) -> Tensor:
    """All time steps of a layer of LIF neurons.

    Equal to :func:`lif_step` in a loop, forwards and backwards, in one node of the graph that
    keeps a single tensor for its backward pass.

    Args:
        x: input current ``(T, N, …)``, of any floating type and any strides.
        p: the neuron.
        surrogate: the derivative of the spike; None for zero.

    Returns:
        Spikes ``(T, N, …)``, 0 or 1 in the type of ``x``.
    """
    out: Tensor = _LIF.apply(x, p, surrogate)  # type: ignore[no-untyped-call]
    return out


class LIF(PathModule):
    """A layer of LIF neurons over ``(T, N, …)``; its state lives for one call.

    Attributes:
        surrogate: the spike's derivative in the backward pass; None for zero.
        threshold: ϑ, a buffer of shape (), saved with the weights.
        graded: whether a spike carries the amplitude ϑ instead of 1, as in a converted network.
    """

    threshold: Tensor

    def __init__(
        self,
        parameters: LIFParameters,
        surrogate: Surrogate | None,
        *,
        graded: bool = False,
    ) -> None:
        super().__init__()
        self.parameters_ = parameters
        self.surrogate = surrogate
        self.graded = graded
        self.register_buffer("threshold", torch.tensor(float(parameters.threshold)))

    def neuron(self) -> LIFParameters:
        """The parameters in force: the stored threshold, the reset as the gradient path says."""
        p = self.parameters_
        through_reset = self.gradient_path.through_reset
        return LIFParameters(
            beta=p.beta,
            threshold=float(self.threshold),
            reset=p.reset,
            detach_reset=p.detach_reset if through_reset is None else not through_reset,
            initial=p.initial,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Spikes ``(T, N, …)`` of the input current ``(T, N, …)``."""
        spikes = lif(x, self.neuron(), self.surrogate)
        return spikes * self.threshold.to(spikes.dtype) if self.graded else spikes

    def extra_repr(self) -> str:
        """The neuron as one line."""
        p = self.parameters_
        return f"beta={p.beta}, reset={p.reset}, surrogate={self.surrogate}, graded={self.graded}"
