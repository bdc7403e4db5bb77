from .attack_classes import NamedAttack
from .attack_spec import split_names
from .attacks import AttackRequest, find_attack, find_attacks
from .cards import AboutTable, AttackCard, ModelCard, WeightsTable
from .entries import NOT_LOADED, ModelEntry, model_entries, select_models
from .loading import load_folder
from .locations import (
    SEEDS,
    attack_files,
    attack_names,
    is_published,
    model_folders,
    published,
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
    "AttackRequest",
    "Model",
    "ModelCard",
    "ModelEntry",
    "NamedAttack",
    "WeightsTable",
    "attack_files",
    "attack_names",
    "find_attack",
    "find_attacks",
    "is_published",
    "load_folder",
    "load_weights",
    "model_entries",
    "model_folders",
    "published",
    "recipe_files",
    "save_checkpoint",
    "seed_folder",
    "select_models",
    "split_names",
    "training_folder",
]
