"""Finding and loading models: the zoo's folders, plug-ins, and what the command line names."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robench.architectures import VERSION, build
from robench.datasets import dataset_names
from robench.errors import ContentError, PluginError, RobenchError, UsageError, nearest
from robench.plugins import MODELS, Plugin, plugins, the_plugin
from robench.registry.cards import CARD, WEIGHTS, ModelCard, check_weights, load_weights
from robench.registry.fingerprint import source_files, sources_sha256
from robench.registry.locations import model_folders
from robench.registry.model import Model

NOT_LOADED = "not loaded; see: robench list plugins"
CLAIMED = "claimed twice; it cannot be loaded"


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded.

    Attributes:
        id: ``<dataset>/<name>``.
        source: where it comes from, for ``robench list``.
        control: whether globs and ``all`` leave it out.
        missing: what is not at hand and how to get it; empty where it can be loaded.
        load: loads it.
        named: whether the user named it, so that its absence is an error.
        examine: what keeps it from being loaded, as far as it shows without building it; empty
            where nothing does.
    """

    id: str
    source: str
    control: bool
    missing: str
    load: Callable[[], Model]
    named: bool = False
    examine: Callable[[], str] = lambda: ""

    @property
    def dataset(self) -> str:
        """The data set that the id begins with."""
        return self.id.partition("/")[0]


def load_folder(folder: Path, model_id: str | None = None, *, registered: bool = True) -> Model:
    """Load a checkpoint from its folder.

    Raises:
        ContentError: card or weights are missing, damaged or do not belong together, or the card
            names another data set than the id.
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
        id=model_id or f"{card.model.dataset}/{folder.resolve().name}",
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


def _read_card(folder: Path, model_id: str | None) -> ModelCard:
    path = folder / CARD
    card = ModelCard.read(path)
    place = folder.resolve().parent.name if model_id is None else model_id.partition("/")[0]
    known = model_id is not None or place in dataset_names()  # a folder may lie anywhere else
    if known and card.model.dataset != place:
        raise ContentError(
            f"{path}: key model.dataset: {card.model.dataset!r}, but the folder stands in {place!r}"
        )
    return card


def _examine(folder: Path, model_id: str) -> str:
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
    except UsageError as error:  # of the model's own: it must not stop the others
        raise fail(f"failed: {error}") from error
    except RobenchError:
        raise
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        text = " ".join(str(error).split())
        raise fail(f"failed: {type(error).__name__}: {text}") from error
    if not isinstance(model, Model):
        raise fail(f"returned {type(model).__name__}, not a robench.Model")
    if model_id and model.id != model_id:
        raise fail(f"returned a model with the id {model.id!r}")
    return model


def _from_plugin(plugin: Plugin) -> Model:
    model = _call(plugin.name, plugin.load(), plugin.error)
    model.origin = plugin.origin
    return model


def _load_plugin(found: dict[str, list[Plugin]], name: str) -> Model:
    return _from_plugin(the_plugin(found, name))


def _from_function(text: str) -> Model:
    module_name, _, attribute = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"cannot import {text}: {what}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    model = _call("", make, lambda what: PluginError(f"{text} {what}"))
    model.registered = False
    # what the function itself does with the modules, and helpers beside it, decide the network too
    files = {*source_files(module_name), *source_files(getattr(make, "__module__", None) or "")}
    code = f"{model.fingerprint}{sources_sha256(files)}"
    model.fingerprint = hashlib.sha256(code.encode()).hexdigest()
    return model


def _folder_entry(model_id: str, folder: Path) -> ModelEntry:
    control, missing = False, ""
    with suppress(ContentError):  # a bad card is reported when the model is loaded
        control = ModelCard.read(folder / CARD).about.control
    if not (folder / WEIGHTS).is_file():
        missing = (
            f"weights are absent; get them with: robench train {model_id}, "
            "or name the models folder of a checkout with --models-dir"
        )
    return ModelEntry(
        model_id, "zoo", control, missing, partial(load_folder, folder, model_id),
        examine=partial(_examine, folder, model_id),
    )  # fmt: skip


def model_entries(models_dir: Path | None = None) -> dict[str, ModelEntry]:
    """Every registered model by id, the zoo's and the plug-ins'; nothing is imported."""
    entries = {
        model_id: _folder_entry(model_id, folder)
        for model_id, folder in model_folders(models_dir).items()
    }
    found = plugins(MODELS)
    for name, claims in sorted(found.items()):
        source = " and ".join(plugin.origin for plugin in claims)
        if name in entries:

            def refuse(name: str = name, source: str = source) -> Model:
                raise PluginError(f"model {name!r} is in the zoo and is claimed by {source}")

            entries[name] = ModelEntry(
                name, f"zoo and {source}", False, "", refuse, examine=lambda: CLAIMED
            )
            continue
        entries[name] = ModelEntry(
            name, source, False, "", partial(_load_plugin, found, name),
            examine=(lambda: NOT_LOADED) if len(claims) == 1 else (lambda: CLAIMED),
        )  # fmt: skip
    return dict(sorted(entries.items()))


def select_models(
    patterns: list[str], *, dataset: str | None = None, models_dir: Path | None = None
) -> list[ModelEntry]:
    """The models that the user asked for.

    Args:
        patterns: ``all``, ids, globs, model folders or ``package.module:function``.
        dataset: keep models of this data set alone.
        models_dir: where checkpoints are looked for first.

    Raises:
        UsageError: a name fits nothing.
    """
    entries = model_entries(models_dir)
    chosen: dict[str, ModelEntry] = {}
    for pattern in patterns:
        for entry in _match(pattern, entries, dataset):
            known = chosen.setdefault(entry.id, entry)
            if known.source != entry.source:
                raise UsageError(
                    f"two models are called {entry.id}: {known.source} and {entry.source}; "
                    "run them one by one"
                )
    kept = [entry for entry in chosen.values() if dataset in (None, entry.dataset)]
    if not kept:
        raise UsageError(f"no model to run: nothing fits {', '.join(patterns) or 'an empty list'}")
    return kept


def _match(pattern: str, entries: dict[str, ModelEntry], dataset: str | None) -> list[ModelEntry]:
    if pattern in entries:
        entry = entries[pattern]
        return [replace(entry, named=True)]
    if pattern == "all" or any(sign in pattern for sign in "*?["):
        glob = "*" if pattern == "all" else pattern
        found = [e for e in entries.values() if fnmatchcase(e.id, glob) and not e.control]
        if found:
            return found
        raise UsageError(f"no model fits {pattern!r}; see: robench list models")
    folder = Path(pattern)
    if (folder / CARD).is_file():
        registered = _registered_id(folder)
        card = _read_card(folder, registered)
        model_id = registered or f"{card.model.dataset}/{folder.resolve().name}"
        load = partial(load_folder, folder, model_id, registered=registered is not None)
        return [ModelEntry(model_id, str(folder), False, "", load, True)]
    if ":" in pattern and "/" not in pattern:
        model = _from_function(pattern)
        return [ModelEntry(model.id, pattern, False, "", lambda: model, True)]
    if folder.is_dir():
        raise UsageError(f"model folder {pattern} has no {CARD}")
    raise UsageError(
        f"unknown model {pattern!r}{nearest(pattern, entries)}; see: robench list models"
    )


def _registered_id(folder: Path) -> str | None:
    """The id of a folder of the zoo; None for any other."""
    here = folder.resolve()
    return next((name for name, path in model_folders().items() if path.resolve() == here), None)
