"""The random numbers of a stochastic model: for its evaluation and for an attack's gradients.

A stochastic model is evaluated by the mean of its logits over :data:`DRAWS` draws. These are the
same each time a sample is evaluated, so no outcome depends on batch, order or ε. A gradient that an
attack asks the view for is the mean over other draws, new ones in every step (expectation over
transformations, Athalye et al., ICML 2018). An attack that differentiates through the view itself,
as APGD, DDN, FAB and those of other libraries do, follows the evaluation draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from robench.engine.sample_noise import SampleNoise
from robench.results import EOT

DRAWS = 10
"""Evaluation draws: their mean logits decide whether an image is misclassified."""
DrawSet = Literal["evaluation", "confirmation"]
"""The draws that decide what is an adversarial example, and others that confirm it."""
_STREAMS: dict[DrawSet, str] = {"evaluation": "model decide", "confirmation": "model again"}
"""Their streams; a seed covers these names, so another name would give other numbers."""


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """The mean over draws, added in their order.

    The order in which ``torch.mean`` adds depends on the number of rows, and the last bit of a
    logit may decide an attack's step: two iterates with the same spikes must have the same loss.
    """
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


@dataclass(frozen=True)
class RowDraw:
    """One draw for the rows of a call; see :class:`robench.spiking.RowNumbers`.

    Attributes:
        seed: of the cell.
        dataset: name of the data set.
        indices: index of each row's sample in the data set.
        purpose: what the draw is used for.
        draws: the number of each row's draw among those of that purpose.
    """

    seed: int
    dataset: str
    indices: Sequence[int]
    purpose: str
    draws: Sequence[int]

    def __call__(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, *shape)``."""
        noise = SampleNoise(self.seed, self.dataset, self.indices, shape)
        return noise.rows(f"{self.purpose} {stream}", self.draws)

    def rows(self, some: Sequence[int]) -> Self:
        """The numbers of some of the rows."""
        indices, draws = [self.indices[row] for row in some], [self.draws[row] for row in some]
        return replace(self, indices=indices, draws=draws)


def first_draw(dataset: str, count: int) -> RowDraw:
    """The first evaluation draw of the first samples of a data set, for a look at a model."""
    return Draws(dataset=dataset).for_evaluation(torch.arange(count))[0]


@dataclass(frozen=True)
class Draws:
    """The draws of a chunk's samples.

    Attributes:
        seed: of the cell.
        dataset: name of the data set.
        indices: index of each sample of the chunk in the data set; None if it is the position in
            the chunk.
        eot: number of draws that a gradient is averaged over.
    """

    seed: int = 0
    dataset: str = ""
    indices: Sequence[int] | None = None
    eot: int = EOT

    def for_evaluation(self, samples: Tensor, draw_set: DrawSet = "evaluation") -> list[RowDraw]:
        """The draws with which samples of the chunk, ``(N,)``, are evaluated."""
        return [
            self._numbers(samples, _STREAMS[draw_set], [draw] * len(samples))
            for draw in range(DRAWS)
        ]

    def for_gradient(self, samples: Tensor, step: Tensor, call: int) -> list[RowDraw]:
        """The draws of one gradient.

        Args:
            samples: of the chunk, ``(N,)``.
            step: the step of its run that each row is in, ``(N,)``.
            call: how many gradients this step has taken before.
        """
        return [
            self._numbers(samples, f"model attack {call}.{draw}", step.tolist())
            for draw in range(self.eot)
        ]

    def _numbers(self, samples: Tensor, purpose: str, draws: Sequence[int]) -> RowDraw:
        chosen: list[int] = samples.tolist()
        if self.indices is not None:
            chosen = [self.indices[sample] for sample in chosen]
        return RowDraw(self.seed, self.dataset, chosen, purpose, draws)
