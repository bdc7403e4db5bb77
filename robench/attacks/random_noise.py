"""Random noise, the baseline of every attack."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, Gradients, IterativeAttack, State, begin
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.per_sample import spread


class RandomNoise(IterativeAttack):
    """The worst of several draws, alternately uniform in the ball and at its corners.

    Attributes:
        draws: the number of noisy images for each sample.
    """

    name: ClassVar[str] = "noise"
    gradients: ClassVar[Gradients] = "none"

    draws: int = Field(10, ge=1, le=MOST)

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The clean image."""
        return begin(x, self.draws)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """The next draw."""
        draw = self.draws - state.steps_left
        shift = 2 * noise("noise", draw) - 1
        corners = spread(draw % 2 == 1, x)
        state.steps_left = state.steps_left - 1
        return x + spread(eps, x) * shift.sign().where(corners, shift), state
