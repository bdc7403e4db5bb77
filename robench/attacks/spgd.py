"""SPGD, spike-aware PGD: gradients with estimators that the attacker chooses.

Different gradients and different losses find different adversarial examples, so SPGD takes the
worst case per sample over five runs:

1. the run of ``pgd``;
2. a run with momentum and a large, decreasing step that alternates between estimators;
3. the same with a smaller step, on the margin, from an adversarial example of a larger ε;
4. the same on the difference of logits ratio, which training cannot flatten;
5. SA-PGD with a surrogate whose sharpness adapts to each neuron, from an adversarial example.

A hybrid network was trained without spikes and computes with firing rates. There every second step
of the runs 2 to 4 follows the gradient of the rate. On a network without spikes all runs follow the
model's own gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from robench.attacks.contract.attack import (
    MOST,
    Attack,
    IterativeAttack,
    OneSurrogate,
    StagedAttack,
    Start,
    State,
)
from robench.attacks.contract.estimators import EstimatorSet
from robench.attacks.contract.view import Noise, View
from robench.attacks.pgd import PGD
from robench.attacks.primitives.losses import Loss
from robench.attacks.primitives.norms import to_mean_one
from robench.attacks.primitives.per_sample import spread
from robench.attacks.sapgd import SAPGD
from robench.errors import UsageError
from robench.spiking import Estimator, NeuronStatistics, combine

REACH = 4.0
"""The least total length of n steps, in units of ε, if the last run is used alone: no step is
shorter than 4ε/n. The later of twenty steps of SA-PGD hardly move."""

R = TypeVar("R", bound="SurrogateRun")


@dataclass
class MomentumState(State):
    """A state with the accumulated gradient, ``(N, C, H, W)``, and statistics of the neurons."""

    momentum: Tensor
    statistics: NeuronStatistics

    def release(self, rows: Tensor) -> None:
        """Free the statistics of the neurons."""
        self.statistics.forget(rows)


class RunParameters(EstimatorSet):
    """The parameters of a run that alternates between estimators.

    Attributes:
        steps: the number of steps of the run.
        surrogates: combined with the paths to estimators, which take turns, one for each step.
        hybrid_estimators: the estimators of every second step on a hybrid network.
        momentum: the weight of the accumulated gradient; gradients are scaled to mean magnitude 1.
        first_step: the first step, in units of ε.
        last_step: the last step, in units of ε; linear in between.
        loss: the loss that is maximised.
    """

    steps: int = Field(20, ge=1, le=MOST)
    surrogates: tuple[str, ...] = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)")
    hybrid_estimators: tuple[str, ...] = ("rga",)
    momentum: float = Field(0.75, ge=0, lt=1)
    first_step: float = Field(1.0, gt=0, le=2)
    last_step: float = Field(0.05, gt=0, le=2)
    loss: Loss = "cross-entropy"

    @model_validator(mode="after")
    def _one_kind_of_statistics(self) -> Self:
        """Refuse surrogates that would share the statistics of the neurons in a run."""
        found = [
            Estimator.parse(name).statistics for name in (*self.surrogates, *self.hybrid_estimators)
        ]
        kinds = sorted({kind for kind in found if kind is not None})
        if len(kinds) > 1:
            share = " and ".join(kinds)
            raise ValueError(f"{share} would share the statistics of the neurons; take one")
        return self

    @property
    def finders(self) -> tuple[str, ...]:
        """The estimators, then those of hybrid networks."""
        return tuple(dict.fromkeys((*super().finders, *self.hybrid_estimators)))


class SurrogateRun(RunParameters, IterativeAttack):
    """One run with momentum and a decreasing step that alternates between estimators."""

    name: ClassVar[str] = "surrogates"
    start: ClassVar[Start] = "cold"  # the first step would leave a known example
    draw: ClassVar[int] = 1

    def turn(self, view: View, done: Tensor) -> Tensor:
        """The index of the estimator of the next step after ``done`` steps, ``(N,)``."""
        usual = len(combine(self.surrogates, self.paths))
        if not (view.hybrid and self.hybrid_estimators):
            return done % usual
        finders, pair = self.finders, done // 2
        others = torch.tensor([finders.index(finder) for finder in self.hybrid_estimators])
        return torch.where(done % 2 == 0, pair % usual, others[pair % len(others)])

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> MomentumState:
        """A random point of the ball, not that of ``pgd``."""
        n = len(x)
        return MomentumState(
            PGD.start_point(x, eps, noise, self.draw),
            torch.full((n,), self.steps, dtype=torch.int64, device=x.device),
            torch.zeros(n, dtype=torch.int64, device=x.device),
            torch.zeros_like(x),
            NeuronStatistics.empty(n),
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step along the momentum, with the next estimator."""
        assert isinstance(state, MomentumState)
        done = self.steps - state.steps_left
        name = self.finders[int(state.phase[0])]
        gradient = self.gradient(view, state.candidate, y, self.loss, name, state.statistics)
        state.momentum = self.momentum * state.momentum + to_mean_one(gradient)
        size = torch.lerp(
            torch.full_like(eps, self.first_step),
            torch.full_like(eps, self.last_step),
            done.to(eps.dtype) / max(1, self.steps - 1),
        )
        candidate = state.candidate + spread(size * eps, x) * state.momentum.sign()
        state.steps_left = state.steps_left - 1
        state.statistics.forget(state.steps_left == 0)
        state.phase = self.turn(view, done + 1)
        return candidate, state


