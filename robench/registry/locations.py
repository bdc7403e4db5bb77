"""Where the benchmark's contents lie: checkpoints in ``models/``, attack cards in ``attacks/``."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from robench.errors import UsageError
from robench.registry.cards import CARD, WEIGHTS

_PACKAGE = Path(__file__).resolve().parents[1]
_CARRIED = "_contents"
VARIABLE = "ROBENCH_MODELS"
SEEDS = "seeds"


def _roots() -> list[Path]:
    """The checkout beside the package, what the wheel carries, the user's cache: in this order.

    A cache that the user may not read counts as empty.
    """
    roots, cache = [_PACKAGE / _CARRIED], user_cache_path("robench")
    if os.access(cache, os.R_OK | os.X_OK):
        roots.append(cache)
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "models").is_dir():
        roots.insert(0, checkout)
    return roots


def model_folders(models_dir: Path | None = None) -> dict[str, Path]:
    """The folder of every checkpoint by its id; the first place that has an id wins.

    A card that the wheel carries without its weights gives way to a checkpoint in the cache.

    Args:
        models_dir: searched first; without it the folder that ``ROBENCH_MODELS`` names.

    Raises:
        UsageError: there is no such folder.
    """
    places = [root / "models" for root in _roots()]
    named = os.environ.get(VARIABLE)
    chosen = models_dir or (Path(named) if named else None)
    if chosen is not None:
        if not chosen.is_dir():
            source = VARIABLE if models_dir is None else "--models-dir"
            raise UsageError(f"{source} {chosen}: there is no such folder")
        places.insert(0, chosen)
    found: dict[str, Path] = {}
    for place in places:
        for card in sorted(place.glob(f"*/*/{CARD}")):
            name = f"{card.parent.parent.name}/{card.parent.name}"
            known = found.get(name)
            if known is None or (_is_carried(known) and not (known / WEIGHTS).is_file()):
                found[name] = card.parent
    return found


def _is_carried(path: Path) -> bool:
    return _PACKAGE / _CARRIED in path.parents


def training_folder(recipe: Path) -> Path:
    """Where a trained checkpoint goes: beside its recipe, but into the cache from an installation.

    Args:
        recipe: ``…/<dataset>/<name>/recipe.toml``.
    """
    folder = recipe.parent
    if not _is_carried(recipe):
        return folder
    return user_cache_path("robench") / "models" / folder.parent.name / folder.name


def seed_folder(folder: Path, seed: int) -> Path:
    """Where a model that is trained with another seed than its recipe's goes.

    Args:
        folder: the model's own, ``…/<dataset>/<name>``.
        seed: of the training.
    """
    return folder / SEEDS / str(seed)


def zoo_of(folder: Path) -> Path:
    """The folder of models that a checkpoint's folder, or that of one of its seeds, stands in."""
    resolved = folder.resolve()
    return resolved.parents[3 if resolved.parent.name == SEEDS else 1]


def recipe_files(models_dir: Path | None = None) -> dict[str, Path]:
    """The training recipe of every checkpoint by its id, trained already or not."""
    places = ([models_dir] if models_dir else []) + [root / "models" for root in _roots()]
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob("*/*/recipe.toml")):
            found.setdefault(f"{path.parent.parent.name}/{path.parent.name}", path)
    return found


def attack_files() -> dict[str, Path]:
    """The card of every attack by its name; the first place that has a name wins."""
    found: dict[str, Path] = {}
    for root in _roots():
        for card in sorted((root / "attacks").glob("*.toml")):
            found.setdefault(card.stem, card)
    return found
