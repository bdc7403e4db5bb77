"""A closer look at trainings and results."""

from robench.analysis.curves import draw_training, write_training_figures
from robench.analysis.logs import TrainingLog, find_logs

__all__ = ["TrainingLog", "draw_training", "find_logs", "write_training_figures"]
