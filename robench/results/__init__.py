"""The record of a cell and the store that keeps it."""

from robench.results.schema import (
    CLEAN_WRONG,
    NEVER,
    PROTOCOL,
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
    Verdict,
)
from robench.results.store import ROWS, Damaged, ResultStore, Witnesses

__all__ = [
    "CLEAN_WRONG",
    "NEVER",
    "PROTOCOL",
    "ROWS",
    "SCHEMA",
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
    "Verdict",
    "Witnesses",
]
