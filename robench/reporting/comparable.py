"""Which cells of a store are comparable in one table, and how others differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robench.datasets import Dataset
from robench.engine.evaluation_draws import EOT
from robench.reporting.report import OtherRun
from robench.results import PROTOCOL, ROBUST, CellResult, Damaged, Identity, Outcome, ResultStore

SWEEP = "fast"
OTHER_DATA = "other data than in the newest run"
OTHER_WEIGHTS = "other weights or card than in the model's newest run"
OTHER_SETTINGS = "other settings than in the attack's newest run"
OLDER = "an older run of the same cell"


@dataclass(frozen=True)
class Candidate:
    """A cell with a result, and its minimal positions ``(N,)`` in data order."""

    cell: CellResult
    outcome: Outcome
    positions: NDArray[np.int64]

    @property
    def identity(self) -> Identity:
        """Everything that the cell's hash covers."""
        return self.outcome.identity

    @cached_property
    def attack_key(self) -> str:
        """A text that is equal for cells whose attacks have the same settings."""
        i = self.identity
        return _canonical([i.implementation, i.attack_version, i.parameters])

    @cached_property
    def model_key(self) -> str:
        """A text that is equal for cells whose models have the same weights and card."""
        i = self.identity
        return _canonical([i.fingerprint, i.model_config_, i.architecture_version])


def differences(outcome: Outcome, dataset: Dataset, *, known: bool = True) -> tuple[str, ...]:
    """How a cell differs from the data set's protocol; empty if it does not.

    Cells of a norm and of equal differences are comparable with each other, if their data and the
    settings of their attacks are the same.

    Args:
        outcome: of the cell.
        dataset: with the protocol.
        known: whether the data set is installed.
    """
    identity, protocol = outcome.identity, dataset.protocol
    # by value, since an ε can be written as a number or as a fraction
    values = [epsilon.value for epsilon in protocol.grids.get(identity.norm, ())]
    # a user's network has no T but the one that it declares
    own = identity.model_config_.get("timesteps", identity.timesteps)
    images = f"{identity.samples} of {protocol.slice} images" if known else "images of your own"
    found = [
        (identity.samples != protocol.slice or not known, images),
        (
            [point.epsilon.value for point in outcome.curve] != values,
            f"ε {', '.join(point.epsilon.text for point in outcome.curve)}",
        ),
        (identity.seed not in protocol.seeds, f"seed {identity.seed}"),
        (identity.timesteps != own, f"T {identity.timesteps}, the card says {own}"),
        (identity.sweep != SWEEP, f"sweep {identity.sweep}"),
        (identity.eot not in (None, EOT), f"gradients of {identity.eot} draws"),
        (identity.protocol != PROTOCOL, f"robench protocol {identity.protocol}"),
    ]
    differs = tuple(text for applies, text in found if applies)
    if not differs and "[" in identity.attack:  # in another table it is a column as any other
        return ("attacks with parameters of their own",)
    return differs


def read_candidate(store: ResultStore, cell: CellResult, outcome: Outcome) -> Candidate | Damaged:
    """A done cell with its rows, or why its files are damaged."""
    path = store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    n, points = outcome.identity.samples, len(outcome.identity.grid)
    try:
        rows = store.rows(cell).sort_values("index")
        index = rows["index"].to_numpy(np.int64)
        positions = rows["minimal_position"].to_numpy(np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Damaged(path, (str(error).splitlines() or [type(error).__name__])[0])
    if n < 1 or not np.array_equal(index, np.arange(n)):
        return Damaged(path, f"the rows are not those of the first {n} images")
    if positions.min() < ROBUST or positions.max() >= points:
        return Damaged(path, "a minimal position lies outside the grid")
    if len(outcome.curve) != points:
        return Damaged(path.with_suffix(".json"), "the curve and the grid differ in length")
    return Candidate(cell, outcome, positions)


def choose(
    candidates: Sequence[Candidate],
) -> tuple[list[Candidate], dict[tuple[str, ...], list[Candidate]]]:
    """The newest comparable cell for each model, attack and seed, and the others by the reason."""
    chosen: dict[tuple[str, str, int], Candidate] = {}
    rest: dict[tuple[str, ...], list[Candidate]] = {}
    data = ""
    attacks: dict[str, str] = {}
    models: dict[str, str] = {}
    newest_first = sorted(candidates, key=lambda c: (c.cell.run.created, c.cell.hash), reverse=True)
    for candidate in newest_first:
        identity = candidate.identity
        data = data or identity.data_sha256
        key = (identity.model, identity.attack, identity.seed)
        if identity.data_sha256 != data:
            rest.setdefault((OTHER_DATA,), []).append(candidate)
            continue
        # a cell that one rule rejects must not be the reference of another rule
        same_weights = models.get(identity.model, candidate.model_key) == candidate.model_key
        same_settings = attacks.get(identity.attack, candidate.attack_key) == candidate.attack_key
        if not (same_weights and same_settings):
            reasons = (
                *((OTHER_WEIGHTS,) * (not same_weights)),
                *((OTHER_SETTINGS,) * (not same_settings)),
            )
            rest.setdefault(reasons, []).append(candidate)
        elif key in chosen:
            rest.setdefault((OLDER,), []).append(candidate)
        else:
            models[identity.model] = candidate.model_key
            attacks[identity.attack] = candidate.attack_key
            chosen[key] = candidate
    return list(chosen.values()), rest


def other_run(cell: CellResult, *differs: str) -> OtherRun:
    """A cell as a run outside the tables."""
    return OtherRun(cell.model, cell.attack, cell.dataset, cell.hash, cell.status, differs)


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True)
