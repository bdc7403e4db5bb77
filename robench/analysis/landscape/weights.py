"""The loss of a model over its weights: a surface, and the sharpness along random directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from robench.analysis.landscape.directions import Direction, Weights
from robench.analysis.landscape.losses import Losses, at_speed, axis, finite, losses, mean
from robench.analysis.measuring import Measured
from robench.errors import UsageError
from robench.evaluation import Cell
from robench.results import Kind

RADII = (0.1, 0.25, 0.5)
"""Distances ρ of the sharpness, in units of the norm of each filter."""


@dataclass(frozen=True)
class Landscape:
    """The measurement of the loss over the weights, by forward passes alone.

    Attributes:
        points: of each axis of the surface, odd; it goes from −1 to 1 in the plane of the first two
            directions.
        pairs: of directions for the sharpness S(ρ), the mean of L(θ + ρd) − L(θ).
        seed: of the directions.
        progress: is called with the name of a model and the number of losses computed.

    Raises:
        UsageError: a setting is out of its range.
    """

    kind: ClassVar[Kind] = "landscape"
    version: ClassVar[int] = 1
    points: int = 21
    pairs: int = 5
    seed: int = 0
    progress: Callable[[str, int], None] = lambda _, __: None

    def __post_init__(self) -> None:
        axis(self.points)
        if self.pairs < 1:
            raise UsageError(f"{self.pairs} pairs of directions: give at least 1")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: a seed is an integer from 0")

    @property
    def evaluations(self) -> int:
        """How often the loss is computed for a model."""
        return self.points**2 + 2 * self.pairs * len(RADII) + 1

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The grid, the directions and the distances."""
        radii = list(RADII)
        return {"points": self.points, "pairs": self.pairs, "seed": self.seed, "radii": radii}

    def measure(self, cell: Cell) -> Measured:
        """Move the weights of a copy of the network.

        Arrays: the ``coordinates`` of the surface, ``surface`` and ``surface_accuracy`` with the
        first direction along the first axis, and ``losses`` and ``accuracies``, ``(2·pairs, ρ)``.

        Raises:
            EvaluationError: the network has no weights to move.
        """
        model = cell.model.copied()
        x, y = cell.images.tensor(), cell.images.targets()
        weights, index, done = Weights(model.module), np.arange(len(x)), 0
        with at_speed(model, x) as workers:

            def look(*steps: tuple[float, Direction]) -> Losses:
                nonlocal done
                weights.move(*steps)
                found, done = losses(model, x, y, index, workers), done + 1
                self.progress(model.id, done)
                return found

            here = look()
            base = here.values.mean()
            along = np.empty((2, 2 * self.pairs, len(RADII)))
            for number in range(2 * self.pairs):
                direction = weights.direction(self.seed, number)
                for at, radius in enumerate(RADII):
                    along[:, number, at] = _means(look((radius, direction)))
            first, second = (weights.direction(self.seed, number) for number in (0, 1))
            coordinates = axis(self.points)
            surface = np.empty((2, self.points, self.points))
            for i, j in np.ndindex(self.points, self.points):
                steps = (float(coordinates[i]), first), (float(coordinates[j]), second)
                surface[:, i, j] = _means(look(*steps))
        rises = along[0] - base
        moved = sum(value.numel() for value in weights.moved.values())
        summary = {
            "images": len(x),
            "loss": finite(base),
            "accuracy": float(here.right.mean()),
            "sharpness": [
                {"radius": radius, **mean(rises[:, at])} for at, radius in enumerate(RADII)
            ],
            "moved": list(weights.moved),
            "share_moved": moved / sum(value.numel() for value in model.module.parameters()),
        }
        arrays = {
            "coordinates": coordinates, "surface": surface[0], "surface_accuracy": surface[1],
            "losses": along[0], "accuracies": along[1],
        }  # fmt: skip
        return Measured(summary, arrays)


def _means(found: Losses) -> tuple[float, float]:
    """Mean loss and accuracy."""
    return float(found.values.mean()), float(found.right.mean())
