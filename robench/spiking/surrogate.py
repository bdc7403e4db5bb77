"""Surrogate derivatives of the spike, as plain functions of the distance to the threshold.

A spike is the Heaviside step of ``z = v − ϑ`` and has no useful derivative. Each function here is
a published replacement ``g(z)`` of ``∂s/∂z``; none of them changes the forward pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robench.errors import UsageError, nearest

if TYPE_CHECKING:  # a card that names a surrogate is read without torch
    from torch import Tensor


def atan(z: Tensor, sharpness: float | Tensor) -> Tensor:
    """Arc tangent, ``(α/2) / (1 + (παz/2)²)``: Fang et al., ICCV 2021; snnTorch's default."""
    return (z * (math.pi * sharpness / 2)).square_().add_(1).reciprocal_().mul_(sharpness / 2)


def triangle(z: Tensor, sharpness: float) -> Tensor:
    """Triangle of half-width γ, ``max(0, γ − |z|) / γ²``: Bellec et al., NeurIPS 2018."""
    return z.abs().neg_().add_(sharpness).clamp_(min=0).mul_(sharpness**-2)


def fast_sigmoid(z: Tensor, sharpness: float) -> Tensor:
    """Fast sigmoid, ``1 / (k|z| + 1)²``: Zenke and Ganguli, Neural Computation 2018."""
    return z.abs().mul_(sharpness).add_(1).reciprocal_().square_()


def rectangle(z: Tensor, sharpness: float) -> Tensor:
    """Rectangle of width γ, ``1[|z| < γ/2] / γ``: Wu et al., Frontiers in Neuroscience 2018."""
    return (z.abs() < sharpness / 2).to(z.dtype).mul_(1 / sharpness)


def exponential(z: Tensor, sharpness: float) -> Tensor:
    """Two-sided exponential, ``exp(−γ|z|)``: Shrestha and Orchard, NeurIPS 2018."""
    return z.abs().mul_(-sharpness).exp_()


def damped_exponential(z: Tensor, sharpness: float) -> Tensor:
    """The two-sided exponential times 0.3, EXP-D in Özdenizci and Legenstein, TMLR 2024."""
    return exponential(z, sharpness).mul_(0.3)


def straight_through(z: Tensor, sharpness: float = 1.0) -> Tensor:
    """Straight-through estimator, a constant: Bengio et al., 2013."""
    return z.clone().fill_(sharpness)


_FUNCTIONS: dict[str, tuple[Callable[[Tensor, float], Tensor] | None, float]] = {
    "atan": (atan, 2.0),
    "triangle": (triangle, 1.0),
    "fast_sigmoid": (fast_sigmoid, 25.0),
    "rectangle": (rectangle, 1.0),
    "exponential": (exponential, 1.0),
    "damped_exponential": (damped_exponential, 1.0),
    "straight_through": (straight_through, 1.0),
    "pdsg": (None, 1.0),  # these three adapt to the membrane: robench.spiking.adaptive_surrogates
    "assg": (None, 0.425),
    "assg_scaled": (None, 0.425),
}
_TEXT = re.compile(r"^\s*(?P<name>[a-z_]+)\s*(?:\(\s*(?P<value>[^()]+?)\s*\))?\s*$")


@dataclass(frozen=True)
class Surrogate:
    """A surrogate derivative with its sharpness, e.g. ``atan(2)``.

    Attributes:
        name: one of :func:`surrogate_names`.
        sharpness: the parameter of that function, in its paper's convention; positive. For
            ``assg`` and ``assg_scaled`` it is A/2, below ½; for ``pdsg`` it is a factor on σ.
    """

    name: str
    sharpness: float

    def __post_init__(self) -> None:
        if self.name not in _FUNCTIONS:
            raise UsageError(
                f"unknown surrogate {self.name!r}{nearest(self.name, _FUNCTIONS)}; "
                f"available: {', '.join(_FUNCTIONS)}"
            )
        if not (math.isfinite(self.sharpness) and self.sharpness > 0):
            raise UsageError(
                f"surrogate {self.name}: the sharpness must be positive, got {self.sharpness}"
            )
        if self.stateful and self.sharpness >= 0.5:
            raise UsageError(f"surrogate {self.name}: A/2 must lie below 0.5, got {self.sharpness}")

    @property
    def elementwise(self) -> bool:
        """Whether the derivative of a spike depends only on its own ``z``."""
        return _FUNCTIONS[self.name][0] is not None

    @property
    def stateful(self) -> bool:
        """Whether it adapts to each neuron over the steps of an attack."""
        return self.name.startswith("assg")

    def derivative(self, z: Tensor) -> Tensor:
        """``g(z)``, elementwise, of the shape and type of ``z = v − ϑ``; ``z`` is not changed.

        Raises:
            ValueError: the surrogate is not elementwise.
        """
        function = _FUNCTIONS[self.name][0]
        if function is None:
            raise ValueError(f"surrogate {self.name} needs the membranes of all time steps")
        return function(z, self.sharpness)

    def __str__(self) -> str:
        return f"{self.name}({self.sharpness:g})"

    @classmethod
    def parse(cls, text: str) -> Surrogate | None:
        """Read ``name`` or ``name(sharpness)``; ``none`` is a spike without a derivative.

        Raises:
            UsageError: the text is not of that form, or names no known surrogate.
        """
        match = _TEXT.match(text)
        if match is None:
            raise UsageError(f"cannot read the surrogate {text!r}; write it like atan(2)")
        name, value = match["name"], match["value"]
        if name == "none" and value is None:
            return None
        default = _FUNCTIONS[name][1] if name in _FUNCTIONS else 1.0
        try:
            return cls(name, default if value is None else float(value))
        except ValueError:
            raise UsageError(f"surrogate {name}: {value!r} is not a number") from None


def surrogate_names() -> tuple[str, ...]:
    """The names that :meth:`Surrogate.parse` accepts."""
    return tuple(_FUNCTIONS)
