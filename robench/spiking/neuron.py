"""The leaky integrate-and-fire neuron: a function over all time steps, and a thin module.

The recursion is that of snnTorch's ``Leaky`` with delayed reset::

    v(t) = βv(t−1) + x(t) − ϑs(t−1)             reset by subtraction
    v(t) = βv(t−1)(1 − s(t−1)) + x(t)           reset to zero
    s(t) = 1[v(t) > ϑ]

with ``s(0) = 0`` and ``v(0)`` given. Tensors have time as the leading axis, ``(T, N, …)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.spiking import adaptive_surrogates, backward_rules, kernels
from robench.spiking.gradient_paths import PathModule, Rule
from robench.spiking.surrogate import Surrogate

Reset = Literal["subtract", "zero"]


@dataclass(frozen=True)
class LIFParameters:
    """The parameters of a LIF neuron.

    Attributes:
        beta: the leak β in [0, 1]; 1 makes it an IF neuron.
        threshold: ϑ, in the units of the input current; positive.
        reset: ``subtract`` (of ϑ) or ``zero``.
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


class _LIF(torch.autograd.Function):
    """All steps in one node: saves only the membrane; the backward pass recomputes the spikes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        p: LIFParameters,
        surrogate: Surrogate | None,
        amplitude: float,
        rule: Rule,
    ) -> Tensor:
        x = _stepwise_dense(x)
        v, s = (_like(x) for _ in range(2))
        if kernels.usable(x):
            beta, threshold = float(p.beta), float(p.threshold)
            kernels.call(
                "lif_forward", x, x.stride(0) if len(x) > 1 else 0, v, s, len(x),
                x[0].numel(), beta, threshold, beta * p.initial * threshold, float(amplitude),
                p.reset == "zero",
            )  # fmt: skip
        else:
            _forward(x, v, s, p)
            if amplitude != 1:
                s.mul_(amplitude)
        ctx.save_for_backward(v, x.mean(0) if rule == "rga" else None)
        ctx.p, ctx.surrogate, ctx.amplitude, ctx.rule = p, surrogate, amplitude, rule
        ctx.place = adaptive_surrogates.place_of(surrogate, v)
        ctx.set_materialize_grads(False)
        return s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        v, current = ctx.saved_tensors
        p, surrogate, amplitude = ctx.p, ctx.surrogate, ctx.amplitude
        if grads[0] is None:
            return None, None, None, None, None
        if ctx.rule == "bptr":
            through = backward_rules.bptr(grads[0], backward_rules.fired(v, p.threshold))
            return through, None, None, None, None
        if ctx.rule == "rga":
            through = backward_rules.rga(grads[0] * amplitude, current, p.beta, p.threshold)
            return through, None, None, None, None
        if surrogate is None:
            return torch.zeros_like(v), None, None, None, None
        if ctx.rule == "hart":
            slopes = adaptive_surrogates.slopes(surrogate, v, p.threshold, ctx.place)
            return backward_rules.hart(grads[0] * amplitude, slopes), None, None, None, None
        grad_s, grad_x = grads[0], torch.empty_like(v)
        if grad_s.stride() != v.stride():
            grad_s = torch.empty_like(v).copy_(grad_s)
        given = None
        if not surrogate.elementwise:
            given = adaptive_surrogates.slopes(surrogate, v, p.threshold, ctx.place)
        if kernels.usable(v):
            kind = _KINDS.index(surrogate.name) if surrogate.name in _KINDS else len(_KINDS)
            if given is None and kind == len(_KINDS):
                given = surrogate.derivative(v - p.threshold)
            kernels.call(
                "lif_backward", grad_s, v, given, grad_x, len(v), v[0].numel(),
                float(p.beta), float(p.threshold), float(amplitude), p.reset == "zero",
                not p.detach_reset, kind, float(surrogate.sharpness),
            )  # fmt: skip
        else:
            grad_s = grad_s if amplitude == 1 else grad_s * amplitude
            _backward(grad_s, v, grad_x, p, surrogate, given)
        return grad_x, None, None, None, None


_KINDS = ("atan", "triangle", "fast_sigmoid", "rectangle", "straight_through")
"""The surrogates that the kernel computes, in its order; the slopes of others are passed in."""


def _stepwise_dense(x: Tensor) -> Tensor:
    """``x`` with dense steps (no holes, no overlaps); a constant input stays one step."""
    step = x[0]
    dense = step.is_contiguous() or (
        step.dim() == 4 and step.is_contiguous(memory_format=torch.channels_last)
    )
    if dense:
        return x
    return step.contiguous().expand_as(x) if x.stride(0) == 0 else x.contiguous()


def _like(x: Tensor) -> Tensor:
    """An empty tensor of the shape of ``x`` with its strides inside a step, time outermost."""
    stride = (x[0].numel(), *x.stride()[1:])
    return torch.empty_strided(x.shape, stride, dtype=x.dtype, device=x.device)


def _forward(x: Tensor, v: Tensor, s: Tensor, p: LIFParameters) -> None:
    """Compute the membrane and the spikes, ``(T, N, …)`` each, in place."""
    for t in range(len(x)):
        if t == 0:
            torch.add(x[0], p.beta * p.initial * p.threshold, out=v[0])
        elif p.reset == "subtract":
            torch.add(x[t], v[t - 1], alpha=p.beta, out=v[t])
            v[t].sub_(s[t - 1], alpha=p.threshold)
        else:
            torch.add(x[t], v[t - 1], alpha=p.beta, out=v[t])
            v[t].addcmul_(v[t - 1], s[t - 1], value=-p.beta)
        torch.gt(v[t], p.threshold, out=s[t])


def _backward(
    grad_s: Tensor,
    v: Tensor,
    grad_x: Tensor,
    p: LIFParameters,
    surrogate: Surrogate,
    given: Tensor | None,
) -> None:
    """Compute the gradient with respect to the input current, ``(T, N, …)``, in place.

    ``given`` is the derivative of the spikes if the surrogate is not elementwise.
    """
    for t in reversed(range(len(v))):
        z = v[t] - p.threshold
        derivative = surrogate.derivative(z) if given is None else given[t]
        through_spike = grad_s[t]
        if t + 1 < len(v):
            later = grad_x[t + 1]
            if not p.detach_reset:  # v(t+1) also depends on s(t) through the reset
                slope = -p.threshold if p.reset == "subtract" else -p.beta * v[t]
                through_spike = through_spike + slope * later
            torch.mul(through_spike, derivative, out=grad_x[t])
            if p.reset == "zero":
                later = later.masked_fill(z > 0, 0)
            grad_x[t].add_(later, alpha=p.beta)
        else:
            torch.mul(through_spike, derivative, out=grad_x[t])


def lif(
    x: Tensor,
    p: LIFParameters,
    surrogate: Surrogate | None,
    amplitude: float = 1.0,
    rule: Rule = "temporal",
) -> Tensor:
    """All time steps of a layer of LIF neurons.

    It is one node of the graph and saves a single tensor for its backward pass.

    Args:
        x: input current ``(T, N, …)``, of any floating type and any strides.
        p: the neuron.
        surrogate: the derivative of the spike; None for zero.
        amplitude: the value of a spike; the threshold ϑ in a converted network.
        rule: the backward rule.

    Returns:
        Spikes ``(T, N, …)``, 0 or ``amplitude`` in the type of ``x``.
    """
    out: Tensor = _LIF.apply(x, p, surrogate, amplitude, rule)  # type: ignore[no-untyped-call]
    return out


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 under autocast, as sums over time and statistics need it."""
    cast = x.dtype in (torch.bfloat16, torch.float16) and torch.is_autocast_enabled(x.device.type)
    return x.float() if cast else x


class LIF(PathModule):
    """A layer of LIF neurons over ``(T, N, …)``; its state is discarded after each call.

    Attributes:
        surrogate: the spike's derivative in the backward pass; None for zero.
        threshold: ϑ, a buffer of shape (), saved with the weights.
        graded: whether the value of a spike is ϑ instead of 1, as in a converted network.
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
        """The parameters with the stored threshold and the reset of the gradient path."""
        own, through_reset = self.parameters_, self.gradient_path.through_reset
        detach = own.detach_reset if through_reset is None else not through_reset
        return replace(own, threshold=float(self.threshold), detach_reset=detach)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes ``(T, N, …)`` of the input current ``(T, N, …)``."""
        neuron = self.neuron()
        amplitude = neuron.threshold if self.graded else 1.0
        x = full_precision(x)
        return lif(x, neuron, self.surrogate, amplitude, self.gradient_path.rule)

    def extra_repr(self) -> str:
        """The parameters in one line."""
        p = self.parameters_
        return f"beta={p.beta}, reset={p.reset}, surrogate={self.surrogate}, graded={self.graded}"
