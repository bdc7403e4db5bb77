"""Training checkpoints from recipes."""

from robench.training.recipe import RECIPE, Phase, PurposeTable, Recipe, TrainingTable
from robench.training.trainer import Progress, Row, train

__all__ = [
    "RECIPE",
    "Phase",
    "Progress",
    "PurposeTable",
    "Recipe",
    "Row",
    "TrainingTable",
    "train",
]
