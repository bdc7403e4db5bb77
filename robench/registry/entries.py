"""The models that can be loaded: registered folders, plug-ins, models of the command line.

Listing them reads cards and hashes weight files, but imports neither torch nor a plug-in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robench.datasets import OWN, find_dataset
from robench.errors import ContentError, PluginError, UsageError, nearest
from robench.model_id import ModelId
from robench.plugins import MODELS, Plugin, plugins, the_plugin
from robench.registry.cards import CARD, WEIGHTS, ModelCard, own_id, read_card
from robench.registry.locations import model_folders
from robench.registry.patterns import is_glob, match
from robench.user_code import is_reference

if TYPE_CHECKING:
    from robench.registry.model import Model

NOT_LOADED = "not loaded; see: robench list plugins"
CLAIMED = "claimed twice; it cannot be loaded"
LONGEST = 4096
"""Most characters of a pattern, as of a path on Linux."""
REGISTERED = "robench"
"""The source of robench's own models."""


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded.

    Attributes:
        id: ``<dataset>/<name>``.
        source: where it comes from, for ``robench list``.
        control: whether globs and ``all`` leave it out.
        missing: what is missing and how to get it; empty if the model can be loaded.
        load: loads it.
        card: of a registered checkpoint; None without a readable one.
        named: whether the user named it; then a failure to load it is an error.
        place: the folder or function of a model that is not registered.
        examine: returns why it cannot be loaded, as far as that is known without building it;
            empty if no reason is known.
    """

    id: ModelId
    source: str
    control: bool
    missing: str
    load: Callable[[], Model]
    card: ModelCard | None = None
    named: bool = False
    place: str = ""
    examine: Callable[[], str] = lambda: ""

    @property
    def dataset(self) -> str:
        """The data set, as in the id."""
        return self.id.dataset

    @property
    def pattern(self) -> str:
        """What selects this model alone, see :func:`select_models`."""
        return self.place or self.id


def _examine(folder: Path, model_id: ModelId) -> str:
    try:
        card = read_card(folder, model_id)
    except ContentError as error:
        return f"card damaged: {error}"
    from robench.registry.weights import check_weights

    try:
        check_weights(folder / WEIGHTS, card.weights.sha256)
    except ContentError as error:
        return f"weights damaged: {error}"
    return ""


def _load_folder(folder: Path, model_id: ModelId, *, registered: bool = True) -> Model:
    from robench.registry.loading import load_folder

    return load_folder(folder, model_id, registered=registered)


def _load_plugin(found: dict[str, list[Plugin]], name: str) -> Model:
    from robench.registry.functions import from_plugin

    return from_plugin(the_plugin(found, name))


def _folder_entry(model_id: ModelId, folder: Path) -> ModelEntry:
    card, missing = None, ""
    with suppress(ContentError):  # reported when the model is loaded
        card = ModelCard.read(folder / CARD)
    control = card is not None and card.about.control
    if not (folder / WEIGHTS).is_file():
        missing = (
            f"weights are absent; get them with: robench train {model_id}, "
            "or name the models folder of a checkout with --models-dir"
        )
    return ModelEntry(
        model_id, REGISTERED, control, missing, partial(_load_folder, folder, model_id),
        card, examine=partial(_examine, folder, model_id),
    )  # fmt: skip


def model_entries(models_dir: Path | None = None) -> dict[ModelId, ModelEntry]:
    """Every registered model by id, robench's own and those of plug-ins; nothing is imported."""
    entries = {
        ModelId(name): _folder_entry(ModelId(name), folder)
        for name, folder in model_folders(models_dir).items()
    }
    found = plugins(MODELS)
    for name, claims in sorted(found.items()):
        source, model_id = " and ".join(plugin.origin for plugin in claims), ModelId(name)
        if model_id in entries:

            def refuse(name: str = name, source: str = source) -> Model:
                raise PluginError(f"model {name!r} is one of robench's and is claimed by {source}")

            entries[model_id] = ModelEntry(
                model_id, f"{REGISTERED} and {source}", False, "", refuse, examine=lambda: CLAIMED
            )
            continue
        entries[model_id] = ModelEntry(
            model_id, source, False, "", partial(_load_plugin, found, name),
            examine=(lambda: NOT_LOADED) if len(claims) == 1 else (lambda: CLAIMED),
        )  # fmt: skip
    return dict(sorted(entries.items()))


