"""Foolbox's attacks (Rauber et al., JOSS 2020)."""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from robench.attacks.backends.adapter import Adapter
from robench.attacks.backends.library import Library, Offer, constructor_defaults, offers_of
from robench.attacks.backends.library_attack import LibraryAttack

_HIDDEN = frozenset({"distance", "init_attack", "tensorboard"})
_DECISION = "it is decision-based: it needs an adversarial example to start from"
_REASONS = {
    "BinarizationRefinementAttack": "it refines examples for models that binarise their input",
    "BoundaryAttack": _DECISION,
    "DatasetAttack": "it needs a data set to draw from",
    "GenAttack": "it needs a target class for each sample",
    "HopSkipJumpAttack": _DECISION,
    "L2BrendelBethgeAttack": _DECISION,
    "LinfinityBrendelBethgeAttack": _DECISION,
    "PointwiseAttack": _DECISION,
    "SpatialAttack": "it rotates and shifts images, which ε does not bound",
    "VirtualAdversarialAttack": "it needs its number of steps, for which Foolbox has no default",
}
_TOGETHER = (
    "FastGradientAttack",
    "BasicIterativeAttack",
    "AdamBasicIterativeAttack",
    "ProjectedGradientDescentAttack",
    "AdamProjectedGradientDescentAttack",
    "MomentumIterativeFastGradientMethod",
    "AdditiveUniformNoiseAttack",
)
"""Names without the norm that they begin with."""
_TOGETHER_TOO = ("LInfFMNAttack", "L2FMNAttack", "DDNAttack", "L2AdditiveGaussianNoiseAttack")


def _load() -> ModuleType:
    importlib.import_module("foolbox.attacks")
    return importlib.import_module("foolbox")


class FoolboxAttack(LibraryAttack):
    """An attack of Foolbox; an attack that takes an ε gets the sample's."""

    library: ClassVar[str] = "foolbox"

    @property
    def together(self) -> bool:
        """True for gradient attacks of a fixed length, which stop for no row."""
        named = [f"{norm}{name}" for norm in ("Linf", "L2") for name in _TOGETHER]
        return self.attack in (*named, *_TOGETHER_TOO)

    @property
    def minimal(self) -> bool:
        """Whether it is a minimisation attack of Foolbox."""
        kind = getattr(_load().attacks, self.attack)
        return issubclass(kind, _load().attacks.base.MinimizationAttack)

    def search(self, adapter: Adapter, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """What the attack's ``run`` returns."""
        foolbox = _load()
        kind = getattr(foolbox.attacks, self.attack)
        attack = kind(**_measured(kind, self.parameters))
        model = foolbox.PyTorchModel(adapter, bounds=(0, 1), device=torch.device("cpu"))
        options = {} if self.minimal else {"epsilon": eps}
        answer: Tensor = attack.run(model, x, foolbox.criteria.Misclassification(y), **options)
        return answer


class FoolboxL2Attack(FoolboxAttack):
    """An attack of Foolbox that is measured in L2."""

    norm: ClassVar[str] = "l2"


def _measured(kind: type[Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, with L∞ for an attack whose distance is a parameter."""
    foolbox = _load()
    flexible = issubclass(kind, foolbox.attacks.base.FlexibleDistanceMinimizationAttack)
    return parameters | ({"distance": foolbox.distances.linf} if flexible else {})


def _offers() -> list[Offer]:
    return offers_of(_load().attacks, _reason)


def _reason(kind: type[Any]) -> str:
    foolbox = _load()
    if kind.__name__ in _REASONS:
        return _REASONS[kind.__name__]
    if issubclass(kind, foolbox.attacks.base.FlexibleDistanceMinimizationAttack):
        return ""
    p = _exponent(kind)
    return "" if p in (2, math.inf) else f"it works in L{p}, for which there is no sweep"


def _exponent(kind: type[Any]) -> float | None:
    """The p of the Lp norm that an attack is measured in; None if it has no fixed norm."""
    distance = getattr(kind, "distance", None)
    if isinstance(distance, property):
        distance = distance.fget(kind) if distance.fget else None
    found: float | None = getattr(distance, "p", None)
    return found


def _make(offer: Offer, parameters: dict[str, Any]) -> LibraryAttack:
    offer.kind(**_measured(offer.kind, parameters))
    chosen = FoolboxL2Attack if _exponent(offer.kind) == 2 else FoolboxAttack
    return chosen(attack=offer.name, parameters=parameters)


FOOLBOX = Library(
    "foolbox",
    "foolbox",
    _load,
    _offers,
    _make,
    lambda offer: constructor_defaults(offer.kind, _HIDDEN),
)
