"""Where a training begins: anew, at a saved state, or with another model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from robench.architectures import VGG
from robench.errors import ContentError, UsageError, nearest
from robench.registry import recipe_files
from robench.registry.cards import CARD, WEIGHTS, ModelCard, check_weights, read_weights
from robench.registry.locations import model_folders, zoo_of
from robench.training.checkpoint import Progress, checkpoint_file, read_progress
from robench.training.recipe import Recipe

Start = Literal["new", "resume", "restart"]


def refuse_to_replace(folder: Path) -> None:
    """Keep a new training from a folder in which there is another.

    Raises:
        UsageError: there is one, finished or not.
    """
    saved = checkpoint_file(folder)
    if saved.is_file():
        raise UsageError(
            f"{folder}: an unfinished training is there, {read_progress(saved).epochs} epochs "
            "done; go on with --resume or begin anew with --restart"
        )
    if (folder / WEIGHTS).is_file():
        raise UsageError(
            f"{folder}: a finished training is there; replace it with --restart, or train "
            "elsewhere with --output"
        )


def finished(recipe: Recipe, folder: Path) -> ModelCard | None:
    """The card of the recipe's training where it is finished.

    Raises:
        ContentError: a training is finished there, but it is damaged or is another's.
    """
    if checkpoint_file(folder).is_file() or not (folder / WEIGHTS).is_file():
        return None
    try:
        card = ModelCard.read(folder / CARD)
        check_weights(folder / WEIGHTS, card.weights.sha256)
    except ContentError as error:
        raise ContentError(f"{error}; begin anew with --restart") from None
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
    """How far a training came, or ``fresh`` where no state of it is saved.

    Args:
        fresh: that of the training at its beginning.
        folder: the model's.

    Raises:
        ContentError: the state is damaged, or belongs to another recipe or to other images.
    """
    path = checkpoint_file(folder)
    if not path.is_file():
        return fresh
    found = read_progress(path)
    if found.images != fresh.images:
        raise ContentError(f"{path}: was trained on other images; begin anew with --restart")
    for table in ("model", "training"):
        for key, value in fresh.recipe[table].items():
            if found.recipe[table].get(key) != value:
                raise ContentError(
                    f"{path}: belongs to a recipe with another {table}.{key}; "
                    "begin anew with --restart"
                )
    return found


def load_initial(net: VGG, model_id: str, folder: Path) -> str:
    """Load another model's weights; thresholds that one of the two does not have are left out.

    Args:
        net: the network to fill.
        model_id: the other model, looked for beside ``folder`` first.
        folder: of the model that is trained, ``…/<dataset>/<name>``, or one of its ``seeds``.

    Returns:
        The SHA-256 of the weights.

    Raises:
        ContentError: there is no such model, or its weights are damaged or do not fit.
    """
    zoo = zoo_of(folder)
    known = model_folders(zoo if zoo.is_dir() else None)
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
