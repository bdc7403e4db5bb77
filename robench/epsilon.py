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
        numerator, _, denominator = text.partition("/")
        try:
            if not _EPSILON.fullmatch(text):
                raise ValueError
            value = float(Fraction(numerator) / Fraction(denominator or "1"))
        except (ValueError, ArithmeticError):  # division by zero, or beyond the range of a float
            raise UsageError(f"ε {text!r} is not a number or a fraction such as 8/255") from None
        if not 0 <= value < math.inf:
            raise UsageError(f"ε {text} is negative or infinite")
        return cls(value, text)

    def __str__(self) -> str:
        return self.text


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
