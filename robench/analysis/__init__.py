"""A closer look at trainings and results."""

from robench.analysis.budget import (
    at_budgets,
    budget_plans,
    budget_rows,
    budget_table,
    paired,
)
from robench.analysis.budget_report import budget_section, write_budget_figure
from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.document import fill_document, tables_in, write_table
from robench.analysis.doubling import at_factors, doubling_lines, doubling_section, doubling_table
from robench.analysis.gradients import Comparison, all_gradients, gradient_comparisons
from robench.analysis.gradients_report import gradients_section, write_gradients_figure
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
from robench.analysis.replication import replication_section
from robench.analysis.seeds import Seeds, find_seeds, seeds_section
from robench.analysis.training_logs import TrainingLog, find_logs, read_log
from robench.analysis.transfer import draw_transfer, transfer_pairs, write_transfer_figure

__all__ = [
    "RANKED",
    "Breaks",
    "Comparison",
    "Rank",
    "Seeds",
    "TrainingLog",
    "all_gradients",
    "alone",
    "at_budgets",
    "at_factors",
    "budget_plans",
    "budget_rows",
    "budget_section",
    "budget_table",
    "doubling_lines",
    "doubling_section",
    "doubling_table",
    "draw_members",
    "draw_training",
    "draw_transfer",
    "ensemble",
    "fill_document",
    "find_logs",
    "find_seeds",
    "gradient_comparisons",
    "gradients_section",
    "members_table",
    "paired",
    "rank_lines",
    "rank_plans",
    "rank_table",
    "ranks",
    "read_breaks",
    "read_log",
    "replication_section",
    "seeds_section",
    "tables_in",
    "transfer_pairs",
    "write_budget_figure",
    "write_gradients_figure",
    "write_members",
    "write_table",
    "write_training_figures",
    "write_transfer_figure",
]
