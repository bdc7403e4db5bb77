"""APGD: PGD with momentum and a step that is halved when it stops helping.

Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020, with the constants published there.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, IterativeAttack, Start, State
from robench.attacks.contract.view import Noise, View, rivals
from robench.attacks.pgd import PGD
from robench.attacks.primitives.losses import loss_of, targeted_dlr
from robench.attacks.primitives.norms import project
from robench.attacks.primitives.per_sample import spread

MOMENTUM = 0.75
"""α: the weight of the new direction in a step; the rest follows the last step."""
OSCILLATION = 0.75
"""ρ: the share of steps between two checkpoints that must raise the loss."""
FIRST_WINDOW, SHRINKAGE, LEAST_WINDOW = 0.22, 0.03, 0.06
"""Lengths of the windows between checkpoints, as shares of the steps."""


@dataclass
class APGDState(State):
    """The state of a run.

    Attributes:
        target: the target class of each run, ``(N, R)``; the label if runs have no target.
        previous: the previous iterate, ``(N, C, H, W)``.
        best: the iterate with the highest loss, ``(N, C, H, W)``.
        best_gradient: its gradient.
        best_loss: its loss, ``(N,)``.
        last_loss: the loss of the previous iterate, ``(N,)``.
        step_size: in units of ε, ``(N,)``.
        age: the number of steps since the last checkpoint, ``(N,)``.
        window: the number of steps between the last and the next checkpoint, ``(N,)``.
        raised: the number of steps since the last checkpoint that raised the loss, ``(N,)``.
        checked_best: the highest loss at the last checkpoint, ``(N,)``.
        halved: whether the step was halved at the last checkpoint, ``(N,)``.
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
    """The base class of the APGD attacks; each step takes one gradient pass.

    Every iterate that is misclassified counts as an adversarial example.

    Attributes:
        steps: the number of steps of one run.
        restarts: the number of runs, each from its own random start.
    """

    version: ClassVar[int] = 2  # the last iterate of each run is verified
    start: ClassVar[Start] = "cold"  # the first step, 2ε long, would leave a known example

    steps: int = Field(100, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)

    @property
    def runs(self) -> int:
        """The largest number of runs of a row."""
        return self.restarts

    @abstractmethod
    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The loss that a run maximises, ``(N,)``; arguments ``(N, K)``, ``(N,)`` and ``(N,)``."""

    def targets(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        """The target class of each run, ``(N, runs)``."""
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
        """Evaluate the iterate, adapt the step at a checkpoint, and move."""
        assert isinstance(state, APGDState)
        runs = state.target.shape[1]
        done = self.steps * runs - state.steps_left
        run, first = done // self.steps, done % self.steps == 0
        here = state.candidate
        again = first & (run > 0)  # the last iterate of a run was still verified by the engine
        if again.any():
            start = project(PGD.start_point(x, eps, noise, run), x, eps)
            here = torch.where(spread(again, x), start, here)
        aim = state.target.gather(1, run[:, None]).squeeze(1)
        gradient, loss = self.ascent(view, here, y, aim, state)
        self._note(state, here, gradient, loss, first)
        here, gradient = self._check(state, here, gradient)
        step = spread(state.step_size * eps, x)
        ahead = project(here + step * gradient.sign(), x, eps)
        share = spread(torch.where(first, 1.0, MOMENTUM), x)
        inertia = here - torch.where(spread(first, x), here, state.previous)
        following = here + share * (ahead - here) + (1 - share) * inertia
        state.previous = here
        state.steps_left = state.steps_left - 1
        following_run = ((done + 1) // self.steps).clamp_max(runs - 1)
        state.phase = self._phase(following_run)
        return following, state

    def _phase(self, run: Tensor) -> Tensor:
        """The index into ``finders`` of each run, ``(N,)``."""
        return torch.zeros_like(run)

    def ascent(
        self, view: View, x: Tensor, y: Tensor, target: Tensor, state: APGDState
    ) -> tuple[Tensor, Tensor]:
        """The gradient that a step follows, and the loss, ``(N,)``."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            loss = self.loss(view.differentiable(leaf), y, target)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient, loss.detach()

    def _note(
        self, state: APGDState, here: Tensor, gradient: Tensor, loss: Tensor, first: Tensor
    ) -> None:
        """Start a run, or record the effect of the last step, and keep the best iterate."""
        whole = max(1, int(FIRST_WINDOW * self.steps))
        state.step_size = torch.where(first, 2.0, state.step_size)
        state.window = torch.where(first, whole, state.window)
        state.age = torch.where(first, 0, state.age + 1)
        state.raised = torch.where(first, 0, state.raised + (loss > state.last_loss))
        # the first checkpoint has no earlier one to compare with
        state.halved = state.halved | first
        better = first | (loss > state.best_loss)
        wide = spread(better, here)
        state.best = torch.where(wide, here, state.best)
        state.best_gradient = torch.where(wide, gradient, state.best_gradient)
        state.best_loss = torch.where(better, loss, state.best_loss)
        state.checked_best = torch.where(first, loss, state.checked_best)
        state.last_loss = loss

    def _check(self, state: APGDState, here: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """At a checkpoint without progress, halve the step and return to the best iterate."""
        due = state.age == state.window
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
        """The ratio; it is invariant to shifting and scaling of the logits."""
        return loss_of(logits, y, "dlr")


class APGDT(APGD):
    """APGD on the targeted ratio, ``-(z_y − z_t) / (z_π1 − ½(z_π3 + z_π4))``, target by target.

    The targets are the wrong classes with the highest logits of the clean image.

    Attributes:
        n_targets: the number of targets; at most K − 1 are used.
    """

    name: ClassVar[str] = "apgd-t"
    least_classes: ClassVar[int] = 4

    n_targets: int = Field(9, ge=1, le=MOST)

    @property
    def finders(self) -> tuple[str, ...]:
        """The rank of the target."""
        return tuple(f"target {rank + 1}" for rank in range(self.n_targets))

    def targets(self, view: View, x: Tensor, y: Tensor) -> Tensor:
        """Targets by rank in the clean logits; all runs of a target follow each other."""
        ranked = rivals(view, x, y, self.n_targets)
        return ranked.repeat_interleave(self.restarts, 1)

    def _phase(self, run: Tensor) -> Tensor:
        return run // self.restarts

    def loss(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """The targeted ratio."""
        return targeted_dlr(logits, y, target)
