"""The gradient with a chosen estimator of a spiking network."""

from __future__ import annotations

from torch import Tensor

from robench.attacks.contract.view import View
from robench.attacks.primitives.losses import Loss
from robench.spiking import Estimator, NeuronStatistics


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
