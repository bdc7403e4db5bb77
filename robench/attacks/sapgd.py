"""SA-PGD, Stable Adaptive PGD, with ASSG: step sizes per pixel, surrogates per neuron.

Wang et al., CVPR 2026 (arXiv 2512.22522), with the constants of the published code. The surrogate
(:func:`robench.spiking.adaptive_surrogates.assg`) adapts to the membrane of every neuron over the
steps of the attack; its statistics are part of the state of each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.apgd import FIRST_WINDOW, LEAST_WINDOW, SHRINKAGE
from robench.attacks.contract.attack import (
    MOST,
    Gradients,
    IterativeAttack,
    OneSurrogate,
    Start,
    State,
)
from robench.attacks.contract.estimators import estimated
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.losses import Loss
from robench.attacks.primitives.norms import project, to_mean_one
from robench.attacks.primitives.per_sample import magnitude, spread, vanished
from robench.spiking import NeuronStatistics

FIRST_MOMENT, SECOND_MOMENT = 0.5, 0.8
"""Decay of the moving sums of the gradient and of its square."""
DENOMINATOR = 1e-12


@dataclass
class SAPGDState(State):
    """The state of a run.

    Attributes:
        first: the moving sum of gradients scaled to mean magnitude 1, ``(N, C, H, W)``.
        second: the moving sum of their squares scaled to mean 1, ``(N, C, H, W)``.
        statistics: the statistics of the neurons.
    """

    first: Tensor
    second: Tensor
    statistics: NeuronStatistics


class SAPGD(IterativeAttack):
    """SA-PGD with a surrogate whose sharpness adapts to each neuron.

    Every iterate that is misclassified counts as an adversarial example. On a network without
    spikes the gradient is the model's own.

    Attributes:
        steps: the number of steps of one run, each a gradient pass.
        restarts: the number of runs, each from its own random start.
        surrogate: the surrogate; by default ASSG with A/2 = 0.425.
        loss: the loss that is maximised.
    """

    name: ClassVar[str] = "sapgd"
    gradients: ClassVar[Gradients] = "chosen"
    version: ClassVar[int] = 2  # the last iterate of each run is verified
    start: ClassVar[Start] = "cold"  # the first step, ε long, would leave a known example

    steps: int = Field(100, ge=1, le=MOST)
    restarts: int = Field(1, ge=1, le=MOST)
    surrogate: OneSurrogate = "assg(0.425)"
    loss: Loss = "cross-entropy"

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> SAPGDState:
        """The first random start of every row."""
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return SAPGDState(
            candidate=self.start_point(x, eps, noise, 0),
            steps_left=count + self.steps * self.restarts,
            phase=count.clone(),
            first=torch.zeros_like(x),
            second=torch.zeros_like(x),
            statistics=NeuronStatistics.empty(len(x)),
        )

    @staticmethod
    def start_point(x: Tensor, eps: Tensor, noise: Noise, draw: int | Tensor) -> Tensor:
        """A random point on the surface of the ball, not yet projected onto the box."""
        shift = 2 * noise("start", draw) - 1
        return x + spread(eps / magnitude(shift), x) * shift

    def step_sizes(self) -> list[float]:
        """The largest change of a pixel in each step of a run, in units of ε.

        It is halved at the checkpoints of APGD: after 22 % of the steps, then after windows that
        are each 3 % of the steps shorter, but no shorter than 6 %.
        """
        window = max(1, int(FIRST_WINDOW * self.steps))
        sizes: list[float] = []
        size = 1.0
        while len(sizes) < self.steps:
            sizes += [size] * window
            size /= 2
            window = max(
                window - max(1, int(SHRINKAGE * self.steps)), max(1, int(LEAST_WINDOW * self.steps))
            )
        return sizes[: self.steps]

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """One step along the ratio of the moving sums."""
        assert isinstance(state, SAPGDState)
        in_all = self.steps * self.restarts - state.steps_left
        self._begin_runs(x, eps, state, noise, in_all)
        done = in_all % self.steps
        gradient = self.ascent(view, y, state, done)
        state.first = FIRST_MOMENT * state.first + to_mean_one(gradient)
        # scaled first: the square of a small gradient underflows
        state.second = SECOND_MOMENT * state.second + to_mean_one(to_mean_one(gradient) ** 2)
        way = (state.first / (state.second.sqrt() + DENOMINATOR)).clamp(-1, 1)
        size = torch.tensor(self.step_sizes(), dtype=eps.dtype, device=eps.device)
        candidate = self.origin(state, done) + spread(size[done] * eps, x) * way
        rest = (state.steps_left - 1) % self.steps
        ended = self.ended(state, done)
        state.steps_left = state.steps_left - 1 - torch.where(ended, rest, 0)
        state.statistics.forget(state.steps_left % self.steps == 0)
        return candidate, state

    def ascent(self, view: View, y: Tensor, state: SAPGDState, done: Tensor) -> Tensor:
        """The gradient that a step follows, after ``done`` steps of the run, ``(N,)``."""
        return estimated(view, state.candidate, y, self.loss, self.surrogate, state.statistics)[0]

    def origin(self, state: SAPGDState, done: Tensor) -> Tensor:
        """Where the step starts, of the shape of the iterates."""
        return state.candidate

    def ended(self, state: SAPGDState, done: Tensor) -> Tensor:
        """Which rows leave out the rest of the run, ``(N,)``: those that would not move again."""
        return vanished(state.first)

    def _begin_runs(
        self, x: Tensor, eps: Tensor, state: SAPGDState, noise: Noise, in_all: Tensor
    ) -> None:
        """Start the next run of the rows whose last step ended one, after ``in_all`` steps of all.

        The engine has verified the last iterate of that run by now.
        """
        again = (in_all % self.steps == 0) & (in_all > 0)
        if again.any():
            wide = spread(again, x)
            fresh = project(self.start_point(x, eps, noise, in_all // self.steps), x, eps)
            state.candidate = torch.where(wide, fresh, state.candidate)
            state.first = torch.where(wide, 0.0, state.first)
            state.second = torch.where(wide, 0.0, state.second)
