"""The results of a store: whether each file is whole, and its numbers are those of its rows.

What every reader checks is in :mod:`robench.results`; here follows what takes longer, or needs
models and images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from robench.epsilon import NORMS
from robench.model_id import ModelId
from robench.registry import ModelEntry
from robench.registry.loading import facts
from robench.results import CLEAN_WRONG, PROTOCOL, Damaged, Outcome, ResultStore, Sound
from robench.results.consistency import other_intervals
from robench.results.files import kept_at
from robench.validation.examples import CleanImages, check_examples, rounding
from robench.validation.findings import Finding, attempt, fault


def check_result(
    store: ResultStore, path: Path, entries: Mapping[ModelId, ModelEntry], clean: CleanImages
) -> Iterator[Finding]:
    """What is wrong with the files of a result.

    Args:
        store: of the result.
        path: of its JSON.
        entries: the registered models.
        clean: the images of the data sets.
    """
    every = attempt("result-damaged", path, lambda: list(store.inspect(path)))
    if isinstance(every, Finding):
        yield every
        return
    for found in every:
        if isinstance(found, Damaged):
            yield Finding(found.rule, found.path, found.reason)
        elif (outcome := found.cell.outcome) is not None:
            yield from _check_sound(store, path, found, outcome, entries, clean)


def _check_sound(
    store: ResultStore,
    path: Path,
    found: Sound,
    outcome: Outcome,
    entries: Mapping[ModelId, ModelEntry],
    clean: CleanImages,
) -> Iterator[Finding]:
    """What is wrong with a result whose files can be read."""
    positions, grid = found.positions, found.grid
    parquet = kept_at(path.with_suffix(".parquet"), found.cell.rows_sha256)
    yield from fault("result-outdated", path, lambda: _changed(outcome, entries))
    yield from fault("result-numbers", path, lambda: other_intervals(outcome, positions, grid))
    yield from fault("rows-inconsistent", parquet, lambda: _too_far(found, outcome))
    values = np.array([epsilon.value for epsilon in grid])
    yield from check_examples(store, found.cell, outcome.identity, positions, values, clean)


def _changed(outcome: Outcome, entries: Mapping[ModelId, ModelEntry]) -> str:
    """What has changed since: the registered model, or what robench computes; empty if nothing."""
    who = outcome.identity
    if who.protocol != PROTOCOL:
        return f"it is of protocol {who.protocol}, this robench computes {PROTOCOL}"
    if not outcome.registered:
        return ""
    entry = entries.get(ModelId(who.model))
    if entry is None:
        return f"no model {who.model} is registered"
    if entry.card is None:  # that of a plug-in, or damaged
        return ""
    if entry.card.weights.sha256 != who.fingerprint:
        return f"model {who.model} has other weights today"
    if _canonical(facts(entry.card)) != _canonical(who.model_config_):
        return f"the card of model {who.model} says something else today"
    return ""


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True)


def _too_far(found: Sound, outcome: Outcome) -> str:
    """Whether an adversarial example is outside its ball; empty if none is."""
    who, positions = outcome.identity, found.positions
    slack = rounding(who)
    if slack is None or who.norm not in NORMS:
        return ""
    attacked = positions > CLEAN_WRONG
    epsilon = np.array([point.value for point in found.grid])[positions[attacked]]
    if (found.columns[who.norm].astype(np.float64)[attacked] <= epsilon + slack).all():
        return ""
    return f"an adversarial example is further than its ε in {NORMS[who.norm]}"
