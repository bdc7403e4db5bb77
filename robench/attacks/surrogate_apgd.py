"""APGD-T through a surrogate that the attack chooses, for ensembles on spiking networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robench.attacks.apgd import APGDT, APGDState
from robench.attacks.contract.attack import MOST, Gradients, OneSurrogate, State
from robench.attacks.contract.estimators import estimated
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.losses import loss_of
from robench.spiking import NeuronStatistics


@dataclass
class SurrogateState(APGDState):
    """A state with the statistics of the neurons in the current run."""

    statistics: NeuronStatistics


class SurrogateAPGDT(APGDT):
    """APGD-T through a surrogate that the attack chooses, on the margin of the target class.

    On a network without spikes it is ``apgd-t`` with fewer targets.

    Attributes:
        surrogate: the surrogate of the spikes.
    """

    name: ClassVar[str] = "surrogate-apgd-t"
    version: ClassVar[int] = 1
    gradients: ClassVar[Gradients] = "chosen"
    least_classes: ClassVar[int] = 2

    n_targets: int = Field(3, ge=1, le=MOST)
    surrogate: OneSurrogate = "assg_scaled(0.425)"

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> SurrogateState:
        """Every row at the start of its first run."""
        begun = super().init(view, x, y, eps, noise)
        return SurrogateState(**vars(begun), statistics=NeuronStatistics.empty(len(x)))

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step of APGD; the statistics of the neurons end with each run."""
        candidate, state = super().step(view, x, y, eps, state, noise)
        assert isinstance(state, SurrogateState)
        state.statistics.forget(state.steps_left % self.steps == 0)
        return candidate, state

    def ascent(
        self, view: View, x: Tensor, y: Tensor, target: Tensor, state: APGDState
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the margin of the target, and the margin."""
        if not view.spiking and view.classes >= APGDT.least_classes:
            return super().ascent(view, x, y, target, state)
        assert isinstance(state, SurrogateState)
        gradient, logits = estimated(view, x, target, "margin", self.surrogate, state.statistics)
        return -gradient, -loss_of(logits, target, "margin")
