"""A closer look at trainings and results."""

from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs, read_log
from robench.analysis.replication import fill, replication_section
from robench.analysis.transfer import draw_transfer, transfer_pairs, write_transfer_figure

__all__ = [
    "TrainingLog",
    "draw_training",
    "draw_transfer",
    "fill",
    "find_logs",
    "read_log",
    "replication_section",
    "transfer_pairs",
    "write_training_figures",
    "write_transfer_figure",
]
