"""advertorch's attacks (Ding et al., 2019)."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor

from robench.attacks.backends.adapter import Adapter
from robench.attacks.backends.base import Library, LibraryAttack, Offer, constructor_defaults
from robench.compat import advertorch

_HIDDEN = frozenset(
    {"predict", "loss_fn", "eps", "clip_min", "clip_max", "targeted", "ord", "norm", "num_classes"}
    | {"l1_sparsity", "verbose", "comply_with_foolbox", "comply_cleverhans"}
)
_L2, _L1, _L0 = (
    "L2 sweeps are not offered yet",
    "it works in L1, for which there is no sweep",
    "it works in L0, for which there is no sweep",
)
_REASONS = {
    "CarliniWagnerL2Attack": _L2,
    "ChooseBestAttack": "it chooses between attacks that have to be given to it",
    "DDNL2Attack": _L2,
    "ElasticNetL1Attack": _L1,
    "FastFeatureAttack": "it needs a second image for each sample, to whose features it leads",
    "GradientAttack": _L2,
    "JacobianSaliencyMapAttack": "it needs a target class for each sample",
    "L1FABAttack": _L1,
    "L1PGDAttack": _L1,
    "L2BasicIterativeAttack": _L2,
    "L2FABAttack": _L2,
    "L2MomentumIterativeAttack": _L2,
    "L2PGDAttack": _L2,
    "LBFGSAttack": _L2,
    "LocalSearchAttack": _L0,
    "SinglePixelAttack": _L0,
    "SparseL1DescentAttack": _L1,
    "SpatialTransformAttack": "it moves pixels about, which no ε bounds",
}
_TOGETHER = frozenset(
    {"GradientSignAttack", "PGDAttack", "LinfPGDAttack", "LinfBasicIterativeAttack"}
    | {"MomentumIterativeAttack", "LinfMomentumIterativeAttack"}
)
_MINIMAL = frozenset({"FABAttack", "LinfFABAttack"})
_STEP, _RELATIVE = "eps_iter", "relative_eps_iter"


class AdvertorchAttack(LibraryAttack):
    """An attack of advertorch; its ``eps`` is the sample's.

    advertorch's step is absolute. Over a sweep of ε the attack takes the ratio that its defaults
    have, ``relative_eps_iter``, unless ``eps_iter`` is set.
    """

    library: ClassVar[str] = "advertorch"

    @property
    def together(self) -> bool:
        """The gradient attacks of fixed length."""
        return self.attack in _TOGETHER

    @property
    def minimal(self) -> bool:
        """Whether it searches the smallest perturbation."""
        return self.attack in _MINIMAL

    def search(self, adapter: Adapter, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """What ``perturb`` returns."""
        kind = getattr(advertorch.load().attacks, self.attack)
        options = dict(self.parameters)
        if _RELATIVE in options:
            relative = options.pop(_RELATIVE)
            if options[_STEP] is None:
                options[_STEP] = relative * eps
        known = inspect.signature(kind).parameters
        bounds = {"eps": eps, "clip_min": 0.0, "clip_max": 1.0}
        options |= {key: value for key, value in bounds.items() if key in known}
        answer: Tensor = kind(adapter, **options).perturb(x, y)
        return answer


def _offers() -> list[Offer]:
    attacks = advertorch.load().attacks
    names: dict[type[Any], list[str]] = {}
    for name, kind in vars(attacks).items():
        known = isinstance(kind, type) and issubclass(kind, attacks.Attack)
        if known and kind is not attacks.Attack:
            names.setdefault(kind, []).append(name)
    offers = []
    for kind, claims in names.items():
        aliases = tuple(sorted(name for name in claims if name != kind.__name__))
        offers.append(Offer(kind.__name__, kind, aliases, _REASONS.get(kind.__name__, "")))
    return sorted(offers, key=lambda offer: offer.name)


def _defaults(offer: Offer) -> dict[str, Any]:
    found = constructor_defaults(offer.kind, _HIDDEN)
    eps = inspect.signature(offer.kind).parameters["eps"].default
    if _STEP in found and isinstance(eps, float):
        found[_RELATIVE] = round(found[_STEP] / eps, 12)
        found[_STEP] = None
    return found


def _make(offer: Offer, parameters: dict[str, Any]) -> LibraryAttack:
    return AdvertorchAttack(attack=offer.name, parameters=parameters)


def _load() -> ModuleType:
    return advertorch.load()


ADVERTORCH = Library("advertorch", "advertorch", _load, _offers, _make, _defaults)
