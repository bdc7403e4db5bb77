"""Parameters of an attack that chooses what a spiking network is differentiated through."""

from __future__ import annotations

from typing import Self

from pydantic import field_validator, model_validator
from torch import Tensor

from robench.attacks.contract.attack import Attack, Need
from robench.attacks.contract.view import View
from robench.attacks.primitives.losses import Loss
from robench.spiking import Estimator, NeuronStatistics, combine


class EstimatorSet(Attack):
    """An attack with a set of surrogates and gradient paths.

    Attributes:
        surrogates: with a path of its own where one is written behind it, as in
            ``triangle(1)/hart``.
        paths: gradient paths that every surrogate without one is taken through, and those that
            take no surrogate (``bptr``, ``rga``, ``cba``). Without any, the model's own path.
    """

    surrogates: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @field_validator("surrogates", "hybrid_estimators", check_fields=False)
    @classmethod
    def _with_sharpness(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """``atan`` as ``atan(2)``: equal attacks are one cell."""
        return tuple(str(Estimator.parse(name)) for name in names)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not combine(self.surrogates, self.paths):
            raise ValueError("surrogates needs at least one, or paths one that takes none")
        return self

    @property
    def finders(self) -> tuple[str, ...]:
        """The surrogates and paths, as results name them."""
        return combine(self.surrogates, self.paths)

    @property
    def required(self) -> frozenset[Need]:
        """An ANN counterpart, where a path leads through it."""
        paths = [Estimator.parse(name).path for name in self.finders]
        through_counterpart = any(path is not None and path.counterpart for path in paths)
        return self.needs | ({"counterpart"} if through_counterpart else frozenset())

    @staticmethod
    def gradient(
        view: View, x: Tensor, y: Tensor, loss: Loss, name: str, statistics: NeuronStatistics
    ) -> Tensor:
        """The gradient with an estimator, of the shape of ``x``.

        Without spikes there is nothing to choose.

        Args:
            view: the model.
            x: images, ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            loss: what the gradient raises.
            name: of the estimator.
            statistics: of the neurons of each row; only a surrogate that follows them over the
                steps of a run reads and updates them.
        """
        if not view.spiking:
            return view.gradient(x, y, loss)
        estimator = Estimator.parse(name)
        return view.gradient(
            x, y, loss, surrogate=estimator.surrogate, path=estimator.path,
            statistics=statistics if estimator.statistics else None,
        )  # fmt: skip
