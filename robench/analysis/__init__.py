"""A closer look at trainings and results."""

from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs, read_log
from robench.analysis.members import (
    Breaks,
    draw_members,
    members_table,
    read_breaks,
    write_members,
)
from robench.analysis.replication import fill, replication_section

__all__ = [
    "Breaks",
    "TrainingLog",
    "draw_members",
    "draw_training",
    "fill",
    "find_logs",
    "members_table",
    "read_breaks",
    "read_log",
    "replication_section",
    "write_members",
    "write_training_figures",
]
