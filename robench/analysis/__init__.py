"""A closer look at trainings and results."""

from robench.analysis.budget import (
    at_budgets,
    budget_plans,
    budget_rows,
    draw_budgets,
    paired,
)
from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs, read_log
from robench.analysis.members import (
    Breaks,
    draw_members,
    members_table,
    read_breaks,
    write_members,
)
from robench.analysis.rank import (
    RANKED,
    Rank,
    alone,
    ensemble,
    rank_lines,
    rank_plans,
    rank_table,
    ranks,
)
from robench.analysis.replication import fill, replication_section
from robench.analysis.transfer import draw_transfer, transfer_pairs, write_transfer_figure

__all__ = [
    "RANKED",
    "Breaks",
    "Rank",
    "TrainingLog",
    "alone",
    "at_budgets",
    "budget_plans",
    "budget_rows",
    "draw_budgets",
    "draw_members",
    "draw_training",
    "draw_transfer",
    "ensemble",
    "fill",
    "find_logs",
    "members_table",
    "paired",
    "rank_lines",
    "rank_plans",
    "rank_table",
    "ranks",
    "read_breaks",
    "read_log",
    "replication_section",
    "transfer_pairs",
    "write_members",
    "write_training_figures",
    "write_transfer_figure",
]
