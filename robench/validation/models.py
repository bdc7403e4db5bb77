"""The folders of models and the attack cards: whether each file can be read and fits the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from robench.analysis import read_log
from robench.model_id import ModelId
from robench.registry import SEEDS, find_attack, model_folders, recipe_files
from robench.registry.cards import CARD, WEIGHTS, read_card
from robench.registry.locations import is_carried
from robench.registry.weights import check_weights
from robench.training import RECIPE, find_recipe, finished
from robench.training.log import LOG
from robench.validation.findings import Finding, attempt


def checkpoints(models_dir: Path | None) -> dict[str, Path]:
    """The folder of every checkpoint by its id, also of one whose card is missing."""
    without_card = {
        name: path.parent
        for name, path in recipe_files(models_dir).items()
        if (path.parent / WEIGHTS).is_file()
    }
    return without_card | model_folders(models_dir)


def check_model(name: str, folder: Path) -> Iterator[Finding]:
    """What is wrong with the folder of a checkpoint, and with its other seeds.

    Args:
        name: its id, by the folder.
        folder: of the checkpoint.
    """
    found: list[object] = [attempt("model-id", folder, lambda: ModelId.parse(name))]
    found += _files(name, folder, required=not is_carried(folder))
    for seed in sorted((folder / SEEDS).glob(f"*/{CARD}")):
        found += _files(name, seed.parent, required=False)
    yield from (finding for finding in found if isinstance(finding, Finding))


def _files(name: str, folder: Path, *, required: bool) -> Iterator[object]:
    """What each file of a checkpoint contains, or what is wrong with it.

    Args:
        name: the id.
        folder: of the checkpoint.
        required: whether the weights have to be there: neither the wheel has all of them, nor a
            checkout those of other seeds.
    """
    weights, recipe, log = (folder / file for file in (WEIGHTS, RECIPE, LOG))
    card = attempt("card-damaged", folder / CARD, lambda: read_card(folder, ModelId(name)))
    whole: object = card
    if isinstance(card, Finding):
        yield card
    elif weights.is_file():
        sha256 = card.weights.sha256
        whole = attempt("weights-damaged", weights, lambda: check_weights(weights, sha256))
        yield whole
    elif required:
        yield Finding("weights-missing", weights, "there is no such file")
    if recipe.is_file():
        read = attempt("recipe-damaged", recipe, lambda: find_recipe(str(recipe)))
        yield read
        if not isinstance(read, Finding) and not isinstance(whole, Finding):
            yield attempt("recipe-differs", folder, lambda: finished(read[1], folder))
    if log.is_file():
        yield attempt("log-damaged", log, lambda: read_log(log))


def check_attack(name: str, card: Path) -> Iterator[Finding]:
    """What is wrong with an attack card, if anything is."""
    found = attempt("attack-damaged", card, lambda: find_attack(name))
    if isinstance(found, Finding):
        yield found
