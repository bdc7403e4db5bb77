"""The other models on which an attack makes its examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache

from robench.attacks import Attack
from robench.errors import RobenchError, UsageError, nearest
from robench.registry import Model, ModelEntry


class Sources:
    """Finds and loads source models, each once for all cells."""

    def __init__(self, find: Callable[[], Mapping[str, ModelEntry]]) -> None:
        """Prepare; ``find`` gives every registered model and is asked when one is wanted."""
        self.entries = cache(find)
        self.load = cache(self._load)

    def _load(self, model_id: str) -> Model:
        return self.entries()[model_id].load()

    def of(self, attack: Attack, target: Model) -> tuple[Model, ...]:
        """The sources of an attack on a target, by id; all of the target's data set.

        A glob leaves out the target, controls, models without weights, those that cannot be loaded
        and those with other classes. A model that is named by itself may be any.

        Raises:
            UsageError: a model that is named is unknown, has no weights or other classes.
        """
        found: dict[str, Model] = {}
        for pattern in attack.source_patterns:
            glob = any(sign in pattern for sign in "*?[")
            chosen = self._matching(pattern, target) if glob else [self._named(pattern, target)]
            found |= {model.id: model for model in chosen}
        return tuple(found[model_id] for model_id in sorted(found))

    def _matching(self, pattern: str, target: Model) -> Iterator[Model]:
        for entry in self.entries().values():
            name = entry.id.partition("/")[2]
            here = entry.dataset == target.dataset and fnmatchcase(name, pattern)
            if not here or entry.control or entry.missing or entry.id == target.id:
                continue
            try:
                model = self.load(entry.id)
            except RobenchError:  # it is told where it is itself to be attacked
                continue
            if model.classes == target.classes and model.fingerprint != target.fingerprint:
                yield model

    def _named(self, name: str, target: Model) -> Model:
        entry = self.entries().get(f"{target.dataset}/{name}")
        if entry is None:
            known = [
                m.partition("/")[2] for m in self.entries() if m.startswith(f"{target.dataset}/")
            ]
            raise UsageError(
                f"unknown source {name!r}{nearest(name, known)}: a source is named by the second "
                f"half of its id, and is of the target's data set, {target.dataset}"
            )
        if entry.missing:
            raise UsageError(f"source {entry.id}: {entry.missing}")
        model = self.load(entry.id)
        if model.classes != target.classes:
            raise UsageError(
                f"source {entry.id} has {model.classes} classes, {target.id} {target.classes}"
            )
        return model


def fingerprint(source: Model) -> str:
    """SHA-256 of all of a source that the examples depend on."""
    facts = [source.fingerprint, source.card, source.origin, source.timesteps]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
