"""The registry of models and attacks: cards, entry points, loading."""

from robench.zoo.attacks import AttackCard, NamedAttack, attack_names, find_attack
from robench.zoo.card import AboutTable, ModelCard, WeightsTable, load_weights, save_checkpoint
from robench.zoo.contents import (
    SEEDS,
    attack_files,
    model_folders,
    recipe_files,
    seed_folder,
    training_folder,
)
from robench.zoo.model import Model, NativeSpikes, SpikeAdapter
from robench.zoo.models import NOT_LOADED, ModelEntry, load_folder, model_entries, select_models
from robench.zoo.plugins import GROUPS, Plugin, plugins, the_plugin
from robench.zoo.requests import split_names

__all__ = [
    "GROUPS",
    "NOT_LOADED",
    "SEEDS",
    "AboutTable",
    "AttackCard",
    "Model",
    "ModelCard",
    "ModelEntry",
    "NamedAttack",
    "NativeSpikes",
    "Plugin",
    "SpikeAdapter",
    "WeightsTable",
    "attack_files",
    "attack_names",
    "find_attack",
    "load_folder",
    "load_weights",
    "model_entries",
    "model_folders",
    "plugins",
    "recipe_files",
    "save_checkpoint",
    "seed_folder",
    "select_models",
    "split_names",
    "the_plugin",
    "training_folder",
]
