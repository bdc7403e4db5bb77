"""The stages of an attack as iterative attacks, which the engine steps."""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

from torch import Tensor

from robench.attacks import Attack, DirectAttack, IterativeAttack, Noise, State, View
from robench.attacks.contract.attack import Start, begin


class OneStep(IterativeAttack):
    """A direct attack as an iterative attack of one step."""

    attack: DirectAttack

    @property
    def finders(self) -> tuple[str, ...]:
        """The finders of the attack."""
        return self.attack.finders

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The clean image."""
        return begin(x, 1)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """The attack's candidate."""
        state.steps_left = state.steps_left - 1
        return self.attack.run(view, x, y, eps, noise), state


class OneSearch(OneStep):
    """A direct attack whose run is the same at every ε, as an iterative attack of one step."""

    start: ClassVar[Start] = "once"


def beginnings(attack: Attack) -> frozenset[int]:
    """The index of the first stage of each part of an attack."""
    counts = [len(part.stages) for part in attack.parts]
    return frozenset(accumulate(counts[:-1], initial=0))


def iterative(attack: Attack) -> tuple[IterativeAttack, ...]:
    """The stages of an attack as iterative attacks."""
    steps: list[IterativeAttack] = []
    for stage in attack.stages:
        if isinstance(stage, DirectAttack):
            form = OneSearch if stage.minimal else OneStep
            steps.append(form.model_construct(attack=stage))
        else:
            assert isinstance(stage, IterativeAttack)
            steps.append(stage)
    return tuple(steps)
