"""Paired differences as lines of a terminal: what ``robench compare`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from robench.reporting.between import verdict_of
from robench.results import CellResult, Check
from robench.results.paired import Difference, Paired
from robench.text import aligned

RULE = "* the paired 95 % interval of the difference does not contain 0"
Key = tuple[str, str, int]
"""Model, attack and seed."""


@dataclass(frozen=True)
class Pair:
    """Two results of the same images with their differences."""

    first: CellResult
    second: CellResult
    paired: Paired
    checks: tuple[Sequence[Check], Sequence[Check]] = ((), ())
    """Those that compare each with other cells of its model."""


def pair_lines(pair: Pair) -> Iterator[str]:
    """The differences of two results at every ε, and of their AUC."""
    for letter, cell, checks in zip("AB", (pair.first, pair.second), pair.checks, strict=True):
        verdict = verdict_of(cell.outcome, checks)[0] if cell.outcome else cell.status
        yield f"{letter}  {cell.model} {cell.attack}  {verdict}  {cell.hash[:12]}"
    yield ""
    found = pair.paired

    def rows() -> Iterator[Sequence[str]]:
        yield "robust accuracy at ε", "A", "B", "A − B", "95 % interval", ""
        for epsilon, difference in zip(found.epsilons, found.accuracies, strict=True):
            yield (epsilon.text, *_percents(difference))
        yield (f"AUC up to {found.limit.text}", *_decimals(found.auc))

    yield from aligned(rows(), numbers=True)
    yield ""
    yield RULE


def folder_lines(
    pairs: Mapping[Key, Pair], refused: Mapping[Key, str], alone: tuple[int, int]
) -> Iterator[str]:
    """The differences of the cells that two folders share, at the limit of the AUC and of the AUC.

    Args:
        pairs: those that can be compared.
        refused: why others cannot.
        alone: how many cells only the first and only the second folder has.
    """

    def rows() -> Iterator[Sequence[str]]:
        yield (
            "",
            "",
            "robust A",
            "B",
            "A − B",
            "95 % interval",
            "",
            "AUC A − B",
            "95 % interval",
            "",
        )
        for (model, attack, _), pair in pairs.items():
            found = pair.paired
            at = found.accuracies[[e.value for e in found.epsilons].index(found.limit.value)]
            yield (
                f"{model}  {attack}",
                f"at {found.limit.text}",
                *_percents(at),
                *_decimals(found.auc)[2:],
            )

    if pairs:
        yield from aligned(rows(), numbers=True)
        yield ""
    for (model, attack, _), reason in refused.items():
        yield f"not compared: {model} {attack}: {reason}"
    for letter, number in zip("AB", alone, strict=True):
        if number:
            yield f"only in {letter}: {number} of the cells"
    if pairs:
        yield RULE


def _percents(of: Difference) -> tuple[str, ...]:
    low, high = 100 * of.low, 100 * of.high
    return (
        f"{of.first:.1%}", f"{of.second:.1%}", f"{100 * of.value:+z.1f}",
        f"[{low:+z.1f}, {high:+z.1f}]", _mark(of),
    )  # fmt: skip


def _decimals(of: Difference) -> tuple[str, ...]:
    return (
        f"{of.first:.3f}", f"{of.second:.3f}", f"{of.value:+z.3f}",
        f"[{of.low:+z.3f}, {of.high:+z.3f}]", _mark(of),
    )  # fmt: skip


def _mark(of: Difference) -> str:
    return "*" if of.beyond_chance else " "
