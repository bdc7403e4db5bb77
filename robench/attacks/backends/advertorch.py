"""advertorch's attacks (Ding et al., 2019)."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor

from robench.attacks.backends.adapter import Adapter
from robench.attacks.backends.library import Library, Offer, constructor_defaults, offers_of
from robench.attacks.backends.library_attack import LibraryAttack
from robench.compat import advertorch

_HIDDEN = frozenset(
    {"predict", "loss_fn", "eps", "clip_min", "clip_max", "targeted", "ord", "norm", "num_classes"}
    | {"l1_sparsity", "verbose", "comply_with_foolbox", "comply_cleverhans"}
)
_L1, _L0 = (f"it works in {norm}, for which there is no sweep" for norm in ("L1", "L0"))
_REASONS = {
    "ChooseBestAttack": "it needs a list of attacks to choose from",
    "ElasticNetL1Attack": _L1,
    "FastFeatureAttack": "it needs a second image for each sample, whose features it imitates",
    "JacobianSaliencyMapAttack": "it needs a target class for each sample",
    "L1FABAttack": _L1,
    "L1PGDAttack": _L1,
    "LBFGSAttack": "it needs a target class for each sample",
    "LocalSearchAttack": _L0,
    "SinglePixelAttack": _L0,
    "SparseL1DescentAttack": _L1,
    "SpatialTransformAttack": "it displaces pixels, which ε does not bound",
}
_TOGETHER = frozenset(
    {"GradientSignAttack", "PGDAttack", "LinfPGDAttack", "LinfBasicIterativeAttack"}
    | {"MomentumIterativeAttack", "LinfMomentumIterativeAttack"}
    | {"GradientAttack", "L2PGDAttack", "L2BasicIterativeAttack", "L2MomentumIterativeAttack"}
    | {"DDNL2Attack"}
)
_MINIMAL = frozenset(
    {"FABAttack", "LinfFABAttack", "L2FABAttack", "DDNL2Attack", "CarliniWagnerL2Attack"}
)
_IN_L2 = frozenset(
    {"CarliniWagnerL2Attack", "DDNL2Attack", "GradientAttack", "L2BasicIterativeAttack"}
    | {"L2FABAttack", "L2MomentumIterativeAttack", "L2PGDAttack"}
)
_STEP, _RELATIVE = "eps_iter", "relative_eps_iter"


class AdvertorchAttack(LibraryAttack):
    """An attack of advertorch; its ``eps`` is the sample's.

    advertorch's step ``eps_iter`` is absolute. Unless the user sets it, the step of each ε is
    ``relative_eps_iter · ε``, with the ratio of advertorch's defaults.
    """

    library: ClassVar[str] = "advertorch"

    @property
    def together(self) -> bool:
        """True for gradient attacks of a fixed length."""
        return self.attack in _TOGETHER

    @property
    def minimal(self) -> bool:
        """Whether it searches for the smallest perturbation."""
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
        facts = {"eps": eps, "clip_min": 0.0, "clip_max": 1.0, "num_classes": adapter.view.classes}
        options |= {key: value for key, value in facts.items() if key in known}
        answer: Tensor = kind(adapter, **options).perturb(x, y)
        return answer


class AdvertorchL2Attack(AdvertorchAttack):
    """An attack of advertorch that is measured in L2."""

    norm: ClassVar[str] = "l2"


def _offers() -> list[Offer]:
    return offers_of(_load().attacks, lambda kind: _REASONS.get(kind.__name__, ""))


def _defaults(offer: Offer) -> dict[str, Any]:
    found = constructor_defaults(offer.kind, _HIDDEN)
    eps = inspect.signature(offer.kind).parameters.get("eps")
    if _STEP in found and eps is not None and isinstance(eps.default, float):
        found[_RELATIVE] = round(found[_STEP] / eps.default, 12)
        found[_STEP] = None
    return found


def _make(offer: Offer, parameters: dict[str, Any]) -> LibraryAttack:
    chosen = AdvertorchL2Attack if offer.name in _IN_L2 else AdvertorchAttack
    return chosen(attack=offer.name, parameters=parameters)


def _load() -> ModuleType:
    return advertorch.load()


ADVERTORCH = Library("advertorch", "advertorch", _load, _offers, _make, _defaults)
