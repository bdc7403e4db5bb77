"""SPGD, spike-aware PGD: back-propagation over all time steps through attacker-chosen surrogates.

One surrogate gradient hides what another finds, so SPGD takes the worst case per sample: first
``pgd``'s own run, then a run with momentum and a large, falling step that goes round a set of
surrogates, then the same from what broke the sample at a larger ε, with a smaller step. On a
network without spikes there is nothing to substitute and these runs follow the model's own
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from robench.attacks.base import (
    MOST,
    Attack,
    IterativeAttack,
    Need,
    Noise,
    StagedAttack,
    Start,
    State,
    View,
    spread,
)
from robench.attacks.pgd import PGD
from robench.spiking import Surrogate


@dataclass
class MomentumState(State):
    """A state with the accumulated gradient, ``(N, C, H, W)``."""

    momentum: Tensor


class SurrogateRun(IterativeAttack):
    """One run with momentum and a falling step, round a set of surrogates.

    Attributes:
        steps: of the run.
        surrogates: visited in turn, one for each step.
        momentum: weight of the accumulated gradient, each normalised to mean magnitude 1.
        first_step: the step in units of ε at the beginning.
        last_step: and at the end; linear in between.
    """

    name: ClassVar[str] = "surrogates"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradient"})
    start: ClassVar[Start] = "cold"  # the first step would leave a witness at once
    draw: ClassVar[int] = 1

    steps: int = Field(20, ge=1, le=MOST)
    surrogates: tuple[str, ...] = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)")
    momentum: float = Field(0.75, ge=0, lt=1)
    first_step: float = Field(1.0, gt=0)
    last_step: float = Field(0.05, gt=0)

    @field_validator("surrogates")
    @classmethod
    def _readable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or any(Surrogate.parse(name) is None for name in names):
            raise ValueError("surrogates needs at least one, each with a derivative")
        return names

    @property
    def members(self) -> tuple[str, ...]:
        """The surrogates."""
        return self.surrogates

    def at_budget(self, passes: int) -> SurrogateRun:
        """One run of so many steps."""
        own = {name: getattr(self, name) for name in SurrogateRun.model_fields}
        return SurrogateRun(**own | {"steps": passes})

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> MomentumState:
        """A random point of the ball, another than ``pgd``'s."""
        n = len(x)
        return MomentumState(
            PGD.start_point(x, eps, noise, self.draw),
            torch.full((n,), self.steps, dtype=torch.int64, device=x.device),
            torch.zeros(n, dtype=torch.int64, device=x.device),
            torch.zeros_like(x),
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step along the momentum, through the surrogate that is in turn."""
        assert isinstance(state, MomentumState)
        done = self.steps - state.steps_left
        surrogate = None
        if view.spiking:
            surrogate = Surrogate.parse(self.surrogates[int(state.phase[0])])
        gradient = view.gradient(state.candidate, y, surrogate=surrogate)
        scale = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(x.dtype).tiny)
        state.momentum = self.momentum * state.momentum + gradient / spread(scale, x)
        size = torch.lerp(
            torch.full_like(eps, self.first_step),
            torch.full_like(eps, self.last_step),
            done.to(eps.dtype) / max(1, self.steps - 1),
        )
        candidate = state.candidate + spread(size * eps, x) * state.momentum.sign()
        state.steps_left = state.steps_left - 1
        state.phase = (done + 1) % len(self.surrogates)
        return candidate, state


class Refinement(SurrogateRun):
    """The same from a witness of a larger ε."""

    start: ClassVar[Start] = "witness"
    draw: ClassVar[int] = 2


class SPGD(StagedAttack, SurrogateRun):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: steps of ``pgd``'s own run (its starts, its step size).
        warm_step: the first step of the last run, in units of ε.
    """

    name: ClassVar[str] = "spgd"
    version: ClassVar[int] = 2

    pgd_steps: int = Field(20, ge=1, le=MOST)
    warm_step: float = Field(0.5, gt=0)

    @property
    def stages(self) -> tuple[Attack, ...]:
        """``pgd``, then the two runs through the surrogates."""
        own = {name: getattr(self, name) for name in SurrogateRun.model_fields}
        again = own | {"first_step": self.warm_step}
        return PGD(steps=self.pgd_steps), SurrogateRun(**own), Refinement(**again)
