"""PGD with a random start, in L∞ and in L2, with the gradient of the model itself.

Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, IterativeAttack, Start, State
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.losses import Loss
from robench.attacks.primitives.norms import project, unit
from robench.attacks.primitives.per_sample import spread, vanished

DESCENT = {"steps": 3, "restarts": 1, "relative_step": 2.5}
"""The parameters of a descent."""


class PGD(IterativeAttack):
    """Projected gradient descent in the L∞ ball.

    Every iterate that is misclassified counts as an adversarial example. A row with a gradient of
    exactly zero ends its run. If an adversarial example of a larger ε is known, the first run
    starts from it instead of a random point.

    Attributes:
        steps: the number of steps of one run.
        restarts: the number of runs, each from its own random start.
        relative_step: the step is ``relative_step · ε / steps``.
        loss: the loss that is maximised.
    """

    name: ClassVar[str] = "pgd"
    version: ClassVar[int] = 3  # a sweep descends with short runs first
    start: ClassVar[Start] = "warm"

    steps: int = Field(20, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)
    relative_step: float = Field(2.5, gt=0)
    loss: Loss = "cross-entropy"

    @property
    def runs(self) -> int:
        """The largest number of runs of a row."""
        return self.restarts

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The first random start of every row."""
        n = len(x)
        return State(
            self.start_point(x, eps, noise, 0),
            torch.full((n,), self.steps * self.runs, dtype=torch.int64, device=x.device),
            torch.zeros(n, dtype=torch.int64, device=x.device),
        )

    @property
    def descent(self) -> Self | None:
        """One run of three steps of 5ε/6, if the whole runs are longer and start from examples."""
        if self.start != "warm" or self.steps <= DESCENT["steps"]:
            return None
        return self.model_copy(update=DESCENT)

    @staticmethod
    def start_point(x: Tensor, eps: Tensor, noise: Noise, draw: int | Tensor) -> Tensor:
        """A uniform point of the ball, not yet projected onto the box."""
        return x + spread(eps, x) * (2 * noise("start", draw) - 1)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """One step along the sign of the gradient."""
        current, left = state.candidate, state.steps_left
        run = self.runs - 1 - (left - 1) // self.steps
        fresh = (left % self.steps == 0) & (run > 0)
        if fresh.any():
            begin = project(self.start_point(x, eps, noise, self.draw(run)), x, eps, self.norm)
            current = torch.where(spread(fresh, x), begin, current)
        gradient = self.ascent(view, current, y, state)
        step = spread(eps, x) * (self.relative_step / self.steps)
        rest_of_run = (left - 1) % self.steps
        state.steps_left = left - 1 - torch.where(vanished(gradient), rest_of_run, 0)
        return current + step * self.direction(gradient), state

    def draw(self, run: Tensor) -> Tensor:
        """The index of the random start of a run, ``(N,)`` for ``(N,)``."""
        return run

    def ascent(self, view: View, x: Tensor, y: Tensor, state: State) -> Tensor:
        """The gradient that a step follows, of the shape of ``x``."""
        return view.gradient(x, y, self.loss)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        """The direction of steepest ascent, of length 1 in the norm of the attack."""
        return gradient.sign()


class PGDL2(PGD):
    """PGD in the L2 ball: steps along the gradient, scaled to length 1."""

    name: ClassVar[str] = "pgd-l2"
    version: ClassVar[int] = 2  # a sweep descends with short runs first
    norm: ClassVar[str] = "l2"

    @staticmethod
    def start_point(x: Tensor, eps: Tensor, noise: Noise, draw: int | Tensor) -> Tensor:
        """A uniform point of the ball: a direction from normal numbers, and a radius."""
        uniform = noise("start", draw).clamp_min(2.0**-25)  # at 0 the normal number is infinite
        normal = torch.erfinv(2 * uniform - 1)
        share = noise("start radius", draw).flatten(1)[:, 0] ** (1 / x[0].numel())
        return x + spread(share * eps, x) * unit(normal)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        """The gradient, scaled to length 1."""
        return unit(gradient)
