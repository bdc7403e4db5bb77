"""APGD: PGD with momentum whose step is halved where it no longer helps.

Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020, with the constants published there.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, IterativeAttack, Start, State
from robench.attacks.contract.view import Noise, View, rivals
from robench.attacks.pgd import PGD
from robench.attacks.primitives.losses import loss_of, targeted_dlr
from robench.attacks.primitives.per_sample import spread

MOMENTUM = 0.75
"""α: the share of the new direction in a step; the rest goes on along the last one."""
OSCILLATION = 0.75
"""ρ: the share of steps between two checkpoints that have to raise the loss."""
FIRST_WINDOW, SHRINKAGE, LEAST_WINDOW = 0.22, 0.03, 0.06
"""Lengths of the windows between checkpoints, in shares of the steps."""


@dataclass
class APGDState(State):
    """What a row remembers of its run.

    Attributes:
        target: the classes that the runs aim at, ``(N, R)``; the label where they aim at none.
        previous: the iterate before, ``(N, C, H, W)``.
        best: the iterate with the highest loss, and its gradient and loss.
        last_loss: the loss of the iterate before, ``(N,)``.
        step_size: in units of ε.
        age: steps since the last checkpoint; ``window``: at how many the next one is.
        raised: steps among them that raised the loss.
        checked_best: the highest loss at the last checkpoint; ``halved``: the step fell there.
    """

    target: Tensor
    previous: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    last_loss: Tensor
    step_size: Tensor
    age: Tensor
    window: Tensor
    raised: Tensor
    checked_best: Tensor
    halved: Tensor


class APGD(IterativeAttack):
    """The common part; one gradient pass for each step, and a break at any iterate counts.

    Attributes:
        steps: of one run.
        restarts: runs, each from a random start of its own.
    """

    start: ClassVar[Start] = "cold"  # the first step, 2ε long, would leave a witness at once

    steps: int = Field(100, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)

    @property
    def runs(self) -> int:
        """How many runs one row makes at most."""
        return self.restarts

    def at_budget(self, passes: int) -> Self:
        """One run of so many steps."""
        return self.model_copy(update={"steps": passes, "restarts": 1})

    @abstractmethod
    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """What a run raises, ``(N,)``; arguments ``(N, K)``, ``(N,)`` and ``(N,)``."""

    def targets(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        """The class that each run aims at, ``(N, runs)``."""
        return y[:, None].expand(-1, self.runs).clone()

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> APGDState:
        """Every row at the start of its first run."""
        zero = torch.zeros_like(eps)
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        target = self.targets(view, x, y)
        return APGDState(
            candidate=PGD.start_point(x, eps, noise, 0),
            steps_left=count + self.steps * target.shape[1],
            phase=count.clone(),
            target=target,
            previous=x.clone(),
            best=x.clone(),
            best_gradient=torch.zeros_like(x),
            best_loss=zero - torch.inf,
            last_loss=zero.clone(),
            step_size=zero.clone(),
            age=count.clone(),
            window=count.clone(),
            raised=count.clone(),
            checked_best=zero.clone(),
            halved=count.bool(),
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """Look at the iterate, adapt the step where a checkpoint is due, and go on."""
        assert isinstance(state, APGDState)
        runs = state.target.shape[1]
        done = self.steps * runs - state.steps_left
        run, first = done // self.steps, done % self.steps == 0
        here = state.candidate
        aim = state.target.gather(1, run[:, None]).squeeze(1)
        gradient, loss = self._ascent(view, here, y, aim)
        self._note(state, here, gradient, loss, first)
        here, gradient = self._check(state, here, gradient)
        e = spread(eps, x)
        step = spread(state.step_size * eps, x)
        ahead = into(here + step * gradient.sign(), x, e)
        share = spread(torch.where(first, 1.0, MOMENTUM), x)
        inertia = here - torch.where(spread(first, x), here, state.previous)
        following = here + share * (ahead - here) + (1 - share) * inertia
        state.previous = here
        state.steps_left = state.steps_left - 1
        ended = ((done + 1) % self.steps == 0) & (run + 1 < runs)
        if ended.any():
            fresh = PGD.start_point(x, eps, noise, run + 1)
            following = torch.where(spread(ended, x), fresh, following)
        state.phase = self._phase(torch.where(ended, run + 1, run))
        return following, state

    def _phase(self, run: Tensor) -> Tensor:
        """The member that a run belongs to."""
        return torch.zeros_like(run)

    def _ascent(self, view: View, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            loss = self.loss(view.differentiable(leaf), y, target)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient, loss.detach()

    def _note(
        self, state: APGDState, here: Tensor, gradient: Tensor, loss: Tensor, first: Tensor
    ) -> None:
        """Begin a run, or count what the last step did, and keep the best iterate."""
        whole = max(1, int(FIRST_WINDOW * self.steps))
        state.step_size = torch.where(first, 2.0, state.step_size)
        state.window = torch.where(first, whole, state.window)
        state.age = torch.where(first, 0, state.age + 1)
        state.raised = torch.where(first, 0, state.raised + (loss > state.last_loss))
        state.halved = state.halved | first  # the first checkpoint has none before it to compare
        better = first | (loss > state.best_loss)
        wide = spread(better, here)
        state.best = torch.where(wide, here, state.best)
        state.best_gradient = torch.where(wide, gradient, state.best_gradient)
        state.best_loss = torch.where(better, loss, state.best_loss)
        state.checked_best = torch.where(first, loss, state.checked_best)
        state.last_loss = loss

    def _check(self, state: APGDState, here: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step at a checkpoint where it did not help, and return to the best iterate."""
        due = state.age == state.window
        due &= state.age > 0
        stuck = ~state.halved & (state.best_loss <= state.checked_best)
        halve = due & ((state.raised < OSCILLATION * state.window) | stuck)
        state.step_size = torch.where(halve, state.step_size / 2, state.step_size)
        state.halved = torch.where(due, halve, state.halved)
        state.checked_best = torch.where(due, state.best_loss, state.checked_best)
        least = max(1, int(LEAST_WINDOW * self.steps))
        shorter = (state.window - max(1, int(SHRINKAGE * self.steps))).clamp_min(least)
        state.window = torch.where(due, shorter, state.window)
        state.age = torch.where(due, 0, state.age)
        state.raised = torch.where(due, 0, state.raised)
        wide = spread(halve, here)
        return (
            torch.where(wide, state.best, here),
            torch.where(wide, state.best_gradient, gradient),
        )