class Refinement(SurrogateRun):
    """A run from an adversarial example of a larger ε, or else from a random point."""

    start: ClassVar[Start] = "warm"
    draw: ClassVar[int] = 2


class RatioRun(Refinement):
    """A further run of this kind, with another random point."""

    draw: ClassVar[int] = 3


class AdaptiveRun(SAPGD):
    """SA-PGD from an adversarial example of a larger ε, or else from a random point.

    Attributes:
        longest: the upper bound of the steps, in units of ε; a longer step would leave the example.
        shortest: the lower bound of the steps; ``longest`` takes precedence.
    """

    name: ClassVar[str] = "adaptive"
    start: ClassVar[Start] = "warm"

    longest: float = Field(1.0, gt=0)
    shortest: float = Field(0.0, ge=0)

    def step_sizes(self) -> list[float]:
        """The step sizes of SA-PGD, clipped to ``shortest`` and ``longest``."""
        return [min(max(size, self.shortest), self.longest) for size in super().step_sizes()]

    @property
    def finders(self) -> tuple[str, ...]:
        """The surrogate, after which results name the run."""
        return (self.surrogate,)


class SPGD(StagedAttack, RunParameters):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: the number of steps of the run of ``pgd``.
        steps: the number of steps of the runs 2 and 4; the runs 3 and 5 have twice as many.
        adaptive: the surrogate of run 5.
        loss: the loss of the runs 2 and 5.
        warm_step: the first step of the runs 3 to 5, in units of ε.
    """

    name: ClassVar[str] = "spgd"
    version: ClassVar[int] = 6  # the last run takes the steps of SA-PGD
    lengths: ClassVar[tuple[str, ...]] = ("pgd_steps", "steps")

    pgd_steps: int = Field(20, ge=1, le=MOST)
    steps: int = Field(20, ge=1, le=MOST // 2)
    adaptive: OneSurrogate = "assg_scaled(0.425)"
    warm_step: float = Field(0.5, gt=0, le=2)

    @property
    def finders(self) -> tuple[str, ...]:
        """The estimators of the runs 2 to 4, then the surrogate of run 5."""
        return tuple(dict.fromkeys((*super().finders, self.adaptive)))

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The five runs."""
        warm = {"first_step": self.warm_step}
        return (
            PGD(steps=self.pgd_steps),
            self.as_run(SurrogateRun),
            self.as_run(Refinement, steps=2 * self.steps, loss="margin", **warm),
            self.as_run(RatioRun, loss="dlr", **warm),
            self.adaptive_run(2 * self.steps, longest=self.warm_step),
        )

    def as_run(self, kind: type[R], **changes: object) -> R:
        """A single run of a kind with these parameters and some changes."""
        own = {name: getattr(self, name) for name in RunParameters.model_fields}
        return kind(**own | changes)

    def adaptive_run(self, steps: int, **bounds: float) -> AdaptiveRun:
        """SA-PGD with the adaptive surrogate."""
        return AdaptiveRun(steps=steps, surrogate=self.adaptive, loss=self.loss, **bounds)

    def at_budget(self, passes: int) -> AdaptiveRun:
        """The last run alone, which is the strongest per pass, with longer steps.

        Raises:
            UsageError: a parameter is set that this run does not use.
        """
        usual = type(self)()
        taken = {"adaptive", "loss"}
        if self.first_step <= 1:  # no step of SA-PGD is longer than ε
            taken.add("first_step")
        idle = [
            name
            for name in type(self).model_fields
            if name not in taken and getattr(self, name) != getattr(usual, name)
        ]
        if idle:
            raise UsageError(
                f"attack {self.name} at a number of passes is its last run alone, where these "
                f"parameters do nothing: {', '.join(idle)}"
            )
        return self.adaptive_run(passes, longest=self.first_step, shortest=REACH / passes)
