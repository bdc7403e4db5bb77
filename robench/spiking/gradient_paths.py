"""Gradient paths: the temporal connections of a spiking network that a backward pass follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from robench.errors import UsageError, nearest

Rule = Literal["temporal", "bptr", "rga", "hart"]
"""How a layer of neurons passes gradient back; see :mod:`robench.spiking.backward_rules`."""


@dataclass(frozen=True)
class GradientPath:
    """A named choice of the connections that carry gradient; the forward pass never changes.

    Attributes:
        name: the name in cards and results.
        rule: the backward rule of the neurons; ``temporal`` is the recursion over all time steps.
        through_reset: whether gradient flows from v(t+1) through the reset into s(t); None means
            as in training.
        through_plasticity: whether gradient flows through the adaptation η(t) of a FLEX layer.
        counterpart: whether the gradient is that of the ANN counterpart, the model's own weights
            with the training activation (conversion-based approximation, CBA).
    """

    name: str
    rule: Rule = "temporal"
    through_reset: bool | None = None
    through_plasticity: bool = True
    counterpart: bool = False

    @property
    def takes_surrogate(self) -> bool:
        """Whether the gradient uses the derivative of a spike."""
        return self.rule in ("temporal", "hart") and not self.counterpart


STBP = GradientPath("stbp")
PATHS = {
    path.name: path
    for path in (
        STBP,
        GradientPath("stbp-reset", through_reset=True),
        GradientPath("stbp-detached", through_reset=False),
        GradientPath("eta-detached", through_plasticity=False),
        GradientPath("bptr", "bptr"),
        GradientPath("rga", "rga"),
        GradientPath("hart", "hart"),
        GradientPath("cba", counterpart=True),
    )
}


def find_path(name: str) -> GradientPath:
    """The gradient path of that name.

    Raises:
        UsageError: the name is unknown; the message offers the nearest.
    """
    if name not in PATHS:
        raise UsageError(
            f"unknown gradient path {name!r}{nearest(name, PATHS)}; available: {', '.join(PATHS)}"
        )
    return PATHS[name]


class PathModule(nn.Module):
    """A module with temporal connections that reads :attr:`gradient_path` in its forward pass."""

    gradient_path: GradientPath = STBP
