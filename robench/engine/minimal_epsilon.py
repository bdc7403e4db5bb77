"""What an attack has found on a chunk: the smallest ε at which each sample broke, and with what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.attacks.primitives.norms import NORMS, length
from robench.errors import EvaluationError
from robench.results import CLEAN_WRONG, ROBUST


class MinimalEpsilons:
    """The breaks of a chunk of N samples.

    Attributes:
        position: of the smallest ε that breaks each sample, ``(N,)``; ``NEVER`` or
            ``CLEAN_WRONG`` where there is none.
        broken: at which points of the grid a sample was seen to break, ``(N, points)``.
        witness: what broke it at the smallest, of the shape of the images.
        member: which part of the attack did, for each sample.
    """

    def __init__(self, x: Tensor, points: int) -> None:
        """Begin with none.

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
        """Note which samples are misclassified without attack, ``(N,)``."""
        self.position[wrong] = CLEAN_WRONG
        self.misclassified[wrong, 0] = True

    def note(self, samples: Tensor, positions: Tensor, images: Tensor, finders: list[str]) -> None:
        """Note n breaks; of those of one sample the smallest ε counts, and of equals the first.

        Args:
            samples: indices in the chunk, ``(n,)``; one may come more than once.
            positions: of the ε, ``(n,)``.
            images: what broke them, ``(n, …)``.
            finders: which part of the attack found each.
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
        """Which samples an attack broke, ``(N,)``."""
        return self.position > CLEAN_WRONG

    def columns(
        self, delta: Tensor, budgets: NDArray[np.float64], norm: str, tolerance: float
    ) -> dict[str, Any]:
        """The columns of the store that tell of the breaks.

        Args:
            delta: what each witness adds to its image, ``(N, …)``.
            budgets: the ε of the grid.
            norm: in which they are measured.
            tolerance: by how much rounding may make a perturbation longer than its ε.

        Raises:
            EvaluationError: a witness lies outside its ball.
        """
        position, attacked = self.position.numpy(), self.attacked.numpy()
        lengths = {name: length(delta.double(), name).numpy() for name in NORMS}
        if (lengths[norm][attacked] > budgets[position[attacked]] + tolerance).any():
            raise EvaluationError("a witness lies outside its ε-ball: a bug in the engine")
        return {
            "minimal_position": position,
            "minimal_epsilon": np.where(position == ROBUST, np.nan, budgets[position]),
            **{name: np.where(attacked, value, np.nan) for name, value in lengths.items()},
            "found_by": pd.array([name or None for name in self.finder], dtype="string"),
        }

    def raw_columns(self) -> dict[str, NDArray[np.bool_]]:
        """Whether each sample was seen to break at each point of the grid, point by point."""
        return {f"raw_{k}": column.numpy() for k, column in enumerate(self.misclassified.unbind(1))}
