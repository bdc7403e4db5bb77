"""What each attack leaves of each model at the headline ε, and at the smallest ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from robench.datasets import find_dataset
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.reporting.report import Row
from studies.findings.stores import Stores
from studies.pages import table_of

COLUMNS = ("noise", "fgsm", "pgd", "spgd", "spgd-long", "spiking-autoattack")
"""Attacks at the headline ε, from the weakest to the strongest."""
SMALL, STEPS = "cifar10", 4
"""The data set, and how many ε of its grid, of the table of small ε."""


class Left(NamedTuple):
    """What an attack leaves, beside the clean accuracy, with the verdict beside other attacks."""

    accuracy: float
    clean: float
    verdict: str


Cells = dict[str, dict[str, Left]]
"""What is left by model and attack."""


def headline_of(dataset: str) -> Epsilon:
    """The ε that summaries quote."""
    return find_dataset(dataset).protocol.headline["linf"]


def at_headline(stores: Stores, dataset: str) -> Cells:
    """What is left of each model under the protocol."""
    left: Cells = {}
    table = stores.table(dataset)
    for row in table.rows if table is not None else ():
        here = left[row.model] = {}
        for entry in row.entries.values():
            points = {point.epsilon.value: point.accuracy for point in entry.curve}
            accuracy = points[headline_of(dataset).value]
            here[entry.attack] = Left(accuracy, row.clean.value, entry.verdict)
        for attack, alone in row.at_headline.items():
            here.setdefault(attack, Left(alone.accuracy.value, row.clean.value, alone.verdict))
    return left


def attacked_table(cells: Cells, attacks: Sequence[str] = COLUMNS) -> str:
    """Robust accuracy at the headline ε, attack by attack."""
    shown = [name for name in attacks if any(name in by_attack for by_attack in cells.values())]
    rows = [
        (
            f"`{model.partition('/')[2]}`",
            f"{next(iter(by_attack.values())).clean:.1%}",
            *(_text(by_attack.get(attack)) for attack in shown),
        )
        for model, by_attack in sorted(cells.items())
    ]
    return table_of(("model", "clean", *(f"`{name}`" for name in shown)), rows, words=1)


def small_table(stores: Stores) -> str:
    """What noise and ``spgd`` leave of each network at the smallest ε of the grid."""
    if (table := stores.table(SMALL)) is None:
        return ""
    names = [epsilon.text for epsilon in table.grid[1:STEPS]]
    head = ("model", "clean", f"`noise` at {names[0]}", *(f"`spgd` at {name}" for name in names))
    rows = []
    for row in sorted(table.rows, key=lambda row: row.model):
        noise, spgd = (_first(row, attack) for attack in ("noise", "spgd"))
        if spgd:
            by_noise = _text(noise[1] if noise else None)
            cells = f"{row.clean.value:.1%}", by_noise, *map(_text, spgd[1:])
            rows.append((f"`{row.model.partition('/')[2]}`", *cells))
    return table_of(head, rows, words=1)


def smallest() -> str:
    """The smallest ε of that table."""
    return find_dataset(SMALL).protocol.grids["linf"][1].text


def lost_between(stores: Stores, attack: str, *, spiking: bool) -> str:
    """Which share of the correctly classified images an attack takes at the smallest ε.

    The lowest and the highest one of the networks with spikes, or of those without.
    """
    table = stores.table(SMALL)
    rows = [] if table is None else [r for r in table.rows if (r.mode != "ann") == spiking]
    lost = [100 * one for row in rows if (one := _lost(row, attack)) is not None]
    return f"{min(lost):.1f} to {max(lost):.1f} %" if lost else "—"


def lost_at_once(stores: Stores, model: str, attack: str) -> float:
    """That share of a model of the table.

    Raises:
        UsageError: there is no such result.
    """
    table, name = stores.table(SMALL), f"{SMALL}/{model}"
    rows = [] if table is None else [row for row in table.rows if row.model == name]
    lost = _lost(rows[0], attack) if rows else None
    if lost is None:
        raise UsageError(f"there is no result of {attack} on {name}")
    return lost


def _lost(row: Row, attack: str) -> float | None:
    left = _first(row, attack)
    return 1 - left[1].accuracy / left[1].clean if left else None


def _first(row: Row, attack: str) -> list[Left]:
    """What an attack leaves at 0 and at the smallest ε; empty if there is no result of it."""
    entry = row.entries.get(attack)
    if entry is None:
        return []
    return [Left(p.accuracy, row.clean.value, entry.verdict) for p in entry.curve[:STEPS]]


def _text(left: Left | None) -> str:
    """What an attack leaves; struck through if it is invalid, marked if it is suspect."""
    if left is None:
        return "—"
    text = f"{left.accuracy:.1%}"
    return {"invalid": f"~~{text}~~", "suspect": f"{text} ?"}.get(left.verdict, text)
