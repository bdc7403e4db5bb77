"""Curves as bars of text, one for each ε."""

from __future__ import annotations

from collections.abc import Sequence

from robench.results import CurvePoint

_FULL, _SHADE = "█░"


def curve_lines(
    points: Sequence[CurvePoint], width: int = 100, *, plain: bool = False
) -> list[str]:
    """Robust accuracy against ε: the number, its interval, and a bar whose end is shaded.

    The bar is full up to the lower end of the 95 % interval, and shaded up to the upper one.

    Args:
        points: of the curve.
        width: of a line.
        plain: whether to draw in ASCII.
    """
    names = [point.epsilon.text for point in points]
    longest = max(map(len, ["ε", *names]))
    lines = []
    for name, point in zip(names, points, strict=True):
        low, high = point.interval.low, point.interval.high
        number = f"{point.accuracy:6.1%} {f'[{100 * low:.1f}, {100 * high:.1f}]':14}"
        room = max(10, width - longest - len(number) - 4)
        lines.append(f"  {name:>{longest}} {number} {_bar(low, high, room, plain)}".rstrip())
    shade = "-" if plain else _SHADE
    return [f"  {'ε':>{longest}} robust accuracy, 95 % interval ({shade})", *lines]


def _bar(low: float, high: float, width: int, plain: bool) -> str:
    full, most = round(low * width), round(high * width)
    return ("#" if plain else _FULL) * full + ("-" if plain else _SHADE) * (most - full)


def fits(encoding: str | None) -> bool:
    """Whether the characters of the bars exist in an encoding."""
    try:
        f"{_FULL}{_SHADE}".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
