"""Which random numbers a stochastic model gets, and how often it is asked.

Such a model is judged by the mean of its logits over :data:`DRAWS` draws, which are the same
whenever a sample is shown, so that no outcome depends on batch, order or ε. The attack does not
know them: each of its gradients is the mean over draws of its own, new ones in every step
(expectation over transformations, Athalye et al., ICML 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from robench.engine.sample_noise import SampleNoise

DRAWS = 10
"""Draws whose mean logits decide whether an image is misclassified."""
EOT = 10
"""Draws that a gradient is averaged over, unless a run asks for another number."""
DrawSet = Literal["evaluation", "confirmation"]
"""Draws that decide what breaks, and others by which a break is confirmed."""


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """The mean over draws, added up in their order.

    In which order ``torch.mean`` adds depends on how many rows there are, and the last place of a
    logit may decide an attack's step: two iterates that give the same spikes have the same loss.
    """
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


@dataclass(frozen=True)
class Numbers:
    """One draw for the rows of a call; see :class:`robench.spiking.RowNumbers`.

    Attributes:
        seed: of the cell.
        dataset: name of the data set.
        indices: index of each row's sample in the data set.
        purpose: what the draw is for.
        draws: which draw of that purpose, one for each row.
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
        """Those of some of the rows."""
        return type(self)(
            self.seed,
            self.dataset,
            [self.indices[row] for row in some],
            self.purpose,
            [self.draws[row] for row in some],
        )


@dataclass(frozen=True)
class Draws:
    """The draws of a chunk's samples.

    Attributes:
        seed: of the cell.
        dataset: name of the data set.
        indices: index of each sample of the chunk in the data set; None where it is the sample's
            own number.
        eot: draws that a gradient is averaged over.
    """

    seed: int = 0
    dataset: str = ""
    indices: Sequence[int] | None = None
    eot: int = EOT

    def for_evaluation(self, samples: Tensor, draw_set: DrawSet = "evaluation") -> list[Numbers]:
        """The draws by which samples of the chunk, ``(N,)``, are judged."""
        return [
            self._numbers(samples, f"model {draw_set}", [draw] * len(samples))
            for draw in range(DRAWS)
        ]

    def for_gradient(self, samples: Tensor, step: Tensor, call: int) -> list[Numbers]:
        """The draws of one gradient.

        Args:
            samples: of the chunk, ``(N,)``.
            step: which step of its run each row is in, ``(N,)``.
            call: how many gradients this step took before.
        """
        return [
            self._numbers(samples, f"model attack {call}.{draw}", step.tolist())
            for draw in range(self.eot)
        ]

    def _numbers(self, samples: Tensor, purpose: str, draws: Sequence[int]) -> Numbers:
        chosen: list[int] = samples.tolist()
        if self.indices is not None:
            chosen = [self.indices[sample] for sample in chosen]
        return Numbers(self.seed, self.dataset, chosen, purpose, draws)
