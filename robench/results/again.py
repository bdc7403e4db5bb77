"""The command that computes stored numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from robench.datasets import find_dataset
from robench.epsilon import Epsilon
from robench.errors import RobenchError
from robench.results.schema import EOT, CellResult, EpsilonRecord, Identity, Thoroughness

_SWEEPS = {
    "fast": [],
    "raw": ["--no-carry"],
    "ascending, plain": ["--reference"],
    "raw, plain": ["--no-carry", "--reference"],
}
"""The options of each sweep that the command has."""


def cell_command(result: CellResult) -> str:
    """The command for a cell; empty if its network or its images have no name, or there is none.

    There is none for training images, and for an attack that a study or an analysis has named.
    """
    outcome = result.outcome
    if outcome is None or not outcome.registered:
        return ""
    if outcome.split == "train" or "@" in result.attack:
        return ""
    options = _options(outcome.identity, [point.epsilon for point in outcome.curve])
    if options is None:
        return ""
    named = ["--models", result.model, "--attacks", result.attack]
    return _line([*named, *options, *_checks(outcome.checked)])


def table_command(
    identity: Identity, attacks: Sequence[str], grid: Sequence[Epsilon], checked: Thoroughness
) -> str:
    """The command for a table; empty if its images have no name, or there is none.

    Args:
        identity: of one of its cells.
        attacks: its columns.
        grid: the ε, from 0.
        checked: the checks of its cells.
    """
    options = _options(identity, grid)
    if options is None:
        return ""
    named = ["--dataset", identity.dataset, "--attacks", ",".join(attacks)]
    return _line([*named, *options, *_checks(checked)])


def _options(identity: Identity, grid: Sequence[Epsilon | EpsilonRecord]) -> list[str] | None:
    """The options by which a cell differs from the protocol; None if no command computes it."""
    try:
        dataset = find_dataset(identity.dataset)
    except RobenchError:  # images without a name
        return None
    if identity.sweep not in _SWEEPS:
        return None
    protocol, found = dataset.protocol, []
    usual = [epsilon.value for epsilon in protocol.grids.get(identity.norm, ())]
    if [epsilon.value for epsilon in grid] != usual:
        found += ["--eps", ",".join(epsilon.text for epsilon in grid if epsilon.value)]
    if identity.samples != protocol.slice:
        found += ["--limit", str(identity.samples)]
    if identity.timesteps != identity.model_config_.get("timesteps", identity.timesteps):
        found += ["--timesteps", str(identity.timesteps)]
    if identity.seed != 0:
        found += ["--seed", str(identity.seed)]
    if identity.eot not in (None, EOT):
        found += ["--eot", str(identity.eot)]
    return [*found, *_SWEEPS[identity.sweep]]


def _checks(checked: Thoroughness) -> list[str]:
    return [] if checked == "cheap" else ["--checks", checked]


def _line(options: Sequence[str]) -> str:
    return " ".join(["robench run", *map(shlex.quote, options)])
