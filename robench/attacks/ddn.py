"""DDN: minimal L2 perturbations by a radius that shrinks at adversarial examples and else grows.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, Decoupling direction and norm for
efficient gradient-based L2 adversarial attacks and defenses, CVPR 2019, with the constants
published there. Images are not rounded to 256 levels here.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robench.attacks.contract.attack import MOST, DirectAttack
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.norms import length, unit
from robench.attacks.primitives.per_sample import spread

LAST_STEP = 0.01
"""Length of the last step; the first has length 1, with a cosine in between."""


class DDN(DirectAttack):
    """Decoupled direction and norm; one run covers every ε.

    The direction follows the gradient scaled to length 1. It does not depend on the size of the
    gradient, which on spiking networks says little about the distance to the boundary. The radius
    never exceeds ε.

    Attributes:
        steps: the number of gradient passes.
        gamma: the relative change of the radius in a step.
        radius: the first radius, in the units of ε.
    """

    name: ClassVar[str] = "ddn"
    version: ClassVar[int] = 2  # the nearest example is kept here
    norm: ClassVar[str] = "l2"

    steps: int = Field(100, ge=1, le=MOST)
    gamma: float = Field(0.05, gt=0, lt=1)
    radius: float = Field(1.0, gt=0)

    @property
    def minimal(self) -> bool:
        """True: it minimises the perturbation."""
        return True

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The nearest misclassified iterate, or the last one, which was not classified."""
        delta, here = torch.zeros_like(x), x
        best, distance = x, torch.full_like(eps, torch.inf)
        radius = eps.clamp_max(self.radius)
        for done in range(self.steps):
            gradient, misclassified = _ascent(view, here, y)
            far = length(delta, "l2")
            nearer = misclassified & (far < distance)
            best, distance = here.where(spread(nearer, x), best), far.where(nearer, distance)
            share = (1 + math.cos(math.pi * done / self.steps)) / 2
            delta = delta + (LAST_STEP + (1 - LAST_STEP) * share) * unit(gradient)
            factor = torch.where(misclassified, 1 - self.gamma, 1 + self.gamma)
            radius = torch.minimum(radius * factor, eps)
            here = (x + spread(radius, x) * unit(delta)).clamp(0, 1)
            delta = here - x
        return best.where(spread(distance.isfinite(), x), here)


def _ascent(view: View, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the cross-entropy, and which rows are misclassified.

    The call names the rows, so that the engine does not store the images of all steps.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        logits = view.differentiable(leaf, torch.arange(len(x)))
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), leaf)
    return gradient, logits.detach().argmax(1) != y
