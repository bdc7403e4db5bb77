"""Text of others, such as a model's messages or a card's, for a terminal or a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO

_KEPT = ("Zs",)
"""Unicode's category of spaces: not printable for Python, and harmless."""


def visible(text: str) -> str:
    r"""The text with escapes such as ``\x1b`` for control characters, but for line ends and tabs.

    They could clear a terminal, reverse a line or stop a page from being read. Lone surrogates are
    escaped too, since they have no encoding.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def one_line(text: object, longest: int | None = None) -> str:
    """A text on one line, see :func:`visible`; cut where it is longer than that."""
    line = visible(" ".join(str(text).split()))
    return line if longest is None or len(line) <= longest else f"{line[: longest - 1]}…"


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def aligned(rows: Iterable[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Rows of texts as lines with aligned columns.

    Args:
        rows: of the same length.
        numbers: whether all columns but the first are aligned to the right.
    """
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            text.rjust(width) if numbers and k else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _shown(sign: str) -> str:
    if sign.isprintable() or sign in "\n\t" or unicodedata.category(sign) in _KEPT:
        return sign
    return ascii(sign)[1:-1]


class Visible:
    """A stream that prints text as :func:`visible` gives it.

    Attributes:
        stream: the stream itself, see :func:`terminal`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def terminal(stream: TextIO) -> TextIO:
    """The stream for what controls the terminal, as colours and a progress bar do."""
    return stream.stream if isinstance(stream, Visible) else stream
