"""A closer look at trainings and results."""

from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs, read_log
from robench.analysis.replication import fill, replication_section

__all__ = [
    "TrainingLog",
    "draw_training",
    "fill",
    "find_logs",
    "read_log",
    "replication_section",
    "write_training_figures",
]
