"""The stages of an attack as iterative attacks, which the engine steps."""

from __future__ import annotations

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


def stages_of(
    attack: Attack, *, descends: bool = False
) -> tuple[tuple[IterativeAttack, ...], frozenset[int]]:
    """The stages of an attack as iterative attacks, and the index of the first one of each part.

    Args:
        attack: the attack.
        descends: whether the search goes down a grid: a stage then follows its own ``descent``.
    """
    stages: list[IterativeAttack] = []
    first: list[int] = []
    for part in attack.parts:
        first.append(len(stages))
        for stage in part.stages:
            if isinstance(stage, DirectAttack):
                form = OneSearch if stage.minimal else OneStep
                stages.append(form.model_construct(attack=stage))
                continue
            assert isinstance(stage, IterativeAttack)
            if descends and (descent := stage.descent) is not None:
                stages.append(descent)
            stages.append(stage)
    return tuple(stages), frozenset(first)
