"""The start of a training: new, from a saved state, or with another model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from robench.architectures import VGG
from robench.errors import ContentError, UsageError, nearest
from robench.registry import recipe_files
from robench.registry.cards import CARD, WEIGHTS, ModelCard
from robench.registry.locations import model_folders, models_dir_of
from robench.registry.weights import check_weights, read_weights
from robench.training.checkpoint import Progress, checkpoint_file, read_progress
from robench.training.recipe import Recipe

Start = Literal["new", "resume", "restart"]


def refuse_to_replace(folder: Path) -> None:
    """Refuse to start a training in the folder of another one.

    Raises:
        UsageError: the folder has a training, finished or not.
    """
    saved = checkpoint_file(folder)
    if saved.is_file():
        raise UsageError(
            f"{folder}: an unfinished training is there, {read_progress(saved).epochs} epochs "
            "done; continue with --resume or start again with --restart"
        )
    if (folder / WEIGHTS).is_file():
        raise UsageError(
            f"{folder}: a finished training is there; replace it with --restart, or train "
            "elsewhere with --output"
        )


def finished(recipe: Recipe, folder: Path) -> ModelCard | None:
    """The card of the recipe's training; None if it is not finished.

    Raises:
        ContentError: a finished training is damaged or has another recipe.
    """
    if checkpoint_file(folder).is_file() or not (folder / WEIGHTS).is_file():
        return None
    try:
        card = ModelCard.read(folder / CARD)
        check_weights(folder / WEIGHTS, card.weights.sha256)
    except ContentError as error:
        raise ContentError(f"{error}; start again with --restart") from None
    pairs = {
        "model": (card.model, recipe.model),
        "seed": (card.about.seed, recipe.training.seed),
        "number of epochs": (card.about.epochs, recipe.training.epochs),
    }
    for what, (was, wanted) in pairs.items():
        if was != wanted:
            raise ContentError(
                f"{folder}: the training that is finished there had another {what}; replace it "
                "with --restart, or train elsewhere with --output"
            )
    return card


def saved_progress(fresh: Progress, folder: Path) -> Progress:
    """The progress of the saved state, or ``fresh`` if there is no saved state.

    Args:
        fresh: the progress of a new training.
        folder: the model's folder.

    Raises:
        ContentError: the state is damaged, or belongs to another recipe or to other images.
    """
    path = checkpoint_file(folder)
    if not path.is_file():
        return fresh
    found = read_progress(path)
    if found.images != fresh.images:
        raise ContentError(f"{path}: was trained on other images; start again with --restart")
    for table in ("model", "training"):
        for key, value in fresh.recipe[table].items():
            if found.recipe[table].get(key) != value:
                raise ContentError(
                    f"{path}: belongs to a recipe with another {table}.{key}; "
                    "start again with --restart"
                )
    return found


def load_initial(net: VGG, model_id: str, folder: Path) -> str:
    """Load another model's weights, except thresholds that only one of the two models has.

    Args:
        net: the network to fill.
        model_id: the other model, which is looked for beside ``folder`` first.
        folder: the folder of the trained model, ``…/<dataset>/<name>``, or one of its ``seeds``.

    Returns:
        The SHA-256 of the weights.

    Raises:
        ContentError: the model does not exist, or its weights are damaged or do not fit.
    """
    beside = models_dir_of(folder)
    known = model_folders(beside if beside.is_dir() else None)
    if model_id not in known:
        first = model_id in recipe_files()
        advice = (
            f"; train it first: robench train {model_id}" if first else nearest(model_id, known)
        )
        raise ContentError(f"key training.init: there is no model {model_id!r}{advice}")
    path = known[model_id] / WEIGHTS
    card = ModelCard.read(known[model_id] / CARD)
    own, stored = net.state_dict(), read_weights(path, card.weights.sha256)
    state = {key: value for key, value in stored.items() if key in own}
    absent = [key for key in own if key not in state and not key.endswith(".threshold")]
    misfit = [key for key, value in state.items() if value.shape != own[key].shape]
    beyond = [key for key in stored if key not in own and not key.endswith(".threshold")]
    if wrong := absent + misfit + beyond:
        raise ContentError(f"{path}: does not fit this recipe: {wrong[0]}")
    net.load_state_dict(own | state)
    return card.weights.sha256
