"""Names in figures: short ones that stay different, and how wide a text is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from robench.model_id import ModelId
from robench.reporting.report import YOURS

if TYPE_CHECKING:
    from robench.reporting.report import Row


def row_names(rows: Sequence[Row]) -> list[str]:
    """The names of rows in a figure: that of the model, with the seed, and whose it is."""
    several = len({row.seed for row in rows}) > 1
    return [
        ModelId(row.model).name
        + (f", seed {row.seed}" if several else "")
        + (f" ({row.origin})" if row.origin == YOURS else "")
        for row in rows
    ]


def shortened(name: str, width: int = 18) -> str:
    """A name of at most ``width`` characters; the middle of a longer one is left out."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[-end:]}"


def short_names(names: Sequence[str], width: int = 18) -> list[str]:
    """Names of at most ``width`` characters; different ones stay different.

    Where names would be equal without their middle, the part in which they differ is kept.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(shortened(name, width), []).append(name)
    texts: dict[str, str] = {}
    for short, alike in groups.items():
        if len(alike) == 1:
            texts[alike[0]] = short
            continue
        start = _common(alike)
        rest = [name[start:] for name in alike]
        end = _common([part[::-1] for part in rest])
        for number, (name, part) in enumerate(zip(alike, rest, strict=True), 1):
            middle = part[: len(part) - end]
            head = name[: max(0, width - 2 - len(middle))]
            text = f"{head}…{middle}…"
            # a difference that is too long itself is replaced by a number
            texts[name] = text if len(text) <= width else f"{shortened(name, width - 3)} {number}"
    return [texts[name] for name in names]


def _common(texts: Sequence[str]) -> int:
    """The number of characters with which all texts begin."""
    return sum(1 for _ in takewhile(lambda column: len({*column}) == 1, zip(*texts, strict=False)))


def wrapped(name: str, width: int) -> str:
    """A name on lines of at most ``width`` characters, split after commas where possible."""
    lines = [""]
    for part in re.split(r"(?<=,)", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def text_width(text: str, size: str = "small", weight: str = "normal") -> float:
    """The width of a line in inches, in the font of the figures."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72
