"""Which cells of a store are comparable in one table, and why others are not."""

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


@dataclass(frozen=True)
class Candidate:
    """A cell under the protocol, with its minimal positions ``(N,)`` in data order."""

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


def differences(cell: CellResult, dataset: Dataset) -> list[str]:
    """Why a cell is not in the data set's table; empty if it is."""
    outcome = cell.outcome
    if cell.status != "done" or outcome is None:
        return [f"{cell.status}: {cell.reason}" if cell.reason else cell.status]
    identity, protocol = outcome.identity, dataset.protocol
    if identity.norm not in protocol.grids:
        return [f"norm {identity.norm}, in which {dataset.name} has no grid"]
    # by value, since an ε can be written as a number or as a fraction
    values = [epsilon.value for epsilon in protocol.grids[identity.norm]]
    own = identity.model_config_.get("timesteps")
    found = [
        (not outcome.registered, "model is not registered"),
        ("[" in identity.attack, "attack has parameters of its own"),
        (identity.samples != protocol.slice, f"{identity.samples} of {protocol.slice} images"),
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
    return [text for applies, text in found if applies]


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
    if not np.array_equal(index, np.arange(n)):
        return Damaged(path, f"the rows are not those of the first {n} images")
    if positions.min() < ROBUST or positions.max() >= points:
        return Damaged(path, "a minimal position lies outside the grid")
    if len(outcome.curve) != points:
        return Damaged(path.with_suffix(".json"), "the curve and the grid differ in length")
    return Candidate(cell, outcome, positions)


def choose(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[OtherRun]]:
    """Keep the newest comparable cell of one norm for each model, attack and seed."""
    chosen: dict[tuple[str, str, int], Candidate] = {}
    rest: list[OtherRun] = []
    data = ""
    attacks: dict[str, str] = {}
    models: dict[str, str] = {}
    newest_first = sorted(candidates, key=lambda c: (c.cell.run.created, c.cell.hash), reverse=True)
    for candidate in newest_first:
        identity = candidate.identity
        data = data or identity.data_sha256
        key = (identity.model, identity.attack, identity.seed)
        if identity.data_sha256 != data:
            rest.append(other_run(candidate.cell, ["other data than the newest run"]))
            continue
        # a cell that one rule rejects must not be the reference of another rule
        same_weights = models.get(identity.model, candidate.model_key) == candidate.model_key
        same_settings = attacks.get(identity.attack, candidate.attack_key) == candidate.attack_key
        if not (same_weights and same_settings):
            reasons = [
                *(["other weights or card than the model's newest run"] * (not same_weights)),
                *(["other settings than the attack's newest run"] * (not same_settings)),
            ]
            rest.append(other_run(candidate.cell, reasons))
        elif key in chosen:
            rest.append(other_run(candidate.cell, ["an older run of the same cell"]))
        else:
            models[identity.model] = candidate.model_key
            attacks[identity.attack] = candidate.attack_key
            chosen[key] = candidate
    return list(chosen.values()), rest


def other_run(cell: CellResult, differs: Sequence[str]) -> OtherRun:
    """A cell as a run outside the tables."""
    verdict = cell.outcome.verdict if cell.outcome else ""
    return OtherRun(
        cell.model, cell.attack, cell.dataset, cell.hash, cell.status, verdict, tuple(differs)
    )


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True)
