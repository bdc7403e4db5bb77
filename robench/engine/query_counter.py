"""Forward and backward passes through a model, counted for each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class QueryCounter:
    """Pass counts for each sample of a chunk.

    Attributes:
        forwards: passes through the model without a gradient, ``(N,)``.
        backwards: gradient passes, each a forward and a backward, by stage, ``(N, stages)``.
        zero_gradients: gradient passes whose gradient was zero or not finite, ``(N, stages)``.
        not_finite: those of them whose gradient was not finite, ``(N,)``.
        on_sources: counts for the source models, summed over them; None without source models.
    """

    forwards: Tensor
    backwards: Tensor
    zero_gradients: Tensor
    not_finite: Tensor
    on_sources: QueryCounter | None = None

    @classmethod
    def empty(cls, n: int, stages: int = 1) -> QueryCounter:
        """A counter with all counts zero."""
        backwards, zero_gradients = (torch.zeros(n, stages, dtype=torch.int64) for _ in range(2))
        forwards, not_finite = (torch.zeros(n, dtype=torch.int64) for _ in range(2))
        return cls(forwards, backwards, zero_gradients, not_finite)

    @property
    def total(self) -> int:
        """Passes of all samples through all models."""
        own = int(self.forwards.sum() + self.backwards.sum())
        return own + (self.on_sources.total if self.on_sources else 0)

    def without_gradient(self) -> Tensor:
        """Samples on which gradients were taken, but in no stage usable ones, ``(N,)``.

        The gradients of a stage are usable if more than half of them are finite and not zero.
        """
        usable = (self.backwards > 0) & (self.zero_gradients * 2 < self.backwards)
        return (self.backwards > 0).any(1) & ~usable.any(1)

    def mostly_not_finite(self) -> Tensor:
        """Samples of whose unusable gradients more than half were not finite, ``(N,)``."""
        return self.not_finite * 2 > self.zero_gradients.sum(1)


def count(counter: Tensor, samples: Tensor, what: Tensor | int) -> None:
    """Add to the counts of samples; a sample in several rows is counted once for each row."""
    counter.index_add_(0, samples, torch.as_tensor(what, dtype=torch.int64).expand(len(samples)))
