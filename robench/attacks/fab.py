"""Targeted FAB: minimal perturbations by steps onto one linearised boundary at a time.

Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack,
ICML 2020, with the constants published there. The targets are those of their standard ensemble,
Reliable evaluation of adversarial robustness, ICML 2020: with target t only the boundary between
the true class and t counts, so that a step takes one gradient for any number of classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, DirectAttack
from robench.attacks.contract.view import Noise, View, rivals
from robench.attacks.primitives.norms import length
from robench.attacks.primitives.per_sample import spread


class FABT(DirectAttack):
    """Targeted FAB in L∞; one run covers every ε.

    Let f be the logit of the true class minus that of the target. A step projects the iterate and
    the clean image onto the plane where the linearisation of f at the iterate is zero, extrapolates
    both by ``eta``, and mixes them. A misclassified iterate is kept if it is the nearest so far,
    and moved towards the clean image. The engine does the final search on the line between the
    two.

    Attributes:
        steps: the number of steps of one run, each a gradient pass and a forward pass.
        restarts: the number of runs for each target; the first starts at the clean image.
        n_targets: the number of targets; at most K − 1 are used.
        alpha_max: the largest weight of the clean image's projection.
        eta: the extrapolation of a step beyond the plane.
        beta: the factor on the perturbation of a misclassified iterate.
    """

    name: ClassVar[str] = "fab-t"

    steps: int = Field(100, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)
    n_targets: int = Field(9, ge=1, le=MOST)
    alpha_max: float = Field(0.1, ge=0, le=1)
    eta: float = Field(1.05, ge=1)
    beta: float = Field(0.9, gt=0, lt=1)

    @property
    def minimal(self) -> bool:
        """True: it minimises the perturbation."""
        return True

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The nearest adversarial example of all runs, or the last iterate."""
        best, distance, last = x.clone(), torch.full_like(eps, torch.inf), x
        for target in rivals(view, x, y, self.n_targets).unbind(1):
            for run in range(self.restarts):
                last = x
                if run:  # at half the distance of the nearest example
                    shift = 2 * noise("fab", run) - 1
                    radius = torch.minimum(distance, eps) / length(shift, "linf") / 2
                    last = (x + spread(radius, x) * shift).clamp(0, 1)
                for _ in range(self.steps):
                    last = self._step(view, x, y, target, last)
                    misclassified = _predicted(view, last) != y
                    far = length(last - x, "linf")
                    nearer = misclassified & (far < distance)
                    best = torch.where(spread(nearer, x), last, best)
                    distance = torch.where(nearer, far, distance)
                    last = torch.where(spread(misclassified, x), x + self.beta * (last - x), last)
        return torch.where(spread(distance.isfinite(), x), best, last)

    def _step(self, view: View, x: Tensor, y: Tensor, target: Tensor, here: Tensor) -> Tensor:
        """A step towards the boundary of the linearisation at ``here``."""
        lead, normal = _lead(view, here, y, target)
        at_clean = lead + (normal * (x - here)).flatten(1).sum(1)
        own = onto_plane(here, normal, -lead)
        clean = onto_plane(x, normal, -at_clean)
        near, far = length(own, "linf"), length(clean, "linf")
        tiny = torch.finfo(x.dtype).tiny  # both are zero if the gradient is
        share = spread((near / (near + far).clamp_min(tiny)).clamp_max(self.alpha_max), x)
        mixed = (1 - share) * (here + self.eta * own) + share * (x + self.eta * clean)
        return mixed.clamp(0, 1)


def onto_plane(x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
    """The smallest step in L∞ within the box [0, 1] whose product with ``normal`` is ``gap``.

    Every coordinate moves by the same length λ, or to the border of the box. The product is
    piecewise linear in λ, with knots at the sorted distances to the box. If the plane lies outside
    the box, the step ends in the corner.

    Args:
        x: points of the box, ``(N, …)``.
        normal: the normal of each plane, of the shape of ``x``.
        gap: the inner product of normal and step, ``(N,)``.
    """
    way = normal.sign() * spread(gap.sign(), x)
    room = torch.where(way > 0, 1 - x, x)
    ends, order = room.flatten(1).sort(1)
    weight = normal.abs().flatten(1).gather(1, order)
    spent = (weight * ends).cumsum(1) - weight * ends  # by coordinates at the border of the box
    slope = weight.flip(1).cumsum(1).flip(1)  # of the coordinates that still move
    short = (spent + slope * ends < gap.abs()[:, None]).sum(1, keepdim=True)
    piece = short.clamp_max(ends.shape[1] - 1)
    left = gap.abs() - spent.gather(1, piece).squeeze(1)
    tiny = torch.finfo(x.dtype).tiny
    far = (left / slope.gather(1, piece).squeeze(1).clamp_min(tiny)).clamp_min(0)
    return way * torch.minimum(spread(far, x), room)


def _lead(view: View, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of the true class minus that of the target, ``(N,)``, and its gradient."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        logits = view.differentiable(leaf, torch.arange(len(x)))
        lead = (logits.gather(1, y[:, None]) - logits.gather(1, target[:, None])).squeeze(1)
        (gradient,) = torch.autograd.grad(lead.sum(), leaf)
    return lead.detach(), gradient


def _predicted(view: View, x: Tensor) -> Tensor:
    """The class of each image, ``(N,)``.

    The call names the rows, so that the engine does not store each of some thousand images; the
    nearest misclassified one is kept here.
    """
    with torch.no_grad():
        return view.differentiable(x, torch.arange(len(x))).argmax(1)
