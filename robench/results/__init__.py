"""The records of cells and of analyses, and the stores that keep them."""

from robench.results.analyses import E_AC, E_MAC, Analysis, AnalysisIdentity, AnalysisStore, Kind
from robench.results.files import ROWS, AdversarialExamples, Damaged
from robench.results.reading import Sound
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
from robench.results.store import ResultStore

__all__ = [
    "CLEAN_WRONG",
    "E_AC",
    "E_MAC",
    "PROTOCOL",
    "ROBUST",
    "ROWS",
    "SCHEMA",
    "AdversarialExamples",
    "Analysis",
    "AnalysisIdentity",
    "AnalysisStore",
    "CellResult",
    "Check",
    "CurvePoint",
    "Damaged",
    "EpsilonRecord",
    "Identity",
    "Interval",
    "Kind",
    "Outcome",
    "ResultStore",
    "RunRecord",
    "Sound",
    "Status",
    "Thoroughness",
    "Verdict",
]
