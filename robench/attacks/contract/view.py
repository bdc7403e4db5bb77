"""The interface of an attack to the model and to random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from robench.attacks.primitives.losses import Loss
from robench.spiking import GradientPath, NeuronStatistics, Surrogate


class EstimatorChoice(TypedDict, total=False):
    """The gradient estimator; a key that is missing or None means the model's own.

    Attributes:
        surrogate: the derivative of every spike.
        path: which connections carry gradient.
        statistics: the statistics of the neurons of each row, for an adaptive surrogate, which
            follows them over the steps of an attack; the call updates them.
    """

    surrogate: Surrogate | None
    path: GradientPath | None
    statistics: NeuronStatistics | None


class View(Protocol):
    """The model as an attack may use it, bound to the rows of one call."""

    @property
    def classes(self) -> int:
        """Number of classes K."""
        ...

    @property
    def spiking(self) -> bool:
        """Whether surrogates and gradient paths can be substituted."""
        ...

    @property
    def hybrid(self) -> bool:
        """Whether it was trained without spikes and its firing rates represent activations."""
        ...

    @property
    def rated(self) -> bool:
        """Whether the gradient of the firing rate (path ``rga``) is known for every layer."""
        ...

    @property
    def close(self) -> bool:
        """Whether the logits are so close that the cross-entropy is nearly linear in them."""
        ...

    @property
    def sources(self) -> Sequence[View]:
        """Other models for transfer attacks, each bound to the same rows."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the deployed model.

        A misclassified input is an adversarial example. A stochastic model is deployed as the mean
        over its evaluation draws, which are fixed for each sample.
        """
        ...

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` that are differentiable in ``x``, for a loss of the attack's own.

        The call counts as a forward pass. The first backward pass turns it into a gradient pass,
        and each further one counts as another gradient pass. The gradient is the model's own.

        Args:
            x: images, ``(M, C, H, W)``.
            rows: the row that each image belongs to, ``(M,)``. By default image i belongs to row
                i, and a misclassified image is an adversarial example.
        """
        ...

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **estimator: Unpack[EstimatorChoice],
    ) -> Tensor:
        """``∂loss/∂x`` of each row, of the shape of ``x``.

        What is found with an estimator counts only if the deployed model misclassifies it. A model
        without spikes gives its own gradient. A gradient that underflows or overflows is rescaled
        with a second pass, which is counted; only its direction is meaningful. A stochastic model
        gives the mean over several draws.

        Args:
            x: images, ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            loss: the loss that is differentiated.
            **estimator: see :class:`EstimatorChoice`.
        """
        return self.gradient_and_logits(x, y, loss, **estimator)[0]

    def gradient_and_logits(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **estimator: Unpack[EstimatorChoice],
    ) -> tuple[Tensor, Tensor]:
        """The same, and the logits ``(N, K)`` of the pass, which costs no further one."""
        ...


class Noise(Protocol):
    """Per-sample random numbers, independent of batch, ε and attack."""

    def __call__(
        self, stream: str, draw: int | Tensor = 0, shape: Sequence[int] | None = None
    ) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, C, H, W)`` or ``(N, *shape)``.

        Args:
            stream: the name of the sequence; every attack gets the same numbers for it.
            draw: the index of the draw in the stream, one for all rows or ``(N,)``.
            shape: of the numbers of one row; that of an image by default.
        """
        ...


def rivals(view: View, x: Tensor, y: Tensor, count: int) -> Tensor:
    """The other classes in descending order of their logits, ``(N, R)``, R ≤ ``count``.

    Args:
        view: the model.
        x: images, ``(N, C, H, W)``.
        y: true labels, ``(N,)``.
        count: the number of classes; at most K − 1 are returned.
    """
    logits = view.logits(x).scatter(1, y[:, None], -torch.inf)
    return logits.argsort(1, descending=True)[:, : min(count, view.classes - 1)]
