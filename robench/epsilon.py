"""ε, written as a number or a fraction, and grids of ε."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from robench.errors import UsageError

_NUMBER = r"([0-9]{1,50}\.?[0-9]{0,50}|\.[0-9]{1,50})(e[+-]?[0-9]{1,3})?"
_EPSILON = re.compile(rf"[+-]?{_NUMBER}(/{_NUMBER})?", re.ASCII | re.IGNORECASE)
"""At most one slash, one sign in front, and no exponent that makes the fraction too long."""
NORMS: dict[str, str] = {"linf": "L∞", "l2": "L2"}
"""The norms that ε can be measured in, with their display names."""
MOST = 1000
"""Points of a range."""


@dataclass(frozen=True, order=True)
class Epsilon:
    """A perturbation budget as a number and as it was written.

    Attributes:
        value: the budget, for inputs in [0, 1].
        text: as written, e.g. ``8/255``.
    """

    value: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0.03``, ``8/255`` or ``0.25/255``.

        Raises:
            UsageError: the text is not a number, or is negative or infinite.
        """
        text = text.strip()
        try:
            if not _EPSILON.fullmatch(text):
                raise ValueError
            value = float(_fraction(text))
        except (ValueError, ArithmeticError):  # division by zero, or beyond the range of a float
            raise UsageError(f"ε {text!r} is not a number or a fraction such as 8/255") from None
        if not 0 <= value < math.inf:
            raise UsageError(f"ε {text} is negative or infinite")
        return cls(value, text)

    def __str__(self) -> str:
        return self.text


def parse_part(text: str) -> tuple[Epsilon, ...]:
    """Read an ε, or a range such as ``0:16/255:2/255``: first, last and step.

    Raises:
        UsageError: a part is not an ε, or the range is empty or longer than ``MOST``.
    """
    if ":" not in text:
        return (Epsilon.parse(text),)
    parts = [Epsilon.parse(part).text for part in text.split(":")]
    if len(parts) != 3:
        raise UsageError(f"ε {text!r}: write a range as first:last:step, like 0:16/255:2/255")
    first, last, step = (_fraction(part) for part in parts)
    if step <= 0 or last < first:
        raise UsageError(f"ε {text!r}: a range ascends, with a step above 0, like 0:16/255:2/255")
    count = int((last - first) / step) + 1
    if count > MOST:
        raise UsageError(f"ε {text!r}: {count:,} points are too many; give at most {MOST:,}")
    of = max((part.partition("/")[2] for part in parts), key=len)
    scale = _fraction(of or "1")
    unit = f"/{of}" if of else ""
    values = [first + k * step for k in range(count)]
    texts = [f"{float(value * scale):.9g}{unit}" if value else "0" for value in values]
    return tuple(map(Epsilon.parse, texts))  # so that each is what its text says


def text_of(value: float) -> str:
    """The text of an ε: a multiple of 1/255 where that is shorter than the number itself."""
    as_number, as_fraction = repr(value), f"{value * 255:.9g}/255"
    if len(as_fraction) < len(as_number) and Epsilon.parse(as_fraction).value == value:
        return as_fraction
    return as_number


def _fraction(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    return Fraction(numerator) / Fraction(denominator or "1")


def make_grid(epsilons: Iterable[Epsilon]) -> tuple[Epsilon, ...]:
    """An ascending grid without repetitions that begins with ε = 0."""
    by_value = {0.0: Epsilon(0.0, "0")}
    for epsilon in epsilons:
        by_value.setdefault(epsilon.value, epsilon)
    return tuple(by_value[value] for value in sorted(by_value))


def parse_grid(texts: Sequence[str]) -> tuple[Epsilon, ...]:
    """Read texts into an ascending grid without repetitions that begins with ε = 0.

    Raises:
        UsageError: the list is empty or an entry is not an ε.
    """
    if not [text for text in texts if text.strip()]:
        raise UsageError("the list of ε is empty; write it like --eps 0,4/255,8/255")
    return make_grid(Epsilon.parse(text) for text in texts)


def scale_of(texts: Iterable[str]) -> float:
    """What an axis multiplies ε by: 255 where one is written as a multiple of 1/255, else 1."""
    return 255 if any(text.endswith("/255") for text in texts) else 1
