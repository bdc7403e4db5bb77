"""The analyses of a store: whether each file is whole, and of the models of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from robench.model_id import ModelId
from robench.registry import ModelEntry
from robench.results import AnalysisStore, Damaged
from robench.validation.findings import Finding, attempt


def check_analysis(
    store: AnalysisStore, path: Path, entries: Mapping[ModelId, ModelEntry]
) -> Iterator[Finding]:
    """What is wrong with the files of an analysis.

    Args:
        store: of the analysis.
        path: of its JSON.
        entries: the registered models.
    """
    found = attempt("analysis-damaged", path, lambda: store.read(path))
    if isinstance(found, Finding):
        yield found
        return
    if isinstance(found, Damaged):
        yield Finding(found.rule, found.path, found.reason)
        return
    entry = entries.get(ModelId(found.identity.model))
    card = entry.card if entry is not None and found.registered else None
    if card is not None and card.weights.sha256 != found.identity.fingerprint:
        text = f"model {found.identity.model} has other weights today"
        yield Finding("analysis-outdated", path, text)
