"""Named grids of ε: those on which published numbers were computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from robench.errors import UsageError, nearest

ANY = "*"


@dataclass(frozen=True)
class NamedGrid:
    """A grid by name.

    Attributes:
        name: as it is written behind ``--grid``.
        norm: of the perturbations.
        points: the ε as they are written, ascending from 0, by the name of the attack's
            implementation; ``*`` stands for every other one.
    """

    name: str
    norm: str
    points: Mapping[str, tuple[str, ...]]

    def texts(self, attack: str, norm: str) -> tuple[str, ...]:
        """The ε for an attack.

        Args:
            attack: the name of its implementation, e.g. ``pgd``.
            norm: of the attack.

        Raises:
            UsageError: the grid has none for it.
        """
        if norm != self.norm:
            raise UsageError(f"grid {self.name} is for {self.norm}, not for {norm} ({attack})")
        found = self.points.get(attack, self.points.get(ANY))
        if found is None:
            raise UsageError(
                f"grid {self.name} has no ε for {attack}; it has them for {', '.join(self.points)}"
            )
        return found


def _spaced(end: str, count: int) -> tuple[str, ...]:
    """``count`` equally spaced ε from 0 to ``end``, as exact fractions."""
    return tuple(str(Fraction(end) * i / (count - 1)) for i in range(count))


_GRIDS = {
    grid.name: grid
    for grid in (
        NamedGrid("bioflexnet", "linf", {ANY: tuple(f"{i / 100:g}" for i in range(30))}),
        NamedGrid(
            "bioflexnet-code",
            "linf",
            {
                "fgsm": _spaced("0.64", 23),
                "pgd": _spaced("23/255", 23),
                "spgd": _spaced("0.5", 23),
                "pgd-source": _spaced("23/255", 23),
                "spgd-source": _spaced("0.5", 23),
            },
        ),
    )
}


def grid_names() -> tuple[str, ...]:
    """All known names."""
    return tuple(_GRIDS)


def find_grid(name: str) -> NamedGrid:
    """The grid of that name.

    ``bioflexnet`` is the grid of BioFlexNet's published figure, 0 to 0.29 in steps of 0.01 for
    every attack; ``bioflexnet-code`` the grids in its released code, one for each attack.

    Raises:
        UsageError: there is none; the message offers the nearest.
    """
    if name not in _GRIDS:
        raise UsageError(
            f"unknown grid {name!r}{nearest(name, _GRIDS)}; available: {', '.join(_GRIDS)}"
        )
    return _GRIDS[name]
