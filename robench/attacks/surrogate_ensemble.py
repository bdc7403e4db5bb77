"""Surrogate ensemble: ``pgd`` with one estimator after the other, worst case per sample.

This is the ensemble of surrogates of most of the literature, e.g. Özdenizci and Legenstein,
Adversarially robust spiking neural networks through conversion, TMLR 2024. It is a baseline for
``spgd``, which takes one long run instead of many short ones. With a single surrogate or gradient
path it is ``pgd`` with that estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import field_validator, model_validator
from torch import Tensor

from robench.attacks.contract.attack import Gradients, Need, Start, State
from robench.attacks.contract.estimators import estimated
from robench.attacks.contract.view import Noise, View
from robench.attacks.pgd import PGD
from robench.spiking import Estimator, NeuronStatistics, combine


@dataclass
class SurrogateEnsembleState(State):
    """A state with the statistics of the neurons in the current run."""

    statistics: NeuronStatistics


class SurrogateEnsemble(PGD):
    """One run of PGD with each estimator, then the next round from other starts.

    Attributes:
        steps: the number of steps of each run.
        restarts: the number of rounds through all estimators.
        surrogates: names of surrogates, in order, optionally with a path: ``triangle(1)/hart``.
        paths: gradient paths. Every surrogate without a path is combined with each of them; paths
            that take no surrogate (``bptr``, ``rga``, ``cba``) are estimators of their own. If
            empty, surrogates use the model's own path.
    """

    name: ClassVar[str] = "surrogate-ensemble"
    version: ClassVar[int] = 2  # assg adapts to the neurons over a run
    start: ClassVar[Start] = "cold"
    gradients: ClassVar[Gradients] = "chosen"

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
    paths: tuple[str, ...] = ()

    @field_validator("surrogates")
    @classmethod
    def _with_sharpness(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """``atan`` as ``atan(2)``, so that equal attacks are one cell."""
        return tuple(str(Estimator.parse(name)) for name in names)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not combine(self.surrogates, self.paths):
            raise ValueError("surrogates needs at least one, or paths one that takes none")
        return self

    @property
    def finders(self) -> tuple[str, ...]:
        """The names of the estimators, as in results."""
        return combine(self.surrogates, self.paths)

    @property
    def required(self) -> frozenset[Need]:
        """What the gradient paths need of a network."""
        rules: dict[str, Need] = {"temporal": "paths", "rga": "firing rates"}
        paths = [Estimator.parse(name).path for name in self.finders]
        return self.needs | {
            "counterpart" if path.counterpart else rules.get(path.rule, "layers over time")
            for path in paths
            if path is not None
        }

    @property
    def runs(self) -> int:
        """A run for each estimator in each round."""
        return self.restarts * len(self.finders)

    def init(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise
    ) -> SurrogateEnsembleState:
        """The first random start of every row, which is that of ``pgd``."""
        begun = super().init(view, x, y, eps, noise)
        statistics = NeuronStatistics.empty(len(x))
        return SurrogateEnsembleState(begun.candidate, begun.steps_left, begun.phase, statistics)

    def draw(self, run: Tensor) -> Tensor:
        """The runs of a round share a random start."""
        return run // len(self.finders)

    def ascent(self, view: View, x: Tensor, y: Tensor, state: State) -> Tensor:
        """The gradient with the estimator of the current run."""
        assert isinstance(state, SurrogateEnsembleState)
        name = self.finders[int(state.phase[0])]
        return estimated(view, x, y, self.loss, name, state.statistics)[0]

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of ``pgd``, and the estimator of the next step."""
        assert isinstance(state, SurrogateEnsembleState)
        state.statistics.forget(state.steps_left % self.steps == 0)  # a run starts
        candidate, moved = super().step(view, x, y, eps, state, noise)
        state.statistics.forget(moved.steps_left == 0)
        run = self.runs - 1 - (moved.steps_left - 1) // self.steps
        moved.phase = run.clamp(max=self.runs - 1) % len(self.finders)
        return candidate, moved
