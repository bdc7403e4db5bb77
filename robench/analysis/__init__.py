"""A closer look at trainings and results."""

from robench.analysis.budget import (
    BUDGETS,
    at_budgets,
    budget_plans,
    budget_rows,
    draw_budgets,
    paired,
)
from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs, read_log
from robench.analysis.replication import fill, replication_section

__all__ = [
    "BUDGETS",
    "TrainingLog",
    "at_budgets",
    "budget_plans",
    "budget_rows",
    "draw_budgets",
    "draw_training",
    "fill",
    "find_logs",
    "paired",
    "read_log",
    "replication_section",
    "write_training_figures",
]
