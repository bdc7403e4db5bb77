"""Training of checkpoints from recipes."""

from robench.training.display import Display
from robench.training.log import Row
from robench.training.recipe import (
    RECIPE,
    SEEDS,
    Phase,
    PurposeTable,
    Recipe,
    TrainingTable,
    find_recipe,
)
from robench.training.start import Start, finished
from robench.training.trainer import train

__all__ = [
    "RECIPE",
    "SEEDS",
    "Display",
    "Phase",
    "PurposeTable",
    "Recipe",
    "Row",
    "Start",
    "TrainingTable",
    "find_recipe",
    "finished",
    "train",
]
