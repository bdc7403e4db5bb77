"""What an attack is given: the model as it may see it, and its random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from robench.attacks.losses import Loss
from robench.spiking import GradientPath, RowMemory, Surrogate


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
        """Logits ``(N, K)`` of the deployed model; a call that misclassifies is a break.

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
                to one, and a call that misclassifies is a break.
        """
        ...

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        *,
        surrogate: Surrogate | None = None,
        path: GradientPath | None = None,
        timesteps: int | None = None,
        memory: RowMemory | None = None,
    ) -> Tensor:
        """``∂loss/∂x`` of each row, of the shape of ``x``; None leaves what the model has.

        A gradient with substitutes finds directions; the deployed model decides what is a break.
        A model without spikes has nothing to substitute and gives its own. Where the gradient
        underflows or overflows it comes back rescaled, with its direction alone, and the second
        pass that this took is counted. A stochastic model gives the mean over several draws.

        Args:
            x: images, ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            loss: what the gradient raises.
            surrogate: the derivative of every spike.
            path: which connections carry gradient.
            timesteps: T.
            memory: what the neurons remember of each row, for a surrogate that follows them over
                the steps of an attack; the call moves it on. With it T stays what it was.
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
