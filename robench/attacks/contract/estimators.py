"""Parameters of an attack that chooses the gradient estimators of a spiking network."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import field_validator, model_validator
from torch import Tensor

from robench.attacks.contract.attack import Attack, Gradients, Need
from robench.attacks.contract.view import View
from robench.attacks.primitives.losses import Loss
from robench.spiking import Estimator, NeuronStatistics, combine


class EstimatorSet(Attack):
    """An attack with a set of surrogates and gradient paths.

    Attributes:
        surrogates: names of surrogates, optionally with a path, as in ``triangle(1)/hart``.
        paths: gradient paths. Every surrogate without a path is combined with each of them; paths
            that take no surrogate (``bptr``, ``rga``, ``cba``) are estimators of their own. If
            empty, surrogates use the model's own path.
    """

    gradients: ClassVar[Gradients] = "chosen"

    surrogates: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @field_validator("surrogates")
    @classmethod
    def _with_sharpness(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """``atan`` as ``atan(2)``, so that equal attacks are one cell."""
        return tuple(str(Estimator.parse(name)) for name in names)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not combine(self.surrogates, self.paths):
            raise ValueError("surrogates needs at least one, or paths one that takes none")
        return self

    @property
    def finders(self) -> tuple[str, ...]:
        """The names of the estimators, as in results."""
        return combine(self.surrogates, self.paths)

    @property
    def required(self) -> frozenset[Need]:
        """What the gradient paths need of a network."""
        rules: dict[str, Need] = {"temporal": "paths", "rga": "firing rates"}
        paths = [Estimator.parse(name).path for name in self.finders]
        return self.needs | {
            "counterpart" if path.counterpart else rules.get(path.rule, "layers over time")
            for path in paths
            if path is not None
        }


def estimated(
    view: View, x: Tensor, y: Tensor, loss: Loss, name: str, statistics: NeuronStatistics
) -> tuple[Tensor, Tensor]:
    """The gradient with an estimator, of the shape of ``x``, and the logits ``(N, K)``.

    A model without spikes gives its own gradient.

    Args:
        view: the model.
        x: images, ``(N, C, H, W)``.
        y: true labels, ``(N,)``.
        loss: the loss that is differentiated.
        name: the name of the estimator.
        statistics: the statistics of the neurons of each row. Adaptive surrogates read and update
            them; other estimators ignore them.
    """
    if not view.spiking:
        return view.gradient_and_logits(x, y, loss)
    estimator = Estimator.parse(name)
    return view.gradient_and_logits(
        x, y, loss, surrogate=estimator.surrogate, path=estimator.path,
        statistics=statistics if estimator.statistics else None,
    )  # fmt: skip
