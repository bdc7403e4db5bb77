"""SPGD, spike-aware PGD: back-propagation over all time steps through attacker-chosen surrogates.

One surrogate gradient hides what another finds, so SPGD takes the worst case per sample: first
``pgd``'s own run, then one long run from where that ended, with momentum and a large, falling
step, that goes round a set of surrogates. On a network without spikes there is nothing to
substitute and the second run follows the model's own gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from robench.attacks.base import IterativeAttack, Need, Noise, State, View, spread, vanished
from robench.attacks.pgd import PGD
from robench.spiking import Surrogate


@dataclass
class SPGDState(State):
    """PGD's state with the momentum, ``(N, C, H, W)``."""

    momentum: Tensor


class SPGD(IterativeAttack):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: steps of ``pgd``'s own run (its starts, its step size).
        steps: steps of the run through the surrogates.
        surrogates: visited in turn, one for each step.
        momentum: weight of the accumulated gradient, each normalised to mean magnitude 1.
        first_step: the step in units of ε at the beginning of the second run.
        last_step: and at its end; linear in between.
    """

    name: ClassVar[str] = "spgd"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradient"})

    pgd_steps: int = Field(20, ge=1)
    steps: int = Field(20, ge=1)
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
        """``pgd``'s run, then the surrogates."""
        return ("pgd", *self.surrogates)

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> SPGDState:
        """Where ``pgd`` begins."""
        begin = PGD(steps=self.pgd_steps).init(view, x, y, eps, noise)
        return SPGDState(
            begin.candidate, begin.steps_left + self.steps, begin.phase, torch.zeros_like(x)
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of ``pgd``'s run or of the run through the surrogates, as the phase says."""
        assert isinstance(state, SPGDState)
        phase, left = int(state.phase[0]), state.steps_left
        surrogate = None
        if phase > 0 and view.spiking:
            surrogate = Surrogate.parse(self.surrogates[phase - 1])
        gradient = view.gradient(state.candidate, y, surrogate=surrogate)
        e = spread(eps, x)
        if phase == 0:
            candidate = state.candidate + gradient.sign() * e * (2.5 / self.pgd_steps)
            left = torch.where(vanished(gradient), self.steps, left - 1)
        else:
            scale = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(x.dtype).tiny)
            state.momentum = self.momentum * state.momentum + gradient / spread(scale, x)
            done = (self.steps - left).to(x.dtype) / max(1, self.steps - 1)
            size = self.first_step + (self.last_step - self.first_step) * done
            candidate = state.candidate + spread(size, x) * e * state.momentum.sign()
            left = left - 1
        state.steps_left = left
        turn = (self.steps - left) % len(self.surrogates) + 1
        state.phase = torch.where(left > self.steps, 0, turn)
        return candidate, state
