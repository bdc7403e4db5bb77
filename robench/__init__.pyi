from .api import (
    check,
    evaluate,
    list_models,
    load_results,
    planted,
)
from .arguments import load_images, load_model
from .attacks import Attack, DirectAttack, IterativeAttack, LineAttack
from .errors import RobenchError
from .evaluation import Cell, Settings, evaluate_cell
from .registry import Model, find_attack, load_folder, select_models
from .reporting.cells import Checks, Results
from .reporting.model_checks import ModelChecks
from .results import CellResult, ResultStore
from .spiking import ModelNoise, from_nir, wrap

__all__ = [
    "Attack",
    "Cell",
    "CellResult",
    "Checks",
    "DirectAttack",
    "IterativeAttack",
    "LineAttack",
    "Model",
    "ModelChecks",
    "ModelNoise",
    "ResultStore",
    "Results",
    "RobenchError",
    "Settings",
    "check",
    "evaluate",
    "evaluate_cell",
    "find_attack",
    "from_nir",
    "list_models",
    "load_folder",
    "load_images",
    "load_model",
    "load_results",
    "planted",
    "select_models",
    "wrap",
]
