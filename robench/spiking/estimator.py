"""A gradient estimator: a surrogate, a gradient path, or both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from robench.errors import UsageError, nearest
from robench.spiking.gradient_paths import PATHS, GradientPath, find_path
from robench.spiking.surrogate import Surrogate, surrogate_names

OZDENIZCI_LEGENSTEIN = (
    *(f"triangle({gamma})" for gamma in ("1", "2", "3", "0.5", "0.25")),
    *(f"damped_exponential({gamma})" for gamma in ("0.5", "1", "2")),
    *(f"exponential({gamma})" for gamma in ("0.5", "1", "2")),
    *(f"rectangle({gamma})" for gamma in ("0.25", "0.5", "1", "2", "4")),
    "straight_through(1)",
    "bptr",
    "cba",
)
"""The 19 estimators of the ensemble of Özdenizci and Legenstein, TMLR 2024, in their order."""


@dataclass(frozen=True)
class Estimator:
    """What a gradient of a spiking network is taken with.

    Attributes:
        surrogate: the derivative of every spike; None if the path takes no surrogate.
        path: the gradient path; None means the model's own.
    """

    surrogate: Surrogate | None
    path: GradientPath | None

    def __str__(self) -> str:
        parts = (self.surrogate, self.path and self.path.name)
        return "/".join(str(part) for part in parts if part is not None)

    @property
    def statistics(self) -> str | None:
        """The name of a surrogate that adapts to the neurons over a run; None for others."""
        if self.surrogate is None or not self.surrogate.stateful:
            return None
        return self.surrogate.name

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``atan(2)``, ``triangle(1)/hart`` or, if the path takes no surrogate, ``bptr``.

        Raises:
            UsageError: the text is not of that form, or surrogate and path do not fit together.
        """
        first, slash, second = (part.strip() for part in text.partition("/"))
        if not slash and first in PATHS:
            alone = find_path(first)
            if alone.takes_surrogate:
                raise UsageError(
                    f"gradient path {first} needs a surrogate; write it like triangle(1)/{first}"
                )
            return cls(None, alone)
        if not slash and "(" not in first and first not in (*surrogate_names(), "none"):
            known = (*surrogate_names(), *PATHS)
            raise UsageError(
                f"unknown surrogate or gradient path {first!r}{nearest(first, known)}; "
                f"available: {', '.join(known)}"
            )
        surrogate = Surrogate.parse(first)
        if surrogate is None:
            raise UsageError(f"estimator {text.strip()!r}: every surrogate needs a derivative")
        path = find_path(second) if slash else None
        if path is not None and not path.takes_surrogate:
            raise UsageError(f"gradient path {second} takes no surrogate; write {second} alone")
        return cls(surrogate, path)


def combine(surrogates: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    """Every surrogate with every path, as names of estimators.

    A path that takes no surrogate is an estimator of its own. A surrogate written with a path keeps
    that path.

    Raises:
        UsageError: a surrogate or a path cannot be read.
    """
    alone = [path for path in paths if not find_path(path).takes_surrogate]
    others = [path for path in paths if path not in alone]
    estimators: list[str] = []
    for surrogate in surrogates:
        estimator = Estimator.parse(surrogate)
        if others and estimator.surrogate is not None and estimator.path is None:
            estimators += [f"{surrogate}/{path}" for path in others]
        else:
            estimators.append(surrogate)
    return tuple(dict.fromkeys((*estimators, *alone)))


OWN_GRADIENT = "own gradient"


def used(finder: str) -> str:
    """What a finder takes its gradients with on a network without spikes: its own gradient.

    Args:
        finder: the name of an estimator, or of another part of an attack, which is returned.
    """
    substitutes = re.split(r"[(/]", finder)[0] in (*surrogate_names(), *PATHS)
    return OWN_GRADIENT if substitutes else finder
