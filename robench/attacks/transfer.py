"""Transfer: adversarial examples of other models, tested on the model under attack.

Each source is attacked by iterations with momentum (Dong et al., Boosting adversarial attacks with
momentum, CVPR 2018), a spiking source with alternating surrogates. The target is called only on
the results.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor

from robench.attacks.contract.attack import (
    MOST,
    Gradients,
    IterativeAttack,
    Need,
    Start,
    State,
    Surrogates,
    begin,
)
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.norms import project, to_mean_one
from robench.attacks.primitives.per_sample import spread
from robench.spiking import Surrogate


class Transfer(IterativeAttack):
    """The worst case over adversarial examples of other models of the same data set, at equal ε.

    Attributes:
        source: names (the second half of the ids) or globs of the sources; ``*`` is every
            registered model except the target, the controls and models without weights.
        steps: the number of gradient passes on each source.
        momentum: the weight of the accumulated gradient; gradients are scaled to mean magnitude 1.
        relative_step: the step is ``relative_step · ε / steps``.
        surrogates: the surrogates for a spiking source, one for each step in turn.
    """

    name: ClassVar[str] = "transfer"
    gradients: ClassVar[Gradients] = "source"
    needs: ClassVar[frozenset[Need]] = frozenset({"sources"})
    start: ClassVar[Start] = "cold"

    source: tuple[str, ...] = Field(("*",), min_length=1)
    steps: int = Field(20, ge=1, le=MOST)
    momentum: float = Field(1.0, ge=0)
    relative_step: float = Field(2.5, gt=0)
    surrogates: Surrogates = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)")

    _names: tuple[str, ...] = PrivateAttr(())

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @property
    def source_patterns(self) -> tuple[str, ...]:
        """The names and globs of the sources."""
        return self.source

    def with_sources(self, names: tuple[str, ...]) -> Self:
        """The same attack with the names of the sources, which ``finders`` lists."""
        bound = self.model_copy()
        bound._names = names
        return bound

    @property
    def finders(self) -> tuple[str, ...]:
        """The sources."""
        return tuple(f"{self.name}: {name}" for name in self._names) or (self.name,)

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The clean image, with a step for each source."""
        return begin(x, len(view.sources))

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A complete run on the next source."""
        sources, number = view.sources, int(state.phase[0])
        candidate = self._craft(sources[number], x, y, eps)
        state.steps_left = state.steps_left - 1
        state.phase = (state.phase + 1).clamp_max(len(sources) - 1)
        return candidate, state

    def _craft(self, source: View, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
        here, momentum = x, torch.zeros_like(x)
        size = spread(eps, x) * (self.relative_step / self.steps)
        for done in range(self.steps):
            surrogate = None
            if source.spiking:
                surrogate = Surrogate.parse(self.surrogates[done % len(self.surrogates)])
            gradient = source.gradient(here, y, surrogate=surrogate)
            momentum = self.momentum * momentum + to_mean_one(gradient)
            here = project(here + size * momentum.sign(), x, eps, self.norm)
        return here
