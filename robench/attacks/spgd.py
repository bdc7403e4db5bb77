"""SPGD, spike-aware PGD: back-propagation through surrogates and paths that the attacker chooses.

One gradient hides what another finds, and one loss what another shows, so SPGD takes the worst
case per sample over five runs: ``pgd``'s own; one with momentum and a large, falling step that goes
round a set of surrogates and gradient paths; then three, with a smaller step, from what broke the
sample at a larger ε. The first of those raises the margin, the second the difference of logits
ratio, which a network cannot flatten by training, both round the same set. The last is SA-PGD
through a surrogate whose sharpness follows each neuron. A hybrid network was trained without
spikes, and what it computes is in its rates: there every second step of a run round the set follows
the gradient of the rate. On a network without spikes there is nothing to substitute and all of them
follow the model's own gradient.
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
from robench.spiking import Estimator, NeuronStatistics

REACH = 4.0
"""What n steps cover at least where the last run is all there is, in units of ε: none is shorter
than 4ε/n. SA-PGD halves so often that the later ones of twenty hardly move."""

R = TypeVar("R", bound="SurrogateRun")


@dataclass
class MomentumState(State):
    """A state with the accumulated gradient, ``(N, C, H, W)``, and what the neurons remember."""

    momentum: Tensor
    statistics: NeuronStatistics

    def release(self, rows: Tensor) -> None:
        """Free the statistics of the neurons."""
        self.statistics.forget(rows)


class SurrogateRun(EstimatorSet, IterativeAttack):
    """One run with momentum and a falling step, round a set of surrogates and gradient paths.

    Attributes:
        steps: of the run.
        surrogates: visited in turn, one for each step, with the paths.
        hybrid_members: on a hybrid network every second step goes through one of these instead.
        momentum: weight of the accumulated gradient, each normalised to mean magnitude 1.
        first_step: the step in units of ε at the beginning.
        last_step: and at the end; linear in between.
        loss: what is raised.
    """

    name: ClassVar[str] = "surrogates"
    start: ClassVar[Start] = "cold"  # the first step would leave a witness at once
    draw: ClassVar[int] = 1

    steps: int = Field(20, ge=1, le=MOST)
    surrogates: tuple[str, ...] = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)")
    hybrid_estimators: tuple[str, ...] = ("rga",)
    momentum: float = Field(0.75, ge=0, lt=1)
    first_step: float = Field(1.0, gt=0, le=2)
    last_step: float = Field(0.05, gt=0, le=2)
    loss: Loss = "cross-entropy"

    @model_validator(mode="after")
    def _one_kind_of_statistics(self) -> Self:
        """Refuse surrogates that would find in a run what another one remembers."""
        found = [
            Estimator.parse(name).statistics for name in (*self.surrogates, *self.hybrid_estimators)
        ]
        kinds = sorted({kind for kind in found if kind is not None})
        if len(kinds) > 1:
            share = " and ".join(kinds)
            raise ValueError(f"{share} would share what the neurons remember; take one")
        return self

    @property
    def finders(self) -> tuple[str, ...]:
        """The surrogates and paths, then those of a hybrid network alone."""
        return tuple(dict.fromkeys((*super().finders, *self.hybrid_estimators)))

    def turn(self, view: View, done: Tensor) -> Tensor:
        """Which member, as an index, has its turn after so many steps, ``(N,)``."""
        usual = len(super().finders)
        if not (view.hybrid and self.hybrid_estimators):
            return done % usual
        finders, pair = self.finders, done // 2
        others = torch.tensor([finders.index(finder) for finder in self.hybrid_estimators])
        return torch.where(done % 2 == 0, pair % usual, others[pair % len(others)])

    def as_run(self, kind: type[R], **changes: object) -> R:
        """A single run of a kind with these parameters, but for changes."""
        own = {name: getattr(self, name) for name in SurrogateRun.model_fields}
        return kind(**own | changes)

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> MomentumState:
        """A random point of the ball, another than ``pgd``'s."""
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
        """A step along the momentum, through the member that is in turn."""
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
    """The same from a witness of a larger ε, or from a random point where there is none."""

    start: ClassVar[Start] = "warm"
    draw: ClassVar[int] = 2


class RatioRun(Refinement):
    """The same once more, from another point where there is no witness."""

    draw: ClassVar[int] = 3


class AdaptiveRun(SAPGD):
    """SA-PGD from a witness of a larger ε, or from a random point where there is none.

    Results name it after the surrogate that it goes through.

    Attributes:
        longest: the bound of all its steps, in units of ε: a longer one would leave a witness.
        shortest: what they do not fall below, where ``longest`` allows it.
    """

    name: ClassVar[str] = "adaptive"
    start: ClassVar[Start] = "warm"

    longest: float = Field(1.0, gt=0)
    shortest: float = Field(0.0, ge=0)

    def step_sizes(self) -> list[float]:
        """Those of SA-PGD, none shorter than ``shortest`` or longer than ``longest``."""
        return [min(max(size, self.shortest), self.longest) for size in super().step_sizes()]

    @property
    def finders(self) -> tuple[str, ...]:
        """The surrogate."""
        return (self.surrogate,)


class SPGD(StagedAttack, SurrogateRun):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: steps of ``pgd``'s own run (its starts, its step size).
        steps: of the first and the third run through the surrogates; the second, and the one
            through ``adaptive``, take twice as many.
        adaptive: the surrogate of the last run.
        loss: what the first and the last of them raise.
        warm_step: the first step of all but the first, in units of ε.
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
        """Those of the runs round the set, then that of the last run."""
        return tuple(dict.fromkeys((*super().finders, self.adaptive)))

    @property
    def stages(self) -> tuple[Attack, ...]:
        """``pgd``, three runs round the set, and SA-PGD through ``adaptive``."""
        warm = {"first_step": self.warm_step}
        return (
            PGD(steps=self.pgd_steps),
            self.as_run(SurrogateRun),
            self.as_run(Refinement, steps=2 * self.steps, loss="margin", **warm),
            self.as_run(RatioRun, loss="dlr", **warm),
            self.adaptive_run(2 * self.steps, longest=self.warm_step),
        )

    def adaptive_run(self, steps: int, **bounds: float) -> AdaptiveRun:
        """The run through the surrogate that follows the neurons."""
        return AdaptiveRun(steps=steps, surrogate=self.adaptive, loss=self.loss, **bounds)

    def at_budget(self, passes: int) -> AdaptiveRun:
        """The last run alone, which finds most in a pass, with longer steps than from a witness.

        Raises:
            UsageError: a parameter is set that this run does not take.
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
