"""The registry of models and attacks: cards, entry points, loading."""

from robench.plugins import GROUPS, Plugin, plugins, the_plugin
from robench.registry.attack_spec import split_names
from robench.registry.attacks import AttackCard, NamedAttack, attack_names, find_attack
from robench.registry.cards import (
    AboutTable,
    ModelCard,
    WeightsTable,
    load_weights,
    save_checkpoint,
)
from robench.registry.loading import (
    NOT_LOADED,
    ModelEntry,
    load_folder,
    model_entries,
    select_models,
)
from robench.registry.locations import (
    SEEDS,
    attack_files,
    model_folders,
    recipe_files,
    seed_folder,
    training_folder,
)
from robench.registry.model import Model, NativeSpikes, SpikeAdapter

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
