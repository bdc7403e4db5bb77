"""Finding and loading models: registered folders, plug-ins, and models of the command line."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robench.architectures import VERSION, build
from robench.datasets import dataset_names
from robench.errors import ContentError, PluginError, RobenchError, UsageError, nearest
from robench.model_id import ModelId
from robench.plugins import MODELS, Plugin, plugins, the_plugin
from robench.registry.cards import CARD, WEIGHTS, ModelCard, check_weights, load_weights
from robench.registry.fingerprint import source_files, sources_sha256
from robench.registry.locations import model_folders
from robench.registry.model import Model
from robench.registry.patterns import is_glob, match

NOT_LOADED = "not loaded; see: robench list plugins"
CLAIMED = "claimed twice; it cannot be loaded"
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
        named: whether the user named it; then a failure to load it is an error.
        examine: returns why it cannot be loaded, as far as that is known without building it;
            empty if no reason is known.
    """

    id: ModelId
    source: str
    control: bool
    missing: str
    load: Callable[[], Model]
    named: bool = False
    examine: Callable[[], str] = lambda: ""

    @property
    def dataset(self) -> str:
        """The data set, as in the id."""
        return self.id.dataset


def load_folder(folder: Path, model_id: ModelId | None = None, *, registered: bool = True) -> Model:
    """Load a checkpoint from its folder.

    Raises:
        ContentError: the card or the weights are missing or damaged, do not belong together, or the
            card names another data set than the id.
    """
    card = _read_card(folder, model_id)
    module = build(card.model)
    load_weights(module, folder / WEIGHTS, card.weights.sha256)

    def make_counterpart() -> nn.Module:
        counterpart = build(card.model, counterpart=True)
        drop = ".threshold" if card.model.mode == "stbp" else None
        load_weights(counterpart, folder / WEIGHTS, card.weights.sha256, drop=drop)
        return counterpart.eval().requires_grad_(False)

    return Model(
        module=module,
        id=model_id or _own_id(folder, card),
        classes=card.model.classes,
        card=card.model.model_dump() | {"architecture_version": VERSION},
        fingerprint=card.weights.sha256,
        mode=card.model.mode,
        timesteps=card.model.timesteps,
        make_counterpart=None if card.model.mode == "ann" else make_counterpart,
        control=card.about.control,
        registered=registered,
        shareable=card.model.flex.threshold == "trained",
        clean_accuracy=card.about.clean_accuracy,
        input_kind=card.model.input_kind,
    )


def _own_id(folder: Path, card: ModelCard) -> ModelId:
    return ModelId(f"{card.model.dataset}/{folder.resolve().name}")


def _read_card(folder: Path, model_id: ModelId | None) -> ModelCard:
    path = folder / CARD
    card = ModelCard.read(path)
    place = folder.resolve().parent.name if model_id is None else model_id.dataset
    known = model_id is not None or place in dataset_names()  # a folder may be anywhere
    if known and card.model.dataset != place:
        raise ContentError(
            f"{path}: key model.dataset: {card.model.dataset!r}, but the folder is in {place!r}"
        )
    return card


def _examine(folder: Path, model_id: ModelId) -> str:
    try:
        card = _read_card(folder, model_id)
    except ContentError as error:
        return f"card damaged: {error}"
    try:
        check_weights(folder / WEIGHTS, card.weights.sha256)
    except ContentError as error:
        return f"weights damaged: {error}"
    return ""


def _call(model_id: str, make: Any, fail: Callable[[str], RobenchError]) -> Model:
    try:
        model = make()
    except UsageError as error:  # raised by the model's code: it must not stop other models
        raise fail(f"failed: {error}") from error
    except RobenchError:
        raise
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        text = " ".join(str(error).split())
        raise fail(f"failed: {type(error).__name__}: {text}") from error
    if not isinstance(model, Model):
        raise fail(
            f"returned {type(model).__name__}, not a robench.Model; wrap a network like "
            "robench.Model(net, id='digits/my-net', classes=10)"
        )
    if model_id and model.id != model_id:
        raise fail(f"returned a model with the id {model.id!r}")
    return model


def _from_plugin(plugin: Plugin) -> Model:
    model = _call(plugin.name, plugin.load(), plugin.error)
    model.origin = plugin.origin
    return model


