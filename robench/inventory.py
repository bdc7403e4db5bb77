"""What is registered, as rows of a table, and such rows as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from robench.attacks.backends import LIBRARIES, Library
from robench.datasets import dataset_names
from robench.errors import RobenchError, UsageError, nearest
from robench.zoo import GROUPS, attack_names, find_attack, model_entries, plugins

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
    """Every model with the place it comes from and whether it can run."""
    return [
        {
            "model": entry.id,
            "source": entry.source,
            "kind": "control" if entry.control else "model",
            "state": entry.missing or "ready",
        }
        for entry in model_entries(models_dir).values()
    ]


def attack_rows() -> Rows:
    """Every attack, other libraries' last; a plug-in's is not imported and has no description."""
    rows = []
    for name, source in attack_names().items():
        about = _description(name) if source == "robench" else ""
        rows.append({"attack": name, "source": source, "description": about})
    return rows + [row for library in LIBRARIES.values() for row in _library_rows(library)]


def _description(name: str) -> str:
    """What the card says, or why the attack cannot be had."""
    try:
        return find_attack(name).description
    except UsageError as error:  # the library that it is from is missing
        return str(error)


def _library_rows(library: Library) -> Rows:
    """What a library offers, or one row that says why it offers nothing."""
    try:
        library.require()
    except UsageError as error:
        return [{"attack": f"{library.name}:*", "source": "nowhere", "description": str(error)}]
    return [
        {
            "attack": f"{library.name}:{offer.name}",
            "source": library.version,
            "description": offer.description,
        }
        for offer in library.offers()
    ]


def dataset_rows() -> Rows:
    """Every data set."""
    return [{"dataset": name} for name in dataset_names()]


def plugin_rows() -> Rows:
    """Every plug-in, loaded; the state of a broken one is its error."""
    rows = []
    for group in GROUPS:
        for claims in plugins(group).values():
            for plugin in claims:
                state = "ready"
                try:
                    plugin.load()
                except RobenchError as error:
                    state = str(error)
                rows.append(
                    {"plugin": plugin.name, "group": group, "from": plugin.origin, "state": state}
                )
    return rows


def table_lines(rows: Rows) -> Iterator[str]:
    """Rows with the same keys as aligned columns below their names."""
    if not rows:
        yield "nothing is registered"
        return
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in widths}, *rows):
        yield "  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip()