def into(candidate: Tensor, x: Tensor, e: Tensor) -> Tensor:
    """Onto the L∞ ball of each row, whose ε is broadcast, and the box."""
    return torch.minimum(torch.maximum(candidate, x - e), x + e).clamp(0, 1)


class APGDCE(APGD):
    """APGD on the cross-entropy."""

    name: ClassVar[str] = "apgd-ce"

    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy."""
        return loss_of(logits, y, "cross-entropy")


class APGDDLR(APGD):
    """APGD on the difference of logits ratio, ``-(z_y − max_{i≠y} z_i) / (z_π1 − z_π3)``."""

    name: ClassVar[str] = "apgd-dlr"
    least_classes: ClassVar[int] = 3

    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The ratio; it does not change when the logits are shifted or scaled."""
        return loss_of(logits, y, "dlr")


class APGDT(APGD):
    """APGD on the targeted ratio, ``-(z_y − z_t) / (z_π1 − ½(z_π3 + z_π4))``, target by target.

    The targets are the classes that the clean image is nearest to, after its own.

    Attributes:
        n_targets: how many, at most all other classes.
    """

    name: ClassVar[str] = "apgd-t"
    least_classes: ClassVar[int] = 4

    n_targets: int = Field(9, ge=1, le=MOST)

    @property
    def finders(self) -> tuple[str, ...]:
        """The rank of the target that was aimed at."""
        return tuple(f"target {rank + 1}" for rank in range(self.n_targets))

    def at_budget(self, passes: int) -> Self:
        """One run for each target, which share the passes; fewer targets than passes at most."""
        targets = min(self.n_targets, passes)
        changes = {"steps": passes // targets, "restarts": 1, "n_targets": targets}
        return self.model_copy(update=changes)

    def targets(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        """By rank in the clean logits; with restarts each target gets all of its runs in turn."""
        ranked = rivals(view, x, y, self.n_targets)
        return ranked.repeat_interleave(self.restarts, 1)

    def _phase(self, run: Tensor) -> Tensor:
        return run // self.restarts

    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The targeted ratio."""
        return targeted_dlr(logits, y, target)
