"""A tour through surrogates: ``pgd`` through one after the other, worst case per sample.

What an ensemble of surrogates means in most of the literature, e.g. Özdenizci and Legenstein,
Adversarially robust spiking neural networks through conversion, TMLR 2024. It is here to be
compared with: ``spgd`` goes through its surrogates within one run. With a single surrogate or
gradient path it is ``pgd`` through that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robench.attacks.contract.attack import Start, State
from robench.attacks.contract.estimators import EstimatorSet
from robench.attacks.contract.view import Noise, View
from robench.attacks.pgd import PGD
from robench.spiking import NeuronStatistics


@dataclass
class SurrogateEnsembleState(State):
    """A state with what the neurons remember of the row's present run."""

    statistics: NeuronStatistics

    def release(self, rows: Tensor) -> None:
        """Let go of what the neurons remember."""
        self.statistics.forget(rows)


class SurrogateEnsemble(EstimatorSet, PGD):
    """A run of PGD through each surrogate and path, then the next round from other starts.

    Attributes:
        steps: of each run.
        restarts: rounds through all members.
        surrogates: in the order in which they are tried.
    """

    name: ClassVar[str] = "surrogate-ensemble"
    version: ClassVar[int] = 2  # assg follows the neurons over a run
    start: ClassVar[Start] = "cold"

    surrogates: tuple[str, ...] = (
        "atan(2)",
        "triangle(1)",
        "rectangle(1)",
        "triangle(0.5)",
        "exponential(1)",
        "atan(10)",
        "straight_through(1)",
        "fast_sigmoid(25)",
    )

    def at_budget(self, passes: int) -> SurrogateEnsemble:
        """As many runs of the first members, or rounds through all, as fit."""
        steps = min(self.steps, passes)
        runs = passes // steps
        first = self.finders[:runs]
        return self.model_copy(
            update={
                "steps": steps,
                "surrogates": first,
                "paths": (),
                "restarts": runs // len(first),
            }
        )

    @property
    def runs(self) -> int:
        """A run for each member in each round."""
        return self.restarts * len(self.finders)

    def init(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise
    ) -> SurrogateEnsembleState:
        """Every row at its first random start, which is ``pgd``'s."""
        begun = super().init(view, x, y, eps, noise)
        statistics = NeuronStatistics.empty(len(x))
        return SurrogateEnsembleState(begun.candidate, begun.steps_left, begun.phase, statistics)

    def draw(self, run: Tensor) -> Tensor:
        """The runs of a round begin from the same start."""
        return run // len(self.finders)

    def ascent(self, view: View, x: Tensor, y: Tensor, state: State) -> Tensor:
        """Through the member whose turn it is; the model's own gradient without spikes."""
        assert isinstance(state, SurrogateEnsembleState)
        name = self.finders[int(state.phase[0])]
        return self.gradient(view, x, y, self.loss, name, state.statistics)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of ``pgd``, and whose turn is next."""
        assert isinstance(state, SurrogateEnsembleState)
        state.statistics.forget(state.steps_left % self.steps == 0)  # a run begins
        candidate, moved = super().step(view, x, y, eps, state, noise)
        state.statistics.forget(moved.steps_left == 0)
        run = self.runs - 1 - (moved.steps_left - 1) // self.steps
        moved.phase = run.clamp(max=self.runs - 1) % len(self.finders)
        return candidate, moved