def select_models(
    patterns: list[str], *, dataset: str | None = None, models_dir: Path | None = None
) -> list[ModelEntry]:
    """The models that the user asked for.

    Args:
        patterns: ``all``, ids, globs, model folders, ``package.module:name`` or
            ``path/to/file.py:name`` of a function, a class or a network.
        dataset: keep only models of this data set; a function may return a plain network of it. On
            a user's own data set, as ``file.py:make``, any model that is named can be evaluated.
        models_dir: folder in which checkpoints are searched first.

    Raises:
        UsageError: a name or a glob matches nothing.
    """
    if dataset is not None and is_reference(dataset):
        dataset = find_dataset(dataset).name
    entries = model_entries(models_dir)
    chosen: dict[ModelId, ModelEntry] = {}
    for pattern in patterns:
        for entry in _matching(pattern, entries, dataset):
            if dataset in OWN and entry.named and entry.dataset != dataset:
                entry = _moved(entry, dataset)
            known = chosen.setdefault(entry.id, entry)
            if known.source != entry.source:
                raise UsageError(
                    f"two models are called {entry.id}: {known.source} and {entry.source}; let one "
                    f"return robench.Model(network, '{entry.dataset}/another-name')"
                )
    kept = [entry for entry in chosen.values() if dataset in (None, entry.dataset)]
    if not kept:
        of = f" of data set {dataset}" if chosen else ""
        raise UsageError(
            f"no model to run: nothing{of} matches {', '.join(patterns) or 'an empty list'}"
        )
    return kept


def _moved(entry: ModelEntry, dataset: str) -> ModelEntry:
    """A model on another data set."""
    model_id = ModelId(f"{dataset}/{entry.id.name}")

    def load() -> Model:
        return entry.load().changed(id=model_id, dataset=dataset)

    return replace(entry, id=model_id, load=load, card=None, place=entry.pattern)


def _matching(
    pattern: str, entries: dict[ModelId, ModelEntry], dataset: str | None
) -> list[ModelEntry]:
    if len(pattern) > LONGEST:
        raise UsageError(f"model {pattern[:40]!r}…: {len(pattern)} characters are too many")
    if pattern in entries:
        return [replace(entries[ModelId(pattern)], named=True)]
    if pattern == "all" or is_glob(pattern):
        public = {model_id: entry for model_id, entry in entries.items() if not entry.control}
        if found := match("*" if pattern == "all" else pattern, public):
            return [public[model_id] for model_id in found]
        raise UsageError(f"no model matches {pattern!r}; see: robench list models")
    folder = Path(pattern)
    if _exists(folder / CARD):
        registered = _registered_id(folder)
        card = read_card(folder, registered)
        model_id = registered or own_id(folder, card)
        load = partial(_load_folder, folder, model_id, registered=registered is not None)
        return [ModelEntry(model_id, pattern, False, "", load, named=True, place=pattern)]
    if is_reference(pattern):
        from robench.registry.functions import from_function

        model = from_function(pattern, dataset)
        return [ModelEntry(model.id, pattern, False, "", lambda: model, named=True, place=pattern)]
    if folder.suffix == ".py" and _exists(folder):
        raise UsageError(f"{pattern} is a file: name a function in it, {pattern}:my_net")
    if _exists(folder):
        raise UsageError(f"model folder {pattern} has no {CARD}")
    raise UsageError(
        f"unknown model {pattern!r}{nearest(pattern, entries)}; see: robench list models"
    )


def _exists(path: Path) -> bool:
    """Whether something has that path; also where the text cannot be a path."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _registered_id(folder: Path) -> ModelId | None:
    """The id of a registered model's folder; None for any other folder."""
    here = folder.resolve()
    return next(
        (ModelId(name) for name, path in model_folders().items() if path.resolve() == here), None
    )
