from .attack_spec import split_names
from .attacks import AttackCard, NamedAttack, attack_names, find_attack, find_attacks
from .cards import AboutTable, ModelCard, WeightsTable
from .entries import NOT_LOADED, ModelEntry, model_entries, select_models
from .loading import load_folder
from .locations import (
    SEEDS,
    attack_files,
    model_folders,
    recipe_files,
    seed_folder,
    training_folder,
)
from .model import Model
from .weights import load_weights, save_checkpoint

__all__ = [
    "NOT_LOADED",
    "SEEDS",
    "AboutTable",
    "AttackCard",
    "Model",
    "ModelCard",
    "ModelEntry",
    "NamedAttack",
    "WeightsTable",
    "attack_files",
    "attack_names",
    "find_attack",
    "find_attacks",
    "load_folder",
    "load_weights",
    "model_entries",
    "model_folders",
    "recipe_files",
    "save_checkpoint",
    "seed_folder",
    "select_models",
    "split_names",
    "training_folder",
]
