"""Named grids of ε, on which published numbers were computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from robench.epsilon import Epsilon, parse_grid
from robench.errors import UsageError, nearest

ANY = "*"


@dataclass(frozen=True)
class NamedGrid:
    """A grid by name.

    Attributes:
        name: as in ``--grid``.
        norm: of the perturbations.
        points: the ε, ascending from 0, by the name of the attack's implementation; ``*`` is for
            all others.
    """

    name: str
    norm: str
    points: Mapping[str, tuple[Epsilon, ...]]

    def epsilons(self, attack: str, norm: str) -> tuple[Epsilon, ...]:
        """The ε for an attack.

        Args:
            attack: the name of its implementation, e.g. ``pgd``.
            norm: of the attack.

        Raises:
            UsageError: the grid has no ε for the attack or its norm.
        """
        if norm != self.norm:
            raise UsageError(f"grid {self.name} is for {self.norm}, not for {norm} ({attack})")
        found = self.points.get(attack, self.points.get(ANY))
        if found is None:
            raise UsageError(
                f"grid {self.name} has no ε for {attack}; it has them for {', '.join(self.points)}"
            )
        return found


def _spaced(end: str, count: int) -> tuple[Epsilon, ...]:
    """``count`` equally spaced ε from 0 to ``end``, as exact fractions."""
    return parse_grid([str(Fraction(end) * i / (count - 1)) for i in range(count)])


_GRIDS = {
    grid.name: grid
    for grid in (
        NamedGrid("bioflexnet", "linf", {ANY: parse_grid([f"{i / 100:g}" for i in range(30)])}),
        NamedGrid(
            "bioflexnet-code",
            "linf",
            {
                "fgsm": _spaced("0.64", 23),
                "pgd": _spaced("23/255", 23),
                "spgd": _spaced("0.5", 23),
                "pgd-bioflexnet": _spaced("23/255", 23),
                "spgd-bioflexnet": _spaced("0.5", 23),
            },
        ),
    )
}


def find_grid(name: str) -> NamedGrid:
    """The grid of that name.

    ``bioflexnet`` is the grid of BioFlexNet's published figure: 0 to 0.29 in steps of 0.01 for
    every attack. ``bioflexnet-code`` has the grids of its released code, one for each attack.

    Raises:
        UsageError: the name is unknown; the message offers the nearest one.
    """
    if name not in _GRIDS:
        raise UsageError(
            f"unknown grid {name!r}{nearest(name, _GRIDS)}; available: {', '.join(_GRIDS)}"
        )
    return _GRIDS[name]
