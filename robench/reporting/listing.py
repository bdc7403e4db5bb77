"""What a store has, without the numbers: which cells may be in which table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Self

from robench.datasets import CIFAR10, Dataset, find_dataset
from robench.epsilon import NORMS
from robench.errors import RobenchError
from robench.reporting.comparable import Listed, differences, only_headline, other_run
from robench.reporting.report import OtherRun
from robench.results import CellResult, Damaged, ResultStore

Group = tuple[str, str, tuple[str, ...]]
"""Data set, norm, and how the runs differ from the protocol."""


@dataclass
class Listing:
    """What a store has, without the numbers.

    Attributes:
        groups: the cells that may be in a table.
        others: cells without a row in a table.
        not_applicable: model and attack of the cells whose attack needs what the model lacks.
        damaged: files that are not believed.
    """

    groups: dict[Group, list[Listed]]
    others: list[OtherRun]
    not_applicable: set[tuple[str, str, str]]
    damaged: list[Damaged]

    @classmethod
    def of(cls, store: ResultStore) -> Self:
        """Read all records once."""
        listing, find = cls({}, [], set(), []), cache(dataset_of)
        for path in store.paths():
            cell = store.record(path)
            if not isinstance(cell, Damaged) and _without_row(cell):
                cell = store.read(path)
            if isinstance(cell, Damaged):
                listing.damaged.append(cell)
            elif reason := _without_row(cell):
                listing.others.append(other_run(cell, reason))
                if cell.status == "not-applicable":
                    listing.not_applicable.add((cell.dataset, cell.model, cell.attack))
            elif (outcome := cell.outcome) is not None:
                dataset, known = find(cell.dataset)
                differs = differences(outcome, dataset, known=known)
                group = cell.dataset, outcome.identity.norm, differs
                listing.groups.setdefault(group, []).append(Listed.of(cell, outcome, store))
        return listing

    def add_published(self, store: ResultStore) -> None:
        """Add the cells of another store under the protocol, where this one has the data set.

        Those at the headline ε alone are added, too, but not cells that this one has.
        """
        known = {listed.hash for group in self.groups.values() for listed in group}
        places = {(name, norm) for name, norm, _ in self.groups}
        other, find = Listing.of(store), cache(dataset_of)
        self.not_applicable |= other.not_applicable
        for (name, norm, differs), cells in other.groups.items():
            under_protocol = differs in ((), only_headline(find(name)[0], norm))
            if (name, norm) in places and under_protocol:
                group = self.groups.setdefault((name, norm, differs), [])
                new = (listed for listed in cells if listed.hash not in known)
                group += [replace(listed, published=True) for listed in new]


def dataset_of(name: str) -> tuple[Dataset, bool]:
    """A data set, or one with the ε of CIFAR-10 in its place; and whether it is installed."""
    try:
        return find_dataset(name), True
    except RobenchError:
        return replace(CIFAR10, name=name, title=name), False


def _without_row(cell: CellResult) -> str:
    """Why a cell has no row in a table; empty if it has one."""
    if cell.status != "done" or cell.outcome is None:
        return f"{cell.status}: {cell.reason}" if cell.reason else cell.status
    if cell.outcome.identity.norm not in NORMS:
        return f"norm {cell.outcome.identity.norm}, which this version does not know"
    return "" if len(cell.outcome.curve) > 1 else "no ε but 0"
