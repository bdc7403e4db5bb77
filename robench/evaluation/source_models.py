"""The source models of a transfer attack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from robench.attacks import Attack
from robench.errors import RobenchError, UsageError, nearest
from robench.model_id import ModelId
from robench.registry import Model, ModelEntry
from robench.registry.patterns import is_glob, match
from robench.spiking.discovery import DISCOVERY


class Sources:
    """Finds source models and loads each of them once."""

    def __init__(
        self,
        find: Callable[[], Mapping[ModelId, ModelEntry]],
        targets: Sequence[ModelEntry] = (),
    ) -> None:
        """Prepare.

        Args:
            find: returns all registered models and is called when needed.
            targets: the models under attack, which a name finds even if they are not registered.
        """
        self.registered = cache(find)
        self.targets = {entry.id: entry for entry in targets}
        self.load = cache(self._load)

    def _load(self, model_id: ModelId) -> Model:
        return (self.registered().get(model_id) or self.targets[model_id]).load()

    def of(self, attack: Attack, target: Model) -> tuple[Model, ...]:
        """The sources of an attack on a target, sorted by id; all are of the target's data set.

        A glob leaves out the target, controls, models without weights, models that cannot be
        loaded and models with another number of classes. A name may be that of any model.

        Raises:
            UsageError: a named model is unknown, or has no weights or another number of classes.
        """
        found: dict[ModelId, Model] = {}
        for pattern in attack.source_patterns:
            glob = is_glob(pattern)
            chosen = self._matching(pattern, target) if glob else [self._named(pattern, target)]
            found |= {model.id: model for model in chosen}
        return tuple(found[model_id] for model_id in sorted(found))

    def _matching(self, pattern: str, target: Model) -> Iterator[Model]:
        here = self._of_dataset(target, self.registered())
        for entry in (here[name] for name in match(pattern, here)):
            if entry.control or entry.missing or entry.id == target.id:
                continue
            try:
                model = self.load(entry.id)
            except RobenchError:  # reported in a run that attacks it
                continue
            if model.classes == target.classes and model.fingerprint != target.fingerprint:
                yield model

    @staticmethod
    def _of_dataset(target: Model, all_of: Mapping[ModelId, ModelEntry]) -> dict[str, ModelEntry]:
        """The models of a target's data set, by the second half of their ids."""
        entries = all_of.values()
        return {entry.id.name: entry for entry in entries if entry.dataset == target.dataset}

    def _named(self, name: str, target: Model) -> Model:
        here = self._of_dataset(target, {**self.targets, **self.registered()})
        entry = here.get(name)
        if entry is None:
            raise UsageError(
                f"unknown source {name!r}{nearest(name, here)}: a source is named by the second "
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
    """SHA-256 of everything of a source model that the adversarial examples depend on."""
    facts: list[object] = [source.fingerprint, source.card, source.origin, source.timesteps]
    if not source.checkpoint:  # how its spikes are found and replaced
        facts += [source.mode, source.input_kind, DISCOVERY]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
