"""The checks that compare the cells of one model, without the rules of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robench.checks import Compared, compared
from robench.reporting.comparable import Candidate, read_candidate
from robench.results import (
    CellResult,
    Check,
    Damaged,
    Gradients,
    Outcome,
    ResultStore,
    Verdict,
    more_severe,
    worst_verdict,
)

Comparisons = Mapping[str, Sequence[Check]]
"""The checks that compare a cell with others, by its hash."""


class _Group(NamedTuple):
    """Comparable cells, the ε of their grid, the limit of their AUC, and whether they spike."""

    cells: list[Compared]
    values: tuple[float, ...]
    limit: float
    spiking: bool


class Comparer:
    """Groups the cells that have the same model, images, ε and seed, and compares them.

    It keeps the positions of the samples, not the records.
    """

    def __init__(self) -> None:
        """Without a cell."""
        self._groups: dict[tuple[object, ...], _Group] = {}

    def add(self, found: Candidate) -> None:
        """Add a cell; one without an ε above 0 is left out."""
        i, points = found.identity, found.outcome.curve
        if len(points) < 2:
            return
        key = i.model, i.fingerprint, i.data_sha256, i.norm, i.grid, i.seed, i.timesteps
        if key not in self._groups:
            values = tuple(point.epsilon.value for point in points)
            limit = found.outcome.limit.epsilon.value
            self._groups[key] = _Group([], values, limit, mode_of(found.outcome) != "ann")
        self._groups[key].cells.append(to_compare(found, found.cell.hash))

    def compare(self) -> Comparisons:
        """The checks by the hash of each cell."""
        result: dict[str, Sequence[Check]] = {}
        for cells, values, limit, spiking in self._groups.values():
            result |= compared(cells, values, limit, spiking=spiking)
        return result


def comparisons(cells: Sequence[CellResult], store: ResultStore) -> Comparisons:
    """Compare the cells that have the same model, images, ε and seed.

    Cells whose files are not believed are left out.
    """
    comparer = Comparer()
    for cell in cells:
        if cell.outcome is not None:
            found = read_candidate(store, cell.model, cell.attack, cell.hash)
            if not isinstance(found, Damaged):
                comparer.add(found)
    return comparer.compare()


def verdict_of(outcome: Outcome, checks: Sequence[Check]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and the reasons of a cell with the checks that compare it with others."""
    reasons = (*outcome.reasons, *(check.reason for check in checks if check.reason))
    return more_severe(outcome.verdict, worst_verdict(checks)), reasons


def mode_of(outcome: Outcome) -> str:
    """The mode; that of a network which spikes and does not declare a mode is ``spiking``."""
    return "spiking" if outcome.mode == "ann" and outcome.spiking else outcome.mode


def to_compare(candidate: Candidate, key: str) -> Compared:
    """A cell as the checks take it, under a key of one's own."""
    identity, outcome = candidate.identity, candidate.outcome
    gradients = outcome.gradients or _gradients_of(identity.implementation)
    single = outcome.single_step
    if single is None:  # of an older record: fgsm, which has no parameter, is one
        single = not identity.parameters or identity.parameters.get("steps") == 1
    passes = outcome.forwards + outcome.backwards
    return Compared(key, identity.attack, gradients, single, passes, candidate.positions)


def _gradients_of(implementation: str) -> Gradients:
    """Where the gradients of an attack come from whose record does not say so."""
    from robench.attacks import IMPLEMENTATIONS, Attack

    return IMPLEMENTATIONS.get(implementation, Attack).gradients
