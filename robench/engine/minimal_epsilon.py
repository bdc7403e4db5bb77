"""The minimal ε of each sample of a chunk, with the adversarial example found there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.attacks.primitives.norms import length
from robench.epsilon import NORMS
from robench.errors import EvaluationError
from robench.results import CLEAN_WRONG, ROBUST


class MinimalEpsilons:
    """The adversarial examples of a chunk of N samples.

    Attributes:
        position: grid position of each sample's minimal ε, ``(N,)``; ``ROBUST`` or
            ``CLEAN_WRONG`` for a sample without one.
        misclassified: the points of the grid at which a sample was misclassified, ``(N, points)``.
        example: the adversarial example at the minimal ε, of the shape of the images.
        finder: the part of the attack that found it, for each sample.
    """

    def __init__(self, x: Tensor, points: int) -> None:
        """Start without adversarial examples.

        Args:
            x: the clean images, ``(N, …)``.
            points: length of the grid.
        """
        n = len(x)
        self.position = torch.full((n,), ROBUST)
        self.misclassified = torch.zeros(n, points, dtype=torch.bool)
        self.example = x.clone()
        self.finder = [""] * n

    def clean(self, wrong: Tensor) -> None:
        """Record which samples are misclassified without attack, ``(N,)``."""
        self.position[wrong] = CLEAN_WRONG
        self.misclassified[wrong, 0] = True

    def note(self, samples: Tensor, positions: Tensor, images: Tensor, finders: list[str]) -> None:
        """Record n adversarial examples; for each sample the first at the smallest ε is kept.

        Args:
            samples: indices in the chunk, ``(n,)``; a sample may occur more than once.
            positions: of the ε, ``(n,)``.
            images: the adversarial examples, ``(n, …)``.
            finders: the part of the attack that found each.
        """
        self.misclassified[samples, positions] = True
        smallest: dict[int, int] = {}
        known = self.position[samples].tolist()
        found = positions.tolist()
        for row, sample in enumerate(samples.tolist()):
            before = found[smallest[sample]] if sample in smallest else known[row]
            if before == ROBUST or found[row] < before:
                smallest[sample] = row
        rows = torch.tensor(list(smallest.values()), dtype=torch.int64)
        self.position[samples[rows]] = positions[rows]
        self.example[samples[rows]] = images[rows]
        for sample, row in smallest.items():
            self.finder[sample] = finders[row]

    @property
    def attacked(self) -> Tensor:
        """Which samples have an adversarial example, ``(N,)``."""
        return self.position > CLEAN_WRONG

    def columns(
        self, delta: Tensor, budgets: NDArray[np.float64], norm: str, tolerance: float
    ) -> dict[str, Any]:
        """The columns of the store that describe the adversarial examples.

        Args:
            delta: the perturbation of each sample, ``(N, …)``.
            budgets: the ε of the grid.
            norm: of the perturbations.
            tolerance: how far rounding may make a perturbation exceed its ε.

        Raises:
            EvaluationError: an adversarial example lies outside its ε-ball.
        """
        position, attacked = self.position.numpy(), self.attacked.numpy()
        lengths = {name: length(delta.double(), name).numpy() for name in NORMS}
        if (lengths[norm][attacked] > budgets[position[attacked]] + tolerance).any():
            raise EvaluationError(
                "an adversarial example lies outside its ε-ball: a bug in the engine"
            )
        return {
            "minimal_position": position,
            "minimal_epsilon": np.where(position == ROBUST, np.nan, budgets[position]),
            **{name: np.where(attacked, value, np.nan) for name, value in lengths.items()},
            "found_by": pd.array([name or None for name in self.finder], dtype="string"),
        }

    def raw_columns(self) -> dict[str, NDArray[np.bool_]]:
        """Whether each sample was misclassified, one column for each point of the grid."""
        return {f"raw_{k}": column.numpy() for k, column in enumerate(self.misclassified.unbind(1))}
