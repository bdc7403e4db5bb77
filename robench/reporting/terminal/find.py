"""Results by what a user calls them: a file, the beginning of a hash, a model and an attack."""

from __future__ import annotations

import re
from pathlib import Path

from robench.errors import UsageError
from robench.results import Damaged, ResultStore, Sound

SHORTEST = 6
"""The fewest digits of a hash."""


def result_paths(name: str, store: ResultStore) -> list[Path]:
    """The records that a name means; none if it means no result.

    Args:
        name: the path of a record, the beginning of a hash, ``MODEL/ATTACK`` or a model's id.
        store: where they are looked for, unless the name is a path.
    """
    path = Path(name)
    if path.suffix == ".json" and path.is_file():
        return [path.absolute()]
    if re.fullmatch(f"[0-9a-f]{{{SHORTEST},64}}", name):
        return [p for p in store.paths() if p.stem.startswith(name[:16])]
    # the name of an attack may contain a slash itself
    if parts := re.fullmatch(r"([^/]+/[^/]+)/(.+)", name):
        return list(store.paths(model=parts[1], attack=parts[2]))
    return list(store.paths(model=name)) if "/" in name else []


def newest(paths: list[Path], store: ResultStore) -> Sound | None:
    """The newest sound result of some paths; None without one.

    Raises:
        UsageError: all of them are damaged.
    """
    found = [store_of(path, store).load(path) for path in paths]
    sound = [each for each in found if isinstance(each, Sound)]
    if sound:
        return max(sound, key=_age)
    for each in found:
        if isinstance(each, Damaged):
            raise UsageError(f"{each.path}: damaged: {each.reason}")
    return None


def one_result(name: str, store: ResultStore) -> tuple[Sound, ResultStore]:
    """The result that a name means, the newest one of several, and the store in which it is.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    paths = result_paths(name, store)
    found = newest(paths, store)
    if found is None:
        raise UsageError(
            f"no result {name!r} in {store.root}; give MODEL/ATTACK, the beginning of a hash or "
            "the path of a record, and --results FOLDER for another folder"
        )
    return found, store_of(paths[0], store)


def store_of(path: Path, store: ResultStore) -> ResultStore:
    """The store in which a record lies: the given one, or that of its own folder."""
    if path.is_relative_to(store.root):
        return store
    return ResultStore(path.parents[3])


def has_results(folder: Path) -> bool:
    """Whether a folder is one of results."""
    return next(ResultStore(folder).paths(), None) is not None


def _age(found: Sound) -> tuple[str, str]:
    return found.cell.run.created, found.cell.hash


def cells_of(folder: Path) -> dict[tuple[str, str, int], Sound]:
    """The newest sound result of each model, attack and seed of a folder."""
    store = ResultStore(folder)
    found: dict[tuple[str, str, int], Sound] = {}
    for path in store.paths():
        each = store.load(path)
        if isinstance(each, Damaged) or each.cell.outcome is None:
            continue
        key = each.cell.model, each.cell.attack, each.cell.outcome.identity.seed
        found[key] = max(found.get(key, each), each, key=_age)
    return found
