"""A tour through surrogates: ``pgd`` through one after the other, worst case per sample.

What an ensemble of surrogates means in most of the literature, e.g. Özdenizci and Legenstein,
Adversarially robust spiking neural networks through conversion, TMLR 2024. It is here to be
compared with: ``spgd`` goes through its surrogates within one run.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import field_validator
from torch import Tensor

from robench.attacks.base import Noise, Start, State, View, spread, vanished
from robench.attacks.pgd import PGD
from robench.spiking import Surrogate


class Tour(PGD):
    """A run of PGD through each surrogate, then the next round from other starts.

    Attributes:
        steps: of each run.
        restarts: rounds through all surrogates.
        surrogates: in the order in which they are tried.
    """

    name: ClassVar[str] = "tour"
    version: ClassVar[int] = 1
    start: ClassVar[Start] = "cold"

    surrogates: tuple[str, ...] = (
        "atan(2)",
        "triangle(1)",
        "rectangle(1)",
        "triangle(0.5)",
        "exponential(1)",
        "atan(10)",
        "straight_through",
        "fast_sigmoid(25)",
    )

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

    def at_budget(self, passes: int) -> Tour:
        """As many runs of the first surrogates, or rounds through all, as fit."""
        steps = min(self.steps, passes)
        runs = passes // steps
        first = self.surrogates[:runs]
        return self.model_copy(
            update={"steps": steps, "surrogates": first, "restarts": runs // len(first)}
        )

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """Every row at the first start of the first surrogate."""
        state = super().init(view, x, y, eps, noise)
        state.steps_left = state.steps_left * len(self.surrogates)
        return state

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step through the surrogate whose turn it is."""
        names = self.surrogates
        left = state.steps_left
        run = len(names) * self.restarts - 1 - (left - 1) // self.steps
        current = state.candidate
        fresh = (left % self.steps == 0) & (run > 0)
        if fresh.any():
            e = spread(eps, x)
            begin = self.start_point(x, eps, noise, run // len(names)).clamp(0, 1)
            begin = torch.minimum(torch.maximum(begin, x - e), x + e)
            current = torch.where(spread(fresh, x), begin, current)
        surrogate = Surrogate.parse(names[int(state.phase[0])]) if view.spiking else None
        gradient = view.gradient(current, y, self.loss, surrogate=surrogate)
        step = spread(eps, x) * (self.relative_step / self.steps)
        state.steps_left = left - 1 - torch.where(vanished(gradient), (left - 1) % self.steps, 0)
        following = len(names) * self.restarts - 1 - (state.steps_left - 1) // self.steps
        state.phase = following.clamp(max=len(names) * self.restarts - 1) % len(names)
        return current + step * gradient.sign(), state