def _load_plugin(found: dict[str, list[Plugin]], name: str) -> Model:
    return _from_plugin(the_plugin(found, name))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported; ``sys.path`` is as before at the end."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _from_function(text: str) -> Model:
    """The model of ``package.module:function`` or ``path/to/file.py:function``."""
    place, _, attribute = text.rpartition(":")
    file = Path(place) if place.endswith(".py") else None
    folder = Path.cwd() if file is None else file.resolve().parent
    module_name = place if file is None else file.stem
    with _importable(folder):  # the function may import its neighbours when it is called
        try:
            make = getattr(importlib.import_module(module_name), attribute)
        except (Exception, SystemExit) as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(f"cannot import {text}: {what}") from error
        if file is not None and not _is_from(module_name, file):
            raise PluginError(f"cannot import {text}: another module is called {module_name}")
        model = _call("", make, lambda what: PluginError(f"{text} {what}"))
    model.registered = False
    # the code of the function and of its module define the network too
    files = {*source_files(module_name), *source_files(getattr(make, "__module__", None) or "")}
    code = f"{model.fingerprint}{sources_sha256(files)}"
    model.fingerprint = hashlib.sha256(code.encode()).hexdigest()
    return model


def _is_from(module_name: str, file: Path) -> bool:
    """Whether an imported module is that of a file."""
    found = getattr(sys.modules[module_name], "__file__", None)
    return found is not None and Path(found).resolve() == file.resolve()


def _folder_entry(model_id: ModelId, folder: Path) -> ModelEntry:
    control, missing = False, ""
    with suppress(ContentError):  # reported when the model is loaded
        control = ModelCard.read(folder / CARD).about.control
    if not (folder / WEIGHTS).is_file():
        missing = (
            f"weights are absent; get them with: robench train {model_id}, "
            "or name the models folder of a checkout with --models-dir"
        )
    return ModelEntry(
        model_id, REGISTERED, control, missing, partial(load_folder, folder, model_id),
        examine=partial(_examine, folder, model_id),
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
        patterns: ``all``, ids, globs, model folders, ``package.module:function`` or
            ``path/to/file.py:function``.
        dataset: keep only models of this data set.
        models_dir: folder in which checkpoints are searched first.

    Raises:
        UsageError: a name or a glob matches nothing.
    """
    entries = model_entries(models_dir)
    chosen: dict[ModelId, ModelEntry] = {}
    for pattern in patterns:
        for entry in _matching(pattern, entries):
            known = chosen.setdefault(entry.id, entry)
            if known.source != entry.source:
                raise UsageError(
                    f"two models are called {entry.id}: {known.source} and {entry.source}; "
                    "run them one by one"
                )
    kept = [entry for entry in chosen.values() if dataset in (None, entry.dataset)]
    if not kept:
        raise UsageError(
            f"no model to run: nothing matches {', '.join(patterns) or 'an empty list'}"
        )
    return kept


def _matching(pattern: str, entries: dict[ModelId, ModelEntry]) -> list[ModelEntry]:
    if pattern in entries:
        return [replace(entries[ModelId(pattern)], named=True)]
    if pattern == "all" or is_glob(pattern):
        public = {model_id: entry for model_id, entry in entries.items() if not entry.control}
        if found := match("*" if pattern == "all" else pattern, public):
            return [public[model_id] for model_id in found]
        raise UsageError(f"no model matches {pattern!r}; see: robench list models")
    folder = Path(pattern)
    if (folder / CARD).is_file():
        registered = _registered_id(folder)
        card = _read_card(folder, registered)
        model_id = registered or _own_id(folder, card)
        load = partial(load_folder, folder, model_id, registered=registered is not None)
        return [ModelEntry(model_id, str(folder), False, "", load, True)]
    if ".py:" in pattern or (":" in pattern and "/" not in pattern):
        model = _from_function(pattern)
        return [ModelEntry(model.id, pattern, False, "", lambda: model, True)]
    if folder.is_dir():
        raise UsageError(f"model folder {pattern} has no {CARD}")
    raise UsageError(
        f"unknown model {pattern!r}{nearest(pattern, entries)}; see: robench list models"
    )


def _registered_id(folder: Path) -> ModelId | None:
    """The id of a registered model's folder; None for any other folder."""
    here = folder.resolve()
    return next(
        (ModelId(name) for name, path in model_folders().items() if path.resolve() == here), None
    )
