"""Tables of what is registered, as rows and as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from robench.datasets import dataset_names, find_dataset, is_plugin
from robench.errors import MissingDataError, RobenchError, UsageError, nearest
from robench.model_id import ModelId
from robench.plugins import GROUPS, Plugin, plugins
from robench.registry import NOT_LOADED, model_entries

if TYPE_CHECKING:
    from robench.attacks.backends import Library

Rows = list[dict[str, str]]


def inventory(what: str, models_dir: Path | None = None) -> Rows:
    """The rows of a table by its name.

    Args:
        what: ``models``, ``attacks``, ``datasets`` or ``plugins``.
        models_dir: a folder in which checkpoints are looked for first.

    Raises:
        UsageError: there is no such table.
    """
    tables: dict[str, Callable[[], Rows]] = {
        "models": lambda: model_rows(models_dir),
        "attacks": attack_rows,
        "datasets": dataset_rows,
        "plugins": plugin_rows,
    }
    if what not in tables:
        raise UsageError(
            f"cannot list {what!r}{nearest(what, tables)}; choose from {', '.join(tables)}"
        )
    return tables[what]()


def model_rows(models_dir: Path | None) -> Rows:
    """Every model with T, clean accuracy, its source and its state.

    The state is ``ready``, or the reason why it cannot run. The digest of the weights is computed,
    but no network is built and no plug-in imported.
    """
    return [
        {
            "model": entry.id,
            "T": str(entry.card.model.timesteps or "") if entry.card else "",
            "clean": f"{entry.card.about.clean_accuracy:.1%}" if entry.card else "",
            "source": entry.source,
            "kind": "control" if entry.control else "model",
            "state": entry.missing or entry.examine() or dataset_state(entry.dataset),
        }
        for entry in model_entries(models_dir).values()
    ]


def attack_rows() -> Rows:
    """Every attack, other libraries' last; a plug-in's is not imported.

    The state of a card that is damaged, or whose library is missing, is the reason.
    """
    from robench.attacks.backends import LIBRARIES
    from robench.registry import attack_names, find_attack

    rows = []
    for name, source in attack_names().items():
        state, about = "ready", ""
        try:
            if source == "robench":
                about = find_attack(name).description
            else:
                state = NOT_LOADED
        except RobenchError as error:
            state = str(error)
        rows.append({"attack": name, "source": source, "state": state, "description": about})
    return rows + [row for library in LIBRARIES.values() for row in _library_rows(library)]


def _library_rows(library: Library) -> Rows:
    """The attacks of a library, or one row with the reason why there are none."""
    try:
        library.require()
    except UsageError as error:
        row = {"attack": f"{library.name}:*", "source": "nowhere", "state": str(error)}
        return [row | {"description": ""}]
    return [
        {
            "attack": f"{library.name}:{offer.name}",
            "source": library.version,
            "state": "cannot run" if offer.reason else "ready",
            "description": offer.description,
        }
        for offer in library.offers()
    ]


def dataset_rows() -> Rows:
    """Every data set and whether its test images are available."""
    return [{"dataset": name, "state": dataset_state(name)} for name in dataset_names()]


def dataset_state(name: str) -> str:
    """``ready``, or the reason why a data set's test images cannot be read."""
    if is_plugin(name):
        return NOT_LOADED
    try:
        dataset = find_dataset(name)
        if dataset.present("test"):
            return "ready"
    except RobenchError as error:
        return str(error)
    if dataset.download is None:
        return "no data"
    return f"no data: robench data download {name}"


def plugin_rows() -> Rows:
    """Every plug-in, loaded and tried; the state of one that cannot be used is the reason.

    A model is built and shown one image, an attack is made with its own defaults, and the test
    images of a data set are read.
    """
    rows = []
    for group in GROUPS:
        for claims in plugins(group).values():
            for plugin in claims:
                state = "ready"
                try:
                    _TRIALS[group](plugin)
                except MissingDataError as error:
                    state = f"no data: {error}"
                except RobenchError as error:
                    state = str(error)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # the code of others may raise anything
                    state = str(plugin.error(f"failed: {type(error).__name__}: {error}"))
                rows.append(
                    {"plugin": plugin.name, "group": group, "from": plugin.origin, "state": state}
                )
    return rows


def _try_model(plugin: Plugin) -> None:
    import torch

    from robench.runtime.device import placed

    model = model_entries()[ModelId(plugin.name)].load()
    dataset = find_dataset(model.dataset)
    if model.classes < dataset.classes:
        raise plugin.error(
            f"has {model.classes} classes, data set {dataset.name} has {dataset.classes}"
        )
    with torch.no_grad(), placed(model, "cpu"):
        model.logits(torch.zeros(1, *dataset.shape, device=model.device))


def _try_attack(plugin: Plugin) -> None:
    from robench.attacks.primitives.norms import NORMS
    from robench.registry import find_attack

    norm = find_attack(plugin.name).attack.norm
    if norm not in NORMS:
        raise plugin.error(f"is measured in {norm!r}; ε is swept in {' and '.join(NORMS)}")


def _try_dataset(plugin: Plugin) -> None:
    dataset = find_dataset(plugin.name)
    if not dataset.present("test"):
        raise MissingDataError("its test images are missing")
    images = dataset.load("test")
    if images.images.shape[1:] != dataset.shape:
        raise plugin.error(f"gives images of {images.images.shape[1:]}, not of {dataset.shape}")


def _try_check(plugin: Plugin) -> None:
    from robench.checks import plugin_check

    plugin_check(plugin)


_TRIALS: dict[str, Callable[[Plugin], None]] = dict(
    zip(GROUPS, (_try_model, _try_attack, _try_dataset, _try_check), strict=True)
)


def table_lines(rows: Rows) -> Iterator[str]:
    """Rows with the same keys as aligned columns, below a line with the keys."""
    if not rows:
        yield "nothing is registered"
        return
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in widths}, *rows):
        yield "  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip()
