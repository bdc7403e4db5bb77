"""Tables of what is registered, as rows and as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from robench.datasets import dataset_names, find_dataset, is_plugin
from robench.epsilon import NORMS
from robench.errors import MissingDataError, RobenchError, UsageError, nearest
from robench.model_id import ModelId
from robench.plugins import GROUPS, Plugin, plugins
from robench.registry import NOT_LOADED, ModelEntry, model_entries, published
from robench.text import aligned, one_line

if TYPE_CHECKING:
    from robench.attacks.backends import Library

Rows = list[dict[str, str]]


def inventory(what: str, models_dir: Path | None = None, *, everything: bool = False) -> Rows:
    """The rows of a table by its name.

    Args:
        what: ``models``, ``attacks``, ``datasets`` or ``plugins``.
        models_dir: a folder in which checkpoints are looked for first.
        everything: whether to list the attacks of libraries too.

    Raises:
        UsageError: there is no such table.
    """
    tables: dict[str, Callable[[], Rows]] = {
        "models": lambda: model_rows(models_dir),
        "attacks": lambda: attack_rows(libraries=everything),
        "datasets": dataset_rows,
        "plugins": plugin_rows,
    }
    if what not in tables:
        raise UsageError(
            f"cannot list {what!r}{nearest(what, tables)}; choose from {', '.join(tables)}"
        )
    return tables[what]()


def overview(models_dir: Path | None = None) -> Rows:
    """How many models, attacks, data sets and plug-ins there are, and what lists them."""
    from robench.registry.locations import attack_names

    counts = {
        "models": len(model_entries(models_dir)),
        "attacks": len(attack_names()),
        "datasets": len(dataset_names()),
        "plugins": sum(len(claims) for group in GROUPS for claims in plugins(group).values()),
    }
    more = {"attacks": "--all: those of foolbox and advertorch too"}
    keys = ("what", "number", "command", "more")
    rows = (
        (name, str(n), f"robench list {name}", more.get(name, "")) for name, n in counts.items()
    )
    return [dict(zip(keys, row, strict=True)) for row in rows]


def model_rows(models_dir: Path | None) -> Rows:
    """Every model with its kind of network, T, accuracies, source and state.

    ``worst attack`` is what the strongest published attack leaves at the headline ε, which can be
    more than all attacks together do. The state is ``ready``, or the
    reason why it cannot run. The digest of the weights is computed, but no network is built and no
    plug-in imported.
    """
    rows = []
    for entry in model_entries(models_dir).values():
        config = entry.card.model if entry.card else None
        rows.append(
            {
                "model": str(entry.id),
                "architecture": config.architecture if config else "",
                "mode": config.mode if config else "",
                "T": str(config.timesteps or "") if config else "",
                "clean": f"{entry.card.about.clean_accuracy:.1%}" if entry.card else "",
                "worst attack": _worst(entry),
                "kind": "control" if entry.control else "model",
                "source": entry.source,
                "state": model_state(entry),
            }
        )
    return rows


def _worst(entry: ModelEntry) -> str:
    """The lowest accuracy of a model under a published attack at the headline ε, and that ε."""
    from robench.results.schema import CellResult

    folder = published()
    if folder is None or entry.card is None or entry.control:
        return ""
    headline, found = find_dataset(entry.dataset).protocol.headline.get("linf"), list[float]()
    at = headline and headline.value
    for path in (folder / entry.dataset / entry.id.name).glob("*/*.json"):
        try:
            cell = CellResult.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue  # robench validate names it
        if (done := cell.outcome) and done.identity.norm == "linf":
            found += [point.accuracy for point in done.curve if point.epsilon.value == at]
    return f"{min(found):.1%} at {headline}" if found else ""


def model_state(entry: ModelEntry) -> str:
    """``ready``, or the reason why a model cannot run."""
    return entry.missing or entry.examine() or dataset_state(entry.dataset)


def attack_rows(*, libraries: bool = False) -> Rows:
    """Every attack, those of libraries last; neither a plug-in nor torch is imported for others.

    The state of a card that is damaged, or of a library that is missing, is the reason.

    Args:
        libraries: whether to show the attacks of foolbox, advertorch and others.
    """
    from robench.registry.cards import AttackCard, read_table
    from robench.registry.locations import attack_files, attack_names, is_own

    rows, cards = [], attack_files()
    for name, source in attack_names().items():
        row = {"attack": name, "norm": "", "source": source, "state": NOT_LOADED, "description": ""}
        if name in cards:
            try:
                card = read_table(cards[name], AttackCard)
                norm = NORMS.get(card.norm, card.norm)
                row |= {"norm": norm, "state": "ready", "description": card.description}
                if not is_own(cards[name]):
                    _require_attack(name)
            except RobenchError as error:
                row["state"] = str(error)
        rows.append(row)
    if not libraries:
        return rows
    from robench.attacks.backends import LIBRARIES

    return rows + [row for library in LIBRARIES.values() for row in _library_rows(library)]


def _require_attack(name: str) -> None:
    """Refuse an attack whose card names something unknown, which needs torch to be seen.

    Raises:
        RobenchError: the attack cannot be made.
    """
    from robench.registry import find_attack

    find_attack(name)


def _library_rows(library: Library) -> Rows:
    """The attacks of a library, or one row with the reason why there are none."""
    try:
        library.require()
    except UsageError as error:
        found = [("*", "nowhere", str(error), "")]
    else:
        found = [
            (o.name, library.version, "cannot run" if o.reason else "ready", o.description)
            for o in library.offers()
        ]
    names = ("attack", "norm", "source", "state", "description")
    return [
        dict(zip(names, (f"{library.name}:{name}", "", *rest), strict=True))
        for name, *rest in found
    ]


def dataset_rows() -> Rows:
    """Every data set: its samples, the slice of the protocol, and where it is found."""
    rows = []
    for name in dataset_names():
        facts = dict.fromkeys(("shape", "classes", "test images", "found in"), "")
        if not is_plugin(name):
            dataset = find_dataset(name)
            facts["shape"] = "×".join(map(str, dataset.shape))
            facts["classes"] = str(dataset.classes)
            facts["test images"] = f"first {dataset.protocol.slice}"
        state = dataset_state(name)
        if state == "ready":
            facts["found in"] = find_dataset(name).place()
        rows.append({"dataset": name} | facts | {"state": state})
    return rows


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
    from robench.registry import find_attack

    norm = find_attack(plugin.name).attack.norm
    if norm not in NORMS:
        raise plugin.error(f"is measured in {norm!r}; ε is swept in {' and '.join(NORMS)}")


def _try_dataset(plugin: Plugin) -> None:
    dataset = find_dataset(plugin.name)
    if not dataset.present("test"):
        raise MissingDataError("its test images are missing")
    dataset.read("test")


def _try_check(plugin: Plugin) -> None:
    from robench.checks import plugin_check

    plugin_check(plugin)


_TRIALS: dict[str, Callable[[Plugin], None]] = dict(
    zip(GROUPS, (_try_model, _try_attack, _try_dataset, _try_check), strict=True)
)


WIDTH = 100
"""Columns of a line, for the longest text of a row."""
_USUAL = ("robench", "ready", "model")
_FACTS = ("source", "state", "kind")
"""Columns that are left out of the text where they say the same of every row."""


def table_lines(rows: Rows) -> Iterator[str]:
    """Rows with the same keys as aligned columns, below a line with the keys.

    What is the same in every row, such as *ready*, is left out, and long descriptions are cut.
    """
    if not rows:
        yield "nothing is registered"
        return
    facts = () if "plugin" in rows[0] else _FACTS
    same = {key for key in facts if key in rows[0] and len({row[key] for row in rows}) == 1}
    kept = [key for key in rows[0] if key not in same or rows[0][key] not in _USUAL]
    table = [kept, *([row[key] for key in kept] for row in rows)]
    if kept[-1] == "description":
        wide = sum(max(len(row[k]) for row in table) + 2 for k in range(len(kept) - 1))
        table = [[*row[:-1], one_line(row[-1], max(30, WIDTH - wide))] for row in table]
    yield from aligned(table)
