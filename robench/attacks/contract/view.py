"""What an attack is given: the model as it may see it, and its random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from robench.attacks.primitives.losses import Loss
from robench.spiking import GradientPath, NeuronStatistics, Surrogate


class Through(TypedDict, total=False):
    """What a gradient is taken through; what is left out stays that of the model.

    Attributes:
        surrogate: the derivative of every spike.
        path: which connections carry gradient.
        statistics: of the neurons of each row, for a surrogate that follows them over the steps of
            an attack; the call updates them.
    """

    surrogate: Surrogate | None
    path: GradientPath | None
    statistics: NeuronStatistics | None


class View(Protocol):
    """How an attack sees a model, bound to the rows of one call."""

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
        """Whether it was trained without spikes, so that its rates stand for activations."""
        ...

    @property
    def sources(self) -> Sequence[View]:
        """Other models on which examples may be made, each bound to the same rows."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the deployed model; a call that misclassifies is an example.

        A stochastic model is deployed as the mean over some draws, the same for a sample each time.
        """
        ...

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` through which autograd reaches ``x``: for a loss of the attack's own.

        A backward pass through them turns the forward pass that was counted into a gradient pass,
        each further one counts as another. The gradient is the one that the model itself gives.

        Args:
            x: images, ``(M, C, H, W)``.
            rows: which row of the call each image belongs to, ``(M,)``. Without it they are one
                to one, and a call that misclassifies is an adversarial example.
        """
        ...

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **through: Unpack[Through],
    ) -> Tensor:
        """``∂loss/∂x`` of each row, of the shape of ``x``.

        An estimator finds directions; the deployed model decides what is an adversarial example.
        A model without spikes has nothing to substitute and gives its own gradient. Where the
        gradient underflows or overflows it is rescaled, so that only its direction counts, and the
        second pass that this takes is counted. A stochastic model gives the mean over several
        draws.

        Args:
            x: images, ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            loss: what the gradient raises.
            **through: the estimator, see :class:`Through`.
        """
        ...


class Noise(Protocol):
    """Random numbers that belong to a sample, not to a batch, an ε or an attack."""

    def __call__(self, stream: str, draw: int | Tensor = 0) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, C, H, W)``.

        Args:
            stream: what they are for; the same stream gives the same numbers to every attack.
            draw: which draw of that stream, one for all rows or ``(N,)``.
        """
        ...


def rivals(view: View, x: Tensor, y: Tensor, count: int) -> Tensor:
    """The other classes in the falling order of their logits, ``(N, R)`` with R at most ``count``.

    Args:
        view: the model.
        x: images, ``(N, C, H, W)``.
        y: their own classes, ``(N,)``.
        count: how many are wanted; there are no more than all others.
    """
    logits = view.logits(x).scatter(1, y[:, None], -torch.inf)
    return logits.argsort(1, descending=True)[:, : min(count, view.classes - 1)]
