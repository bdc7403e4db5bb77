"""Paired differences of two results on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.errors import UsageError
from robench.results.metrics import bootstrap, matrix_areas, robust_matrix
from robench.results.reading import Sound
from robench.results.schema import EpsilonRecord


@dataclass(frozen=True)
class Difference:
    """The first number minus the second, with a paired 95 % interval.

    Attributes:
        first: the number of the first result.
        second: that of the second.
        low: the lower end of the interval of the difference.
        high: the upper end.
    """

    first: float
    second: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The difference."""
        return self.first - self.second

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval does not contain 0."""
        return not self.low <= 0 <= self.high

    @classmethod
    def of(cls, first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
        """That of two means over the same samples, ``(N,)`` each."""
        interval = bootstrap(first - second)
        return cls(float(first.mean()), float(second.mean()), interval.low, interval.high)


@dataclass(frozen=True)
class Paired:
    """Two results on the same images.

    Attributes:
        epsilons: those that both have, from 0.
        accuracies: the difference of robust accuracy at each of them.
        limit: the largest of them that the AUC goes up to.
        auc: the difference of the AUC over these ε.
    """

    epsilons: tuple[EpsilonRecord, ...]
    accuracies: tuple[Difference, ...]
    limit: EpsilonRecord
    auc: Difference


def paired(first: Sound, second: Sound) -> Paired:
    """Compare two done results.

    Raises:
        UsageError: they are not done, have other images or another norm, or share no ε above 0.
    """
    one, other = first.cell.outcome, second.cell.outcome
    if one is None or other is None:
        bad = first.cell if one is None else second.cell
        raise UsageError(f"{bad.model} {bad.attack} has no result: it is {bad.status}")
    if one.identity.data_sha256 != other.identity.data_sha256:
        raise UsageError(
            f"the results have other images: {one.identity.samples} of {first.cell.dataset} and "
            f"{other.identity.samples} of {second.cell.dataset}; compare results with the same "
            "--dataset and --limit"
        )
    if one.identity.norm != other.identity.norm:
        raise UsageError(f"the norms differ: {one.identity.norm} and {other.identity.norm}")
    texts = {point.epsilon.value: point.epsilon for point in one.curve}
    shared = [value for value in texts if value in {p.epsilon.value for p in other.curve}]
    if len(shared) < 2:
        raise UsageError("the results share no ε above 0; compare results with the same --eps")
    matrices = [_robust(found, shared) for found in (first, second)]
    limits = set(one.limits) & set(other.limits)
    limit = next((value for value in shared if value in limits), shared[-1])
    areas = [matrix_areas(matrix, shared, limit) for matrix in matrices]
    columns = range(len(shared))
    return Paired(
        tuple(texts[value] for value in shared),
        tuple(Difference.of(matrices[0][:, k], matrices[1][:, k]) for k in columns),
        texts[limit],
        Difference.of(*areas),
    )


def _robust(found: Sound, shared: Sequence[float]) -> NDArray[np.float64]:
    """Which samples are robust at each shared ε, ``(N, points)``."""
    values = [epsilon.value for epsilon in found.grid]
    robust = robust_matrix(found.positions, len(values)).astype(np.float64)
    return robust[:, [values.index(value) for value in shared]]
