"""PGD with a random start, in L∞ and in L2, through the gradient that the model itself gives.

Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, IterativeAttack, Start, State
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.losses import Loss
from robench.attacks.primitives.norms import project, unit
from robench.attacks.primitives.per_sample import spread, vanished


class PGD(IterativeAttack):
    """Projected gradient descent in the L∞ ball.

    A break at any iterate counts. A row whose gradient is exactly zero would never move again
    and ends its run there. Where the search goes on from a witness of a larger ε, the first run
    starts from that instead of a random point.

    Attributes:
        steps: steps of one run.
        restarts: runs, each from a random start of its own.
        relative_step: the step is ``relative_step · ε / steps``.
    """

    name: ClassVar[str] = "pgd"
    version: ClassVar[int] = 2
    start: ClassVar[Start] = "warm"

    steps: int = Field(20, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)
    relative_step: float = Field(2.5, gt=0)
    loss: Loss = "cross-entropy"

    @property
    def runs(self) -> int:
        """How many runs one row makes at most."""
        return self.restarts

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """Every row at its first random start."""
        n = len(x)
        return State(
            self.start_point(x, eps, noise, 0),
            torch.full((n,), self.steps * self.runs, dtype=torch.int64, device=x.device),
            torch.zeros(n, dtype=torch.int64, device=x.device),
        )

    @staticmethod
    def start_point(x: Tensor, eps: Tensor, noise: Noise, draw: int | Tensor) -> Tensor:
        """A point uniform in the ball, not yet in the box."""
        return x + spread(eps, x) * (2 * noise("start", draw) - 1)

    def at_budget(self, passes: int) -> PGD:
        """As many restarts as fit; a shorter run where not even one does."""
        steps = min(self.steps, passes)
        return self.model_copy(update={"steps": steps, "restarts": passes // steps})

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
        """Which of the random starts a run begins from, ``(N,)`` for ``(N,)``."""
        return run

    def ascent(self, view: View, x: Tensor, y: Tensor, state: State) -> Tensor:
        """The gradient that a step follows, of the shape of ``x``."""
        return view.gradient(x, y, self.loss)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        """Where a gradient leads, at length 1 in the norm of the attack."""
        return gradient.sign()


class PGDL2(PGD):
    """The same in the L2 ball: steps along the gradient itself, brought to length 1."""

    name: ClassVar[str] = "pgd-l2"
    version: ClassVar[int] = 1
    norm: ClassVar[str] = "l2"

    @staticmethod
    def start_point(x: Tensor, eps: Tensor, noise: Noise, draw: int | Tensor) -> Tensor:
        """A point uniform in the ball: a direction from normal numbers, and a radius."""
        uniform = noise("start", draw).clamp_min(2.0**-25)  # at 0 the normal number is infinite
        normal = torch.erfinv(2 * uniform - 1)
        share = noise("start radius", draw).flatten(1)[:, 0] ** (1 / x[0].numel())
        return x + spread(share * eps, x) * unit(normal)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        """The gradient, brought to length 1."""
        return unit(gradient)
