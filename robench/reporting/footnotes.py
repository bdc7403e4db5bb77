"""The reasons of a table's verdicts as footnotes: each is written once, and marked in the cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, product
from string import ascii_lowercase

from robench.reporting.report import AtHeadline, Entry, Row

_NUMBER = re.compile(r"(?<= )\d+(?:\.\d+)?(?= )")
"""A number between words, as in ``spgd is 41.0 points lower``."""
_VERDICTS = ("invalid", "suspect", "unchecked")


@dataclass(frozen=True)
class Footnotes:
    """The footnotes of a table.

    Attributes:
        marks: the mark of each reason.
        texts: the text of each mark, in order. Reasons that differ in a number share one, with the
            range of the number.
    """

    marks: Mapping[str, str]
    texts: Mapping[str, str]

    def of(self, entry: Entry | AtHeadline | None) -> list[str]:
        """The marks of a cell, in order."""
        return sorted({self.marks[reason] for reason in entry.reasons} if entry else (), key=_order)


def footnotes(rows: Sequence[Row]) -> Footnotes:
    """The footnotes for the reasons of these rows, in the order in which they appear."""
    reasons = [reason for row in rows for entry in row.results for reason in entry.reasons]
    alike: dict[str, list[str]] = {}
    for reason in dict.fromkeys(reasons):
        alike.setdefault(_NUMBER.sub("#", reason), []).append(reason)
    letters = dict(zip(alike, islice(_letters(), len(alike)), strict=True))
    marks = {reason: letters[form] for form, found in alike.items() for reason in found}
    return Footnotes(marks, {letters[form]: _joined(found) for form, found in alike.items()})


def _joined(reasons: Sequence[str]) -> str:
    """Reasons that differ in their numbers as one text, with the range of each number."""
    columns = zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True)
    ranges = iter([sorted(set(column), key=float) for column in columns])

    def as_range(_: re.Match[str]) -> str:
        found = next(ranges)
        return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"

    return _NUMBER.sub(as_range, reasons[0])


def _letters() -> Iterator[str]:
    """``a`` to ``z``, then ``aa`` and so on."""
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))


def _order(mark: str) -> tuple[int, str]:
    return len(mark), mark


def row_words(row: Row) -> str:
    """``valid`` if all cells are; else the attacks by verdict, e.g. ``invalid: fgsm, pgd``."""
    groups = {
        verdict: [entry.attack for entry in row.results if entry.verdict == verdict]
        for verdict in _VERDICTS
    }
    groups |= {"not applicable": list(row.not_applicable), "missing": list(row.missing)}
    groups |= {"missing at the headline ε": list(row.missing_at_headline)}
    return "; ".join(f"{word}: {', '.join(of)}" for word, of in groups.items() if of) or "valid"
