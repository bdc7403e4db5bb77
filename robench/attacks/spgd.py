"""SPGD, spike-aware PGD: the run of ``pgd``, then a long run with gradients that SPGD chooses.

The long run takes the steps of SA-PGD through a surrogate whose sharpness adapts to each neuron.
It differs from SA-PGD in four points:

- Where the step is halved, it starts from the best iterate of the run, as in APGD.
- A hybrid network was trained without spikes and computes with firing rates. In the first half of
  the run, every second step follows the gradient of the rate, where it is known.
- On networks that were trained without spikes, and on those whose logits are close to each other,
  the loss is the margin. Confidence, label smoothing and small logits do not flatten it.
- A run whose margin has hardly moved after two fifths of the steps ends.

On a network without spikes both runs follow the model's own gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import (
    MOST,
    Attack,
    Gradients,
    OneSurrogate,
    StagedAttack,
    State,
)
from robench.attacks.contract.estimators import estimated
from robench.attacks.contract.view import Noise, View
from robench.attacks.pgd import PGD
from robench.attacks.primitives.losses import Loss, loss_of
from robench.attacks.primitives.per_sample import spread
from robench.attacks.sapgd import SAPGD, SAPGDState

RATE = "rga"
"""The gradient path of the firing rate."""
LOOK, MOVED, LEAST = 0.41, 0.5, 50
"""After this share of its steps a run ends if its largest margin is below 0 and still has this
share of the distance of the first margin from 0; not if the run has fewer than ``LEAST`` steps."""


@dataclass
class LongRunState(SAPGDState):
    """The state of a run.

    Attributes:
        best: the iterate with the largest margin, ``(N, C, H, W)``.
        margin: its margin, ``(N,)``; it is negative while the image is classified right.
        first_margin: the margin of the first iterate, ``(N,)``.
    """

    best: Tensor
    margin: Tensor
    first_margin: Tensor


class LongRun(SAPGD):
    """The second run of SPGD.

    Attributes:
        rate_share: the share of the steps on a hybrid network in which every second step follows
            the gradient of the rate.
    """

    name: ClassVar[str] = "long run"
    version: ClassVar[int] = 1

    steps: int = Field(120, ge=1, le=MOST)
    surrogate: OneSurrogate = "assg_scaled(0.425)"
    rate_share: float = Field(0.5, ge=0, le=1)

    @property
    def finders(self) -> tuple[str, ...]:
        """The surrogate, and the gradient of the rate."""
        return (self.surrogate, RATE)

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> LongRunState:
        """The first random start of every row."""
        begun = super().init(view, x, y, eps, noise)
        lowest = torch.full_like(eps, -torch.inf)
        return LongRunState(
            **vars(begun), best=x.clone(), margin=lowest, first_margin=lowest.clone()
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of SA-PGD, and the estimator of the next step."""
        candidate, state = super().step(view, x, y, eps, state, noise)
        if view.hybrid and view.rated:
            done = -state.steps_left % self.steps
            state.phase = (done % 2) * (done < self.rate_share * self.steps)
        return candidate, state

    def ascent(self, view: View, y: Tensor, state: SAPGDState, done: Tensor) -> Tensor:
        """The gradient with the estimator of the step; keeps the best iterate of the run."""
        assert isinstance(state, LongRunState)
        x, name = state.candidate, self.finders[int(state.phase[0])]
        usual = view.spiking and not (view.hybrid or view.close)
        loss = self.loss if usual else "margin"
        gradient, logits = estimated(view, x, y, loss, name, state.statistics)
        margin, first = loss_of(logits, y, "margin"), done == 0
        better = first | (margin > state.margin)
        state.first_margin = torch.where(first, margin, state.first_margin)
        state.best = torch.where(spread(better, x), x, state.best)
        state.margin = torch.where(better, margin, state.margin)
        return gradient

    def origin(self, state: SAPGDState, done: Tensor) -> Tensor:
        """The best iterate of the run where the step is halved."""
        assert isinstance(state, LongRunState)
        size = torch.tensor(self.step_sizes(), device=done.device)
        halved = (done > 0) & (size[done] < size[(done - 1).clamp_min(0)])
        return torch.where(spread(halved, state.candidate), state.best, state.candidate)

    def ended(self, state: SAPGDState, done: Tensor) -> Tensor:
        """Also the runs whose margin has hardly moved."""
        assert isinstance(state, LongRunState)
        look = (done + 1 == int(LOOK * self.steps)) & (self.steps >= LEAST)
        return super().ended(state, done) | (look & (state.margin < MOVED * state.first_margin))


class SPGD(StagedAttack):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: the number of steps of the run of ``pgd``.
        steps: the number of steps of one long run.
        restarts: the number of long runs, each from its own random start.
        surrogate: the surrogate of the long run.
        rate_share: the share of the long run on a hybrid network in which every second step
            follows the gradient of the rate.
        loss: the loss of the long run on a network that was trained with spikes and whose logits
            are not close.
    """

    name: ClassVar[str] = "spgd"
    version: ClassVar[int] = 7  # one long run takes the place of four short ones
    gradients: ClassVar[Gradients] = "chosen"
    lengths: ClassVar[tuple[str, ...]] = ("pgd_steps", "steps")

    pgd_steps: int = Field(20, ge=1, le=MOST)
    steps: int = Field(120, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)
    surrogate: OneSurrogate = "assg_scaled(0.425)"
    rate_share: float = Field(0.5, ge=0, le=1)
    loss: Loss = "cross-entropy"

    @property
    def finders(self) -> tuple[str, ...]:
        """Those of the two runs."""
        return tuple(finder for stage in self.stages for finder in stage.finders)

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The two runs."""
        own = {name: getattr(self, name) for name in LongRun.model_fields}
        return PGD(steps=self.pgd_steps), LongRun(**own)
