"""The folders of the benchmark's contents: checkpoints in ``models/``, attack cards."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from robench.errors import UsageError
from robench.plugins import ATTACKS, plugins
from robench.registry.cards import CARD, WEIGHTS

_PACKAGE = Path(__file__).resolve().parents[1]
_CARRIED = "_contents"
VARIABLE = "ROBENCH_MODELS"
SEEDS = "seeds"


def _roots() -> list[Path]:
    """The checkout around the package, the contents of the wheel, the user's cache: in this order.

    A cache that the user cannot read is left out.
    """
    cache = user_cache_path("robench")
    return [*_own_roots(), *([cache] if os.access(cache, os.R_OK | os.X_OK) else [])]


def _own_roots() -> list[Path]:
    """Those of robench itself."""
    roots, checkout = [_PACKAGE / _CARRIED], _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "models").is_dir():
        roots.insert(0, checkout)
    return roots


def model_folders(models_dir: Path | None = None) -> dict[str, Path]:
    """The folder of every checkpoint by its id; the first place with an id wins.

    A checkpoint in the cache wins over a card of the wheel without weights.

    Args:
        models_dir: searched first; by default the folder that ``ROBENCH_MODELS`` names.

    Raises:
        UsageError: there is no such folder.
    """
    found: dict[str, Path] = {}
    for place in _places(models_dir):
        for card in sorted(place.glob(f"*/*/{CARD}")):
            name = f"{card.parent.parent.name}/{card.parent.name}"
            known = found.get(name)
            if known is None or (is_carried(known) and not (known / WEIGHTS).is_file()):
                found[name] = card.parent
    return found


def _places(models_dir: Path | None) -> list[Path]:
    """The folders of models, in the order in which they are searched."""
    named = os.environ.get(VARIABLE)
    chosen = models_dir or (Path(named) if named else None)
    if chosen is not None and not chosen.is_dir():
        source = VARIABLE if models_dir is None else "--models-dir"
        raise UsageError(f"{source} {chosen}: there is no such folder")
    return [*([chosen] if chosen else []), *(root / "models" for root in _roots())]


def attack_names() -> dict[str, str]:
    """Every attack by name with its origin; nothing is imported."""
    names = dict.fromkeys(attack_files(), "robench")
    for name, claims in plugins(ATTACKS).items():
        names[name] = " and ".join(plugin.origin for plugin in claims)
    return dict(sorted(names.items()))


def published() -> Path | None:
    """The folder of the published results: that of the checkout, or that in the wheel, if any."""
    places = [root / "results" for root in _own_roots()]
    return next((place for place in places if place.is_dir()), None)


def is_own(path: Path) -> bool:
    """Whether a file is one of robench's own contents."""
    return any(path.is_relative_to(root) for root in _own_roots())


def is_published(results: Path) -> bool:
    """Whether a folder is that of the published results."""
    known = published()
    return known is not None and results.resolve() == known.resolve()


def is_carried(path: Path) -> bool:
    """Whether a path lies in the contents of the wheel, which has the weights of digits alone."""
    return _PACKAGE / _CARRIED in path.parents


def training_folder(recipe: Path) -> Path:
    """The folder for a trained checkpoint: that of its recipe, or the cache in an installation.

    Args:
        recipe: ``…/<dataset>/<name>/recipe.toml``.
    """
    folder = recipe.parent
    if not is_carried(recipe):
        return folder
    return user_cache_path("robench") / "models" / folder.parent.name / folder.name


def seed_folder(folder: Path, seed: int) -> Path:
    """The folder of a model that is trained with another seed than its recipe's.

    Args:
        folder: of the model, ``…/<dataset>/<name>``.
        seed: of the training.
    """
    return folder / SEEDS / str(seed)


def models_dir_of(folder: Path) -> Path:
    """The models folder that contains a checkpoint's folder, or that of one of its seeds."""
    resolved = folder.resolve()
    return resolved.parents[3 if resolved.parent.name == SEEDS else 1]


def recipe_files(models_dir: Path | None = None) -> dict[str, Path]:
    """The training recipe of every checkpoint by its id, whether it is trained or not.

    The folders are those of :func:`model_folders`.
    """
    found: dict[str, Path] = {}
    for place in _places(models_dir):
        for path in sorted(place.glob("*/*/recipe.toml")):
            found.setdefault(f"{path.parent.parent.name}/{path.parent.name}", path)
    return found


def attack_files() -> dict[str, Path]:
    """The card of every attack by its name; the first place with a name wins."""
    found: dict[str, Path] = {}
    for root in _roots():
        for card in sorted((root / "attacks").glob("*.toml")):
            found.setdefault(card.stem, card)
    return found
