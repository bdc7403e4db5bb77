"""The record of a cell and the store that keeps it."""

from robench.results.schema import (
    CLEAN_WRONG,
    PROTOCOL,
    ROBUST,
    SCHEMA,
    CellResult,
    Check,
    CurvePoint,
    EpsilonRecord,
    Identity,
    Interval,
    Outcome,
    RunRecord,
    Status,
    Thoroughness,
    Verdict,
)
from robench.results.store import ROWS, AdversarialExamples, Damaged, ResultStore

__all__ = [
    "CLEAN_WRONG",
    "PROTOCOL",
    "ROBUST",
    "ROWS",
    "SCHEMA",
    "AdversarialExamples",
    "CellResult",
    "Check",
    "CurvePoint",
    "Damaged",
    "EpsilonRecord",
    "Identity",
    "Interval",
    "Outcome",
    "ResultStore",
    "RunRecord",
    "Status",
    "Thoroughness",
    "Verdict",
]
