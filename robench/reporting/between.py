"""The checks that compare the cells of one model, without the rules of the leaderboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from robench.attacks import IMPLEMENTATIONS, Attack
from robench.checks import Compared, compared, more_severe, worst_verdict
from robench.reporting.comparable import Candidate, read_candidate
from robench.results import CellResult, Check, Damaged, Outcome, ResultStore, Verdict

Comparisons = Mapping[str, Sequence[Check]]
"""The checks that compare a cell with others, by its hash."""


def comparisons(cells: Sequence[CellResult], store: ResultStore) -> Comparisons:
    """Compare the cells that have the same model, images, ε and seed.

    Cells whose files are damaged are left out.
    """
    groups: defaultdict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for cell in cells:
        if cell.outcome is None or len(cell.outcome.curve) < 2:
            continue
        found = read_candidate(store, cell.model, cell.attack, cell.hash)
        if not isinstance(found, Damaged):
            identity = found.identity
            same = identity.model, identity.fingerprint, identity.data_sha256, identity.norm
            groups[(*same, identity.grid, identity.seed, identity.timesteps)].append(found)
    result: dict[str, Sequence[Check]] = {}
    for group in groups.values():
        outcome = group[0].outcome
        values = [point.epsilon.value for point in outcome.curve]
        limits = [p.epsilon.value for p in outcome.curve if p.epsilon.text in outcome.auc]
        limit = limits[0] if limits else values[-1]
        several = [to_compare(candidate, candidate.cell.hash) for candidate in group]
        result |= compared(several, values, limit, spiking=mode_of(outcome) != "ann")
    return result


def verdict_of(outcome: Outcome, checks: Sequence[Check]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and the reasons of a cell with the checks that compare it with others."""
    reasons = (*outcome.reasons, *(check.reason for check in checks if check.reason))
    return more_severe(outcome.verdict, worst_verdict(checks)), reasons


def mode_of(outcome: Outcome) -> str:
    """The mode; that of a network which spikes and does not declare a mode is ``spiking``."""
    return "spiking" if outcome.mode == "ann" and " spikes of " in outcome.spikes else outcome.mode


def to_compare(candidate: Candidate, key: str) -> Compared:
    """A cell as the checks take it, under a key of one's own."""
    identity = candidate.identity
    kind = IMPLEMENTATIONS.get(identity.implementation, Attack)
    steps = [v for k, v in identity.parameters.items() if "steps" in k and isinstance(v, int)]
    passes = candidate.outcome.forwards + candidate.outcome.backwards
    most = max(steps, default=1)
    return Compared(key, identity.attack, kind.gradients, most, passes, candidate.positions)
