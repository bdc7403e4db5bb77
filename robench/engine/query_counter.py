"""How often a model was asked about each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class QueryCounter:
    """Counts for each sample of a chunk.

    Attributes:
        forwards: passes through the model without a gradient, ``(N,)``.
        backwards: gradient passes, each a forward and a backward, by stage, ``(N, stages)``.
        dead: those among them that left no gradient but zero, or none that is finite.
        elsewhere: gradient passes through the source models, all of them together.
    """

    forwards: Tensor
    backwards: Tensor
    zero_gradients: Tensor
    elsewhere: QueryCounter | None = None

    @classmethod
    def empty(cls, n: int, stages: int = 1) -> QueryCounter:
        """All counts zero."""
        backwards, zero_gradients = (torch.zeros(n, stages, dtype=torch.int64) for _ in range(2))
        return cls(torch.zeros(n, dtype=torch.int64), backwards, zero_gradients)

    def without_gradient(self) -> Tensor:
        """Samples on which gradients were taken and no stage had a usable one, ``(N,)``.

        A stage had none where at least half of its gradients were dead.
        """
        usable = (self.backwards > 0) & (self.zero_gradients * 2 < self.backwards)
        return (self.backwards > 0).any(1) & ~usable.any(1)


def count(counter: Tensor, samples: Tensor, what: Tensor | int) -> None:
    """Add to the counts of samples; one that appears in several rows is counted in each."""
    counter.index_add_(0, samples, torch.as_tensor(what, dtype=torch.int64).expand(len(samples)))
