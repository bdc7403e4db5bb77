"""A closer look at trainings and results."""

from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.estimators import (
    RANKED,
    Rank,
    alone,
    ensemble,
    estimator_plan,
    rank_lines,
    rank_table,
    ranks,
)
from robench.analysis.planted import PlantedTest, PlantedTests, planted_tests
from robench.analysis.training_logs import TrainingLog, find_logs, read_log
from robench.analysis.transfer import draw_transfer, transfer_pairs, write_transfer_figure

__all__ = [
    "RANKED",
    "PlantedTest",
    "PlantedTests",
    "Rank",
    "TrainingLog",
    "alone",
    "draw_training",
    "draw_transfer",
    "ensemble",
    "estimator_plan",
    "find_logs",
    "planted_tests",
    "rank_lines",
    "rank_table",
    "ranks",
    "read_log",
    "transfer_pairs",
    "write_training_figures",
    "write_transfer_figure",
]
