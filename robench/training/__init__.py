"""Training checkpoints from recipes."""

from robench.training.display import Display
from robench.training.log import Row
from robench.training.recipe import RECIPE, Phase, PurposeTable, Recipe, TrainingTable, find_recipe
from robench.training.trainer import Start, train

__all__ = [
    "RECIPE",
    "Display",
    "Phase",
    "PurposeTable",
    "Recipe",
    "Row",
    "Start",
    "TrainingTable",
    "find_recipe",
    "train",
]
