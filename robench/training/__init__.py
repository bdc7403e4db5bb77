"""Training checkpoints from recipes."""

from robench.training.display import Display
from robench.training.log import LOG, Row, read_log
from robench.training.recipe import RECIPE, Phase, PurposeTable, Recipe, TrainingTable
from robench.training.trainer import Start, train

__all__ = [
    "LOG",
    "RECIPE",
    "Display",
    "Phase",
    "PurposeTable",
    "Recipe",
    "Row",
    "Start",
    "TrainingTable",
    "read_log",
    "train",
]
