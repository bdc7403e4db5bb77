"""Planning, sweeping, checking: from models and attacks to results."""

from robench.evaluation.cell import Cell, Settings, evaluate_cell, read_slice
from robench.evaluation.plan import Plan, Planned, Request, Skipped, make_plan, run_plan

__all__ = [
    "Cell",
    "Plan",
    "Planned",
    "Request",
    "Settings",
    "Skipped",
    "evaluate_cell",
    "make_plan",
    "read_slice",
    "run_plan",
]
