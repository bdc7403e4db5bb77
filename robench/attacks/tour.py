"""A tour through surrogates: ``pgd`` through one after the other, worst case per sample.

What an ensemble of surrogates means in most of the literature, e.g. Özdenizci and Legenstein,
Adversarially robust spiking neural networks through conversion, TMLR 2024. It is here to be
compared with: ``spgd`` goes through its surrogates within one run.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robench.attacks.base import Noise, Start, State, Surrogates, View
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

    surrogates: Surrogates = (
        "atan(2)",
        "triangle(1)",
        "rectangle(1)",
        "triangle(0.5)",
        "exponential(1)",
        "atan(10)",
        "straight_through",
        "fast_sigmoid(25)",
    )

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

    @property
    def runs(self) -> int:
        """A run for each surrogate in each round."""
        return self.restarts * len(self.surrogates)

    def draw(self, run: Tensor) -> Tensor:
        """The runs of a round begin from the same start."""
        return run // len(self.surrogates)

    def ascent(self, view: View, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Through the surrogate whose turn it is; the model's own gradient without spikes."""
        name = self.surrogates[int(state.phase[0])]
        surrogate = Surrogate.parse(name) if view.spiking else None
        return view.gradient(x, y, self.loss, surrogate=surrogate)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of ``pgd``, and whose turn is next."""
        candidate, state = super().step(view, x, y, eps, state, noise)
        run = self.runs - 1 - (state.steps_left - 1) // self.steps
        state.phase = run.clamp(max=self.runs - 1) % len(self.surrogates)
        return candidate, state
